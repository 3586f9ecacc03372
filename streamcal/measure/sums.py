"""Compiled passes over the pixels of a flat pair: moments, scans for quartiles, difference, gain sums.

Sums are in float64, whatever the pixels are, but those of a chunk of `scan_values`, which are in the pixels' own type.
Plain versions of all of them stand in the tests beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamcal.measure.compiled import compile_sum

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Moments = tuple[int, float, float]

CHUNK = 2048  # pixels; they and their marks stay in the innermost cache


@compile_sum
def moments_within(values: NDArray[np.floating], centre: float, half_width: float) -> Moments:
    """Count the values within an inclusive cut about a centre, and sum their offsets from it.

    Parameters
    ----------
    values : (n,) ndarray of float32 or float64
        NaN lies outside every cut.
    centre, half_width : float
        The cut, ``abs(value - centre) <= half_width``.

    Returns
    -------
    n : int
    total, squares : float
        Sum of the offsets and of their squares; sums about the centre do not cancel.
    """
    n = 0
    total = 0.0
    squares = 0.0
    for x in range(values.size):
        offset = values[x] - centre
        inside = abs(offset) <= half_width
        kept = offset if inside else 0.0
        n += inside
        total += kept
        squares += kept * kept
    return n, total, squares


@compile_sum
def scan_values(
    values: NDArray[np.floating],
    brackets: NDArray[np.floating],
    centre: float,
    half_width: float,
    kept: NDArray[np.floating],
) -> tuple[int, NDArray[np.int64], Moments, int]:
    """Look once at all values: what lies within a cut is summed, what may matter one by one is kept.

    Parameters
    ----------
    values : (n,) ndarray of float32 or float64
        Values that are not finite are not counted.
    brackets : (3, 2) ndarray of the same type
        Lower and upper bound of three intervals; bounds belong to them.
    centre, half_width : float
        The cut, see `moments_within`.
    kept : (n + 1,) ndarray of the same type
        Filled with the finite values that lie in a bracket or outside the cut, in their order.

    Returns
    -------
    n : int
        Finite values.
    below : (3,) ndarray of int64
        Values below each bracket.
    inner : tuple of int, float, float
        What `moments_within` gives.
    n_kept : int
    """
    (l0, h0), (l1, h1), (l2, h2) = brackets[0], brackets[1], brackets[2]
    marks = np.empty(CHUNK, np.uint8)
    zero = values.dtype.type(0)
    middle, width, limit = values.dtype.type(centre), values.dtype.type(half_width), values.dtype.type(np.inf)
    n = n_inner = n_kept = n0 = n1 = n2 = 0
    total = 0.0
    squares = 0.0
    for start in range(0, values.size, CHUNK):
        chunk = values[start : start + CHUNK]
        # sums of a chunk in the values' own type, counts in 32 bits: registers then hold as many of each as of values
        c = c_inner = c0 = c1 = c2 = np.int32(0)
        part = part_squares = zero
        for x in range(chunk.size):
            value = chunk[x]
            offset = value - middle
            inside = abs(offset) <= width
            finite = abs(value) < limit
            c = np.int32(c + finite)
            c0 = np.int32(c0 + (finite & (value < l0)))
            c1 = np.int32(c1 + (finite & (value < l1)))
            c2 = np.int32(c2 + (finite & (value < l2)))
            c_inner = np.int32(c_inner + inside)
            used = offset if inside else zero
            part += used
            part_squares += used * used
            bracketed = (value >= l0) & (value <= h0) | (value >= l1) & (value <= h1) | (value >= l2) & (value <= h2)
            marks[x] = finite & (bracketed | (not inside))
        n, n0, n1, n2, n_inner = n + int(c), n0 + int(c0), n1 + int(c1), n2 + int(c2), n_inner + int(c_inner)
        total += float(part)
        squares += float(part_squares)
        for x in range(chunk.size):  # without a branch: which values are kept cannot be predicted
            kept[n_kept] = chunk[x]
            n_kept += marks[x]
    return n, np.array([n0, n1, n2]), (n_inner, total, squares), n_kept


@compile_sum
def subtract_matched(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    factors: tuple[float, float],
    difference: NDArray[np.floating],
) -> None:
    """Fill ``difference = factors[0] * first - factors[1] * second``, rounded once; flat arrays of one length."""
    one, two = factors
    for x in range(first.size):
        difference[x] = one * first[x] - two * second[x]


@compile_sum
def mark_used(
    difference: NDArray[np.floating],
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    cut: tuple[float, float],
    used: NDArray[np.bool_],
) -> tuple[int, int, NDArray[np.float64]]:
    """Mark the pixels whose difference lies in an inclusive cut, NaN does not, and sum all that they are wanted for.

    One look for all: the four images are too large for a cache.

    Parameters
    ----------
    difference, first, second : (n,) ndarray of float32 or float64
        Pixels, ADU; D and the two flats, ``S = first + second``.
    cut : (float, float)
        Centre and half width.
    used : (n,) ndarray of bool
        Filled.

    Returns
    -------
    n_used, n_positive : int
        Pixels marked, and of them those with S > 0.
    sums : (8,) ndarray of float64
        Over the marked pixels: S, the offsets d of D from the centre, d^2, d^4; over those with S > 0: D^2 / S, its
        square, 1/S, 1/S^2.
    """
    centre, half_width = cut
    n_used = n_positive = 0
    totals = offsets = squares = fourths = ratios = ratio_squares = inverses = inverse_squares = 0.0
    for start in range(0, difference.size, CHUNK):
        # loops of few sums each, over pixels that are in the cache by now: a larger one is not vectorised
        deltas, marks = difference[start : start + CHUNK], used[start : start + CHUNK]
        ones, twos = first[start : start + CHUNK], second[start : start + CHUNK]
        for x in range(deltas.size):
            inside = abs(deltas[x] - centre) <= half_width
            marks[x] = inside
            offset = deltas[x] - centre if inside else 0.0
            square = offset * offset
            offsets += offset
            squares += square
            fourths += square * square
        for x in range(deltas.size):
            total = np.float64(ones[x]) + np.float64(twos[x])
            delta = np.float64(deltas[x])
            positive = marks[x] & (total > 0)
            n_used += marks[x]
            n_positive += positive
            totals += total if marks[x] else 0.0
            inverse = 1.0 / (total if positive else 1.0)
            ratio = delta * delta * inverse if positive else 0.0
            inverse = inverse if positive else 0.0
            ratios += ratio
            ratio_squares += ratio * ratio
            inverses += inverse
            inverse_squares += inverse * inverse
    sums = [totals, offsets, squares, fourths, ratios, ratio_squares, inverses, inverse_squares]
    return n_used, n_positive, np.array(sums)


@compile_sum
def gain_sums(
    difference: NDArray[np.floating],
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    used: NDArray[np.bool_],
    slope: float,
) -> tuple[int, int, NDArray[np.float64]]:
    """Sum ``r = (D + slope S)^2 / S`` and its kin over the used pixels with ``S = first + second > 0``.

    Parameters
    ----------
    difference, first, second : (n,) ndarray of float32 or float64
        Pixels, ADU; D and the two flats.
    used : (n,) ndarray of bool
        The pixels to use.
    slope : float
        0, or what undoes the level matching.

    Returns
    -------
    n_used, n_positive : int
        Pixels used, and of them those with S > 0.
    sums : (4,) ndarray of float64
        Of r, r^2, 1/S and 1/S^2.
    """
    n_used = n_positive = 0
    ratios = squares = inverses = inverse_squares = 0.0
    for x in range(difference.size):
        total = np.float64(first[x]) + np.float64(second[x])
        delta = difference[x] + slope * total
        positive = used[x] & (total > 0)
        n_used += used[x]
        n_positive += positive
        inverse = 1.0 / (total if positive else 1.0)
        ratio = delta * delta * inverse if positive else 0.0
        inverse = inverse if positive else 0.0
        ratios += ratio
        squares += ratio * ratio
        inverses += inverse
        inverse_squares += inverse * inverse
    return n_used, n_positive, np.array([ratios, squares, inverses, inverse_squares])


@compile_sum
def sum_rows(image: NDArray[np.floating], used: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum and count the used pixels of each row of an (ny, nx) image."""
    ny, nx = image.shape
    sums = np.zeros(ny)
    counts = np.zeros(ny, np.int64)
    for y in range(ny):
        row, chosen = image[y], used[y]
        total = 0.0
        n = 0
        for x in range(nx):
            total += np.float64(row[x]) if chosen[x] else 0.0
            n += chosen[x]
        sums[y] = total
        counts[y] = n
    return sums, counts


@compile_sum
def subtract_rows(image: NDArray[np.floating], level: NDArray[np.float64]) -> None:
    """Subtract from each row of an (ny, nx) image its level, in place; done in float64, rounded once."""
    for y in range(image.shape[0]):
        row, offset = image[y], level[y]
        for x in range(row.size):
            row[x] = row[x] - offset
