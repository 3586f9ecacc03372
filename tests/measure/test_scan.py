"""Quartiles and moments of large samples, looked at once, against numpy."""

import numpy as np
import pytest

from streamcal.measure import clip_statistics
from streamcal.measure.scan import SORTED_SIZE, as_floats, sampling_step, scan_sample

SIZE = 5 * SORTED_SIZE + 3
RNG = np.random.default_rng(0)
NOISE = RNG.normal(1000, 30, SIZE)

SAMPLES = {
    "noise": NOISE,
    "gradient": NOISE + np.linspace(0, 1000, SIZE),
    "integers": NOISE.round(),
    "quiet integers": RNG.normal(7, 0.4, SIZE).round(),
    "constant": np.full(SIZE, 3.0),
    "sorted": np.sort(NOISE),
    "outliers": np.where(RNG.random(SIZE) < 0.01, 60000.0, NOISE),
    "NaN and infinities": np.where(RNG.random(SIZE) < 0.3, np.nan, np.where(RNG.random(SIZE) < 0.01, np.inf, NOISE)),
    "mostly NaN": np.where(RNG.random(SIZE) < 0.9, np.nan, NOISE),
    "only NaN": np.full(SIZE, np.nan),
    "two levels": np.where(RNG.random(SIZE) < 0.5, 100.0, 200.0) + RNG.normal(0, 1, SIZE),
    # every step-th value, the sample, is of another kind than the rest
    "misleading": np.where(np.arange(SIZE) % sampling_step(SIZE) == 0, 5.0, NOISE),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SAMPLES)
def test_quartiles_are_exact(name, dtype):
    """Whatever the values are, the quartiles are those of a full sort, bit for bit."""
    values = SAMPLES[name].astype(dtype)
    finite = values[np.isfinite(values)].astype(np.float64)
    expected = np.quantile(finite, [0.25, 0.5, 0.75]) if finite.size else [np.nan] * 3
    np.testing.assert_array_equal(scan_sample(values, 5.5).quartiles, expected)


@pytest.mark.parametrize("cut", [(1000.0, 200.0), (1003.0, 130.0), (1000.0, 10.0), (0.0, np.inf)])
@pytest.mark.parametrize("name", ["noise", "outliers", "NaN and infinities", "only NaN"])
def test_moments_are_those_of_the_values_within(name, cut):
    """Wide cuts, for which one look was enough, and narrow ones, which need another, give numpy's moments."""
    values = SAMPLES[name].astype(np.float32)
    finite = values[np.isfinite(values)].astype(np.float64)
    kept = finite[np.abs(finite - cut[0]) <= cut[1]]
    n, mean, variance = scan_sample(values, 5.5).moments_within(*cut)
    assert n == kept.size
    if n:
        assert mean == pytest.approx(kept.mean(), rel=1e-9)
        assert variance == pytest.approx(kept.var(ddof=1), rel=1e-7)


@pytest.mark.parametrize("n_sigma", [1.5, 3.0, 5.5])
@pytest.mark.parametrize("name", ["noise", "gradient", "outliers", "integers"])
def test_clipping_of_large_samples_follows_the_rule(name, n_sigma):
    """Every iteration starts again from all values, as in the plain rule."""
    values = SAMPLES[name]
    low, centre, high = np.quantile(values, [0.25, 0.5, 0.75])
    half_width = n_sigma * 0.741301 * (high - low)
    for _ in range(3):
        kept = values[np.abs(values - centre) <= half_width]
        centre, half_width = kept.mean(), n_sigma * kept.std(ddof=1)
    clipped = clip_statistics(values, n_sigma, 3)
    assert clipped.n_values == kept.size
    assert clipped.mean == pytest.approx(kept.mean(), rel=1e-12)
    assert clipped.variance == pytest.approx(kept.var(ddof=1), rel=1e-10)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("float32", "f4"), (">f4", "f4"), ("uint16", "f4"), (">i2", "f4"), ("int32", "f8"), ("float64", "f8")],
)
def test_values_keep_their_digits(dtype, expected):
    """float32 where it holds the values exactly, else float64."""
    assert as_floats(np.arange(4, dtype=dtype)).dtype == np.dtype(expected)


def test_floats_are_not_copied():
    """Contiguous float32 is used as it is."""
    values = np.zeros((3, 4), np.float32)
    assert as_floats(values) is values
