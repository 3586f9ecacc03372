"""Differences of unevenly lit pixels become values of one width; others stay as they are."""

import math

import numpy as np
import pytest
from streamcal_normality.evening import LEAST, even_out


def draw(levels, gain=2.0, read_noise=5.0, seed=1):
    """Draw difference and sum of two flats of Poisson light (levels in electrons), in ADU."""
    rng = np.random.default_rng(seed)
    flats = [(rng.poisson(levels) + rng.normal(0, read_noise, levels.size)) / gain for _ in range(2)]
    return flats[0] - flats[1], flats[0] + flats[1]


def test_widths_become_equal():
    """Of light between 1 and 20, the dark and the bright half have one variance within four errors."""
    n = 200_000
    values, totals = draw(np.linspace(1000, 20000, n))
    dark, bright = np.split(even_out(values, totals), 2)
    assert np.var(np.split(values, 2)[1]) > 2.5 * np.var(np.split(values, 2)[0])
    assert dark.var() / bright.var() == pytest.approx(1.0, abs=4 * math.sqrt(2 * 2 / (n / 2)))


@pytest.mark.parametrize("levels", [np.linspace(1000, 20000, 100_000), np.linspace(5, 50, 100_000)])
def test_mean_square_stays(levels):
    """It is what is compared with the variance: within two errors at high and at low light."""
    values, totals = draw(levels)
    assert np.mean(even_out(values, totals) ** 2) == pytest.approx(np.mean(values**2), rel=2 * math.sqrt(2 / 100_000))


def test_noise_that_does_not_follow_the_level_is_left_alone():
    """Pure read noise: the scatter of S is no reason to scale, so no value changes by more than some per cent."""
    values, totals = draw(np.zeros(100_000))
    np.testing.assert_allclose(even_out(values, totals), values, rtol=0.1)


def test_by_hand():
    """D^2 = 1, 1, 4, 4 at S = 0, 0, 2, 2: the line is 2.5 + 1.5 (S - 1), and every |z| the root of 2.5."""
    scaled = even_out(np.array([1.0, -1.0, 2.0, -2.0]), np.array([0.0, 0.0, 2.0, 2.0]))
    np.testing.assert_allclose(scaled, math.sqrt(2.5) * np.array([1, -1, 1, -1]))


def test_expected_variance_has_a_floor():
    """Where the line goes below zero a value is not blown up beyond all bounds."""
    values = np.array([0.1, -0.1, 3.0, -3.0, 0.1])
    scaled = even_out(values, np.array([0.0, 0.0, 10.0, 10.0, -9.0]))
    assert abs(scaled[4]) == pytest.approx(0.1 / math.sqrt(LEAST))


@pytest.mark.parametrize("values", [np.array([1.0, 2.0, -3.0]), np.zeros(3)])
def test_nothing_to_fit(values):
    """Equal sums, or no differences at all: the values themselves."""
    np.testing.assert_array_equal(even_out(values, np.full(3, 7.0)), values)
