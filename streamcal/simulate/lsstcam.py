"""Full-size exposures like those of one LSSTCam detector, quickly: for throughput, not for physics."""

from __future__ import annotations

import zlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

from streamcal.records import ReadoutCorner
from streamcal.simulate.camera import BrighterFatter, Camera, SimulatedAmplifier
from streamcal.simulate.files import encode_exposure, encode_primary, find_pixels
from streamcal.simulate.light import digitise, flip_to_output, gradient_profile
from streamcal.simulate.plan import Shot

N_COLUMNS = 8  # of amplifiers
PIXEL_BYTES = 2
POOL_SIZE = 1 << 23  # normal deviates; each amplifier of each exposure takes a stretch of them from anywhere


def _amplifier(row: int, column: int) -> SimulatedAmplifier:
    number = N_COLUMNS * row + column
    return SimulatedAmplifier(
        name=f"C{1 - row}{column}",
        gain=1.45 + 0.02 * number,
        read_noise=5.0 + 0.1 * number,
        bias=20000 + 250.0 * number,
        corner=ReadoutCorner.UR if row else ReadoutCorner.LL,
        column=column,
        row=row,
        full_well=60000.0,
    )


def _crosstalk() -> tuple[tuple[float, ...], ...]:
    """Return coefficients of some 1e-4 between neighbours, an order less beyond."""
    n = 2 * N_COLUMNS
    return tuple(
        tuple(0.0 if t == s else round(3e-4 / (1 + abs(t - s)) ** 2 - 1e-6, 8) for s in range(n)) for t in range(n)
    )


LSSTCAM = Camera(
    name="simulated-lsstcam",
    amplifiers=tuple(_amplifier(row, column) for row in range(2) for column in range(N_COLUMNS)),
    shape=(2002, 512),
    prescan=10,
    overscan=54,
    crosstalk=_crosstalk(),
    brighter_fatter=BrighterFatter(a10=0.0, a01=0.0, a11=0.0),
)
"""A camera of 16 amplifiers of 2002 x 512 pixels: the size of an LSSTCam detector of type e2v."""


def simulate_quickly(camera: Camera, electrons: float, rng: np.random.Generator) -> dict[str, NDArray[np.uint16]]:
    """Expose and read out as `simulate_flat` does, with noise from a pool that is drawn once.

    Photons are Gaussian, of the variance of Poisson light; no charge is displaced and none is lost at full well. The
    pool is eight times as large as an amplifier: two images share some of their noise, shifted, with a probability of
    a quarter. What is measured of a pair sees it only if its two images of an amplifier start within ten rows and ten
    columns of each other in the pool: five times in a hundred thousand.

    Parameters
    ----------
    camera : Camera
        Its crosstalk, gains, noise, bias levels and gradient; without brighter-fatter correlation and row noise.
    electrons : float
        Mean level over the detector.
    rng : Generator
        Chooses the stretches of the pool.

    Returns
    -------
    dict of str to (ny, nx) ndarray of uint16
        Stored images by amplifier, in ADU, prescan and overscan included.

    Raises
    ------
    ValueError
        If the camera has an effect that is left out here.
    """
    if camera.row_noise or any(any(row) for row in camera.brighter_fatter.matrix):
        msg = f"camera {camera.name!r} must have neither row noise nor brighter-fatter correlation to be simulated fast"
        raise ValueError(msg)
    signals = np.stack([_expose(camera, amplifier, electrons, rng) for amplifier in camera.amplifiers])
    if camera.crosstalk:
        flat = signals.reshape(len(signals), -1)
        flat += np.array(camera.crosstalk, np.float32) @ flat
    images = {}
    for amplifier, signal in zip(camera.amplifiers, signals, strict=True):
        image = _draw(camera.stored_shape, rng) * np.float32(amplifier.read_noise_adu)
        image += np.float32(amplifier.bias)
        image[:, camera.prescan : camera.prescan + camera.shape[1]] += signal
        images[amplifier.name] = flip_to_output(digitise(image), amplifier.corner)
    return images


class QuickExposures:
    """Exposures of a focal plane: all detectors get the same pixels, each moved along the columns by rows of its own.

    So an exposure is simulated once, and not for each detector.

    Parameters
    ----------
    camera : Camera
        As for `simulate_quickly`.
    seed : int
        Of the random numbers.
    """

    def __init__(self, camera: Camera, seed: int) -> None:
        self._camera = camera
        self._seed = seed
        self._exposure_id: int | None = None
        self._images: dict[str, NDArray[np.uint16]] = {}
        self._plain = b""  # the file that these images make, rows not moved
        self._starts: list[int] = []  # of the pixels in it

    def expose(self, shot: Shot) -> dict[str, NDArray[np.uint16]]:
        """Return the stored images of one detector, which depend on seed, exposure id and detector alone.

        Parameters
        ----------
        shot : Shot
            Exposure and detector; successive ones of the same exposure are quick.

        Returns
        -------
        dict of str to (ny, nx) ndarray of uint16
            As from `simulate_quickly`.
        """
        self._simulate(shot)
        moved = self._rows_moved(shot)
        return {name: np.roll(image, moved, axis=0) for name, image in self._images.items()}

    def encode(self, shot: Shot, name: str = ".fits") -> bytes:
        """Return the bytes of one detector's file: those that `encode_exposure` makes of what `expose` returns.

        Plain files of one exposure differ by the primary header and the place of the rows: no more is written anew.

        Parameters
        ----------
        shot : Shot
            As for `expose`.
        name : str
            As for `encode_exposure`.
        """
        if not name.endswith(".fits"):
            return encode_exposure(self._camera, shot, self.expose(shot), name)
        self._simulate(shot)
        if not self._plain:
            self._plain = encode_exposure(self._camera, shot, self._images)
            self._starts = find_pixels(self._plain)
        primary = encode_primary(self._camera, shot)
        ny, nx = self._camera.stored_shape
        size, moved = ny * nx * PIXEL_BYTES, self._rows_moved(shot) * nx * PIXEL_BYTES
        plain, done = memoryview(self._plain), len(primary)
        pieces: list[bytes | memoryview] = [primary]
        for start in self._starts:
            stop = start + size
            pieces += [plain[done:start], plain[stop - moved : stop], plain[start : stop - moved]]
            done = stop
        return b"".join([*pieces, plain[done:]])

    def _simulate(self, shot: Shot) -> None:
        if shot.exposure_id != self._exposure_id:
            rng = np.random.default_rng([self._seed, shot.exposure_id])
            self._images = simulate_quickly(self._camera, shot.electrons, rng)
            self._exposure_id, self._plain = shot.exposure_id, b""

    def _rows_moved(self, shot: Shot) -> int:
        return zlib.crc32(f"{shot.detector} {shot.exposure_id} {self._seed}".encode()) % self._camera.shape[0]


def _expose(
    camera: Camera, amplifier: SimulatedAmplifier, electrons: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return what an amplifier reads before its own noise, in ADU, output first."""
    columns = camera.place(amplifier)
    profile = gradient_profile(camera.grid[1] * camera.shape[1], camera.gradient)[columns.x0 : columns.x1]
    light = electrons * flip_to_output(profile[np.newaxis], amplifier.corner)
    signal = _draw(camera.shape, rng)
    signal *= (np.sqrt(light) / amplifier.gain).astype(np.float32)
    signal += (light / amplifier.gain).astype(np.float32)
    return signal


def _draw(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a copy of some stretch of the pool."""
    size = shape[0] * shape[1]
    start = int(rng.integers(POOL_SIZE - size))
    return _noise_pool()[start : start + size].reshape(shape).copy()


@cache
def _noise_pool() -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal(POOL_SIZE, dtype=np.float32)
