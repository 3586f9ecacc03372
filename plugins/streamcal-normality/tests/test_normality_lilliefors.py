"""The p-value is uniform for Gaussian values and small for others."""

import math

import numpy as np
import pytest
from scipy.stats import goodness_of_fit, kstest, norm
from streamcal_normality.lilliefors import STATISTICS, lilliefors_p, survival


@pytest.mark.parametrize("n", [100, 1000])
def test_p_is_uniform_for_gaussian_values(n):
    """Over 3000 samples; parameters known beforehand would give p-values nearly all above 0.5."""
    rng = np.random.default_rng(n)
    p_values = [lilliefors_p(rng.normal(5.0, 3.0, n)) for _ in range(3000)]
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 3000))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_p_is_that_of_a_monte_carlo(seed):
    """As scipy finds it by fitting 4000 samples, within four errors."""
    rng = np.random.default_rng(seed)
    values = rng.gamma(40.0, size=500)
    drawn = goodness_of_fit(norm, values, statistic="ks", n_mc_samples=4000, rng=rng).pvalue
    assert lilliefors_p(values) == pytest.approx(drawn, abs=4 * math.sqrt(drawn * (1 - drawn) / 4000))


def test_tail_by_hand():
    """At x = 1: sqrt(2 / 0.090845) exp(-1 / 0.181690) = 4.6921 x 0.0040709."""
    assert survival(1.0) == pytest.approx(0.019101, rel=1e-4)


def test_survival_falls_without_a_step():
    """From 1 to 0; the table meets the limit within 0.1 %."""
    values = np.array([survival(x) for x in np.linspace(0.0, 3.0, 30001)])
    assert values[0] == 1.0
    assert values[-1] < 1e-20
    assert np.diff(values).max() <= 0
    end = STATISTICS[-1]
    assert survival(end + 1e-9) == pytest.approx(survival(end), rel=1e-3)


def test_points_of_the_table():
    """At x = 0.5 and 0.8, where the table has 0.82563 and 0.13708."""
    assert survival(0.5) == pytest.approx(0.82563, rel=1e-9)
    assert survival(0.8) == pytest.approx(0.13708, rel=1e-9)


def test_distance_is_that_of_kolmogorov_and_smirnov():
    """The largest distance above or below the steps, as scipy finds it."""
    values = np.random.default_rng(3).gamma(4.0, size=200)
    distance = kstest(values, "norm", args=(values.mean(), values.std())).statistic
    assert lilliefors_p(values) == pytest.approx(survival(math.sqrt(200) * distance + 1 / (6 * math.sqrt(200))))


def test_shift_and_scale_do_not_matter():
    """Mean and variance are the sample's own."""
    values = np.random.default_rng(4).standard_normal(1000)
    assert lilliefors_p(50 - 7 * values) == pytest.approx(lilliefors_p(values), rel=1e-9)


def test_correlated_neighbours_do_not_matter():
    """Pixels correlated by 5 % and 2 % with their neighbours and by 1 % along rows still give uniform p-values."""
    rng = np.random.default_rng(5)
    p_values = []
    for _ in range(300):
        noise = rng.standard_normal((65, 65))
        image = noise[1:, 1:] + 0.05 * noise[:-1, 1:] + 0.02 * noise[1:, :-1] + 0.1 * rng.standard_normal((64, 1))
        p_values.append(lilliefors_p(image.ravel()))
    assert kstest(p_values, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: np.append(rng.standard_normal(9500), rng.normal(0, 3, 500)),
        lambda rng: rng.poisson(3.0, 10000) + rng.normal(0, 0.3, 10000),
        lambda rng: rng.uniform(size=10000),
        lambda rng: np.rint(rng.normal(0, 5, 100_000)),
    ],
    ids=["mixture", "poisson", "uniform", "digitised, not dithered"],
)
def test_other_values_are_detected(draw):
    """Each of 20 samples is far off."""
    rng = np.random.default_rng(6)
    assert max(lilliefors_p(draw(rng)) for _ in range(20)) < 1e-3


def test_values_without_width_are_not_gaussian():
    """A constant is as far from a Gaussian as can be; of three values nothing can be said."""
    assert lilliefors_p(np.full(100, 2.0)) == 0.0
    assert math.isnan(lilliefors_p(np.array([1.0, 2.0, 4.0])))


def test_input_is_not_sorted_in_place():
    """The caller's values keep their order."""
    values = np.array([3.0, 1.0, 2.0, 5.0, 4.0])
    lilliefors_p(values)
    assert values.tolist() == [3.0, 1.0, 2.0, 5.0, 4.0]
