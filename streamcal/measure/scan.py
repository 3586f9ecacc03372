"""A large sample looked at once: its exact quartiles, and moments within any cut, without sorting or copying it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from streamcal.measure.scratch import borrow_array
from streamcal.measure.sums import moments_within, scan_values

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Quartiles = tuple[float, float, float]

SORTED_SIZE = 1 << 15  # up to twice as many values are simply sorted
STEP = 32  # of 2^20 values each so-manieth tells roughly where the quartiles lie
BRACKET = 3.5  # standard errors of such a quartile; if the true one is farther off, everything is sorted after all
INNER = 0.75  # of the first cut: later cuts hardly ever are so much narrower
SIGMA_PER_IQR = 0.741301  # standard deviation of a Gaussian in units of its interquartile range


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scan:
    """What one look at a sample has found."""

    values: NDArray[Any]  # (n,), as given
    n_finite: int  # of them, finite ones
    quartiles: Quartiles  # first, median, third of the finite values, linear between values; NaN when there are none
    centre: float = math.nan
    half_width: float = -math.inf  # of an inner cut about the centre
    inner: tuple[int, float, float] = (0, 0.0, 0.0)  # of the values within it, see `moments_within`
    outer: NDArray[Any] | None = None  # the finite values beyond it

    def moments_within(self, centre: float, half_width: float) -> tuple[int, float, float]:
        """Count, mean and variance of the values within an inclusive cut.

        Parameters
        ----------
        centre, half_width : float
            ``abs(value - centre) <= half_width``

        Returns
        -------
        n : int
        mean : float
            NaN when no value lies within.
        variance : float
            Unbiased (n - 1); NaN for fewer than two values.
        """
        if self.outer is None or abs(centre - self.centre) + self.half_width > half_width:
            return _normalise(moments_within(self.values, centre, half_width), centre)
        offsets = self.outer[np.abs(self.outer - centre) <= half_width] - self.centre
        n, total, squares = self.inner
        moments = n + offsets.size, total + float(offsets.sum()), squares + float(offsets @ offsets)
        return _normalise(moments, self.centre)


def as_floats(values: ArrayLike) -> NDArray[Any]:
    """Return values as an array of float32 if that holds them exactly, else of float64; no copy if it is one already.

    Parameters
    ----------
    values : array_like of real numbers
        Any shape.

    Returns
    -------
    ndarray of float32 or float64
        Contiguous, in native byte order, and writeable: kernels are compiled for nothing else.
    """
    array = np.asarray(values)
    is_narrow = array.dtype.itemsize <= (4 if array.dtype.kind == "f" else 2) and array.dtype.kind in "biuf"
    return np.require(array, np.float32 if is_narrow else np.float64, ["C", "W"])


def scan_sample(values: NDArray[Any], n_sigma: float) -> Scan:
    """Look at a sample.

    Of a large sample some thousand values, taken at equal steps, bracket the three quartiles; one pass then counts
    what is below each bracket, and keeps what is in it for sorting (Floyd & Rivest 1975). The same pass sums the
    moments within an inner cut, which is within all cuts to come; only the few values beyond it are looked at again.

    Parameters
    ----------
    values : (n,) ndarray of float32 or float64
        Values that are not finite are left out.
    n_sigma : float
        Half width of cuts to come, in standard deviations.

    Returns
    -------
    Scan
    """
    step = sampling_step(values.size)
    sample = _sort_finite(values[::step])
    if step == 1 or sample.size < values.size // step // 2:
        sample = sample if step == 1 else _sort_finite(values)
        return Scan(values=values, n_finite=sample.size, quartiles=_read_quartiles(sample))
    brackets = _bracket_quartiles(sample)
    low, middle, high = _read_quartiles(sample)
    # Rounded to the type in which `scan_values` takes offsets: they are added to this centre again.
    centre, half_width = (
        float(values.dtype.type(value)) for value in (middle, INNER * n_sigma * SIGMA_PER_IQR * (high - low))
    )
    buffer = borrow_array("kept", (values.size + 1,), values.dtype)
    n, below, inner, n_kept = scan_values(values, brackets, centre, half_width, buffer)
    kept = buffer[:n_kept]
    kept.sort()
    quartiles = _find_quartiles(kept, brackets, below, n) or _read_quartiles(_sort_finite(values))
    outer = kept[np.abs(kept - centre) > half_width].astype(np.float64)
    return Scan(
        values=values, n_finite=n, quartiles=quartiles, centre=centre, half_width=half_width, inner=inner, outer=outer
    )


def sampling_step(n: int) -> int:
    """Return the step at which n values are looked at for brackets of their quartiles; 1: all of them.

    In proportion to n^(1/3), sorting these values and all within the brackets takes the least time together.
    """
    return int(STEP * (n / 2**20) ** (1 / 3)) if n > 2 * SORTED_SIZE else 1


def _sort_finite(values: NDArray[Any]) -> NDArray[Any]:
    ordered: NDArray[Any] = values[np.isfinite(values)]
    ordered.sort()
    return ordered


def _positions(n: int) -> list[tuple[int, float]]:
    """Return, for each quartile of n sorted values, the index before it and how far it lies beyond."""
    return [(int(q * (n - 1)), q * (n - 1) % 1) for q in (0.25, 0.5, 0.75)]


def _interpolate(before: float, after: float, part: float) -> float:
    return before + (after - before) * part if part < 0.5 else after - (after - before) * (1 - part)


def _read_quartiles(ordered: NDArray[Any]) -> Quartiles:
    n = ordered.size
    if n == 0:
        return math.nan, math.nan, math.nan
    low, median, high = (
        _interpolate(float(ordered[k]), float(ordered[min(k + 1, n - 1)]), part) for k, part in _positions(n)
    )
    return low, median, high


def _bracket_quartiles(sample: NDArray[Any]) -> NDArray[Any]:
    """Return lower and upper bound of each quartile, (3, 2), from a sorted part of the values."""
    rank = np.array([0.25, 0.5, 0.75]) * sample.size
    error = BRACKET * np.sqrt(rank * (1 - rank / sample.size))
    bounds = np.stack([rank - error, rank + error], axis=1).astype(np.int64)
    return sample[np.clip(bounds, 0, sample.size - 1)]


def _find_quartiles(kept: NDArray[Any], brackets: NDArray[Any], below: NDArray[np.int64], n: int) -> Quartiles | None:
    """Read the quartiles off the sorted values that were kept; None if one of them is not in its bracket."""
    found = []
    for (k, part), (low, high), lower in zip(_positions(n), brackets, below.tolist(), strict=True):
        start, stop = np.searchsorted(kept, low, "left"), np.searchsorted(kept, high, "right")
        index = int(start) + k - lower
        if k < lower or index + 1 >= stop:
            return None
        found.append(_interpolate(float(kept[index]), float(kept[index + 1]), part))
    return found[0], found[1], found[2]


def _normalise(moments: tuple[int, float, float], centre: float) -> tuple[int, float, float]:
    """Turn sums of offsets from a centre into count, mean and variance."""
    n, total, squares = moments
    if n == 0:
        return 0, math.nan, math.nan
    mean = total / n
    variance = max(0.0, (squares - total * mean) / (n - 1)) if n > 1 else math.nan
    return n, centre + mean, variance
