"""Bias and dark frames in the stage isr."""

import numpy as np
import pytest

from streamcal.errors import StageError
from streamcal.flags import RowFlag
from streamcal.testing import RecordingContext

PATTERN = np.array([[0, 5, 0], [2, 0, 0]])


@pytest.fixture
def calibrated(isr, made, tmp_path):
    """Reduce an exposure of 4 s, level 100, with frames given as name -> (pixels, level, exposure time)."""

    def run(frames, pixels=PATTERN + 1000, **settings):
        exposures = {}
        for name, (image, level, seconds) in frames.items():
            (tmp_path / name).write_bytes(b"stands for a file")
            amplifier = made.amplifier(np.asarray(image) + level, np.full((len(image), 4), level))
            exposures[tmp_path / name] = made.exposure(amplifier, exposure_time=seconds)
        context = RecordingContext("isr", folders=(tmp_path,), exposures=exposures)
        flat = made.exposure(made.amplifier(pixels, np.full((2, 4), 100)), exposure_time=4.0)
        return isr(flat, context, **settings)

    return run


def test_bias_loses_its_own_overscan_level_first(calibrated):
    """A bias frame taken at another level than the flat takes off its pattern only."""
    reduced = calibrated({"bias.fits": (PATTERN, 350, 0.0)}, bias="bias.fits")
    np.testing.assert_array_equal(reduced.amplifiers["A"].data, np.full((2, 3), 900))
    assert reduced.metadata["LSST ISR BIAS APPLIED"] is True


def test_without_overscan_the_bias_tells_the_level(calibrated):
    """The whole pedestal goes with it; only the overscan is missing."""
    reduced = calibrated({"bias.fits": (PATTERN, 350, 0.0)}, bias="bias.fits", overscan="none").amplifiers["A"]
    np.testing.assert_array_equal(reduced.data, np.full((2, 3), 650))
    assert reduced.metadata["flags"] == RowFlag.NO_OVERSCAN


def test_dark_is_scaled_by_exposure_time(calibrated):
    """A dark of 2 s counts twice for a flat of 4 s."""
    reduced = calibrated({"dark.fits": (PATTERN, 350, 2.0)}, dark="dark.fits")
    np.testing.assert_array_equal(reduced.amplifiers["A"].data, 900 - PATTERN)


def test_dark_loses_the_bias_before_it_is_scaled(calibrated):
    """Only the charge that has gathered in the dark is scaled."""
    frames = {"bias.fits": (PATTERN, 350, 0.0), "dark.fits": (PATTERN + 3, 350, 2.0)}
    reduced = calibrated(frames, bias="bias.fits", dark="dark.fits")
    np.testing.assert_array_equal(reduced.amplifiers["A"].data, np.full((2, 3), 894))


@pytest.mark.parametrize("seconds", [0.0, float("nan")])
def test_a_dark_of_no_exposure_time_is_an_error(calibrated, seconds):
    """It cannot be scaled; the message says both times."""
    with pytest.raises(StageError, match=r"dark\.fits cannot be scaled: .* are 4\.0 s and (0\.0|nan) s"):
        calibrated({"dark.fits": (PATTERN, 350, seconds)}, dark="dark.fits")


def test_a_frame_of_another_shape_is_an_error(calibrated):
    """File, amplifier and both shapes are named."""
    with pytest.raises(
        StageError, match=r"bias\.fits: amplifier 'A' must have shape \(2, 3\), it is of shape \(3, 3\)"
    ):
        calibrated({"bias.fits": (np.zeros((3, 3)), 350, 0.0)}, bias="bias.fits")


def test_a_bad_pixel_of_a_frame_is_masked(calibrated):
    """NaN in a bias frame becomes a masked pixel, no poisoned mean."""
    pattern = np.array([[np.nan, 0, 0], [0, 0, 0]])
    reduced = calibrated({"bias.fits": (pattern, 350, 0.0)}, bias="bias.fits")
    assert reduced.amplifiers["A"].mask[0, 0]
    assert not reduced.amplifiers["A"].mask[0, 1]
