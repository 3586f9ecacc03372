"""One amplifier of a flat pair, measured whole: the entry for those who hold two arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamcal.measure.blocks import measure_pair_statistics
from streamcal.measure.flatpair import DEFAULT_BAD_MASK
from streamcal.measure.gain import check_correction, solve_gain
from streamcal.measure.statistics import PairSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from streamcal.measure.flatpair import MaskLike


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AmplifierMeasurement:
    """What one amplifier of a flat pair gives; NaN where nothing could be measured, with the reason in the flags."""

    mean_1: float  # clipped mean of the first flat, ADU
    mean_2: float  # the same of the second
    mean: float  # (mean_1 + mean_2) / 2, ADU
    mean_used: float  # mean of both flats over the pixels that enter the variance, ADU
    delta: float  # mean_2 - mean_1, ADU
    variance: float  # half the clipped variance of the level-matched difference, ADU^2
    covariance: NDArray[np.float64]  # (max_lag, max_lag), [i, j]: lag i along x, j along y, ADU^2
    covariance_error: NDArray[np.float64]  # the same shape; white noise assumed
    n_pixels: NDArray[np.int64]  # the same shape: pixel pairs at each lag
    row_mean_variance: float  # variance of the row means of the difference, ADU^2
    n_selected: int  # pixels looked at
    n_masked: int  # of them, masked or not finite
    n_clipped: int  # of them, good but beyond the clipping cut
    gain: float  # e-/ADU
    gain_error: float  # e-/ADU
    gain_statistic: float  # c = <D^2 / S>, ADU/e-
    gain_correction: str  # the correction really applied; NONE when the read noise it needs is missing
    gain_covariance_sum: float  # JANESICK with the sum of all covariances in place of the variance, e-/ADU
    flags: int  # bits of `streamcal.flags.RowFlag`


def measure_amplifier(  # noqa: PLR0913 - the whole recipe in one call is what this function is for
    first: ArrayLike,
    second: ArrayLike,
    mask: MaskLike = None,
    read_noise: float = math.nan,
    *,
    max_lag: int = 10,
    n_sigma: float = 5.5,
    n_iter: int = 3,
    min_good_pixels: int = 10000,
    gain_correction: str = "FULL",
    level_match: bool = True,
    region: str | Sequence[int] | None = None,
    blocks: Sequence[int] | None = None,
    threshold_percent: float = 1.0,
    row_overscan_covariance: float = 0.0,
    bad_mask: int = DEFAULT_BAD_MASK,
) -> AmplifierMeasurement:
    """Measure mean, variance, covariances and gain of one amplifier of a flat pair.

    The inputs are not changed.

    Parameters
    ----------
    first, second : (ny, nx) array_like of a real type
        Amplifier images of equal exposure, overscan subtracted, in ADU. Pixels that are not finite are left out.
    mask : (ny, nx) array_like of int or bool, or a tuple of two, optional
        Bits of `streamcal.flags.MaskBit`, for both flats or for each: a pixel bad in either is left out.
    read_noise : float
        In ADU; NaN: unknown.
    max_lag : int
        Number of covariance lags along each axis, 0 included.
    n_sigma, n_iter : float, int
        Half width of the clipping cuts in standard deviations, and their number.
    min_good_pixels : int
        With fewer good pixels nothing is measured.
    gain_correction : {"FULL", "NONE", "SIMPLE", "UNBIASED", "JANESICK"}
        See `solve_gain`.
    level_match : bool
        True: the gain statistic is that of the level-matched, clipped difference; False: the literal one.
    region : None, "AMP", "FULL" or [x0, x1, y0, y1]
        Columns x0 up to, not including, x1 and rows y0 up to y1; the first three mean the whole array.
    blocks : [ny, nx], optional
        Measure block by block and report medians; see `measure_pair_statistics`.
    threshold_percent : float
        Largest tolerated difference of the variance and C_00, in per cent.
    row_overscan_covariance : float
        What per-row overscan subtraction adds to the variance, ADU^2. Gains take it off; covariances keep it.
    bad_mask : int
        The bits of the mask that make a pixel bad.

    Returns
    -------
    AmplifierMeasurement

    Raises
    ------
    ValueError
        If shapes do not fit, the region is not within the image, or an option is out of range.
    """
    check_correction(gain_correction)
    settings = PairSettings(
        max_lag=max_lag,
        n_sigma=n_sigma,
        n_iter=n_iter,
        min_good_pixels=min_good_pixels,
        level_match=level_match,
        region=region,
        blocks=blocks,
        threshold_percent=threshold_percent,
        bad_mask=bad_mask,
    )
    statistics = measure_pair_statistics(first, second, mask, settings)
    gain = solve_gain(
        statistics, read_noise, correction=gain_correction, row_overscan_covariance=row_overscan_covariance
    )
    return AmplifierMeasurement(
        mean_1=statistics.mean_1,
        mean_2=statistics.mean_2,
        mean=statistics.mean,
        mean_used=statistics.mean_used,
        delta=statistics.delta,
        variance=statistics.variance,
        covariance=statistics.covariance,
        covariance_error=statistics.covariance_error,
        n_pixels=statistics.n_pixels,
        row_mean_variance=statistics.row_mean_variance,
        n_selected=statistics.n_selected,
        n_masked=statistics.n_masked,
        n_clipped=statistics.n_clipped,
        gain=gain.gain,
        gain_error=gain.gain_error,
        gain_statistic=statistics.gain.value,
        gain_correction=gain.gain_correction,
        gain_covariance_sum=gain.gain_covariance_sum,
        flags=int(statistics.flags | gain.flags),
    )
