"""Compiled sums over pairs of pixels: the products at each lag, and what holes in the mask take away.

Pixels of a few rows are summed in their own type, all else in float64; each function says which. Plain versions of all
of them stand in the tests beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamcal.measure.compiled import compile_sum

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS = 4  # base rows that `_dot_rows` takes at once
LAGS = 10  # and lags along y; the names in it are written out for these numbers
RUN = 16  # holes side by side that are taken together


def framed_shape(shape: tuple[int, ...], max_lag: int) -> tuple[int, int]:
    """Return the shape of an image in a frame of zeros, wide enough that no loop need test for the edges."""
    ny, nx = shape
    below = -(-max_lag // LAGS) * LAGS + ROWS
    return max_lag + -(-ny // ROWS) * ROWS + below, nx + 2 * max_lag


@compile_sum
def lag_products(framed: NDArray[np.floating], max_lag: int) -> NDArray[np.float64]:
    """Sum the products of each pixel with its neighbour at each lag.

    Every vector of pixels that is loaded serves several lags, and the sums stay in registers: those of four rows in
    the array's own type, all others in float64.

    Parameters
    ----------
    framed : ndarray of float32 or float64
        From `frame_image`.
    max_lag : int
        Number of lags along each axis, 0 included.

    Returns
    -------
    (2, max_lag, max_lag) ndarray of float64
        Element ``[0, i, j]``: pixels (y, x) and (y + j, x + i); ``[1, i, j]``: pixels (y + j, x) and (y, x + i).
    """
    height = -(-max_lag // LAGS) * LAGS
    products = np.zeros((2, max_lag, height))
    left, nx = max_lag, framed.shape[1] - 2 * max_lag
    for y in range(max_lag, framed.shape[0] - height - ROWS, ROWS):
        near = framed[y : y + ROWS]
        for j in range(0, height, LAGS):
            far = framed[y + j : y + j + ROWS + LAGS - 1]
            _dot_rows(near, far, (left, left, nx), products[0, 0, j : j + LAGS])
            for i in range(1, max_lag):
                _dot_rows(near, far, (left, left + i, nx), products[0, i, j : j + LAGS])
                _dot_rows(near, far, (left + i, left, nx), products[1, i, j : j + LAGS])
    products[1, 0] = products[0, 0]
    return products[:, :, :max_lag].copy()


@compile_sum
def _dot_rows(
    near: NDArray[np.floating], far: NDArray[np.floating], columns: tuple[int, int, int], sums: NDArray[np.float64]
) -> None:
    """Add to ``sums[k]`` the products of rows r of ``near`` with rows r + k of ``far``, from columns of each on."""
    i, j, nx = columns
    n0, n1, n2, n3 = near[0, i:], near[1, i:], near[2, i:], near[3, i:]
    f0, f1, f2, f3, f4 = far[0, j:], far[1, j:], far[2, j:], far[3, j:], far[4, j:]
    f5, f6, f7, f8, f9 = far[5, j:], far[6, j:], far[7, j:], far[8, j:], far[9, j:]
    f10, f11, f12 = far[10, j:], far[11, j:], far[12, j:]
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = near.dtype.type(0)
    for x in range(nx):
        a, b, c, d = n0[x], n1[x], n2[x], n3[x]
        s0 += a * f0[x] + b * f1[x] + c * f2[x] + d * f3[x]
        s1 += a * f1[x] + b * f2[x] + c * f3[x] + d * f4[x]
        s2 += a * f2[x] + b * f3[x] + c * f4[x] + d * f5[x]
        s3 += a * f3[x] + b * f4[x] + c * f5[x] + d * f6[x]
        s4 += a * f4[x] + b * f5[x] + c * f6[x] + d * f7[x]
        s5 += a * f5[x] + b * f6[x] + c * f7[x] + d * f8[x]
        s6 += a * f6[x] + b * f7[x] + c * f8[x] + d * f9[x]
        s7 += a * f7[x] + b * f8[x] + c * f9[x] + d * f10[x]
        s8 += a * f8[x] + b * f9[x] + c * f10[x] + d * f11[x]
        s9 += a * f9[x] + b * f10[x] + c * f11[x] + d * f12[x]
    sums[0] += s0
    sums[1] += s1
    sums[2] += s2
    sums[3] += s3
    sums[4] += s4
    sums[5] += s5
    sums[6] += s6
    sums[7] += s7
    sums[8] += s8
    sums[9] += s9


@compile_sum
def frame_image(
    image: NDArray[np.floating], used: NDArray[np.bool_], level: float, framed: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Copy the used pixels of an image, less a level, into a frame of zeros; sum and count its rows.

    Parameters
    ----------
    image : (ny, nx) ndarray of float32 or float64
        What is not used may be anything, NaN included.
    used : (ny, nx) ndarray of bool
        The pixels to use.
    level : float
        Subtracted.
    framed : ndarray of the type of ``image``
        Of `framed_shape`; filled.

    Returns
    -------
    sums : (ny,) ndarray of float64
        Of the pixels that were copied, less the level.
    counts : (ny,) ndarray of int64
    """
    ny, nx = image.shape
    frame = (framed.shape[1] - nx) // 2
    framed[:frame] = 0
    framed[frame + ny :] = 0
    framed[:, :frame] = 0
    framed[:, frame + nx :] = 0
    sums = np.zeros(ny)
    counts = np.zeros(ny, np.int64)
    for y in range(ny):
        row, good, target = image[y], used[y], framed[y + frame, frame:]
        total = 0.0
        n = 0
        for x in range(nx):
            value = row[x] - level if good[x] else 0.0
            target[x] = value
            total += value
            n += good[x]
        sums[y] = total
        counts[y] = n
    return sums, counts


@compile_sum
def sum_around_holes(
    framed: NDArray[np.floating], is_hole: NDArray[np.uint8], used: NDArray[np.bool_], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Sum what surrounds the holes of an image: at each distance the pixels, and the number of other holes.

    The cost goes with the number of holes, not of pixels: most masks are nearly empty. A long run of holes in a row
    costs little more than a hole. What surrounds the other holes of a row is summed in the pixels' own type, all else
    in float64.

    Parameters
    ----------
    framed : ndarray of float32 or float64
        From `frame_image`, with a frame of ``max_lag``.
    is_hole : ndarray of uint8
        Of the same shape: 1 at a hole, 0 elsewhere and in the frame.
    used : (ny, nx) ndarray of bool
        False at a hole.
    counts : (ny,) ndarray of int64
        From `frame_image`: used pixels of each row.

    Returns
    -------
    pixels : (2 max_lag + 1, 2 max_lag + 1) ndarray of float64
        Element ``[max_lag + dy, max_lag + dx]``: sum of the pixels that lie (dy, dx) from a hole.
    holes : ndarray of int32
        Of the same shape: pairs of holes.
    """
    ny, nx = used.shape
    side = framed.shape[1] - nx + 1
    pixels = np.zeros((side, side))
    holes = np.zeros((side, side), np.int32)
    around = np.zeros((side, side), framed.dtype)
    alone = np.zeros(nx, np.bool_)
    for y in range(ny):
        if counts[y] == nx:
            continue
        for x in range(nx):
            alone[x] = not used[y, x]
        if nx - counts[y] >= RUN:
            _take_runs(alone, framed[y : y + side], is_hole[y : y + side], pixels, holes)
        around[:] = 0
        for x in range(nx):
            if not alone[x]:
                continue
            for dy in range(side):
                for dx in range(side):
                    around[dy, dx] += framed[y + dy, x + dx]
                    holes[dy, dx] += is_hole[y + dy, x + dx]
        pixels += around
    return pixels, holes


@compile_sum
def _take_runs(
    alone: NDArray[np.bool_],
    rows: NDArray[np.floating],
    hole_rows: NDArray[np.uint8],
    pixels: NDArray[np.float64],
    holes: NDArray[np.int32],
) -> None:
    """Sum what surrounds the long runs of holes of a row, and leave only the other holes in ``alone``."""
    length = 0
    for x in range(alone.size + 1):
        if x < alone.size and alone[x]:
            length += 1
            continue
        if length >= RUN:
            _sum_around_run(rows, (x - length, x), pixels)
            _sum_around_run(hole_rows, (x - length, x), holes)
            alone[x - length : x] = False
        length = 0


@compile_sum
def _sum_around_run(rows: NDArray[Any], run: tuple[int, int], sums: NDArray[Any]) -> None:
    """Add what surrounds a run of holes: of the sum over one more column to the right, one drops out at the left."""
    begin, end = run
    for dy in range(rows.shape[0]):
        row = rows[dy]
        total = 0.0
        for x in range(begin, end):
            total += row[x]
        sums[dy, 0] += total
        for dx in range(1, sums.shape[1]):
            total += np.float64(row[end + dx - 1]) - np.float64(row[begin + dx - 1])
            sums[dy, dx] += total
