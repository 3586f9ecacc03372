"""Two flats of one level become their level-matched difference and the mask of the pixels to be used."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from streamcal.flags import MaskBit, RowFlag
from streamcal.measure.clipping import clip_statistics, truncation_factor
from streamcal.measure.scan import as_floats
from streamcal.measure.sums import mark_used, subtract_matched

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Planes: TypeAlias = "tuple[NDArray[Any], ...]"
MaskLike: TypeAlias = "ArrayLike | tuple[ArrayLike | None, ArrayLike | None] | None"

DEFAULT_BAD_MASK = int(MaskBit.BAD | MaskBit.SAT | MaskBit.SUSPECT | MaskBit.NO_DATA | MaskBit.NONFINITE)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Difference:
    """The level-matched difference of two flats, ``D = (mean_2 I1 - mean_1 I2) / mean``, and where it may be used."""

    difference: NDArray[Any]  # (ny, nx), ADU; NaN where a pixel is not good; float32, of wider flats float64
    first: NDArray[Any]  # (ny, nx) of the same type: the flats as they are, ADU
    second: NDArray[Any]
    used: NDArray[np.bool_]  # (ny, nx): good, and the difference survives the clipping
    offset: float  # mean of D over the used pixels, ADU; near zero
    moments: tuple[float, float]  # second and fourth moment of D over the used pixels, ADU^2 and ADU^4
    gain_sums: tuple[int, int, NDArray[np.float64]]  # over the used pixels, see `streamcal.measure.sums.gain_sums`
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
        """Pixels neither masked nor non-finite in either flat, (ny, nx); none where nothing could be measured.

        Made anew each time.
        """
        good: NDArray[np.bool_] = np.isfinite(self.difference)
        return good

    @property
    def total(self) -> NDArray[np.float64]:
        """I1 + I2, (ny, nx), ADU; NaN where a pixel is not good. Made anew each time."""
        return np.where(self.good, self.first.astype(np.float64) + self.second, np.nan)


def as_flat_pair(
    first: ArrayLike, second: ArrayLike, mask: MaskLike = None
) -> tuple[NDArray[Any], NDArray[Any], Planes]:
    """Check two flats and their masks, without copying or changing them.

    Parameters
    ----------
    first, second : (ny, nx) array_like of a real type
        Amplifier images of equal exposure, in ADU.
    mask : (ny, nx) array_like of int or bool, or a tuple of two, optional
        Bits of `streamcal.flags.MaskBit`, of both flats or of each; None means no pixel is masked.

    Returns
    -------
    first, second : (ny, nx) ndarray
    planes : tuple of (ny, nx) ndarray of int or bool
        The masks there are.

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
    masks = mask if isinstance(mask, tuple) else (mask,)
    planes = tuple(np.asarray(plane) for plane in masks if plane is not None)
    for plane in planes:
        if plane.shape != first.shape:
            msg = f"mask must have the shape of the images, got {plane.shape} and {first.shape}"
            raise ValueError(msg)
        if plane.dtype.kind not in "biu":
            msg = f"mask must hold integers or booleans, got {plane.dtype}"
            raise ValueError(msg)
    return first, second, planes


def find_good_pixels(first: NDArray[Any], second: NDArray[Any], planes: Planes, bad_mask: int) -> NDArray[np.bool_]:
    """Return which pixels are finite in both images and have no bad bit in a mask."""
    good = _find_finite(first, second)
    _leave_out(good, planes, bad_mask)
    return good


def _find_finite(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.bool_]:
    finite: NDArray[np.bool_] = np.isfinite(first)
    finite &= np.isfinite(second)
    return finite


def _leave_out(good: NDArray[np.bool_], planes: Planes, bad_mask: int) -> None:
    """Take out of the good pixels, in place, those with a bad bit in a mask; True is the lowest bit."""
    for plane in planes:
        bits = plane.view(f"{plane.dtype.byteorder}u{plane.dtype.itemsize}")
        good &= bits & bits.dtype.type(bad_mask & np.iinfo(bits.dtype).max) == 0


class _KnownPair(NamedTuple):
    """Two flats with NaN in the pixels that are not good."""

    first: NDArray[Any]
    second: NDArray[Any]
    good: NDArray[np.bool_]
    means: tuple[float, float]  # clipped
    flags: RowFlag


def _know_pixels(
    first: NDArray[Any], second: NDArray[Any], planes: Planes, options: tuple[float, int, int]
) -> _KnownPair:
    """Find the good pixels of two flats, and their clipped means; usually all are good and nothing is copied."""
    n_sigma, n_iter, bad_mask = options
    bits = [int(np.bitwise_or.reduce(plane, axis=None)) for plane in planes]  # True is the lowest bit
    told = any(bit & MaskBit.NONFINITE for bit, plane in zip(bits, planes, strict=True) if plane.dtype.kind != "b")
    flags = RowFlag.NONFINITE_PIXELS if told else RowFlag(0)
    if not any(bit & bad_mask for bit in bits):
        one, two = (clip_statistics(image, n_sigma, n_iter) for image in (first, second))
        if one.n_finite == two.n_finite == first.size:
            everywhere = np.broadcast_to(np.True_, first.shape)  # needs no memory
            return _KnownPair(first, second, everywhere, (one.mean, two.mean), flags)
    good = _find_finite(first, second)
    if not good.all():
        flags = RowFlag.NONFINITE_PIXELS
    _leave_out(good, planes, bad_mask)
    first, second = _blank(first, good), _blank(second, good)
    one, two = (clip_statistics(image, n_sigma, n_iter) for image in (first, second))
    return _KnownPair(first, second, good, (one.mean, two.mean), flags)


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
    one, two, planes = as_flat_pair(first, second, mask)
    one, two = _as_floats(one, two)
    known = _know_pixels(one, two, planes, (n_sigma, n_iter, int(bad_mask)))
    mean_1, mean_2 = known.means
    is_lit = mean_1 > 0 and mean_2 > 0
    scale = 2 / (mean_1 + mean_2) if is_lit else math.nan
    difference, used = np.empty_like(one), np.empty(one.shape, np.bool_)
    # In float64, rounded once: the terms are much larger than what remains of them.
    subtract_matched(known.first.ravel(), known.second.ravel(), (mean_2 * scale, mean_1 * scale), difference.ravel())
    clipped = clip_statistics(difference, n_sigma, n_iter)
    cut = clipped.mean, clipped.next_half_width
    n_used, n_positive, sums = mark_used(difference.ravel(), one.ravel(), two.ravel(), cut, used.ravel())
    total, offset, square, fourth = (sums[:4] / n_used if n_used else np.full(4, np.nan)).tolist()
    truncation = truncation_factor(n_sigma)
    n_good = clipped.n_finite if is_lit else int(np.count_nonzero(known.good))
    return Difference(
        difference=difference,
        first=one,
        second=two,
        used=used,
        offset=clipped.mean + offset,
        moments=(square, fourth),
        gain_sums=(n_used, n_positive, sums[4:]),
        mean_1=mean_1,
        mean_2=mean_2,
        mean_used=total / 2,
        variance=clipped.variance * truncation / 2,
        truncation=truncation,
        n_masked=used.size - n_good,
        n_clipped=n_good - n_used,
        flags=known.flags | (RowFlag.NONPOSITIVE_MEAN if mean_1 <= 0 or mean_2 <= 0 else RowFlag(0)),
    )


def _blank(image: NDArray[Any], good: NDArray[np.bool_]) -> NDArray[Any]:
    """Return a copy with NaN in the pixels that are not good."""
    blanked = image.copy()
    blanked[~good] = np.nan
    return blanked


def _as_floats(first: NDArray[Any], second: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return both images contiguous and of one type: float32 if it holds both, else float64."""
    first, second = as_floats(first), as_floats(second)
    dtype = np.result_type(first, second)
    return first.astype(dtype, copy=False), second.astype(dtype, copy=False)
