"""Curves of known truth, from the model itself: e2v-like pixels, 1 Mpx."""

import numpy as np

from streamcal.ptc import Curve, full_covariance

GAIN, NOISE, A00 = 1.5, 5.5, -3.1e-6
CUBIC = 8e-12  # 1/ADU, of POLYNOMIAL
N_PIXELS = 1_000_000


def kernel(side=8):
    """a_ij of e2v-like pixels: stronger along the columns, falling with distance."""
    i, j = np.mgrid[:side, :side]
    a = 3.2e-7 / (1 + (1.6 * i) ** 2 + j**2) ** 1.4
    a[0, 0] = A00
    return a


def slope(side=8):
    """b_ij: some 1e-6 near the centre."""
    i, j = np.mgrid[:side, :side]
    return 1.2e-6 * np.exp(-np.hypot(i, j) / 2)


def noise_matrix(side=8):
    """n_ij: read noise, and a little of it shared along a row."""
    n = np.zeros((side, side))
    n[0, 0] = NOISE**2
    n[1:2, 0] = 0.4
    return n


def levels(count=40, highest=120_000.0):
    """Means in ADU, log-spaced from 100 e-."""
    return np.geomspace(100.0, highest, count) / GAIN


def errors(variance, side, n_pixels=N_PIXELS):
    """White-noise errors of the covariances; two quadrants are averaged where both lags are not zero."""
    pixels = np.full((side, side), float(n_pixels))
    pixels[1:, 1:] *= 2
    pixels[0, 0] /= 2
    return variance[:, None, None] / np.sqrt(pixels)


def make_curve(model="FULLCOVARIANCE", *, rng=None, mean=None, side=8, n_pixels=N_PIXELS):
    """Return a curve of the model; with ``rng`` with noise, and errors as if measured."""
    mean = levels() if mean is None else mean
    b = slope(side) if model == "FULLCOVARIANCE" else None
    covariance = full_covariance(mean, gain=GAIN, a=kernel(side), b=b, noise=noise_matrix(side))
    if model == "EXPAPPROXIMATION":
        covariance[:, 0, 0] = np.expm1(2 * A00 * mean * GAIN) / (2 * GAIN**2 * A00) + (NOISE / GAIN) ** 2
    if model == "POLYNOMIAL":
        covariance[:, 0, 0] = mean / GAIN + A00 * mean**2 + CUBIC * mean**3 + (NOISE / GAIN) ** 2
    error = errors(covariance[:, 0, 0], side, n_pixels)
    if rng is not None:
        covariance = covariance + error * rng.normal(size=error.shape)
        error = errors(covariance[:, 0, 0], side, n_pixels)
    return Curve.of(mean, covariance[:, 0, 0], error, covariance)
