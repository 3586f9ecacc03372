"""The five gain formulas on Poisson light of known gain, and their errors."""

import math

import numpy as np
import pytest

from streamcal.flags import RowFlag
from streamcal.measure import (
    CORRECTIONS,
    GainStatistic,
    PairSettings,
    fit_overscan,
    measure_amplifier,
    measure_pair_statistics,
    solve_gain,
)
from streamcal.measure.statistics import PairStatistics

GAIN = 1.5
SHAPE = (1024, 1024)


def poisson_pair(rng, level, read_noise, *, shape=SHAPE, mismatch=0.0, gradient=1.0):
    """Two flats in ADU: Poisson light of a mean level in e-, Gaussian read noise in e-, a ramp along x."""
    profile = np.linspace(1, gradient, shape[1])
    profile *= level / profile.mean()
    light = (rng.poisson(np.broadcast_to(profile * scale, shape)) for scale in (1, 1 + mismatch))
    return [(image + rng.normal(0, read_noise, shape)) / GAIN for image in light]


def biases(statistics, read_noise):
    """Bias of each formula, relative, and the statistical error of the gain."""
    solved = {name: solve_gain(statistics, read_noise / GAIN, correction=name) for name in CORRECTIONS}
    return {name: one.gain / GAIN - 1 for name, one in solved.items()}, solved["UNBIASED"].gain_error / GAIN


@pytest.mark.parametrize("gradient", [1.0, 10.0])
@pytest.mark.parametrize("mismatch", [0.0, 0.005])
@pytest.mark.parametrize("read_noise", [0.0, 6.0])
@pytest.mark.parametrize("level", [100, 1000, 10000, 50000])
def test_unbiased_and_janesick_find_the_gain(level, read_noise, mismatch, gradient):
    """Within four statistical errors at any level, read noise, level mismatch and gradient."""
    rng = np.random.default_rng([level, int(read_noise), int(1000 * mismatch), int(gradient)])
    first, second = poisson_pair(rng, level, read_noise, mismatch=mismatch, gradient=gradient, shape=(512, 512))
    for correction in ("UNBIASED", "JANESICK"):
        measured = measure_amplifier(first, second, None, read_noise / GAIN, gain_correction=correction, max_lag=1)
        assert measured.gain_correction == correction
        assert abs(measured.gain - GAIN) < 4 * measured.gain_error
        # about sqrt(2 / N); more where a gradient leaves part of the pixels to the read noise
        assert 0.9 < measured.gain_error / GAIN * math.sqrt(first.size / 2) < 1.8


def test_without_read_noise_full_is_off_by_the_third_moment():
    """At 100 e- NONE is exact, SIMPLE and FULL are off by -1 / (2 N_e) = -0.5 %."""
    first, second = poisson_pair(np.random.default_rng(1), 100, 0)
    off, error = biases(measure_pair_statistics(first, second, settings=PairSettings(max_lag=1)), 0.0)
    assert abs(off["NONE"]) < 4 * error
    # the difference of two formulas on the same pixels has next to no noise
    assert off["FULL"] - off["UNBIASED"] == pytest.approx(-0.005, abs=1e-4)
    assert off["SIMPLE"] - off["UNBIASED"] == pytest.approx(-0.005, abs=1e-4)
    assert off["JANESICK"] - off["UNBIASED"] == pytest.approx(0, abs=5e-4)


def test_with_read_noise_the_biases_are_where_theory_puts_them():
    """At 100 e- with 6 e-: NONE -26.7 %, SIMPLE -1.35 %, FULL -0.93 %, the other two none."""
    first, second = poisson_pair(np.random.default_rng(2), 100, 6)
    off, error = biases(measure_pair_statistics(first, second, settings=PairSettings(max_lag=1)), 6.0)
    assert off["NONE"] == pytest.approx(-0.267, abs=4 * error)
    assert off["SIMPLE"] - off["UNBIASED"] == pytest.approx(-0.0135, abs=5e-4)
    assert off["FULL"] - off["UNBIASED"] == pytest.approx(-0.0093, abs=5e-4)
    assert abs(off["UNBIASED"]) < 4 * error
    assert abs(off["JANESICK"]) < 4 * error


def test_read_noise_left_in_biases_none_by_its_variance():
    """At 10000 e- with 6 e- NONE is low by s^2 / N_e = 0.36 %, FULL by 1 / (2 N_e)."""
    first, second = poisson_pair(np.random.default_rng(3), 10000, 6)
    off, _ = biases(measure_pair_statistics(first, second, settings=PairSettings(max_lag=1)), 6.0)
    assert off["NONE"] - off["UNBIASED"] == pytest.approx(-0.0036, abs=1e-4)
    assert off["FULL"] - off["UNBIASED"] == pytest.approx(-0.00005, abs=2e-5)


def test_errors_are_honest():
    """Over 2000 seeds of 128 x 128 pixels the pulls of gain and covariances have mean 0 and width 1 +- 0.1."""
    rng, level, read_noise = np.random.default_rng(4), 1000, 6.0
    variance = level / GAIN**2 + (read_noise / GAIN) ** 2
    truth = np.array([[variance, 0], [0, 0]])
    gains, covariances = [], []
    for _ in range(2000):
        first, second = poisson_pair(rng, level, read_noise, shape=(128, 128))
        statistics = measure_pair_statistics(first, second, settings=PairSettings(max_lag=2))
        gain = solve_gain(statistics, read_noise / GAIN, correction="UNBIASED")
        janesick = solve_gain(statistics, read_noise / GAIN, correction="JANESICK")
        gains.append([(one.gain - GAIN) / one.gain_error for one in (gain, janesick)])
        covariances.append((statistics.covariance - truth) / statistics.covariance_error)
    for pulls in (np.array(gains), np.array(covariances).reshape(-1, 4)):
        np.testing.assert_allclose(pulls.std(axis=0), 1, atol=0.1)
        np.testing.assert_allclose(pulls.mean(axis=0), 0, atol=4 / np.sqrt(2000))


def statistics_of(**values):
    """Return statistics with numbers easy to follow: c = 0.5, mean 100, variance 60, <1/S> = 1/200."""
    gain = {"value": 0.5, "scatter": 0.5, "inverse_sum": 1 / 200, "inverse_square_sum": 1 / 40000}
    whole = {"mean_1": 100.0, "mean_2": 100.0, "mean_used": 100.0, "variance": 60.0, "variance_error": 1.0}
    covariance = np.array([[60.0, 2.0], [3.0, 1.0]])
    counts = {"n_selected": 20000, "n_masked": 0, "n_clipped": 0}
    return PairStatistics(
        **(whole | counts | {key: value for key, value in values.items() if key in whole}),
        covariance=covariance,
        covariance_error=np.ones((2, 2)),
        n_pixels=np.full((2, 2), 20000),
        row_mean_variance=1.0,
        gain=GainStatistic(
            **(gain | {key: value for key, value in values.items() if key in gain}), n_pixels=20000, n_nonpositive=0
        ),
        flags=RowFlag(0),
    )


@pytest.mark.parametrize(
    ("correction", "inverse"),
    [
        ("NONE", 0.5),
        ("SIMPLE", 0.5 - (10 - 0.125) / 100),
        ("UNBIASED", (0.5 - 20 / 200) / (1 + 20 / 40000)),
        ("JANESICK", 0.5),
    ],
)
def test_formulas_by_hand(correction, inverse):
    """With s^2 = 10 each closed formula gives the number on paper."""
    result = solve_gain(statistics_of(), math.sqrt(10), correction=correction)
    assert result.gain == pytest.approx(1 / inverse)
    assert result.gain_correction == correction
    assert result.flags == 0


def test_full_solves_its_equation():
    """FULL satisfies 1/g = c - (s^2 - 1/(2 g^2)) / mu and is the positive root that DESIGN writes down."""
    gain = solve_gain(statistics_of(), math.sqrt(10), correction="FULL").gain
    c, mu, s2 = 0.5, 100, 10
    assert 1 / gain == pytest.approx(c - (s2 - 1 / (2 * gain**2)) / mu)
    assert gain == pytest.approx((mu + math.sqrt(mu**2 - 2 * mu * c + 2 * s2)) / (2 * c * mu - 2 * s2))


def test_row_overscan_covariance_adds_to_the_read_noise():
    """s^2 is the read noise squared plus what per-row overscan subtraction adds."""
    split = solve_gain(statistics_of(), math.sqrt(8), correction="JANESICK", row_overscan_covariance=2.0)
    assert split.gain == pytest.approx(100 / (60 - 10))


def test_covariance_sum_counts_every_lag_of_four_quadrants():
    """V + 2 C_01 + 2 C_10 + 4 C_11 = 74; less s^2 = 10, and less the row term once more at each of (+-1, 0)."""
    plain = solve_gain(statistics_of(), math.sqrt(10))
    assert plain.gain_covariance_sum == pytest.approx(100 / (74 - 10))
    row = solve_gain(statistics_of(), math.sqrt(8), row_overscan_covariance=2.0)
    assert row.gain_covariance_sum == pytest.approx(100 / (74 - 10 - 2 * 2))


@pytest.mark.parametrize("correction", ["NONE", "SIMPLE", "FULL", "UNBIASED"])
def test_gain_error_follows_from_the_derivative_by_the_statistic(correction):
    """A small change of c moves the gain by as much as its share in the error says."""
    step = 1e-5
    low, high = (solve_gain(statistics_of(value=0.5 + d), 3.0, correction=correction).gain for d in (-step, step))
    slope = abs(high - low) / (2 * step)
    expected = slope * math.sqrt(0.5 / 20000)
    assert solve_gain(statistics_of(), 3.0, correction=correction).gain_error == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("correction", ["SIMPLE", "FULL", "UNBIASED", "JANESICK"])
def test_gain_error_follows_from_the_derivative_by_the_read_noise(correction):
    """Without scatter the error is that of the read noise, through the derivative of the formula."""
    exact = statistics_of(scatter=0.0, variance_error=0.0)
    step = 1e-4
    low, high = (solve_gain(exact, 3.0 + d, correction=correction).gain for d in (-step, step))
    error = solve_gain(exact, 3.0, correction=correction, read_noise_error=0.1).gain_error
    assert error == pytest.approx(0.1 * abs(high - low) / (2 * step), rel=1e-4)


@pytest.mark.parametrize("read_noise", [math.nan, math.inf, -1.0])
def test_missing_read_noise_gives_none_and_says_so(read_noise):
    """A correction that needs a read noise becomes NONE, flagged."""
    result = solve_gain(statistics_of(), read_noise, correction="UNBIASED")
    assert (result.gain, result.gain_correction) == (2.0, "NONE")
    assert result.flags == RowFlag.READ_NOISE_MISSING


def test_none_needs_no_read_noise():
    """NONE without a read noise carries no flag."""
    assert solve_gain(statistics_of(), correction="NONE").flags == 0


def test_no_real_root_is_nan_and_flagged():
    """FULL has no solution where mu^2 - 2 mu c + 2 s^2 < 0."""
    result = solve_gain(statistics_of(value=60.0), 1.0, correction="FULL")
    assert math.isnan(result.gain)
    assert result.flags == RowFlag.NO_REAL_ROOT | RowFlag.GAIN_INVALID


def test_a_variance_below_the_read_noise_is_no_gain():
    """A gain that would be negative is NaN and flagged."""
    result = solve_gain(statistics_of(), 9.0, correction="JANESICK")
    assert math.isnan(result.gain)
    assert math.isnan(result.gain_error)
    assert result.flags == RowFlag.GAIN_INVALID


def test_unknown_correction_names_the_five():
    """A misspelled correction is an error that lists the choices."""
    with pytest.raises(ValueError, match="NONE, SIMPLE, FULL, UNBIASED, JANESICK, got 'LUPTON'"):
        solve_gain(statistics_of(), 3.0, correction="LUPTON")


def test_literal_statistic_is_that_of_the_raw_difference():
    """Without level matching c is the mean of (I1 - I2)^2 / (I1 + I2), outliers and all."""
    first, second = poisson_pair(np.random.default_rng(5), 1000, 5, shape=(120, 120), mismatch=0.02)
    first[5, 5] += 3000
    measured = measure_amplifier(first, second, level_match=False, gain_correction="NONE")
    assert measured.gain_statistic == pytest.approx(np.mean((first - second) ** 2 / (first + second)), rel=1e-9)


def test_nonpositive_sums_are_left_out():
    """A pixel whose flats sum to less than zero does not enter c; one in 14400 is no reason for a flag."""
    first, second = poisson_pair(np.random.default_rng(6), 100, 3, shape=(120, 120))
    clean = measure_amplifier(first, second, gain_correction="NONE", n_sigma=50)
    first[3, 3], second[3, 3] = -4.0, -5.0
    measured = measure_amplifier(first, second, gain_correction="NONE", n_sigma=50)
    assert measured.gain_statistic == pytest.approx(clean.gain_statistic, rel=1e-3)
    assert measured.flags == 0


def test_many_nonpositive_sums_make_the_statistic_meaningless():
    """Above one per cent of such pixels c is NaN and flagged, and the gain invalid; JANESICK still stands."""
    first, second = np.random.default_rng(7).normal(4, 5, (2, 120, 120))
    measured = measure_amplifier(first, second, None, 5.0)
    assert math.isnan(measured.gain_statistic)
    assert math.isnan(measured.gain)
    assert measured.flags & RowFlag.NONPOSITIVE_SUM
    assert measured.flags & RowFlag.GAIN_INVALID
    assert math.isfinite(measured.variance)


@pytest.mark.parametrize("model", ["MEDIAN_PER_ROW", "MEAN_PER_ROW"])
@pytest.mark.parametrize("level", [100, 10000])
def test_per_row_overscan_leaves_the_gain_unbiased(level, model):
    """Read noise and row covariance of a fitted overscan of 8 columns give UNBIASED and JANESICK the true gain."""
    rng, shape = np.random.default_rng([8, level]), (1000, 500)
    flats, fits = [], []
    for light in poisson_pair(rng, level, 6.0, shape=shape, mismatch=0.005):
        fits.append(fit_overscan(rng.normal(1000, 6.0 / GAIN, (shape[0], 8)), model))
        flats.append(light + 1000 - fits[-1].level[:, np.newaxis])
    read_noise = np.median([fit.read_noise for fit in fits])
    row_covariance = np.mean([fit.row_covariance for fit in fits])
    for correction in ("UNBIASED", "JANESICK"):
        measured = measure_amplifier(
            *flats, None, read_noise, row_overscan_covariance=row_covariance, gain_correction=correction, max_lag=1
        )
        assert abs(measured.gain - GAIN) < 4 * measured.gain_error
