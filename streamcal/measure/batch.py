"""The smaller functions of the batch task, for those who come from there, on arrays and by their standard names."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from streamcal.measure.blocks import find_region, measure_pair_statistics
from streamcal.measure.clipping import clip_statistics
from streamcal.measure.covariance import measure_covariances, row_mean_variance
from streamcal.measure.flatpair import as_flat_pair, find_good_pixels, match_levels
from streamcal.measure.gain import check_correction, solve_gain
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
    first: ArrayLike, second: ArrayLike, mask: MaskLike = None, settings: PairSettings | None = None
) -> ImageAreas:
    """Cut the region out of two flats, unite their masks and take the clipped means.

    Parameters
    ----------
    first, second : (ny, nx) array_like of a real type
        Flats of equal exposure, in ADU.
    mask : (ny, nx) array_like of int or bool, or a tuple of two, optional
        Bits of `streamcal.flags.MaskBit`.
    settings : PairSettings, optional
        Region, clipping and bad bits.

    Returns
    -------
    ImageAreas
        The images are views of the inputs. Means are NaN when no pixel is good.

    Raises
    ------
    ValueError
        If shapes do not fit or the region is not within the image.
    """
    settings = settings or PairSettings()
    first, second, planes = as_flat_pair(first, second, mask)
    area = find_region(settings.region, first.shape)
    first, second, planes = first[area], second[area], tuple(plane[area] for plane in planes)
    good = find_good_pixels(first, second, planes, int(settings.bad_mask))
    mean_1, mean_2 = (clip_statistics(image[good], settings.n_sigma, settings.n_iter).mean for image in (first, second))
    return ImageAreas(first, second, ~good, mean_1, mean_2)


def measure_mean_var_cov(
    first: ArrayLike, second: ArrayLike, mask: MaskLike = None, settings: PairSettings | None = None
) -> MeanVarianceCovariance:
    """Measure mean, variance and the list of covariances of two flats, over all of the images.

    Parameters
    ----------
    first, second, mask
        As in `measure_amplifier`; cut a region out with `image_areas_masks_stats`.
    settings : PairSettings, optional
        Lags, clipping and bad bits.

    Returns
    -------
    MeanVarianceCovariance
        Covariances in order of dx, then dy. All are of the half difference, so that (0, 0) is the variance.
    """
    settings = settings or PairSettings()
    matched = match_levels(
        first, second, mask, n_sigma=settings.n_sigma, n_iter=settings.n_iter, bad_mask=settings.bad_mask
    )
    covariance, _, n_pixels = measure_covariances(matched, settings.max_lag)
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


def gain_from_flat_pair(  # noqa: PLR0913 - correction and read_noise are the names the batch task has for them
    first: ArrayLike,
    second: ArrayLike,
    mask: MaskLike = None,
    settings: PairSettings | None = None,
    *,
    correction: str = "NONE",
    read_noise: float | None = None,
) -> float:
    """Gain of two flats of equal exposure.

    Parameters
    ----------
    first, second, mask
        As in `measure_amplifier`.
    settings : PairSettings, optional
        Level matching, region, blocks, clipping and bad bits; two good pixels are enough here.
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
    check_correction(correction)
    settings = replace(settings or PairSettings(), max_lag=1, min_good_pixels=2)
    statistics = measure_pair_statistics(first, second, mask, settings)
    return solve_gain(statistics, math.nan if read_noise is None else read_noise, correction=correction).gain
