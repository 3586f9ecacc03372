"""The stage gain: five corrections, what it needs from other stages, flags."""

import math

import numpy as np
import pytest

from streamcal.errors import ConfigError
from streamcal.flags import RowFlag
from streamcal.measure import CORRECTIONS, measure_amplifier
from streamcal.testing import RecordingContext, make_flat_pair

CORRECTED = {"overscan": "none"}


@pytest.fixture
def measure(make_chain, made):
    """Run the chain on two corrected images and return the row and the context."""

    def run(first, second, isr=CORRECTED, **gain):
        context = RecordingContext()
        pair = made.pair(*(made.exposure(made.amplifier(image)) for image in (first, second)))
        return make_chain({"isr": isr, "gain": gain}).run(pair, context)["A"], context

    return run


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_every_correction_is_that_of_measure_amplifier(measure, correction):
    """The stage gives what the function on arrays gives, from the configured read noise."""
    flats = make_flat_pair(electrons=3000)
    row, _ = measure(*flats, {**CORRECTED, "noise_adu": 4.0}, correction=correction)
    expected = measure_amplifier(*flats, read_noise=4.0, gain_correction=correction)
    assert row["gain"] == expected.gain
    assert row["gain_error"] == expected.gain_error
    assert row["gain_covariance_sum"] == expected.gain_covariance_sum
    assert row["gain_correction"] == correction
    assert row["gain"] == pytest.approx(1.5, rel=0.02)


def test_full_is_the_default(measure):
    """As in the batch task."""
    assert measure(*make_flat_pair(), {**CORRECTED, "noise_adu": 4.0})[0]["gain_correction"] == "FULL"


def test_missing_read_noise_gives_none_flagged_and_logged(measure):
    """No read noise where a correction needs it: the NONE value, flagged, with a warning."""
    flats = make_flat_pair(electrons=1000)
    row, context = measure(*flats)
    assert row["flags"] == RowFlag.READ_NOISE_MISSING | RowFlag.NO_OVERSCAN | RowFlag.NO_BIAS_LEVEL
    assert row["gain_correction"] == "NONE"
    assert row["gain"] == pytest.approx(1 / row["gain_statistic"])
    assert [event["event"] for event in context.events] == ["read noise is missing"]


def test_none_needs_no_read_noise(measure):
    """Nothing is missing where nothing is needed."""
    row, context = measure(*make_flat_pair(), correction="NONE")
    assert row["flags"] == RowFlag.NO_OVERSCAN | RowFlag.NO_BIAS_LEVEL
    assert context.events == []


def test_read_noise_error_enters_the_gain_error(measure, made, make_chain):
    """A read noise of few overscan pixels makes the gain less sure."""
    rng = np.random.default_rng(1)
    errors = []
    for columns in (2, 200):
        pair = made.pair(*(made.flat(rng, 100, columns=columns, read_noise=20) for _ in range(2)))
        settings = {"isr": {"model": "MEAN"}, "gain": {"correction": "JANESICK"}}
        errors.append(make_chain(settings).run(pair, RecordingContext())["A"]["gain_error"])
    assert errors[0] > 1.5 * errors[1]


def test_unmeasured_pair_has_no_gain(measure):
    """Too few pixels: NaN and both flags."""
    row, _ = measure(*make_flat_pair(shape=(20, 20)), {**CORRECTED, "noise_adu": 4.0})
    assert math.isnan(row["gain"])
    assert row["flags"] & RowFlag.TOO_FEW_PIXELS
    assert row["flags"] & RowFlag.GAIN_INVALID


def test_unknown_correction_names_the_five(make_chain):
    """Found before the first exposure."""
    with pytest.raises(ConfigError) as raised:
        make_chain({"gain": {"correction": "LUPTON"}})
    assert str(raised.value) == (
        "configuration: stages.gain.correction: "
        "gain_correction must be one of NONE, SIMPLE, FULL, UNBIASED, JANESICK, got 'LUPTON'"
    )
