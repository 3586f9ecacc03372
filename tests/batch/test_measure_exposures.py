"""The in-memory form of the batch task."""

import numpy as np
import pytest
import structlog

from streamcal.batch import measure_exposures
from streamcal.records import Amplifier, Exposure, ExposureInfo, FileStat
from streamcal.testing import make_flat_pair


@pytest.fixture
def flats():
    """Return four corrected exposures of one level, ids 1 to 4."""

    def make(number):
        data = make_flat_pair(seed=number, shape=(128, 128))[0]
        info = ExposureInfo(
            path="",
            stat=FileStat(size=0, mtime_ns=0, inode=0, device=0),
            digest="",
            instrument="cam",
            detector="0",
            exposure_id=str(number),
            is_flat=True,
        )
        amplifier = Amplifier(name="A", data=data, mask=np.zeros(data.shape, np.uint32))
        return Exposure(info=info, header={}, amplifiers={"A": amplifier})

    return [make(number) for number in (1, 2, 3, 4)]


@pytest.fixture
def warnings():
    """Return what is logged."""
    with structlog.testing.capture_logs() as entries:
        yield entries


def test_one_result_per_id_dummies_where_there_is_no_pair(flats):
    """A pair's rows stand at its first exposure; all other places are filled with dummies and their reasons."""
    task = [{"isr": {"RESIDUAL STDEV A": 4.0}}] * 3
    results = measure_exposures({0.5: flats[:2]}, [2, 1, 9], task)
    assert [(entry.exposure_id, entry.is_dummy, entry.partner_id) for entry in results] == [
        ("2", True, "1"),
        ("1", False, "2"),
        ("9", True, ""),
    ]
    assert [entry.reason for entry in results] == ["measured with 1", "", "no exposure was given"]
    row = results[1].rows["A"]
    assert row["gain"] == pytest.approx(1.5, rel=0.05)
    assert (row["read_noise"], row["read_noise_source"]) == (4.0, "header")


def test_a_single_warns_and_gives_nothing(flats, warnings):
    """One exposure at a level is no pair."""
    (result,) = measure_exposures({0.5: flats[:1]}, [1])
    assert (result.is_dummy, result.reason) == (True, "a single exposure at 0.5")
    assert [(entry["event"], entry["log_level"]) for entry in warnings] == [
        ("single exposure gives no pair", "warning")
    ]


def test_extras_beyond_two_are_discarded(flats, warnings):
    """Four exposures at a level make one pair, of the first two."""
    results = measure_exposures({0.5: flats}, [1, 2, 3, 4])
    assert [entry.is_dummy for entry in results] == [False, True, True, True]
    assert results[3].reason == "more than two exposures at 0.5"
    discarded = [entry["exposure_id"] for entry in warnings if entry["event"] == "extra exposure discarded"]
    assert discarded == ["3", "4"]


def test_levels_are_measured_each(flats):
    """Every level gives its pair."""
    results = measure_exposures({0.5: flats[:2], 1.0: flats[2:]}, [1, 2, 3, 4])
    assert [entry.partner_id for entry in results if not entry.is_dummy] == ["2", "4"]


def test_inputs_are_not_changed(flats):
    """Exposures in memory belong to the caller."""
    flats[0].amplifiers["A"].data[0, 0] = np.nan
    before = flats[0].amplifiers["A"].data.copy()
    measure_exposures({0.5: flats[:2]}, [1, 2])
    amplifier = flats[0].amplifiers["A"]
    np.testing.assert_array_equal(amplifier.data, before)
    assert not amplifier.mask.any()
    assert amplifier.metadata == {}
    assert flats[0].metadata == {}


def test_a_pair_that_fails_is_a_dummy_with_its_reason(flats):
    """One bad pair does not cost the others."""
    flats[1].amplifiers["A"].data = np.zeros((3, 3), np.float32)
    flats[1].amplifiers["A"].mask = np.zeros((3, 3), np.uint32)
    results = measure_exposures({0.5: flats[:2], 1.0: flats[2:]}, [1, 2, 3, 4])
    assert results[0].is_dummy
    assert results[0].reason.startswith("stage 'covariance': amplifier 'A' has shape (128, 128)")
    assert not results[2].is_dummy


@pytest.mark.parametrize(
    ("ids", "metadata", "reason"),
    [
        ([1, 2], [{}], "metadata must be as many as ids, got 1 and 2"),
        ([1, 2, 1], [], "ids must be different, got '1' twice"),
        ([1], [], "ids must hold the id of each exposure, '2' is missing"),
    ],
)
def test_ids_and_metadata_must_fit(flats, ids, metadata, reason):
    """What cannot be matched is refused before anything is measured."""
    with pytest.raises(ValueError, match=reason):
        measure_exposures({0.5: flats[:2]}, ids, metadata)
