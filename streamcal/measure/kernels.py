"""Compiled loops: what numpy cannot do in one pass over the pixels.

No kernel uses ``fastmath``: it may assume that there are no NaN, and its sums depend on the machine. Accumulation is
in float64, by rows and then over rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@numba.njit(nogil=True, cache=True)
def moments_within(values: NDArray[np.float64], centre: float, half_width: float) -> tuple[int, float, float]:
    """Count, mean and variance of the values within an inclusive cut about a centre.

    Parameters
    ----------
    values : (n,) ndarray of float64
        NaN lies outside every cut.
    centre, half_width : float
        The cut, ``abs(value - centre) <= half_width``.

    Returns
    -------
    n : int
    mean : float
        NaN when no value lies within.
    variance : float
        Unbiased (n - 1); NaN for fewer than two values.
    """
    n = 0
    total = 0.0
    squares = 0.0
    for value in values:
        offset = value - centre  # sums about the centre do not cancel
        if abs(offset) <= half_width:
            n += 1
            total += offset
            squares += offset * offset
    if n == 0:
        return n, np.nan, np.nan
    mean = total / n
    if n == 1:
        return n, centre + mean, np.nan
    return n, centre + mean, max(0.0, (squares - total * mean) / (n - 1))


@numba.njit(nogil=True, cache=True)
def lag_products(values: NDArray[np.float64], max_lag: int) -> NDArray[np.float64]:
    """Sum the products of each pixel with its neighbour at each lag.

    Parameters
    ----------
    values : (ny, nx) ndarray of float64
        Pixels, 0 where a pixel is not used.
    max_lag : int
        Number of lags along each axis, 0 included.

    Returns
    -------
    (2, max_lag, max_lag) ndarray of float64
        Element ``[0, i, j]``: pixels (y, x) and (y + j, x + i); ``[1, i, j]``: pixels (y + j, x) and (y, x + i).
    """
    ny, nx = values.shape
    products = np.zeros((2, max_lag, max_lag))
    for y in range(ny):
        near = values[y]
        for j in range(min(max_lag, ny - y)):
            far = values[y + j]
            for i in range(min(max_lag, nx)):
                rising = 0.0
                falling = 0.0
                for x in range(nx - i):
                    rising += near[x] * far[x + i]
                    falling += far[x] * near[x + i]
                products[0, i, j] += rising
                products[1, i, j] += falling
    return products


@numba.njit(nogil=True, cache=True)
def hole_losses(
    values: NDArray[np.float64],
    used: NDArray[np.bool_],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    max_lag: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Sum the pixels whose neighbour at each lag is a hole.

    The cost goes with the number of holes, not of pixels: most masks are nearly empty.

    Parameters
    ----------
    values : (ny, nx) ndarray of float64
        Pixels, 0 where a pixel is not used.
    used : (ny, nx) ndarray of bool
        False at a hole.
    rows, columns : (n,) ndarray of int64
        Where the holes are.
    max_lag : int
        Number of lags along each axis, 0 included.

    Returns
    -------
    base, partner : (2, max_lag, max_lag) ndarray of float64
        Sum of the base pixels whose partner is a hole, and of the partners whose base is one.
    both : (2, max_lag, max_lag) ndarray of int64
        Number of pairs of holes.
    """
    ny, nx = values.shape
    base = np.zeros((2, max_lag, max_lag))
    partner = np.zeros((2, max_lag, max_lag))
    both = np.zeros((2, max_lag, max_lag), np.int64)
    for hole in range(rows.size):
        for sign in range(2):
            for i in range(max_lag):
                for j in range(max_lag):
                    dy = j if sign == 0 else -j
                    y, x = rows[hole] - dy, columns[hole] - i
                    if 0 <= y < ny and x >= 0:
                        base[sign, i, j] += values[y, x]
                    y, x = rows[hole] + dy, columns[hole] + i
                    if 0 <= y < ny and x < nx:
                        partner[sign, i, j] += values[y, x]
                        both[sign, i, j] += not used[y, x]
    return base, partner, both


def warm_kernels() -> None:
    """Compile, or load from the cache, every kernel for the types it is used with.

    A process that calls this before its first pair does not pause on that pair.
    """
    image = np.ones((3, 4))
    used = np.ones((3, 4), dtype=np.bool_)
    holes = np.array([1], dtype=np.int64)
    moments_within(image.ravel(), 1.0, 1.0)
    lag_products(image, 2)
    hole_losses(image, used, holes, holes, 2)
