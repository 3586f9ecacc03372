"""The fit recovers the Gaussian that the values come from, whatever the bins."""

import math

import numpy as np
import pytest
from streamcal_normality.gaussian import MIN_EXPECTED, fit_gaussian, reduced_chi2


def draw(n, seed=1, mean=3.0, sigma=5.0):
    """Draw Gaussian values."""
    return np.random.default_rng(seed).normal(mean, sigma, n)


@pytest.mark.parametrize(("n_bins", "range_sigmas"), [(100, 4.0), (10, 4.0), (1000, 5.0), (20, 1.5)])
def test_fit_is_unbiased_and_its_error_honest(n_bins, range_sigmas):
    """Over 400 samples the pulls of sigma have mean 0 within four errors and width 1 within four."""
    fits = [fit_gaussian(draw(5000, seed), n_bins, range_sigmas) for seed in range(400)]
    pulls = np.array([(fit.sigma - 5.0) / fit.sigma_error for fit in fits])
    assert abs(pulls.mean()) < 4 / math.sqrt(400)
    assert pulls.std() == pytest.approx(1.0, abs=4 / math.sqrt(800))
    assert np.mean([fit.mean for fit in fits]) == pytest.approx(3.0, abs=4 * 2 * 5.0 / math.sqrt(5000 * 400))


def test_error_of_a_whole_fine_histogram():
    """It is the textbook's sigma / sqrt(2 n)."""
    fit = fit_gaussian(draw(100_000), 1000, 5.0)
    assert fit.sigma_error == pytest.approx(fit.sigma / math.sqrt(200_000), rel=1e-3)


def test_values_beyond_the_range_do_not_count():
    """A hundred far outliers leave sigma where it was; the standard deviation more than doubles."""
    values = draw(100_000)
    dirty = np.append(values, np.full(100, 400.0))
    assert dirty.std() > 2 * values.std()
    assert fit_gaussian(dirty).sigma == pytest.approx(5.0, abs=5 * 5.0 / math.sqrt(2 * 100_000))


def test_fit_follows_shift_and_scale():
    """Of 7 + 2 x the mean is 7 + 2 mean and sigma 2 sigma; chi-square is the same."""
    values = draw(20_000)
    one, other = fit_gaussian(values), fit_gaussian(7 + 2 * values)
    assert (other.mean, other.sigma) == (pytest.approx(7 + 2 * one.mean), pytest.approx(2 * one.sigma))
    assert other.chi2_dof == pytest.approx(one.chi2_dof)


def test_values_are_not_changed():
    """The fit looks at its input only."""
    values = draw(5000)
    before = values.copy()
    fit_gaussian(values)
    np.testing.assert_array_equal(values, before)


def test_chi2_is_one_for_a_gaussian():
    """Its mean over 300 samples is 1 within four errors; about 80 groups scatter by sqrt(2 / 80)."""
    chi2 = np.array([fit_gaussian(draw(20_000, seed)).chi2_dof for seed in range(300)])
    assert chi2.mean() == pytest.approx(1.0, abs=4 * chi2.std() / math.sqrt(300))
    assert chi2.std() == pytest.approx(math.sqrt(2 / 80), rel=0.3)


def test_chi2_sees_a_mixture():
    """Five per cent of the values three times as wide."""
    values = np.append(draw(95_000), draw(5_000, seed=2, sigma=15.0))
    assert fit_gaussian(values).chi2_dof > 5


def test_chi2_sees_missing_codes():
    """A converter that never gives every eighth value."""
    values = np.rint(draw(100_000, sigma=20.0))
    assert fit_gaussian(np.where(values % 8 == 0, values + 1, values)).chi2_dof > 5


def test_chi2_by_hand():
    """(12 - 10)^2 / 10 + (18 - 20)^2 / 20 + 0 + (8 - 10)^2 / 10 + (22 - 20)^2 / 20 = 1.2, over 5 - 3."""
    expected = np.array([10.0, 20.0, 10.0, 10.0, 20.0])
    assert reduced_chi2(np.array([12, 18, 10, 8, 22]), expected) == pytest.approx(0.6)


def test_bins_are_joined_until_they_expect_enough():
    """1 + 9 | 10 | 20 | 10 | 20 + 9: the empty tails are no evidence, and the last bin joins its neighbour."""
    expected = np.array([1.0, 9.0, 10.0, 20.0, 10.0, 20.0, 9.0])
    assert MIN_EXPECTED == 10
    assert reduced_chi2(np.array([0, 10, 12, 20, 8, 29, 0]), expected) == pytest.approx((0.4 + 0.4) / 2)


def test_chi2_needs_a_degree_of_freedom():
    """Three groups fix total, mean and sigma, and nothing is left to test."""
    assert math.isnan(reduced_chi2(np.array([10, 20, 10]), np.array([10.0, 20.0, 10.0])))


@pytest.mark.parametrize(
    "values",
    [np.full(5000, 7.0), np.linspace(0.0, 1.0, 5000), np.repeat([-1.0, 1.0], 2500)],
    ids=["constant", "uniform", "two values"],
)
def test_no_gaussian_is_nan(values):
    """Values without width, and histograms that are flat or hollow, have no fit."""
    fit = fit_gaussian(values, 20, 1.5)
    assert all(math.isnan(number) for number in (fit.mean, fit.sigma, fit.sigma_error, fit.chi2_dof))
