"""From light to stored pixels: photons, displaced charge, crosstalk, noise and digits, in the order of nature."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcal.records import ReadoutCorner
from streamcal.simulate.camera import ADC_MAXIMUM, BrighterFatter, Camera, SimulatedAmplifier


def simulate_flat(
    camera: Camera, electrons: float, rng: np.random.Generator, *, quantise: bool = True
) -> dict[str, NDArray[Any]]:
    """Expose the detector to the camera's light and read it out.

    The photons arrive first, Poisson distributed, and the charge is displaced afterwards: noise that were added after
    the displacement would not be correlated, and the variance would be linear in the level.

    Parameters
    ----------
    camera : Camera
        The truth.
    electrons : float
        Mean level over the detector, in electrons; 0 is a bias frame.
    rng : Generator
        Random numbers; all that is random is drawn from here.
    quantise : bool
        Digitise to uint16; else float32, without limits.

    Returns
    -------
    dict of str to (ny, nx) ndarray
        Stored images by amplifier, in ADU, prescan and overscan included.
    """
    rows = camera.grid[0] * camera.shape[0]
    columns = camera.grid[1] * camera.shape[1]
    light = np.broadcast_to(electrons * gradient_profile(columns, camera.gradient), (rows, columns))
    charge = collect_light(light, camera.brighter_fatter, rng)
    return read_out(camera, charge, rng, quantise=quantise)


def gradient_profile(columns: int, gradient: float) -> NDArray[np.float64]:
    """Return a linear illumination of mean 1 whose last column has `gradient` times the light of the first."""
    return np.linspace(2 / (1 + gradient), 2 * gradient / (1 + gradient), columns)


def collect_light(light: NDArray[Any], kernel: BrighterFatter, rng: np.random.Generator) -> NDArray[np.float64]:
    """Expose pixels to light that comes in portions, each displaced by the charge that lies there already.

    Where a portion comes to lie is found twice: the second time it is pushed by half of what the first guess put into
    each pixel, and not by half of what would have come without displacement. So errors fall with the square of the
    number of portions (the midpoint rule).

    Parameters
    ----------
    light : (ny, nx) ndarray
        Mean number of electrons by pixel.
    kernel : BrighterFatter
        How far borders move, and the number of portions.
    rng : Generator
        Random numbers.

    Returns
    -------
    (ny, nx) ndarray of float64
        Charge by the pixel where it is collected, in electrons.
    """
    portion = light / kernel.steps
    charge = displace_charge(rng.poisson(portion), kernel)
    for _ in range(kernel.steps - 1):
        arriving = rng.poisson(portion)
        guess = displace_charge(arriving, kernel, charge)
        charge += displace_charge(arriving, kernel, charge + (guess - arriving) / 2)
    return charge


def displace_charge(
    electrons: NDArray[Any], kernel: BrighterFatter, present: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    r"""Move arriving charge between neighbouring pixels as the brighter-fatter effect does.

    The border between two neighbours moves in proportion to the difference of their charges: what is present, and, on
    average over the time in which it arrives, half of what arrives. So from pixel x to its neighbour x + k goes

    .. math::

        F_k(x) = a_k\,(M_x - M_{x+k})\,\frac{Q_x + Q_{x+k}}{2}, \qquad M = P + \frac{Q}{2}

    of arriving charge Q on present charge P. Without P this is :math:`\frac{a_k}{4}\,(Q_x^2 - Q_{x+k}^2)`: small
    fluctuations q about a mean level become :math:`q' = q + (\mu/2)\, a * q` and their covariances :math:`C =
    \mu\,[\delta + \mu\,a + (\mu^2/4)\,a * a]`, the model of `BrighterFatter` to leading order. In many portions
    they obey :math:`dC/d\mu = \delta + 2\, a * C`, whose solution :math:`[e^{2 a \mu} - 1] / 2a`, powers as
    convolutions, is eq. 20 with b = 0 as far as that goes, to :math:`\mu^4`. Nothing crosses the edge of the detector.

    Parameters
    ----------
    electrons : (ny, nx) ndarray
        Arriving charge by the pixel where its photons arrived, in electrons.
    kernel : BrighterFatter
        How far borders move.
    present : (ny, nx) ndarray, optional
        Charge that lies there already, in electrons; none by default.

    Returns
    -------
    (ny, nx) ndarray of float64
        Arriving charge by the pixel where it is collected; the sum is that of the input.
    """
    arriving = electrons.astype(np.float64)
    pushing = arriving / 2 if present is None else present + arriving / 2
    charge = arriving.copy()
    this, following, whole = slice(None, -1), slice(1, None), slice(None)
    for a, source, target in (
        (kernel.a10, (whole, this), (whole, following)),
        (kernel.a01, (this, whole), (following, whole)),
        (kernel.a11, (this, this), (following, following)),
        (kernel.a11, (this, following), (following, this)),
    ):
        moved = a / 2 * (pushing[source] - pushing[target]) * (arriving[source] + arriving[target])
        charge[source] -= moved
        charge[target] += moved
    return charge


def read_out(
    camera: Camera, charge: NDArray[Any], rng: np.random.Generator, *, quantise: bool = True
) -> dict[str, NDArray[Any]]:
    """Read collected charge through the amplifiers.

    All outputs shift at the same moment, so crosstalk couples pixels that lie equally far from their outputs: it is
    added in readout order, in ADU, to signals without noise; each chain then adds its own bias level and read noise.

    Parameters
    ----------
    camera : Camera
        The truth.
    charge : (ny, nx) ndarray
        Charge on the whole detector, in electrons.
    rng : Generator
        Random numbers for the noise.
    quantise : bool
        Digitise to uint16; else float32, without limits.

    Returns
    -------
    dict of str to (ny, nx) ndarray
        Stored images by amplifier, in ADU, prescan and overscan included.
    """
    signals = np.stack([_shift_out(camera, charge, amplifier) for amplifier in camera.amplifiers])
    if camera.crosstalk:
        signals += np.tensordot(np.array(camera.crosstalk), signals, axes=1)
    images = {}
    for amplifier, signal in zip(camera.amplifiers, signals, strict=True):
        image = _make_blank(camera, amplifier, rng)
        image[:, camera.prescan : camera.prescan + camera.shape[1]] += signal
        stored = digitise(image) if quantise else image.astype(np.float32)
        images[amplifier.name] = flip_to_output(stored, amplifier.corner)
    return images


def flip_to_output(image: NDArray[Any], corner: ReadoutCorner) -> NDArray[Any]:
    """Return a view whose first row and column are next to the output; done twice it is the stored image again."""
    y = -1 if corner in {ReadoutCorner.UL, ReadoutCorner.UR} else 1
    x = -1 if corner in {ReadoutCorner.LR, ReadoutCorner.UR} else 1
    return image[::y, ::x]


def _shift_out(camera: Camera, charge: NDArray[Any], amplifier: SimulatedAmplifier) -> NDArray[np.float64]:
    held = np.minimum(camera.place(amplifier).cut(charge), amplifier.full_well)
    signal: NDArray[np.float64] = flip_to_output(held, amplifier.corner) / amplifier.gain
    return signal


def _make_blank(camera: Camera, amplifier: SimulatedAmplifier, rng: np.random.Generator) -> NDArray[np.float64]:
    blank = rng.normal(amplifier.bias, amplifier.read_noise_adu, camera.stored_shape)
    return blank + rng.normal(0.0, camera.row_noise, (camera.shape[0], 1))


def digitise(image: NDArray[Any]) -> NDArray[np.uint16]:
    """Round to whole ADU, within the range of the converter."""
    stored: NDArray[np.uint16] = np.clip(np.rint(image), 0, ADC_MAXIMUM).astype(np.uint16)
    return stored
