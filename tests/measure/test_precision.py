"""float32 sums against plain float64: below 1e-6 of the variance on every golden case, and up to full well."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from plain_reference import plain_measurement

from streamcal.measure import lag_covariances, match_levels, measure_amplifier, measure_covariances

textbook_covariances = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "textbook.py"))[
    "textbook_covariances"
]
GOLDEN = Path(__file__).parents[1] / "data" / "golden_ptc"
CASES = sorted(path.stem for path in GOLDEN.glob("*.npz") if path.stem != "too_few_pixels")


def gradient_flats(electrons, shape=(400, 320), gain=1.5, slopes=(0.05, 0.05)):
    """Poisson light of this mean level under a gradient of 5 %, and read noise, in ADU, as float32."""
    rng = np.random.default_rng(int(electrons))
    columns = np.linspace(-0.5, 0.5, shape[1]) * np.ones(shape)
    lights = [electrons * (1 + slope * columns) for slope in slopes]
    return [(rng.poisson(light) + rng.normal(0, 5, shape)).astype(np.float32) / np.float32(gain) for light in lights]


def check_precision(first, second, bad):
    """Hold what is measured on float32 images against the definitions in float64, and against itself in float64."""
    plain = plain_measurement(first, second, bad)
    limit = 1e-6 * plain.variance
    narrow, wide = (
        measure_amplifier(first.astype(dtype), second.astype(dtype), bad, 3.0, min_good_pixels=100)
        for dtype in (np.float32, np.float64)
    )
    for measured in (narrow, wide):
        np.testing.assert_allclose(measured.covariance, plain.covariance, rtol=0, atol=limit)
        np.testing.assert_array_equal(measured.n_pixels, plain.n_pixels)
        for name in ("mean_1", "mean_2", "variance", "gain_statistic", "row_mean_variance"):
            assert getattr(measured, name) == pytest.approx(getattr(plain, name), rel=1e-6), name
    assert narrow.gain_error == pytest.approx(wide.gain_error, rel=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_golden_cases_lose_nothing_in_float32(case):
    """Every golden case: below 1e-6 of the variance, in every lag."""
    with np.load(GOLDEN / f"{case}.npz") as frames:
        check_precision(frames["first"], frames["second"], frames["mask"] != 0)


@pytest.mark.parametrize(
    ("electrons", "shape"),
    [(1000, (400, 320)), (50000, (400, 320)), (200000, (400, 320)), (200000, (2002, 512)), (200000, (160, 4096))],
)
def test_high_levels_with_a_gradient_lose_nothing_in_float32(electrons, shape):
    """Up to 200 000 e- under a gradient of 5 %, also of an amplifier's full size and width: the same."""
    check_precision(*gradient_flats(electrons, shape), np.zeros(shape, bool))


@pytest.mark.parametrize("mask", ["scattered", "corner", "border"])
def test_holes_lose_nothing_in_float32(mask):
    """Masks of some thousand pixels, where the light changes its shape and the difference is far from zero."""
    shape = 400, 320
    rows, columns = np.indices(shape)
    bad = {
        "scattered": np.random.default_rng(3).random(shape) < 0.05,
        "corner": (rows < 200) & (columns < 150),
        "border": (rows < 10) | (columns < 10) | (rows >= 390) | (columns >= 310),
    }
    check_precision(*gradient_flats(200000, shape, slopes=(0.05, 0.1)), bad[mask])


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
