"""An exposure of bright sources, cut into squares in which amplifiers can be compared pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcal.calibs.coupling import orient
from streamcal.calibs.subtract import median_level
from streamcal.records import Exposure

OWN_LIGHT_SIGMA = 10.0  # noise does not reach this, so that growing around such pixels costs little
STAR_WIDTH = 9  # pixels: light too faint to be seen in one is looked for in the mean over such a square
FAINT_LIGHT_SIGMA = 4.0  # of that mean: of white noise, or as it scatters where it does so more


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Square:
    """A square of the oriented amplifiers: the pixels that are good at all of them.

    Attributes
    ----------
    place : tuple of slice
        Rows and columns.
    good : (side, side) ndarray of bool
        Which of its pixels are here.
    pixels : (n_amp, n) ndarray of float64
        Less the amplifiers' medians.
    levels : (n_amp, 1) ndarray of float64
        These medians: crosstalk that is not linear goes by the whole signal.
    plane : (n, 3) ndarray of float64
        1, x and y: what sky and gradients look like here.
    """

    place: tuple[slice, slice]
    good: NDArray[np.bool_]
    pixels: NDArray[np.float64]
    levels: NDArray[np.float64]
    plane: NDArray[np.float64]

    def invert_planes(self, weights: NDArray[Any]) -> NDArray[np.float64]:
        """Return the inverse normal matrices, (n_amp, 3, 3), of planes fitted with these weights, (n_amp, n)."""
        products = (self.plane[:, :, None] * self.plane[:, None, :]).reshape(len(self.plane), -1)
        inverse = np.linalg.pinv((weights @ products).reshape(-1, 3, 3), hermitian=True)
        return np.asarray(inverse, float)


def cut_squares(exposure: Exposure, scale: NDArray[np.float64], bits: int, size: int) -> list[Square]:
    """Cut an exposure into squares.

    Parameters
    ----------
    exposure : Exposure
        Not changed.
    scale : (n_amp,) ndarray
        Factor of each amplifier.
    bits : int
        A pixel with one of these mask bits, or not finite, at any amplifier is left out at all.
    size : int
        Side in pixels.

    Returns
    -------
    list of Square
        Those with good pixels.

    Raises
    ------
    ValueError
        If the amplifiers differ in number from ``scale``, or in shape, or one has no good pixel.
    """
    amplifiers = list(exposure.amplifiers.values())
    shapes = {amplifier.data.shape for amplifier in amplifiers}
    if len(shapes) != 1 or len(amplifiers) != len(scale):
        msg = f"exposures must have {len(scale)} amplifiers of one shape, {exposure.info} has {len(amplifiers)} of "
        msg += " and ".join(str(shape) for shape in sorted(shapes))
        raise ValueError(msg)
    for amplifier in amplifiers:
        if not (np.isfinite(amplifier.data) & ((amplifier.mask & bits) == 0)).any():
            msg = f"amplifier {amplifier.name} of {exposure.info} has no good pixel: name it in bad_amps"
            raise ValueError(msg)
    levels = np.array([[median_level(amplifier.data, amplifier.mask, bits)] for amplifier in amplifiers])
    images = [orient(amplifier.data, amplifier.readout_corner) for amplifier in amplifiers]
    masks = [orient(amplifier.mask, amplifier.readout_corner) for amplifier in amplifiers]
    factor, squares = scale[:, None], []
    for y, x in product(*(range(0, length, size) for length in images[0].shape)):
        place = slice(y, min(y + size, images[0].shape[0])), slice(x, min(x + size, images[0].shape[1]))
        block = np.array([image[place] for image in images], float)
        good = np.isfinite(block).all(axis=0) & ~np.any([(mask[place] & bits) != 0 for mask in masks], axis=0)
        if good.any():
            plane = np.column_stack([np.ones(np.count_nonzero(good)), *(axis / size for axis in np.nonzero(good))])
            pixels = (block[:, good] - levels) * factor
            squares.append(Square(place=place, good=good, pixels=pixels, levels=levels * factor, plane=plane))
    return squares


def find_dark(
    squares: Sequence[Square], residuals: Sequence[NDArray[np.float64]], noise: NDArray[np.float64], grow: int
) -> list[NDArray[np.bool_]]:
    """Find where amplifiers have no light of their own: not well above noise and crosstalk, nor near such a pixel.

    The wings of a target's own sources, and faint sources, would pass a clipping one by one and bias the fit together.

    Parameters
    ----------
    squares : sequence of Square
        Of one exposure.
    residuals : sequence of (n_amp, n) ndarray
        By square: pixels less crosstalk and sky.
    noise : (n_amp, 1) ndarray
        Of each amplifier.
    grow : int
        How near, in pixels along each axis.

    Returns
    -------
    list of (n_amp, n) ndarray of bool
        By square.
    """
    from scipy.ndimage import maximum_filter1d, minimum_filter1d, uniform_filter1d

    shape = [max((square.place[axis].stop for square in squares), default=0) for axis in (0, 1)]
    places = [(slice(None), *square.place) for square in squares]
    own = np.zeros((len(noise), *shape), np.float32)  # in units of the noise, no more than what counts as light
    for place, square, residual in zip(places, squares, residuals, strict=True):
        own[place][:, square.good] = np.clip(residual / noise, -3.0, OWN_LIGHT_SIGMA)
    faint = np.minimum(own, 3.0)  # so that a particle's hit is no faint star
    own = np.asarray(own == OWN_LIGHT_SIGMA, np.uint8)
    for axis in (1, 2):  # light fills three by three pixels; a particle's hit is left to the clipping
        own = minimum_filter1d(own, 3, axis=axis, mode="nearest")
        faint = uniform_filter1d(faint, STAR_WIDTH, axis=axis, mode="nearest")
    for axis in (1, 2):
        own = maximum_filter1d(own, 3, axis=axis, mode="nearest")
    scatter = noise_of(
        [faint[place][:, square.good] for place, square in zip(places, squares, strict=True)], 1 / STAR_WIDTH
    )
    own |= faint > FAINT_LIGHT_SIGMA * scatter[:, :, None]
    for axis in (1, 2):
        own = maximum_filter1d(own, 2 * grow + 1, axis=axis, mode="nearest")
    return [own[place][:, square.good] == 0 for place, square in zip(places, squares, strict=True)]


def noise_of(residuals: Sequence[NDArray[np.float64]], least: float) -> NDArray[np.float64]:
    """Return the noise of each amplifier, (n_amp, 1): the median over the squares of their scaled median deviations."""
    deviations = [1.4826 * np.median(np.abs(residual), axis=1) for residual in residuals]
    return np.maximum(np.median(deviations, axis=0), least)[:, None]
