"""Two flats of one level become their level-matched difference and the mask of the pixels to be used."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from streamcal.flags import MaskBit, RowFlag
from streamcal.measure.clipping import clip_statistics, truncation_factor

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MaskLike: TypeAlias = "ArrayLike | tuple[ArrayLike | None, ArrayLike | None] | None"

DEFAULT_BAD_MASK = int(MaskBit.BAD | MaskBit.SAT | MaskBit.SUSPECT | MaskBit.NO_DATA | MaskBit.NONFINITE)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Difference:
    """The level-matched difference of two flats, ``D = (mean_2 I1 - mean_1 I2) / mean``, and where it may be used."""

    difference: NDArray[np.float64]  # (ny, nx), ADU; NaN where a pixel is masked or not finite
    total: NDArray[np.float64]  # (ny, nx), I1 + I2, ADU; NaN likewise
    used: NDArray[np.bool_]  # (ny, nx): good in both flats, and the difference survives the clipping
    mean_1: float  # clipped mean of the first flat over the good pixels, ADU; NaN when there are none
    mean_2: float  # the same of the second
    mean_used: float  # mean of both flats over the used pixels, ADU
    variance: float  # half the clipped variance of D, corrected for the truncation, ADU^2
    truncation: float  # the factor of that correction
    n_masked: int  # pixels masked or not finite in either flat
    n_clipped: int  # good pixels whose difference lies beyond the cut
    flags: RowFlag

    @property
    def mean(self) -> float:
        """Mean level of the two flats, ``(mean_1 + mean_2) / 2``, ADU."""
        return (self.mean_1 + self.mean_2) / 2

    @property
    def n_selected(self) -> int:
        """Number of pixels looked at, good or not."""
        return self.used.size

    @property
    def n_good(self) -> int:
        """Number of pixels neither masked nor non-finite, before the clipping."""
        return self.n_selected - self.n_masked

    @property
    def good(self) -> NDArray[np.bool_]:
        """The pixels neither masked nor non-finite, before the clipping, (ny, nx)."""
        return np.isfinite(self.total)


def as_flat_pair(
    first: ArrayLike, second: ArrayLike, mask: MaskLike = None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Check two flats and unite their masks, without copying or changing them.

    Parameters
    ----------
    first, second : (ny, nx) array_like of a real type
        Amplifier images of equal exposure, in ADU.
    mask : (ny, nx) array_like of int or bool, or a tuple of two, optional
        Bits of `streamcal.flags.MaskBit`, of both flats or of each; None means no pixel is masked.

    Returns
    -------
    first, second : (ny, nx) ndarray
    mask : (ny, nx) ndarray of int or bool, or None
        The union of the masks.

    Raises
    ------
    ValueError
        If the images are not two-dimensional and of one shape, the masks are of another shape, or not integers.
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.ndim != 2:
        msg = f"first must have two dimensions, got shape {first.shape}"
        raise ValueError(msg)
    if second.shape != first.shape:
        msg = f"first and second must have one shape, got {first.shape} and {second.shape}"
        raise ValueError(msg)
    planes = [np.asarray(plane) for plane in (mask if isinstance(mask, tuple) else (mask,)) if plane is not None]
    for plane in planes:
        if plane.shape != first.shape:
            msg = f"mask must have the shape of the images, got {plane.shape} and {first.shape}"
            raise ValueError(msg)
        if plane.dtype.kind not in "biu":
            msg = f"mask must hold integers or booleans, got {plane.dtype}"
            raise ValueError(msg)
    if not planes:
        return first, second, None
    union = planes[0]
    for plane in planes[1:]:
        union = union | plane
    return first, second, union


def find_good_pixels(
    first: NDArray[Any], second: NDArray[Any], mask: NDArray[Any] | None, bad_mask: int
) -> NDArray[np.bool_]:
    """Return which pixels are finite in both images and have no bad bit in their mask."""
    good: NDArray[np.bool_] = np.isfinite(first) & np.isfinite(second)
    if mask is not None:
        good &= mask.astype(np.int64) & int(bad_mask) == 0
    return good


def _has_nonfinite(first: NDArray[Any], second: NDArray[Any], mask: NDArray[Any] | None) -> bool:
    """Tell whether a pixel is not finite, or was not before an earlier stage masked and replaced it."""
    if mask is not None and mask.dtype.kind != "b" and np.any(mask & int(MaskBit.NONFINITE)):
        return True
    return not (np.isfinite(first).all() and np.isfinite(second).all())


def match_levels(  # noqa: PLR0913 - two flats, their mask, and three options of the clipping
    first: ArrayLike,
    second: ArrayLike,
    mask: MaskLike = None,
    *,
    n_sigma: float = 5.5,
    n_iter: int = 3,
    bad_mask: int = DEFAULT_BAD_MASK,
) -> Difference:
    """Take the difference of two flats after bringing them to one level (Astier et al. 2019, appendix A).

    ``D = (mean_2 I1 - mean_1 I2) / mean`` has a mean of zero although the lamp drifted. For Poisson light its half
    variance is that of flats of equal level up to the factor ``mean_1 mean_2 / mean^2``, which is 1 - 6e-6 for levels
    0.5 % apart and is left in. The inputs are not changed.

    Parameters
    ----------
    first, second : (ny, nx) array_like of a real type
        Amplifier images of equal exposure, overscan subtracted, in ADU. Pixels that are not finite are left out.
    mask : (ny, nx) array_like of int or bool, or a tuple of two, optional
        Bits of `streamcal.flags.MaskBit`, for both flats or for each: a pixel bad in either is left out.
    n_sigma : float
        Half width of the clipping cuts, in standard deviations.
    n_iter : int
        Number of cuts.
    bad_mask : int
        The bits that make a pixel bad.

    Returns
    -------
    Difference
        When there is no good pixel, or a mean level is not above zero, no pixel is used and numbers are NaN.

    Raises
    ------
    ValueError
        If shapes or options do not fit.
    """
    first, second, bits = as_flat_pair(first, second, mask)
    good = find_good_pixels(first, second, bits, bad_mask)
    flags = RowFlag.NONFINITE_PIXELS if _has_nonfinite(first, second, bits) else RowFlag(0)
    # Differences of unsigned integers wrap around, those of float32 lose digits: everything is float64 from here.
    values_1, values_2 = first[good].astype(np.float64), second[good].astype(np.float64)
    mean_1 = clip_statistics(values_1, n_sigma, n_iter).mean
    mean_2 = clip_statistics(values_2, n_sigma, n_iter).mean
    if mean_1 <= 0 or mean_2 <= 0:
        flags |= RowFlag.NONPOSITIVE_MEAN
    scale = 2 / (mean_1 + mean_2) if mean_1 > 0 and mean_2 > 0 else math.nan
    difference, total = np.full(good.shape, np.nan), np.full(good.shape, np.nan)
    values = mean_2 * scale * values_1 - mean_1 * scale * values_2
    difference[good], total[good] = values, values_1 + values_2
    clipped = clip_statistics(values, n_sigma, n_iter)
    used = clipped.within(difference)
    truncation = truncation_factor(n_sigma)
    n_used = int(np.count_nonzero(used))
    return Difference(
        difference=difference,
        total=total,
        used=used,
        mean_1=mean_1,
        mean_2=mean_2,
        mean_used=float(total[used].mean()) / 2 if n_used else math.nan,
        variance=clipped.variance * truncation / 2,
        truncation=truncation,
        n_masked=good.size - values.size,
        n_clipped=values.size - n_used,
        flags=flags,
    )
