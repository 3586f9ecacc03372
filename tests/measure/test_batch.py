"""The batch task's smaller functions, and the read noise from metadata."""

import math

import numpy as np
import pytest

from streamcal.measure import (
    LagCovariance,
    PairSettings,
    gain_from_flat_pair,
    image_areas_masks_stats,
    make_cov_array,
    measure_amplifier,
    measure_mean_var_cov,
    read_noise_from_metadata,
)


@pytest.fixture
def flats():
    """Two Poisson flats of 5000 e- at 2 e-/ADU."""
    return np.random.default_rng(0).poisson(5000, (2, 110, 105)) / 2


def test_image_areas_are_cut_masked_and_averaged(flats):
    """The areas are views of the region, the mask is the union, the means are of what is not masked."""
    first, second = flats
    mask = np.zeros(first.shape, int)
    mask[20, 30], first[21, 31] = 1, np.nan
    areas = image_areas_masks_stats(first, second, mask, PairSettings(region=[25, 75, 10, 60]))
    assert areas.first.base is first.base
    assert np.argwhere(areas.mask).tolist() == [[10, 5], [11, 6]]
    assert areas.mean_1 == pytest.approx(areas.first[~areas.mask].mean())


def test_list_of_lags_holds_the_same_numbers(flats):
    """(dx, dy, variance, covariance, n) in order, as measure_amplifier has them."""
    expected = measure_amplifier(*flats, max_lag=3)
    mean, variance, lags, row_mean_variance = measure_mean_var_cov(*flats, settings=PairSettings(max_lag=3))
    assert (mean, variance, row_mean_variance) == (expected.mean, expected.variance, expected.row_mean_variance)
    assert [(lag.dx, lag.dy) for lag in lags] == list(np.ndindex(3, 3))
    assert lags[5] == (1, 2, expected.variance, expected.covariance[1, 2], expected.n_pixels[1, 2])


def test_covariances_are_stacked_by_mean():
    """Means ascending; variances are variance^2 / n, twice that at the origin; a missing lag is NaN."""
    high = [LagCovariance(0, 0, 10.0, 9.0, 50), LagCovariance(1, 0, 10.0, 1.0, 100)]
    low = [LagCovariance(0, 0, 4.0, 4.0, 8), LagCovariance(0, 1, 4.0, 0.5, 4), LagCovariance(5, 5, 4.0, 0.1, 2)]
    covariance, spread, mean = make_cov_array([200.0, 100.0], [high, low], 2)
    assert mean.tolist() == [100, 200]
    np.testing.assert_array_equal(covariance, [[[4, 0.5], [np.nan, np.nan]], [[9, np.nan], [1, np.nan]]])
    np.testing.assert_array_equal(spread, [[[4, 4], [np.nan, np.nan]], [[4, np.nan], [1, np.nan]]])


def test_stacking_needs_a_mean_for_each_list():
    """Unequal numbers of means and lists are an error."""
    with pytest.raises(ValueError, match="shorter"):
        make_cov_array([1.0, 2.0], [[]], 2)


def test_gain_from_flat_pair_defaults_to_none(flats):
    """Without a correction the gain is 1/c, also of few pixels."""
    assert gain_from_flat_pair(*flats) == pytest.approx(1 / measure_amplifier(*flats).gain_statistic)
    assert gain_from_flat_pair(*flats[:, :50, :50]) == pytest.approx(2, rel=5 * math.sqrt(2 / 2500))


def test_gain_from_flat_pair_corrects_with_a_read_noise(flats):
    """The correction is applied when there is a read noise, and is NONE without one."""
    expected = measure_amplifier(*flats, None, 3.0, gain_correction="UNBIASED").gain
    assert gain_from_flat_pair(*flats, correction="UNBIASED", read_noise=3.0) == expected
    assert gain_from_flat_pair(*flats, correction="UNBIASED") == gain_from_flat_pair(*flats)


def test_gain_from_flat_pair_refuses_unknown_corrections(flats):
    """The five are named."""
    with pytest.raises(ValueError, match="SIMPLE, FULL, UNBIASED"):
        gain_from_flat_pair(*flats, correction="full")


HEADER = "LSST ISR OVERSCAN RESIDUAL SERIAL STDEV C00"


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ([{HEADER: 4.0}, {HEADER: 5.0}, {HEADER: 9.0}], 5.0),
        ([{HEADER: math.nan}, {HEADER: 5.0}], 5.0),
        ([{"isr": {"RESIDUAL STDEV C00": 4.0}}, {"isr": {"RESIDUAL STDEV C00": "6.0"}}], 5.0),
        ([{"isr:RESIDUAL STDEV C00": 4.5}], 4.5),
        ([{HEADER: 3.0, "isr": {"RESIDUAL STDEV C00": 4.0}}], 3.0),
        ([{HEADER: "unknown"}, {}], None),
        ([{HEADER: math.nan}], None),
        ([{"isr": None, HEADER.replace("C00", "C01"): 4.0}], None),
        ([], None),
    ],
)
def test_read_noise_is_the_median_of_what_is_noted(metadata, expected):
    """Header first, then task metadata; NaN and text are no values; None where no median can be calculated."""
    assert read_noise_from_metadata(metadata, "C00") == expected
