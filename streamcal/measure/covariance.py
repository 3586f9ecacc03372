"""Covariances of a difference image between pixels some columns and rows apart, with masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamcal.measure.kernels import hole_losses, lag_products

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from streamcal.measure.flatpair import Difference

    Lags = NDArray[np.float64]
    Index = int | NDArray[np.intp]

DRIFT_DISTANCE = 5  # pixels; brighter-fatter covariances are below 1e-4 of the variance from here on
DRIFT_FRACTION = 0.0003  # of the variance, at long lags; the gain is biased by as much
DRIFT_FRACTION_NEAR = 0.05  # of the variance, at the nearest lags; brighter-fatter stays below, to full well
DRIFT_SIGNIFICANCE = 5.0  # standard errors


def lag_covariances(image: ArrayLike, used: ArrayLike, max_lag: int) -> tuple[Lags, NDArray[np.int64]]:
    """Covariance of the used pixels of an image with their neighbours at each lag.

    ``sum(D w D' w')/N - sum(D w w') sum(D' w w')/N^2`` where w is 1 on used pixels, the primed are shifted by i
    columns and j rows, and ``N = sum(w w')``; averaged over (i, j) and (i, -j) where neither is zero
    (Astier et al. 2019, arXiv:1905.08677, appendix A, without its factor 1/2).

    Parameters
    ----------
    image : (ny, nx) array_like of float
        What is not used may be anything, NaN included.
    used : (ny, nx) array_like of bool
        The pixels to use.
    max_lag : int
        Number of lags along each axis, 0 included; at least 1.

    Returns
    -------
    covariance : (max_lag, max_lag) ndarray of float64
        Element [i, j]: lag i along x (columns), j along y (rows). NaN where no pair of pixels is that far apart.
    n_pixels : (max_lag, max_lag) ndarray of int64
        Number of pixel pairs; where two lags are averaged, the sum of both.
    """
    used = np.asarray(used, dtype=np.bool_)
    image = np.asarray(image, dtype=np.float64)
    level = image[used].mean() if used.any() else 0.0
    values = np.where(used, image - level, 0.0)  # the covariance does not depend on the level, its rounding does
    base_pixels, partner_pixels, area = _rectangle_sums(used, max_lag)
    base, partner, _ = _rectangle_sums(values, max_lag)
    rows, columns = np.nonzero(~used)
    base_loss, partner_loss, both_holes = hole_losses(values, used, rows, columns, max_lag)
    n_pixels = np.rint(base_pixels + partner_pixels).astype(np.int64) - area + both_holes
    with np.errstate(divide="ignore", invalid="ignore"):
        covariance = lag_products(values, max_lag) / n_pixels
        covariance -= (base - base_loss) / n_pixels * ((partner - partner_loss) / n_pixels)
    return _fold(covariance, n_pixels)


def _rectangle_sums(image: NDArray[Any], max_lag: int) -> tuple[Lags, Lags, NDArray[np.int64]]:
    """Sum an image over the pixels that have a partner, and over the partners, at each lag; and count them.

    Both are rectangles, the image without a margin, so four values of its integral give the sum. Indices as in
    `lag_products`.
    """
    ny, nx = image.shape
    integral = np.zeros((ny + 1, nx + 1))
    integral[1:, 1:] = image.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    i = np.minimum(np.arange(max_lag), nx)[:, np.newaxis]
    j = np.minimum(np.arange(max_lag), ny)[np.newaxis, :]

    def total(y0: Index, y1: Index, x0: Index, x1: Index) -> Lags:
        box: Lags = integral[y1, x1] - integral[y0, x1] - integral[y1, x0] + integral[y0, x0]
        return box

    base = np.stack([total(0, ny - j, 0, nx - i), total(j, ny, 0, nx - i)])
    partner = np.stack([total(j, ny, i, nx), total(0, ny - j, i, nx)])
    return base, partner, (ny - j) * (nx - i)


def _fold(covariance: Lags, n_pixels: NDArray[np.int64]) -> tuple[Lags, NDArray[np.int64]]:
    """Average the lags (i, j) and (i, -j); on the axes they are the same pairs and counted once."""
    folded, n_folded = covariance[0], n_pixels[0].copy()
    folded[1:, 1:] = covariance[:, 1:, 1:].mean(axis=0)
    n_folded[1:, 1:] = n_pixels[:, 1:, 1:].sum(axis=0)
    return folded, n_folded


def measure_covariances(difference: Difference, max_lag: int) -> tuple[Lags, Lags, NDArray[np.int64]]:
    """Covariances of a flat pair: half those of its difference, corrected for the truncation.

    The cut is on single pixels, so C_00 takes the truncation factor once and all other lags take it squared.

    Parameters
    ----------
    difference : Difference
        From `match_levels`.
    max_lag : int
        Number of lags along each axis, 0 included; at least 1.

    Returns
    -------
    covariance : (max_lag, max_lag) ndarray of float64
        ``C_ij``, ADU^2, i along x.
    covariance_error : (max_lag, max_lag) ndarray of float64
        ``variance / sqrt(N)``, times sqrt(2) at (0, 0): what white noise gives. Correlated light has larger errors.
    n_pixels : (max_lag, max_lag) ndarray of int64
        Pixel pairs at each lag.
    """
    covariance, n_pixels = lag_covariances(difference.difference, difference.used, max_lag)
    factor = np.full(covariance.shape, difference.truncation**2 / 2)
    factor[0, 0] = difference.truncation / 2
    with np.errstate(divide="ignore"):
        error = difference.variance / np.sqrt(n_pixels)
    error[0, 0] *= np.sqrt(2)
    return covariance * factor, error, n_pixels


def row_mean_variance(difference: Difference) -> float:
    """Variance of the row means of a difference image over its used pixels.

    White pixels give ``2 * variance / n_columns``; more means that rows are correlated.

    Parameters
    ----------
    difference : Difference
        From `match_levels`.

    Returns
    -------
    float
        Unbiased (n - 1), ADU^2, over all rows that have a used pixel; NaN for fewer than two.
    """
    counts = difference.used.sum(axis=1)
    sums = np.where(difference.used, difference.difference, 0.0).sum(axis=1)
    means = sums[counts > 0] / counts[counts > 0]
    return float(means.var(ddof=1)) if means.size > 1 else float("nan")


def has_shape_drift(variance: float, covariance: Lags, error: Lags) -> bool:
    """Tell whether the light changed its shape between the two flats.

    A change of shape leaves a smooth pattern in the difference, which adds its own variance alike to all lags.
    Brighter-fatter correlations die out within a few pixels, and errors are independent from lag to lag: so the mean
    over the long lags (off the axes, where also row noise lies) finds a drift that the nearest lags hide.

    Parameters
    ----------
    variance : float
        Half variance of the difference.
    covariance, error : (max_lag, max_lag) ndarray of float64
        From `measure_covariances`.

    Returns
    -------
    bool
        True when the mean at five pixels and more, or C_01 or C_10, exceeds its limit and five standard errors.
    """
    i, j = np.indices(covariance.shape)
    away = (np.maximum(i, j) >= DRIFT_DISTANCE) & (np.minimum(i, j) > 0) & np.isfinite(covariance)
    near = (i + j == 1) & (covariance > DRIFT_FRACTION_NEAR * variance)
    if np.any(covariance[near] > DRIFT_SIGNIFICANCE * error[near]):
        return True
    if not away.any():
        return False
    drift = covariance[away].mean()
    drift_error = np.sqrt(np.sum(error[away] ** 2)) / np.count_nonzero(away)
    return bool(drift > max(DRIFT_FRACTION * variance, DRIFT_SIGNIFICANCE * drift_error))
