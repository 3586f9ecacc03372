"""float32 sums against float64: below 1e-6 of the variance on every golden case, and at levels up to full well."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from streamcal.measure import lag_covariances, match_levels, measure_amplifier, measure_covariances

textbook_covariances = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "textbook.py"))[
    "textbook_covariances"
]
GOLDEN = Path(__file__).parents[1] / "data" / "golden_ptc"
CASES = sorted(path.stem for path in GOLDEN.glob("*.npz") if path.stem != "too_few_pixels")


def gradient_flats(electrons, shape=(400, 320), gain=1.5):
    """Poisson light of this mean level under a gradient of 5 %, and read noise, in ADU."""
    rng = np.random.default_rng(int(electrons))
    light = electrons * np.linspace(0.975, 1.025, shape[1]) * np.ones(shape)
    return [(rng.poisson(light) + rng.normal(0, 5, shape)).astype(np.float32) / np.float32(gain) for _ in range(2)]


def check_precision(first, second, mask=None):
    """Hold float32 input against the same numbers as float64, and both against plain products in float64."""
    narrow = measure_amplifier(first, second, mask, 3.0, min_good_pixels=100)
    wide = measure_amplifier(first.astype(np.float64), second.astype(np.float64), mask, 3.0, min_good_pixels=100)
    limit = 1e-6 * wide.variance
    assert narrow.variance == pytest.approx(wide.variance, abs=limit)
    np.testing.assert_allclose(narrow.covariance, wide.covariance, rtol=0, atol=limit)
    np.testing.assert_array_equal(narrow.n_pixels, wide.n_pixels)
    assert narrow.gain == pytest.approx(wide.gain, rel=1e-6)
    assert narrow.gain_error == pytest.approx(wide.gain_error, rel=1e-6)
    assert narrow.row_mean_variance == pytest.approx(wide.row_mean_variance, rel=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_golden_cases_lose_nothing_in_float32(case):
    """Every golden case: below 1e-6 of the variance."""
    with np.load(GOLDEN / f"{case}.npz") as frames:
        check_precision(frames["first"].astype(np.float32), frames["second"].astype(np.float32), frames["mask"])


@pytest.mark.parametrize("electrons", [1000, 50000, 200000])
def test_high_levels_with_a_gradient_lose_nothing_in_float32(electrons):
    """Up to 200 000 e- under a gradient of 5 %: below 1e-6 of the variance, in every lag."""
    check_precision(*gradient_flats(electrons))


@pytest.mark.parametrize("electrons", [1000, 200000])
@pytest.mark.parametrize("masked", [0.0, 0.01])
def test_covariances_are_those_of_the_textbook(electrons, masked):
    """Direct sums and Fourier transforms of the textbook agree below 1e-6 of the variance, counts exactly."""
    first, second = gradient_flats(electrons)
    matched = match_levels(first, second, np.random.default_rng(3).random(first.shape) < masked)
    expected, n_expected = textbook_covariances(np.where(matched.used, matched.difference, 0.0), matched.used)
    measured, n_pixels = lag_covariances(matched.difference, matched.used, 10)
    np.testing.assert_allclose(measured / 2, expected, rtol=0, atol=1e-6 * matched.variance)
    np.testing.assert_array_equal(n_pixels, n_expected)


def test_an_offset_of_the_difference_costs_no_digits():
    """A drift of the light's shape leaves an offset in D: it is taken off before anything is squared in float32."""
    first, second = gradient_flats(50000)
    matched = match_levels(first, second)
    drifted, _, _ = measure_covariances(matched, 5)
    expected, _ = textbook_covariances(matched.difference.astype(np.float64) + 1e4, matched.used, 5)
    raised, _ = lag_covariances(matched.difference.astype(np.float64) + 1e4, matched.used, 5)
    np.testing.assert_allclose(raised / 2, expected, rtol=0, atol=1e-6 * matched.variance)
    assert drifted[0, 0] == pytest.approx(raised[0, 0] / 2 * matched.truncation, rel=1e-6)
