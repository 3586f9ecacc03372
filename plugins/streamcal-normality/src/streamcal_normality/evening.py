"""Uneven light makes the difference of two flats a mixture of widths: bring all pixels to the width of the mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST = 0.05  # of the mean variance: what a pixel is taken to have at least, however low its level


def even_out(values: NDArray[np.floating], totals: NDArray[np.floating]) -> NDArray[np.float64]:
    r"""Scale differences to one width.

    The variance of a pixel's difference D is linear in its level: for Poisson light and Gaussian read noise, and
    given the sum S of the two flats, :math:`\langle D^2 \rangle = S / g + 2 s^2`, the photons of S being split between
    the flats by chance. So a straight line is fitted to D^2 over S, and

    .. math:: z = D \sqrt{\langle D^2 \rangle / v(S)}, \qquad v(S) = \langle D^2 \rangle + b (S - \langle S \rangle).

    The mean square of z is that of D: what is compared with ``variance`` does not change. What a Gaussian test makes of
    z does not feel that b was fitted, for S - <S> has no mean.

    Parameters
    ----------
    values : (n,) ndarray of float
        D, finite, with a mean near zero.
    totals : (n,) ndarray of float
        S of the same pixels.

    Returns
    -------
    (n,) ndarray of float64
        z; D itself where all S are equal. The input is not changed.
    """
    squares = values**2
    mean_square = squares.mean()
    level = totals - totals.mean()
    spread = level @ level
    if not (spread > 0 and mean_square > 0):
        return values.astype(np.float64)
    expected = mean_square + (level @ squares / spread) * level
    scaled: NDArray[np.float64] = values * np.sqrt(mean_square / np.maximum(expected, LEAST * mean_square))
    return scaled
