"""Clipped mean and variance: the exact rule of iteration."""

import math

import numpy as np
import pytest

from streamcal.measure import clip_statistics, truncation_factor


def plain_clip(values, n_sigma, n_iter):
    """Follow the rule in plain numpy."""
    low, centre, high = np.quantile(values, [0.25, 0.5, 0.75])
    half_width = n_sigma * 0.741301 * (high - low)
    for _ in range(n_iter):
        kept = values[np.abs(values - centre) <= half_width]
        centre, variance = kept.mean(), kept.var(ddof=1)
        half_width = n_sigma * np.sqrt(variance)
    return centre, variance, kept.size


@pytest.mark.parametrize("n_iter", [1, 2, 3])
@pytest.mark.parametrize("n_sigma", [2.0, 3.0, 5.5])
def test_follows_the_rule(n_sigma, n_iter):
    """Each iteration cuts all values anew about the mean of the one before; the first about the median."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(10, 3, 5000), rng.exponential(20, 300)])
    clipped = clip_statistics(values, n_sigma, n_iter)
    mean, variance, n = plain_clip(values, n_sigma, n_iter)
    assert clipped.mean == pytest.approx(mean, rel=1e-12)
    assert clipped.variance == pytest.approx(variance, rel=1e-12)
    assert clipped.n_values == n


def test_the_edge_is_kept():
    """The cut is inclusive: quartiles 1 and 3, so 0.741301 x 2 x n_sigma = 2 keeps 0 and 4 about the median of 2."""
    n_sigma = 2 / (0.741301 * 2)
    clipped = clip_statistics([0, 1, 2, 3, 4.0], math.nextafter(n_sigma, 2), 1)
    assert (clipped.n_values, clipped.mean, clipped.variance) == (5, 2.0, 2.5)


def test_outliers_do_not_count():
    """A hundred values of a million among ten thousand leave mean and variance as they were."""
    values = np.random.default_rng(1).normal(100, 5, 10000)
    clean = clip_statistics(values)
    spoilt = clip_statistics(np.concatenate([values, np.full(100, 1e6)]))
    assert (spoilt.mean, spoilt.n_values) == (clean.mean, clean.n_values)


def test_nonfinite_values_are_left_out():
    """NaN and infinities are not values."""
    clipped = clip_statistics([1.0, 2.0, math.nan, 3.0, math.inf, -math.inf])
    assert (clipped.mean, clipped.n_values) == (2.0, 3)


@pytest.mark.parametrize(("values", "mean", "n"), [([], math.nan, 0), ([7], 7.0, 1), ([math.nan], math.nan, 0)])
def test_too_few_values_have_no_variance(values, mean, n):
    """Of less than two values there is no variance, of none no mean."""
    clipped = clip_statistics(values)
    assert clipped.mean == pytest.approx(mean, nan_ok=True)
    assert math.isnan(clipped.variance)
    assert clipped.n_values == n


def test_integers_of_low_noise_keep_their_variance():
    """Where both quartiles are one integer the cut comes from the standard deviation, at least 1 ADU wide."""
    values = np.random.default_rng(2).normal(100, 0.35, 20000).round()
    assert np.quantile(values, 0.25) == np.quantile(values, 0.75)
    clipped = clip_statistics(values)
    assert clipped.n_values == values.size
    assert clipped.variance == pytest.approx(values.var(ddof=1))


def test_a_rare_step_of_one_adu_is_not_an_outlier():
    """One value in a thousand at the next integer stays, a cosmic ray goes."""
    values = np.zeros(10000)
    values[:10], values[10] = 1, 5000
    clipped = clip_statistics(values)
    assert clipped.mean == pytest.approx(10 / 9999)
    assert clipped.n_values == 9999


def test_constant_values_have_no_variance_but_all_count():
    """All equal: variance 0, everything kept."""
    clipped = clip_statistics(np.full(50, 3))
    assert (clipped.mean, clipped.variance, clipped.n_values) == (3.0, 0.0, 50)


def test_unsigned_integers_do_not_wrap():
    """uint16 values are taken as numbers."""
    values = np.array([0, 65535, 1, 65534, 3, 65530] * 10, dtype=np.uint16)
    assert clip_statistics(values).mean == pytest.approx(values.astype(float).mean())


@pytest.mark.parametrize(
    ("n_sigma", "factor"), [(3.0, 1.0274), (4.0, 1.00107), (5.0, 1.0000149), (5.5, 1.0000012), (math.inf, 1.0)]
)
def test_truncation_factor_by_hand(n_sigma, factor):
    """Known values of the variance that a cut Gaussian lacks."""
    assert truncation_factor(n_sigma) == pytest.approx(factor, abs=5e-5 if n_sigma < 5 else 1e-7)


def test_sigma_undoes_the_cut():
    """The corrected standard deviation of a Gaussian cut at 2 sigma is the true one, within four errors."""
    clipped = clip_statistics(np.random.default_rng(3).normal(0, 7, 400000), 3.0, 3)
    assert clipped.variance < 0.98 * 49
    assert clipped.sigma == pytest.approx(7, rel=4 / math.sqrt(2 * 400000) * 1.2)


@pytest.mark.parametrize(("n_sigma", "n_iter", "name"), [(0, 3, "n_sigma"), (math.nan, 3, "n_sigma"), (3, 0, "n_iter")])
def test_impossible_options_are_refused(n_sigma, n_iter, name):
    """A cut of no width, or none at all, is an error that names the option."""
    with pytest.raises(ValueError, match=name):
        clip_statistics([1.0, 2.0], n_sigma, n_iter)
