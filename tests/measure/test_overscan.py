"""Overscan levels, the read noise of what remains, and the covariance that the subtraction adds."""

import math

import numpy as np
import pytest

from streamcal.measure import (
    OVERSCAN_MODELS,
    fit_overscan,
    match_levels,
    measure_covariances,
    median_variance_factor,
    row_overscan_covariance,
)


@pytest.mark.parametrize(
    ("model", "level"),
    [("MEDIAN", [2.5, 2.5]), ("MEAN", [4.0, 4.0]), ("MEDIAN_PER_ROW", [2.0, 4.0]), ("MEAN_PER_ROW", [2.0, 6.0])],
)
def test_levels_by_hand(model, level):
    """Median and mean of all pixels or of each row."""
    fitted = fit_overscan([[1, 2, 3], [2, 4, 12]], model, n_sigma=100)
    np.testing.assert_allclose(fitted.level, level)


@pytest.mark.parametrize("model", ["POLYNOMIAL", "CHEBYSHEV", "LEGENDRE"])
def test_series_follow_a_smooth_level(model):
    """A parabola along the rows is found exactly by order 2, in any basis."""
    rows = np.arange(50.0)
    truth = 1000 - 0.3 * rows + 0.02 * rows**2
    fitted = fit_overscan(np.repeat(truth[:, np.newaxis], 6, axis=1), model, order=2)
    np.testing.assert_allclose(fitted.level, truth, rtol=1e-10)


@pytest.mark.parametrize("model", ["MEDIAN_PER_ROW", "MEAN_PER_ROW", "POLYNOMIAL"])
def test_outliers_and_nan_make_no_level(model):
    """Cosmic rays and NaN in the overscan leave level and read noise."""
    pixels = np.random.default_rng(0).normal(500, 4, (300, 20))
    clean = fit_overscan(pixels, model)
    pixels[::10, 3], pixels[5::10, 7] = 9000, np.nan
    spoilt = fit_overscan(pixels, model)
    np.testing.assert_allclose(spoilt.level, clean.level, atol=3)
    assert spoilt.read_noise == pytest.approx(clean.read_noise, rel=0.03)


def test_a_row_without_pixels_takes_its_neighbours_level():
    """Rows that are NaN throughout are interpolated; the ends take the nearest level."""
    pixels = np.repeat([[np.nan], [10.0], [np.nan], [14.0]], 5, axis=1)
    np.testing.assert_allclose(fit_overscan(pixels, "MEAN_PER_ROW").level, [10, 10, 12, 14])


@pytest.mark.parametrize("model", OVERSCAN_MODELS)
def test_nothing_finite_is_nan(model):
    """An overscan of NaN gives NaN everywhere and raises nothing."""
    fitted = fit_overscan(np.full((4, 3), np.nan), model)
    assert np.isnan(fitted.level).all()
    assert np.isnan([fitted.median, fitted.sigma, fitted.read_noise, fitted.read_noise_error]).all()
    assert fitted.n_pixels == 0


def test_drift_is_scatter_but_not_read_noise():
    """A level that drifts along the rows widens the overscan, and not what remains of it row by row."""
    pixels = np.random.default_rng(1).normal(0, 3, (500, 30)) + np.linspace(100, 160, 500)[:, np.newaxis]
    fitted = fit_overscan(pixels, "MEDIAN_PER_ROW")
    assert fitted.sigma > 15
    assert fitted.read_noise == pytest.approx(3, abs=5 * fitted.read_noise_error)
    assert fitted.median == pytest.approx(130, abs=2)


@pytest.mark.parametrize("n_columns", [5, 6, 33, 64])
@pytest.mark.parametrize("model", ["MEDIAN", "MEDIAN_PER_ROW", "MEAN_PER_ROW"])
def test_read_noise_is_unbiased_and_its_error_honest(model, n_columns):
    """Over 300 overscans the pulls have mean 0 and width 1."""
    rng = np.random.default_rng(n_columns)
    fits = [fit_overscan(rng.normal(1000, 5, (128, n_columns)), model) for _ in range(300)]
    pulls = np.array([(fit.read_noise - 5) / fit.read_noise_error for fit in fits])
    assert abs(pulls.mean()) < 4 / math.sqrt(300)
    assert pulls.std() == pytest.approx(1, abs=4 / math.sqrt(2 * 300))


def test_read_noise_survives_a_narrow_cut():
    """A cut at 3 sigma takes 2.7 % of the variance, which is given back."""
    pixels = np.random.default_rng(2).normal(0, 5, (2000, 64))
    fitted = fit_overscan(pixels, "MEDIAN", n_sigma=3.0)
    assert fitted.read_noise == pytest.approx(5, abs=4 * fitted.read_noise_error)


def test_read_noise_of_quantised_pixels_of_low_noise():
    """Integers whose quartiles coincide have their own standard deviation, not zero."""
    pixels = np.random.default_rng(3).normal(100.0, 0.45, (1000, 50)).round()
    assert np.quantile(pixels, 0.25) == np.quantile(pixels, 0.75)
    assert fit_overscan(pixels, "MEAN").read_noise == pytest.approx(pixels.std(), rel=1e-4)


def digitise(sigma, model, n_columns=54, n_rows=8000):
    """Fit a digitised overscan whose level lies anywhere between two whole numbers; return fit, true level, noise."""
    rng = np.random.default_rng(round(10 * sigma))
    level = np.repeat(1000 + np.arange(8) / 8, n_rows // 8)
    pixels = (rng.normal(0, sigma, (n_rows, n_columns)) + level[:, np.newaxis]).round()
    return fit_overscan(pixels, model, n_sigma=4.0), level, math.hypot(sigma, math.sqrt(1 / 12))


@pytest.mark.parametrize("n_columns", [10, 54])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 4.0])
def test_means_of_digitised_pixels_are_unbiased(sigma, n_columns):
    """Level, read noise with the digitising in it, and row covariance, within four errors."""
    fit, level, noise = digitise(sigma, "MEAN_PER_ROW", n_columns)
    errors = fit.level - level
    assert errors.mean() == pytest.approx(0, abs=4 * errors.std() / math.sqrt(len(level)))
    assert fit.read_noise == pytest.approx(noise, abs=4 * fit.read_noise_error)
    assert fit.row_covariance == pytest.approx(errors.var(), rel=4 * math.sqrt(2 / len(level)))


@pytest.mark.parametrize(("sigma", "covariance"), [(1.0, 0.4), (2.0, 0.15), (4.0, 0.1)])
def test_medians_of_digitised_pixels_are_as_good_as_said(sigma, covariance):
    """From 1 ADU on: the level to 0.01 ADU between any two whole numbers, the read noise to 1 %."""
    fit, level, noise = digitise(sigma, "MEDIAN_PER_ROW")
    errors = (fit.level - level).reshape(8, -1)
    np.testing.assert_allclose(errors.mean(axis=1), 0, atol=0.01 + 4 * errors.std() / math.sqrt(errors.shape[1]))
    assert fit.read_noise == pytest.approx(noise, rel=0.01)
    assert fit.row_covariance == pytest.approx(errors.var(), rel=covariance)


def test_the_median_of_many_whole_numbers_lies_between_them():
    """One level of all pixels: not the nearest whole number, 0.4 ADU away."""
    pixels = np.random.default_rng(8).normal(1000.4, 3, (2000, 54)).round()
    fit = fit_overscan(pixels, "MEDIAN")
    assert fit.level[0] == fit.median == pytest.approx(1000.4, abs=0.05)


def test_one_column_has_no_read_noise_per_row():
    """A per-row level takes the only degree of freedom of a single column: no read noise."""
    assert math.isnan(fit_overscan(np.random.default_rng(4).normal(0, 1, (50, 1)), "MEAN_PER_ROW").read_noise)


@pytest.mark.parametrize(("n", "factor"), [(1, 1.0), (2, 0.5), (3, 0.44867), (4, 0.29820), (5, 0.28683), (9, 0.16610)])
def test_variance_of_a_median_from_tables(n, factor):
    """Variances of the median of n normal values, as tabulated for order statistics."""
    assert median_variance_factor(n) == pytest.approx(factor, abs=2e-5)


@pytest.mark.parametrize("n", [6, 54, 1000, 1001])
def test_variance_of_a_median_approaches_half_pi(n):
    """The product n v_n is below pi / 2 and approaches it as 1 / n."""
    assert n * median_variance_factor(n) == pytest.approx(math.pi / 2, abs=2.5 / n)
    assert n * median_variance_factor(n) < math.pi / 2


@pytest.mark.parametrize("model", ["MEDIAN_PER_ROW", "MEAN_PER_ROW", "MEDIAN", "LEGENDRE"])
def test_row_covariance_is_what_the_subtraction_adds(model):
    """Two dark images after overscan subtraction: C_10 to C_30 rise by row_covariance, C_01 does not."""
    rng, sigma, n_columns = np.random.default_rng(5), 5.0, 8
    images, covariances = [], []
    for _ in range(2):
        fitted = fit_overscan(rng.normal(300, sigma, (1500, n_columns)), model)
        images.append(rng.normal(1300, sigma, (1500, 400)) - fitted.level[:, np.newaxis])
        covariances.append(fitted.row_covariance)
    covariance, error, _ = measure_covariances(match_levels(*images), 4)
    expected = np.mean(covariances)
    # the rows' own errors, common to all lags along x, add to that of the pixels
    tolerance = 4 * (error[1, 0] + expected / math.sqrt(1500))
    np.testing.assert_allclose(covariance[1:, 0], expected, atol=tolerance)
    assert covariance[0, 1] == pytest.approx(0, abs=tolerance)


@pytest.mark.parametrize(
    ("model", "expected"), [("MEDIAN", 0.0), ("MEAN", 0.0), ("MEAN_PER_ROW", 0.5), ("CHEBYSHEV", 0.01)]
)
def test_row_covariance_by_hand(model, expected):
    """sigma^2 = 25 of 50 columns: 25 / 50 per row, nothing for a constant, 2 x 25 / (50 x 100) for order 2."""
    assert row_overscan_covariance(5.0, 50, model, n_rows=100, order=2) == pytest.approx(expected)


def test_the_input_is_not_changed():
    """Fitting leaves the overscan as it was."""
    pixels = np.array([[1.0, np.nan, np.inf], [2.0, 3.0, 4.0]])
    before = pixels.copy()
    fit_overscan(pixels)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize(
    ("overscan", "options", "match"),
    [
        ([[1.0]], {"model": "MODE"}, "must be one of MEDIAN, MEAN"),
        ([[1.0]], {"model": "LEGENDRE", "order": -1}, "order must be at least 0"),
        ([1.0], {}, "two dimensions"),
        (np.empty((0, 3)), {}, "two dimensions and pixels"),
    ],
)
def test_impossible_requests_are_refused(overscan, options, match):
    """Unknown models, negative orders and empty overscans are errors that say so."""
    with pytest.raises(ValueError, match=match):
        fit_overscan(overscan, **options)
