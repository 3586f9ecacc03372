"""A flat pair measured over a region or block by block: for light whose shape changes between the two flats."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import numpy as np

from streamcal.flags import RowFlag
from streamcal.measure.flatpair import as_flat_pair, match_levels
from streamcal.measure.gain import GainStatistic
from streamcal.measure.statistics import (
    PairSettings,
    PairStatistics,
    judge_statistics,
    measure_difference,
    unmeasured,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from streamcal.measure.flatpair import MaskLike

MIN_BLOCK_FRACTION = 0.1  # of its pixels must be good, or the block is left out
MIN_BLOCK_PIXELS = 100  # and as many at least
MEDIAN_ERROR = math.sqrt(math.pi / 2)  # error of the median in units of that of the mean, for Gaussian values


def measure_pair_statistics(
    first: ArrayLike, second: ArrayLike, mask: MaskLike = None, settings: PairSettings | None = None
) -> PairStatistics:
    """Measure mean, variance, covariances and gain statistic of a flat pair.

    With ``settings.blocks`` the region is divided into equal blocks of at least that size, each is level-matched and
    measured by itself, and the medians over blocks are the result. Blocks with fewer good pixels than a tenth of
    their area, or than 100, are left out; ``min_good_pixels`` holds for the sum over the others. Counts are sums over
    them. Errors are those of the mean over blocks times sqrt(pi / 2), for the median.

    Parameters
    ----------
    first, second : (ny, nx) array_like of a real type
        Amplifier images of equal exposure, overscan subtracted, in ADU. Pixels that are not finite are left out.
    mask : (ny, nx) array_like of int or bool, or a tuple of two, optional
        Bits of `streamcal.flags.MaskBit`, for both flats or for each: a pixel bad in either is left out.
    settings : PairSettings, optional
        Region, blocks, lags, clipping.

    Returns
    -------
    PairStatistics
        ``blocks`` holds the statistics of each block, if it was measured so.

    Raises
    ------
    ValueError
        If shapes do not fit or the region is not within the image.
    """
    settings = settings or PairSettings()
    first, second, planes = as_flat_pair(first, second, mask)
    area = find_region(settings.region, first.shape)

    def measure_area(part: tuple[slice, slice], options: PairSettings) -> PairStatistics:
        matched = match_levels(
            first[part],
            second[part],
            tuple(plane[part] for plane in planes),
            n_sigma=options.n_sigma,
            n_iter=options.n_iter,
            bad_mask=options.bad_mask,
        )
        return measure_difference(matched, options)

    if settings.blocks is None:
        return measure_area(area, settings)
    measured = [measure_area(block, _for_block(settings, block)) for block in split_blocks(area, settings.blocks)]
    return combine_blocks(measured, settings)


def find_region(region: str | Sequence[int] | None, shape: Sequence[int]) -> tuple[slice, slice]:
    """Turn a region into slices of rows and columns.

    Parameters
    ----------
    region : None, "AMP", "FULL" or [x0, x1, y0, y1]
        Half-open: columns x0 up to, not including, x1; rows y0 up to y1. The first three mean the whole array.
    shape : (int, int)
        Rows and columns of the image.

    Raises
    ------
    ValueError
        If the region is empty or not within the image.
    """
    if region is None or isinstance(region, str):
        return slice(0, shape[0]), slice(0, shape[1])
    if len(region) != 4:
        msg = f"region must be [x0, x1, y0, y1], got {region!r}"
        raise ValueError(msg)
    x0, x1, y0, y1 = region
    if not (0 <= x0 < x1 <= shape[1] and 0 <= y0 < y1 <= shape[0]):
        msg = f"region [x0, x1, y0, y1] must lie within {shape[1]} columns and {shape[0]} rows, got {list(region)}"
        raise ValueError(msg)
    return slice(y0, y1), slice(x0, x1)


def split_blocks(area: tuple[slice, slice], blocks: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """Divide an area evenly into as many blocks of at least this size (rows, columns) as fit, one at least."""

    def edges(extent: slice, size: int) -> NDArray[np.int64]:
        count = max(1, (extent.stop - extent.start) // size)
        return np.linspace(extent.start, extent.stop, count + 1).round().astype(np.int64)

    rows, columns = (edges(extent, size) for extent, size in zip(area, blocks, strict=True))
    for y0, y1 in itertools.pairwise(rows):
        for x0, x1 in itertools.pairwise(columns):
            yield slice(y0, y1), slice(x0, x1)


def combine_blocks(measured: Sequence[PairStatistics], settings: PairSettings) -> PairStatistics:
    """Take the medians over measured blocks; flags are judged anew on them.

    Parameters
    ----------
    measured : sequence of PairStatistics
        Of all blocks; those that could not be measured are left out here.
    settings : PairSettings
        ``min_good_pixels`` holds for the sum over blocks.
    """
    blocks = tuple(block for block in measured if math.isfinite(block.variance))
    lost = reduce(or_, (block.flags for block in measured), RowFlag(0))
    n_good = sum(block.n_selected - block.n_masked for block in blocks)
    n_selected, n_masked = sum(block.n_selected for block in measured), sum(block.n_masked for block in measured)
    if not blocks or n_good < settings.min_good_pixels:
        few = RowFlag.TOO_FEW_PIXELS | lost & (RowFlag.NONPOSITIVE_MEAN | RowFlag.NONFINITE_PIXELS)
        return unmeasured(settings.max_lag, few, n_selected, n_masked)

    def median(name: str) -> Any:
        return np.median([getattr(block, name) for block in blocks], axis=0)

    def median_error(name: str) -> Any:
        squares = np.array([getattr(block, name) for block in blocks]) ** 2
        return (MEDIAN_ERROR if len(blocks) > 1 else 1.0) * np.sqrt(squares.mean(axis=0) / len(blocks))

    combined = PairStatistics(
        mean_1=float(median("mean_1")),
        mean_2=float(median("mean_2")),
        mean_used=float(median("mean_used")),
        variance=float(median("variance")),
        variance_error=float(median_error("variance_error")),
        covariance=median("covariance"),
        covariance_error=median_error("covariance_error"),
        n_pixels=np.sum([block.n_pixels for block in blocks], axis=0),
        row_mean_variance=float(median("row_mean_variance")),
        n_selected=sum(block.n_selected for block in blocks),
        n_masked=sum(block.n_masked for block in blocks),
        n_clipped=sum(block.n_clipped for block in blocks),
        gain=_median_statistic([block.gain for block in blocks]),
        flags=lost & RowFlag.NONFINITE_PIXELS,
        blocks=blocks,
    )
    return judge_statistics(combined, settings)


def _median_statistic(gains: Sequence[GainStatistic]) -> GainStatistic:
    """Medians over the blocks in which the gain statistic means something, and counts over all."""
    finite = [gain for gain in gains if math.isfinite(gain.value)]

    def median(name: str) -> float:
        return float(np.median([getattr(gain, name) for gain in finite])) if finite else math.nan

    return GainStatistic(
        value=median("value"),
        scatter=median("scatter"),
        inverse_sum=median("inverse_sum"),
        inverse_square_sum=median("inverse_square_sum"),
        n_pixels=sum(gain.n_pixels for gain in gains),
        n_nonpositive=sum(gain.n_nonpositive for gain in gains),
    )


def _for_block(settings: PairSettings, block: tuple[slice, slice]) -> PairSettings:
    """Replace the fewest good pixels of a pair by those of one block."""
    n_pixels = math.prod(extent.stop - extent.start for extent in block)
    return replace(settings, min_good_pixels=max(MIN_BLOCK_PIXELS, math.ceil(MIN_BLOCK_FRACTION * n_pixels)))
