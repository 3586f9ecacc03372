"""The golden frames: what the published methods of the peers measure on frames of known truth."""

import json
from pathlib import Path

import numpy as np
import pytest

from streamcal.flags import RowFlag
from streamcal.measure import measure_amplifier

GOLDEN = Path(__file__).parents[1] / "data" / "golden_ptc"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
TRUTH = EXPECTED["truth"]
MEASURED = [case for case in EXPECTED["cases"] if case != "too_few_pixels"]


def measure(case, **options):
    """Measure one golden case with its read noise."""
    with np.load(GOLDEN / f"{case}.npz") as frames:
        return measure_amplifier(frames["first"], frames["second"], frames["mask"], TRUTH["read_noise_adu"], **options)


@pytest.mark.parametrize("case", MEASURED)
def test_means_and_variance_agree_with_the_peer(case):
    """Clipped means and the truncation-corrected half variance agree to 1e-5."""
    expected, measured = EXPECTED["cases"][case], measure(case)
    assert measured.mean_1 == pytest.approx(expected["mu1"], rel=1e-5)
    assert measured.mean_2 == pytest.approx(expected["mu2"], rel=1e-5)
    assert measured.mean == pytest.approx(expected["mean"], rel=1e-5)
    assert measured.variance == pytest.approx(expected["var"], rel=1e-5)


@pytest.mark.parametrize("case", MEASURED)
def test_covariances_agree_with_the_peer(case):
    """Every covariance agrees to 1e-5 of the variance, every count to a few pixels, every error to 1e-4."""
    expected, measured = EXPECTED["cases"][case], measure(case)
    np.testing.assert_allclose(measured.covariance, expected["cov"], rtol=0, atol=1e-5 * expected["var"])
    np.testing.assert_allclose(measured.n_pixels, np.array(expected["npix"])[:10, :10], rtol=0, atol=5)
    np.testing.assert_allclose(1 / measured.covariance_error, np.array(expected["sqrt_weights"]), rtol=1e-4)


@pytest.mark.parametrize("case", MEASURED)
@pytest.mark.parametrize("correction", ["NONE", "FULL"])
def test_literal_gains_agree_with_the_peer(case, correction):
    """Without level matching the gain statistic is the peer's, and so are both gains, to 1e-5."""
    measured = measure(case, gain_correction=correction, level_match=False)
    assert measured.gain == pytest.approx(EXPECTED["cases"][case][f"gain_{correction}"], rel=1e-5)
    assert measured.gain_correction == correction


@pytest.mark.parametrize("case", ["unequal", "cosmic_rays"])
@pytest.mark.parametrize("correction", ["SIMPLE", "FULL", "UNBIASED", "JANESICK"])
def test_level_matching_finds_the_true_gain(case, correction):
    """Where levels differ by 3.7 % or cosmic rays fell, the default finds the true gain within 2 %."""
    assert measure(case, gain_correction=correction).gain == pytest.approx(TRUTH["gain"], rel=0.02)


@pytest.mark.parametrize("case", ["unequal", "cosmic_rays"])
def test_uncorrected_gain_lacks_only_the_read_noise(case):
    """NONE, with level matching, is the true 1/g plus the read noise term within 2 %."""
    measured = measure(case, gain_correction="NONE")
    with_noise = 1 / TRUTH["gain"] + TRUTH["read_noise_adu"] ** 2 / measured.mean_used
    assert measured.gain == pytest.approx(1 / with_noise, rel=0.02)


@pytest.mark.parametrize("case", MEASURED)
def test_row_mean_variance_includes_the_last_row(case):
    """Row means are of all rows; white pixels give 2 variance / n_columns, here within five standard errors."""
    measured = measure(case)
    n_rows, n_columns = 256, 192
    expected = 2 * measured.variance / n_columns
    assert measured.row_mean_variance == pytest.approx(expected, rel=5 * np.sqrt(2 / n_rows))


def test_brighter_fatter_deficit_reappears_in_the_covariances():
    """In the correlated frames the variance lacks what its neighbours' covariances hold, within their errors."""
    measured = measure("correlated", max_lag=2)
    deficit = measured.mean / TRUTH["gain"] + TRUTH["read_noise_adu"] ** 2 - measured.variance
    (_, c_01), (c_10, c_11) = measured.covariance
    error = np.sqrt(4 + 4 + 8) * measured.covariance_error[1, 0]
    assert deficit > 5 * measured.covariance_error[0, 0]
    assert 2 * c_01 + 2 * c_10 + 4 * c_11 == pytest.approx(deficit, abs=3 * error)


def test_the_covariance_sum_moves_the_gain_toward_the_truth():
    """With the covariances in place of the variance alone, the brighter-fatter gain is less too high."""
    measured = measure("correlated", gain_correction="JANESICK", max_lag=2)
    assert measured.gain > measured.gain_covariance_sum > TRUTH["gain"]


@pytest.mark.parametrize("case", MEASURED)
def test_golden_frames_carry_no_warning(case):
    """No golden frame is flagged, brighter-fatter correlation and masks included."""
    assert measure(case).flags == 0


def test_too_few_pixels_measure_nothing():
    """Below min_good_pixels every number is NaN, flagged."""
    measured = measure("too_few_pixels")
    numbers = [measured.mean, measured.variance, measured.gain, measured.gain_error, measured.row_mean_variance]
    assert np.isnan(numbers).all()
    assert np.isnan(measured.covariance).all()
    assert measured.flags & RowFlag.TOO_FEW_PIXELS
