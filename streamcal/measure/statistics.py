"""Everything that is measured on a flat pair before a gain is solved for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from streamcal.flags import RowFlag
from streamcal.measure.clipping import check_clipping
from streamcal.measure.covariance import has_shape_drift, measure_covariances, row_mean_variance
from streamcal.measure.flatpair import DEFAULT_BAD_MASK
from streamcal.measure.gain import GainStatistic, measure_gain_statistic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from streamcal.measure.flatpair import Difference

MEAN_TOLERANCE = 0.001  # of the mean


@dataclass(frozen=True, kw_only=True, slots=True)
class PairSettings:
    """How a flat pair is measured."""

    max_lag: int = 10  # lags along each axis, 0 included
    n_sigma: float = 5.5  # half width of the clipping cuts
    n_iter: int = 3  # number of cuts
    min_good_pixels: int = 10000  # fewer good pixels are not measured
    level_match: bool = True  # gain statistic of the level-matched, clipped difference
    region: str | Sequence[int] | None = None  # None, "AMP" or "FULL": all; or [x0, x1, y0, y1], half-open
    blocks: Sequence[int] | None = None  # [ny, nx]: size of the blocks in pixels, at least
    threshold_percent: float = 1.0  # largest tolerated difference of variance and C_00
    bad_mask: int = DEFAULT_BAD_MASK  # bits of `MaskBit` that make a pixel bad

    def __post_init__(self) -> None:
        check_clipping(self.n_sigma, self.n_iter)
        if self.max_lag < 1:
            msg = f"max_lag must be at least 1, got {self.max_lag!r}"
            raise ValueError(msg)
        if isinstance(self.region, str) and self.region not in {"AMP", "FULL"}:
            msg = f'region must be "AMP", "FULL" or [x0, x1, y0, y1], got {self.region!r}'
            raise ValueError(msg)
        if self.blocks is not None and (len(self.blocks) != 2 or min(self.blocks) < 1):
            msg = f"blocks must be two sizes [ny, nx] of at least 1, got {self.blocks!r}"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PairStatistics:
    """Mean, variance, covariances and gain statistic of a flat pair; NaN throughout when nothing was measured."""

    mean_1: float  # clipped mean of the first flat, ADU
    mean_2: float  # the same of the second
    mean_used: float  # mean of both over the pixels used, ADU
    variance: float  # half the clipped variance of the difference, corrected for the truncation, ADU^2
    variance_error: float  # from the fourth moment of the difference, so also right under a gradient, ADU^2
    covariance: NDArray[np.float64]  # (max_lag, max_lag), [i, j]: lag i along x, j along y, ADU^2
    covariance_error: NDArray[np.float64]  # the same shape; white noise assumed
    n_pixels: NDArray[np.int64]  # the same shape: pixel pairs
    row_mean_variance: float  # variance of the row means of the difference, ADU^2
    n_selected: int  # pixels looked at
    n_masked: int  # of them, masked or not finite
    n_clipped: int  # of them, good but beyond the clipping cut
    gain: GainStatistic
    flags: RowFlag
    blocks: tuple[PairStatistics, ...] = ()  # when measured block by block; the numbers above are then medians

    @property
    def mean(self) -> float:
        """Mean level of the two flats, ADU."""
        return (self.mean_1 + self.mean_2) / 2

    @property
    def delta(self) -> float:
        """Level of the second flat minus that of the first, ADU."""
        return self.mean_2 - self.mean_1


def measure_difference(difference: Difference, settings: PairSettings) -> PairStatistics:
    """Measure a flat pair as a whole, from its level-matched difference.

    Parameters
    ----------
    difference : Difference
        From `match_levels`, with the clipping and the bad bits of the settings.
    settings : PairSettings
        ``region`` and ``blocks`` are not looked at; see `measure_pair_statistics`.

    Returns
    -------
    PairStatistics
        NaN and flagged when there are too few good pixels or a level is not above zero.
    """
    flags = difference.flags
    if difference.n_good < max(settings.min_good_pixels, 2):
        flags |= RowFlag.TOO_FEW_PIXELS
    if flags & (RowFlag.TOO_FEW_PIXELS | RowFlag.NONPOSITIVE_MEAN):
        return unmeasured(settings.max_lag, flags, difference.n_selected, difference.n_masked)
    covariance, covariance_error, n_pixels = measure_covariances(difference, settings.max_lag)
    measured = PairStatistics(
        mean_1=difference.mean_1,
        mean_2=difference.mean_2,
        mean_used=difference.mean_used,
        variance=difference.variance,
        variance_error=_variance_error(difference),
        covariance=covariance,
        covariance_error=covariance_error,
        n_pixels=n_pixels,
        row_mean_variance=row_mean_variance(difference),
        n_selected=difference.n_selected,
        n_masked=difference.n_masked,
        n_clipped=difference.n_clipped,
        gain=measure_gain_statistic(difference, settings.level_match),
        flags=flags,
    )
    return judge_statistics(measured, settings)


def judge_statistics(measured: PairStatistics, settings: PairSettings) -> PairStatistics:
    """Add the flags that follow from the numbers; a C_00 unlike the variance tells of a clipping not settled."""
    flags = measured.flags
    if math.isnan(measured.gain.value):
        flags |= RowFlag.NONPOSITIVE_SUM
    if abs(measured.mean_used / measured.mean - 1) > MEAN_TOLERANCE:
        flags |= RowFlag.MEAN_MISMATCH
    if abs(measured.covariance[0, 0] - measured.variance) > settings.threshold_percent / 100 * measured.variance:
        flags |= RowFlag.VARIANCE_MISMATCH
    if measured.variance == 0:
        flags |= RowFlag.ZERO_VARIANCE
    if has_shape_drift(measured.variance, measured.covariance, measured.covariance_error):
        flags |= RowFlag.SHAPE_DRIFT
    return replace(measured, flags=flags)


def unmeasured(max_lag: int, flags: RowFlag, n_selected: int, n_masked: int) -> PairStatistics:
    """Return the statistics of a pair on which nothing could be measured: NaN, with the reason in the flags."""
    nan, blank = math.nan, np.full((max_lag, max_lag), np.nan)
    gain = GainStatistic(value=nan, scatter=nan, inverse_sum=nan, inverse_square_sum=nan, n_pixels=0, n_nonpositive=0)
    return PairStatistics(
        mean_1=nan,
        mean_2=nan,
        mean_used=nan,
        variance=nan,
        variance_error=nan,
        covariance=blank,
        covariance_error=blank.copy(),
        n_pixels=np.zeros((max_lag, max_lag), dtype=np.int64),
        row_mean_variance=nan,
        n_selected=n_selected,
        n_masked=n_masked,
        n_clipped=0,
        gain=gain,
        flags=flags,
    )


def _variance_error(difference: Difference) -> float:
    """Return the standard error of half the variance of D: ``sqrt(Var((D - <D>)^2) / N) / 2``, times f."""
    square, fourth = difference.moments
    n_used = difference.n_good - difference.n_clipped
    return difference.truncation * math.sqrt(max(fourth - square**2, 0.0)) / (2 * math.sqrt(n_used))
