"""Convolution of covariance matrices, which are given for one quadrant and mean all four."""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def convolve_quadrants(first: Matrix, second: Matrix) -> Matrix:
    """Convolve two matrices that are mirrored to four quadrants, and return a quadrant of the result.

    Nothing is cut off inside: lags beyond a matrix count as zero, as in Astier et al. 2019 (arXiv:1905.08677), eq. 20.

    Parameters
    ----------
    first : (r, r) ndarray of float64
        Quadrant ``[i, j]`` of a matrix with ``M[-i, j] = M[i, -j] = M[i, j]``.
    second : (s, s) ndarray of float64
        The same of another.

    Returns
    -------
    (r + s - 1, r + s - 1) ndarray of float64
        The whole quadrant in which the result is not zero.
    """
    reach = len(first) - 1
    size = reach + len(second)
    padded = np.zeros((size + reach, size + reach))
    padded[: len(second), : len(second)] = second
    lags = np.abs(np.arange(-reach, size + reach))
    windows = sliding_window_view(padded[np.ix_(lags, lags)], (2 * reach + 1, 2 * reach + 1))
    mirrored = np.abs(np.arange(-reach, reach + 1))
    # directly, not by FFT, whose rounding errors are those of the largest lag in all
    return np.tensordot(windows, first[np.ix_(mirrored, mirrored)], axes=2)


def convolve_errors(covariance: Matrix) -> Matrix:
    """Return what errors of two matrices add, on average, to their convolution: the mean of ``d * e``.

    Parameters
    ----------
    covariance : (r**2, r**2) ndarray of float64
        Of the elements of the first matrix, d, with those of the second, e, each row by row, of one quadrant.

    Returns
    -------
    (2 r - 1, 2 r - 1) ndarray of float64
        The whole quadrant in which the result is not zero.
    """
    r = math.isqrt(len(covariance))
    lags = np.arange(1 - r, r)
    place = (r * np.abs(lags)[:, None] + np.abs(lags)).ravel()
    sums = lags[:, None] + lags  # the lag of the result, along one axis, by those of d and e
    width = 4 * r - 3
    target = (sums[:, None, :, None] + 2 * r - 2) * width + sums[None, :, None, :] + 2 * r - 2
    weights = covariance[np.ix_(place, place)].ravel()
    total: Matrix = np.bincount(target.ravel(), weights, minlength=width**2).astype(np.float64)
    return total.reshape(width, width)[2 * r - 2 :, 2 * r - 2 :]


def convolution_matrix(kernel: Matrix, n_in: int, n_out: int) -> Matrix:
    """Return the matrix that convolves with a mirrored kernel: ``T @ m.ravel()`` is a quadrant of ``kernel * m``.

    Parameters
    ----------
    kernel : (s, s) ndarray of float64
        Quadrant of the kernel; zero beyond.
    n_in, n_out : int
        Side of the quadrant that goes in, and of the one that is wanted.

    Returns
    -------
    (n_out**2, n_in**2) ndarray of float64
    """
    reach = n_in + n_out
    padded = np.zeros((reach, reach))
    size = min(len(kernel), reach)
    padded[:size, :size] = kernel[:size, :size]
    straight, mirrored, twice = _index(n_in, n_out)
    rows = padded[straight] + twice[..., None] * padded[mirrored]  # (out, in, reach): the first axis is done
    columns = rows[:, :, straight] + twice * rows[:, :, mirrored]  # (out, in, out, in)
    return columns.transpose(0, 2, 1, 3).reshape(n_out**2, n_in**2)


def _index(n_in: int, n_out: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Matrix]:
    """Return where along one axis the kernel is met by an element and by its mirror image, and if there is one."""
    target, source = np.arange(n_out)[:, None], np.arange(n_in)[None, :]
    has_mirror = np.broadcast_to(source > 0, (n_out, n_in)).astype(np.float64)
    return np.abs(target - source), target + source, has_mirror
