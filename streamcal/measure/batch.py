"""The smaller functions of the batch task, for those who come from there, on arrays and by their standard names."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from streamcal.measure.blocks import find_region, measure_pair_statistics
from streamcal.measure.clipping import clip_statistics
from streamcal.measure.covariance import measure_covariances, row_mean_variance
from streamcal.measure.flatpair import DEFAULT_BAD_MASK, as_flat_pair, match_levels
from streamcal.measure.gain import solve_gain
from streamcal.measure.statistics import PairSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from streamcal.measure.flatpair import MaskLike


class ImageAreas(NamedTuple):
    """The areas of two flats that are measured, with their common mask and clipped means."""

    first: NDArray[Any]  # (ny, nx), ADU
    second: NDArray[Any]  # (ny, nx), ADU
    mask: NDArray[np.bool_]  # (ny, nx), True where a pixel of either flat is masked or not finite
    mean_1: float  # clipped mean over the pixels not masked, ADU
    mean_2: float


class LagCovariance(NamedTuple):
    """Covariance of a flat pair at one lag."""

    dx: int  # lag along x (columns)
    dy: int  # lag along y (rows)
    variance: float  # half variance of the difference, ADU^2
    covariance: float  # half covariance of the difference, ADU^2
    n: int  # pixel pairs


class MeanVarianceCovariance(NamedTuple):
    """Mean, variance and covariances of a flat pair."""

    mean: float  # ADU
    variance: float  # half variance of the difference, ADU^2
    covariances: list[LagCovariance]
    row_mean_variance: float  # ADU^2


def image_areas_masks_stats(
    first: ArrayLike,
    second: ArrayLike,
    mask: MaskLike = None,
    region: str | Sequence[int] | None = None,
    *,
    n_sigma: float = 5.5,
    n_iter: int = 3,
    bad_mask: int = DEFAULT_BAD_MASK,
) -> ImageAreas:
    """Cut the region out of two flats, unite their masks and take the clipped means.

    Parameters
    ----------
    first, second : (ny, nx) array_like of a real type
        Flats of equal exposure, in ADU.
    mask : (ny, nx) array_like of int or bool, or a tuple of two, optional
        Bits of `streamcal.flags.MaskBit`.
    region : None, "AMP", "FULL" or [x0, x1, y0, y1]
        Half-open.
    n_sigma, n_iter, bad_mask : float, int, int
        As in `measure_amplifier`.

    Returns
    -------
    ImageAreas
        The images are views of the inputs. Means are NaN when no pixel is good.

    Raises
    ------
    ValueError
        If shapes do not fit or the region is not within the image.
    """
    first, second, bits = as_flat_pair(first, second, mask)
    area = find_region(region, first.shape)
    first, second = first[area], second[area]
    bad = ~(np.isfinite(first) & np.isfinite(second))
    if bits is not None:
        bad |= bits[area].astype(np.int64) & int(bad_mask) != 0
    mean_1, mean_2 = (clip_statistics(image[~bad], n_sigma, n_iter).mean for image in (first, second))
    return ImageAreas(first, second, bad, mean_1, mean_2)


def measure_mean_var_cov(
    first: ArrayLike,
    second: ArrayLike,
    mask: MaskLike = None,
    *,
    max_lag: int = 10,
    n_sigma: float = 5.5,
    n_iter: int = 3,
    bad_mask: int = DEFAULT_BAD_MASK,
) -> MeanVarianceCovariance:
    """Measure mean, variance and the list of covariances of two flats.

    Parameters
    ----------
    first, second, mask, n_sigma, n_iter, bad_mask
        As in `measure_amplifier`.
    max_lag : int
        Number of lags along each axis, 0 included.

    Returns
    -------
    MeanVarianceCovariance
        Covariances in order of dx, then dy. All are of the half difference, so that (0, 0) is the variance.
    """
    matched = match_levels(first, second, mask, n_sigma=n_sigma, n_iter=n_iter, bad_mask=bad_mask)
    covariance, _, n_pixels = measure_covariances(matched, max_lag)
    listed = [
        LagCovariance(dx, dy, matched.variance, float(value), int(n_pixels[dx, dy]))
        for (dx, dy), value in np.ndenumerate(covariance)
    ]
    return MeanVarianceCovariance(matched.mean, matched.variance, listed, row_mean_variance(matched))


def make_cov_array(
    means: Sequence[float], covariances: Iterable[Sequence[LagCovariance]], max_lag: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Stack the covariances of several pairs by mean signal.

    Parameters
    ----------
    means : sequence of float
        Mean of each pair, ADU.
    covariances : iterable of sequence of LagCovariance
        The list of each pair, as from `measure_mean_var_cov`.
    max_lag : int
        Lags beyond it are left out.

    Returns
    -------
    covariance : (n_pairs, max_lag, max_lag) ndarray of float64
        ADU^2, [pair, dx, dy], means ascending; NaN where a list lacks a lag.
    covariance_variance : (n_pairs, max_lag, max_lag) ndarray of float64
        Variance of each, ``variance^2 / n``, twice that at (0, 0): white noise.
    mean : (n_pairs,) ndarray of float64
        Ascending, ADU.

    Raises
    ------
    ValueError
        If there are not as many lists as means.
    """
    mean = np.array(means, dtype=np.float64)
    covariance = np.full((mean.size, max_lag, max_lag), np.nan)
    spread = covariance.copy()
    for pair, (_, lags) in enumerate(zip(means, covariances, strict=True)):
        for lag in lags:
            if lag.dx < max_lag and lag.dy < max_lag:
                covariance[pair, lag.dx, lag.dy] = lag.covariance
                spread[pair, lag.dx, lag.dy] = lag.variance**2 / lag.n if lag.n else math.inf
    spread[:, 0, 0] *= 2
    order = np.argsort(mean, kind="stable")
    return covariance[order], spread[order], mean[order]


def gain_from_flat_pair(
    first: ArrayLike,
    second: ArrayLike,
    mask: MaskLike = None,
    *,
    correction: str = "NONE",
    read_noise: float | None = None,
    level_match: bool = True,
    region: str | Sequence[int] | None = None,
    n_sigma: float = 5.5,
    n_iter: int = 3,
    bad_mask: int = DEFAULT_BAD_MASK,
) -> float:
    """Gain of two flats of equal exposure.

    Parameters
    ----------
    first, second, mask, level_match, region, n_sigma, n_iter, bad_mask
        As in `measure_amplifier`.
    correction : str
        One of `CORRECTIONS`; see `solve_gain`.
    read_noise : float, optional
        In ADU. Without it a correction that needs it becomes ``NONE``.

    Returns
    -------
    float
        In e-/ADU; NaN when it is not a positive number.

    Raises
    ------
    ValueError
        If shapes do not fit, the region is not within the image, or the correction is unknown.
    """
    settings = PairSettings(
        max_lag=1,
        n_sigma=n_sigma,
        n_iter=n_iter,
        min_good_pixels=2,
        level_match=level_match,
        region=region,
        bad_mask=bad_mask,
    )
    statistics = measure_pair_statistics(first, second, mask, settings)
    return solve_gain(statistics, math.nan if read_noise is None else read_noise, correction=correction).gain
