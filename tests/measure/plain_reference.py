"""What is measured on a flat pair, written plainly in float64, without a compiled loop: the reference of the tests."""

from types import SimpleNamespace

import numpy as np

from streamcal.measure import truncation_factor


def plain_covariance(image, used, i, j):
    """Covariance at the lag of i columns and j rows (j of either sign), and its pixel pairs."""
    ny, nx = image.shape
    values, weight = np.where(used, image, 0.0), used.astype(np.float64)
    base = slice(max(0, -j), ny - max(0, j)), slice(0, nx - i)
    partner = slice(max(0, j), ny - max(0, -j)), slice(i, nx)
    n = np.sum(weight[base] * weight[partner])
    first = np.sum(values[base] * weight[partner]) / n
    second = np.sum(weight[base] * values[partner]) / n
    return np.sum(values[base] * values[partner]) / n - first * second, n


def plain_covariances(image, used, max_lag):
    """All covariances, averaged over (i, j) and (i, -j) where neither is zero, and their pixel pairs."""
    covariance, n_pixels = np.zeros((max_lag, max_lag)), np.zeros((max_lag, max_lag))
    for i, j in np.ndindex(max_lag, max_lag):
        both = [plain_covariance(image, used, i, sign * j) for sign in ((1, -1) if i and j else (1,))]
        covariance[i, j] = np.mean([value for value, _ in both])
        n_pixels[i, j] = sum(n for _, n in both)
    return covariance, n_pixels


def plain_clipping(values, n_sigma=5.5):
    """Mean and variance after three cuts, each taken from all values again, and half the width of a fourth."""
    low, centre, high = np.quantile(values, [0.25, 0.5, 0.75])
    half_width = n_sigma * 0.741301 * (high - low)
    for _ in range(3):
        kept = values[np.abs(values - centre) <= half_width]
        centre, half_width = kept.mean(), n_sigma * kept.std(ddof=1)
    return centre, kept.var(ddof=1), half_width


def plain_measurement(first, second, bad, max_lag=10):
    """Measure two flats (ny, nx) with bad pixels as `measure_amplifier` does, from the definitions."""
    first, second, good = first.astype(np.float64), second.astype(np.float64), ~bad
    mean_1, mean_2 = plain_clipping(first[good])[0], plain_clipping(second[good])[0]
    difference = (mean_2 * first - mean_1 * second) / ((mean_1 + mean_2) / 2)
    centre, variance, half_width = plain_clipping(difference[good])
    used = good & (np.abs(difference - centre) <= half_width)
    covariance, n_pixels = plain_covariances(difference, used, max_lag)
    factor = np.full(covariance.shape, truncation_factor(5.5) ** 2 / 2)
    factor[0, 0] = truncation_factor(5.5) / 2
    rows = [row[chosen].mean() for row, chosen in zip(difference, used, strict=True) if chosen.any()]
    return SimpleNamespace(
        mean_1=mean_1,
        mean_2=mean_2,
        variance=variance * truncation_factor(5.5) / 2,
        covariance=covariance * factor,
        n_pixels=n_pixels,
        gain_statistic=truncation_factor(5.5) * np.mean(difference[used] ** 2 / (first + second)[used]),
        row_mean_variance=np.var(rows, ddof=1),
    )
