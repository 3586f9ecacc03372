"""The shipped instruments on real files."""

import numpy as np
import pytest

from streamcal.instruments.read import read_exposure


def look(inspect, instrument, folder, **keys):
    """Identify all files of a folder, by name."""
    return [info for path in sorted(folder.iterdir()) for info in inspect(path, instrument, **keys)]


def test_esis_identities(shipped, inspect, reference) -> None:
    """Sequence number, milliseconds, start and camera; nothing tells darks from flats."""
    infos = look(inspect, shipped("esis"), reference / "esis")
    assert [info.exposure_id for info in infos] == ["4803", "4804", "4860", "4861"]
    assert [info.exposure_time for info in infos] == pytest.approx([1.999] * 4)
    assert infos[0].mjd_start_utc == pytest.approx(57946.772592, abs=1e-6)
    assert (infos[0].mjd_start - infos[0].mjd_start_utc) * 86400 == pytest.approx(37, abs=1e-4)
    assert {info.detector for info in infos} == {"ESIS1"}
    assert all(info.is_flat for info in infos)


def test_esis_flats_by_name(shipped, inspect, reference) -> None:
    """A configuration says which frames are flats; the others are ignored."""
    rule = {"key": "@name", "pattern": r"_(04803|04804)\."}
    infos = look(inspect, shipped({"base": "esis", "identify": {"flat": [rule]}}), reference / "esis")
    assert [info.is_flat for info in infos] == [True, True, False, False]
    assert infos[2].reason == "not a flat: @name = 'ESIS1_04860.fit.gz'"


def test_esis_taps(shipped, inspect, reference, limits) -> None:
    """Four taps toward their corners; light above the blank columns as known, a percent for the estimator."""
    (info,) = inspect(reference / "esis" / "ESIS1_04803.fit.gz", shipped("esis"))
    taps = read_exposure(info, shipped("esis"), limits).amplifiers
    assert [(name, tap.readout_corner.value) for name, tap in taps.items()] == [
        ("00", "LL"),
        ("01", "LR"),
        ("10", "UL"),
        ("11", "UR"),
    ]
    assert {tap.data.shape for tap in taps.values()} == {(520, 1024)}
    signal = [tap.data.mean() - np.median(tap.overscan["prescan"]) for tap in taps.values()]
    assert signal == pytest.approx([15382, 11548, 24083, 19028], rel=0.01)


def test_esis_blank_columns_are_dark(shipped, inspect, reference, limits) -> None:
    """No column of the prescan holds light: one column too far would."""
    (info,) = inspect(reference / "esis" / "ESIS1_04803.fit.gz", shipped("esis"))
    for tap in read_exposure(info, shipped("esis"), limits).amplifiers.values():
        columns = np.median(tap.overscan["prescan"], axis=0)
        assert np.ptp(columns) < 10
        assert np.median(tap.data, axis=0).min() > columns.max() + 1000


def test_efosc2_identities(shipped, inspect, reference) -> None:
    """Lamp and sky flats are flats, darks and the arc are not; times as in the header, ids unique."""
    infos = look(inspect, shipped("efosc2"), reference / "efosc2", group_keys=["@run"])
    flats = [info for info in infos if info.is_flat]
    assert [info.exposure_time for info in flats] == [
        *(10.312, 10.3131, 10.3117),
        *(3.3005, 3.8006, 4.4005),
        *(24.543, 24.5438, 24.5441),
    ]
    reasons = [info.reason for info in infos if not info.is_flat]
    assert reasons == ["not a flat: ESO DPR TYPE = 'DARK'"] * 5 + ["not a flat: ESO DPR TYPE = 'WAVE'"]
    assert len({info.exposure_id for info in infos}) == len(infos) == 15
    assert [int(info.exposure_id) for info in flats] == sorted(int(info.exposure_id) for info in flats)
    assert flats[0].group == "@run=2022-01-26T19:17:39"
    assert flats[0].mjd_start_utc == pytest.approx(59605.80484333, abs=1e-8)


def test_efosc2_overscan(shipped, inspect, reference, limits) -> None:
    """Under a flat of 11 000 ADU the overscan shows the level of the darks."""
    levels = {}
    for name in ("19:02:38.210", "19:18:58.464"):
        (info,) = inspect(reference / "efosc2" / f"EFOSC.2022-01-26T{name}.fits", shipped("efosc2"))
        amplifier = read_exposure(info, shipped("efosc2"), limits).amplifiers["L"]
        levels[name] = [np.median(amplifier.overscan[kind]) for kind in ("prescan", "parallel")]
        assert (amplifier.header_gain, amplifier.readout_corner.value) == (1.10, "LR")
    assert levels["19:18:58.464"] == pytest.approx(levels["19:02:38.210"], abs=30)
    assert levels["19:18:58.464"][1] == pytest.approx(levels["19:02:38.210"][1], abs=6)


def test_lsst_needs_data_only(inspect, reference, limits, make_instrument) -> None:
    """Sixteen segments of integers, gzip under a plain name, no BIASSEC: a table of a few keys reads them."""
    instrument = make_instrument(
        identify={"flat": [{"key": "IMGTYPE", "pattern": "flat"}], "exposure_id": ["OBSID", "IMAGETAG"]},
        geometry={"images": 16, "hdus": "^Segment", "outside": True},
    )
    (info,) = inspect(reference / "lsst_raw" / "201807241028453-RTM-010-S11-det067.fits", instrument)
    amplifiers = read_exposure(info, instrument, limits).amplifiers
    assert (info.exposure_id, info.exposure_time, len(amplifiers)) == ("1532428125342", 21.913, 16)
    segment = amplifiers["Segment00"]
    assert {name: pixels.shape for name, pixels in segment.overscan.items()} == {
        "serial": (2002, 54),
        "prescan": (2002, 10),
        "parallel": (46, 512),
    }
    assert np.median(segment.overscan["serial"]) == pytest.approx(27026, abs=2)
    assert np.median(segment.data) == pytest.approx(47800, abs=20)
