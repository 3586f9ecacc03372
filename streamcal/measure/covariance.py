"""Covariances of a difference image between pixels some columns and rows apart, with masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamcal.measure.kernels import frame_image, framed_shape, lag_products, sum_around_holes
from streamcal.measure.scan import as_floats
from streamcal.measure.scratch import borrow_array
from streamcal.measure.sums import sum_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from streamcal.measure.flatpair import Difference

    Lags = NDArray[np.float64]

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
    used = np.ascontiguousarray(used, dtype=np.bool_)
    image = as_floats(image)
    level = float(image.mean(dtype=np.float64, where=used)) if used.any() else 0.0
    return _sum_lags(image, used, level, max_lag)


def _sum_lags(
    image: NDArray[Any], used: NDArray[np.bool_], level: float, max_lag: int
) -> tuple[Lags, NDArray[np.int64]]:
    """Do what `lag_covariances` says; they do not depend on the level that is subtracted, their rounding does."""
    image, used = _cut_unused_borders(image, used)
    ny, nx = image.shape
    framed = borrow_array("framed", framed_shape(image.shape, max_lag), image.dtype)
    row_sums, row_counts = frame_image(image, used, level, framed)
    n_pixels = np.multiply.outer(_remaining(nx, max_lag), _remaining(ny, max_lag))
    n_pixels = np.stack([n_pixels, n_pixels])
    base, partner = _trimmed_sums(framed[max_lag : max_lag + ny, max_lag : max_lag + nx], row_sums, max_lag)
    if (row_counts < nx).any():
        base_pixels, partner_pixels = _trimmed_sums(used, row_counts, max_lag)
        base_loss, partner_loss, both_holes = _hole_losses(framed, used, row_counts)
        n_pixels = base_pixels + partner_pixels - n_pixels + both_holes
        base, partner = base - base_loss, partner - partner_loss
    with np.errstate(divide="ignore", invalid="ignore"):
        covariance = lag_products(framed, max_lag) / n_pixels
        covariance -= base / n_pixels * (partner / n_pixels)
    return _fold(covariance, n_pixels)


def _cut_unused_borders(image: NDArray[Any], used: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Leave out the rows and columns before the first used pixel and after the last; they are in no pair of pixels.

    Otherwise each of their pixels would be a hole, and the time taken goes with the number of those.
    """
    rows, columns = (np.flatnonzero(used.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        return image, used
    area = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return np.ascontiguousarray(image[area]), np.ascontiguousarray(used[area])


def _hole_losses(
    framed: NDArray[Any], used: NDArray[np.bool_], row_counts: NDArray[np.int64]
) -> tuple[Lags, Lags, NDArray[np.int64]]:
    """Sum the pixels whose partner is a hole, and the partners whose base is one, and count the pairs of holes."""
    ny, nx = used.shape
    max_lag = (framed.shape[1] - nx) // 2
    is_hole = np.zeros(framed.shape, np.uint8)
    np.logical_not(used, out=is_hole[max_lag : max_lag + ny, max_lag : max_lag + nx].view(np.bool_))
    pixels, holes = sum_around_holes(framed, is_hole, used, row_counts)
    forward, backward = slice(max_lag, 2 * max_lag), slice(max_lag, 0, -1)  # from distance 0 on, to either side

    def at_lags(around: NDArray[Any], rows: tuple[slice, slice], columns: slice) -> NDArray[Any]:
        return np.stack([around[side, columns].T for side in rows])

    return (
        at_lags(pixels, (backward, forward), backward),
        at_lags(pixels, (forward, backward), forward),
        at_lags(holes, (forward, backward), forward),
    )


def _remaining(length: int, max_lag: int) -> NDArray[np.int64]:
    return np.maximum(length - np.arange(max_lag), 0)


def _trimmed_sums(image: NDArray[Any], row_sums: NDArray[Any], max_lag: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sum an image over the pixels that would have a partner without holes, and over the partners, at each lag.

    Both are the image without a margin: indices as in `lag_products`. Integers stay integers.
    """
    left = row_sums - _margin_sums(image[:, ::-1].T, max_lag)  # [i, y]: row y without its last i pixels
    right = row_sums - _margin_sums(image.T, max_lag)  # and without its first

    def without_rows(rows: NDArray[Any]) -> NDArray[Any]:
        margins: NDArray[Any] = rows.sum(axis=1)[:, np.newaxis] - _margin_sums(rows.T, max_lag).T
        return margins

    base = np.stack([without_rows(left[:, ::-1]), without_rows(left)])
    partner = np.stack([without_rows(right), without_rows(right[:, ::-1])])
    return base, partner


def _margin_sums(values: NDArray[Any], max_lag: int) -> NDArray[Any]:
    """Sum the first k rows, for each k below ``max_lag``."""
    exact = np.float64 if values.dtype.kind == "f" else np.int64
    sums = np.zeros((max_lag, values.shape[1]), exact)
    margin = values[: max_lag - 1].cumsum(axis=0, dtype=exact)
    sums[1 : 1 + len(margin)] = margin
    sums[1 + len(margin) :] = sums[len(margin)]
    return sums


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
    covariance, n_pixels = _sum_lags(difference.difference, difference.used, difference.offset, max_lag)
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
    sums, counts = sum_rows(difference.difference, difference.used)
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
