"""The textbook method, written plainly: what the ratios of the benchmarks refer to, and an oracle of the tests.

Astier et al. 2019 (arXiv:1905.08677), appendix A: covariances of a masked difference image by Fourier transforms in
double precision, padded with zeros to powers of two.
"""

from __future__ import annotations

import numpy as np


def textbook_covariances(difference, weight, max_lag=10):
    """Return half the covariances of a difference image, and the pixel pairs, at each lag.

    Parameters
    ----------
    difference : (ny, nx) array of float
        Level-matched difference of two flats, ADU; finite.
    weight : (ny, nx) array
        1 where a pixel is used, else 0.
    max_lag : int
        Lags along each axis, 0 included.

    Returns
    -------
    covariance, n_pixels : (max_lag, max_lag) ndarray of float64
        Element [i, j]: lag i along x, j along y; averaged (pixels: added) over (i, j) and (i, -j).
    """
    image = np.asarray(difference, dtype=np.float64) * weight
    mask = np.asarray(weight, dtype=np.float64)
    shape = [1 << (length + max_lag - 1).bit_length() for length in image.shape]
    image_transform, mask_transform = np.fft.rfft2(image, shape), np.fft.rfft2(mask, shape)
    products = np.fft.irfft2(np.abs(image_transform) ** 2, shape)
    n_pixels = np.rint(np.fft.irfft2(np.abs(mask_transform) ** 2, shape))
    partners = np.fft.irfft2(image_transform * mask_transform.conj(), shape)
    bases = np.fft.irfft2(image_transform.conj() * mask_transform, shape)

    def at_lag(i, j):
        n = n_pixels[j, i]
        return (products[j, i] - bases[j, i] * partners[j, i] / n) / n

    covariance, counts = np.zeros((max_lag, max_lag)), np.zeros((max_lag, max_lag))
    for i, j in np.ndindex(max_lag, max_lag):
        signs = (1, -1) if i and j else (1,)
        covariance[i, j] = np.mean([at_lag(i, sign * j) for sign in signs]) / 2
        counts[i, j] = sum(n_pixels[sign * j, i] for sign in signs)
    return covariance, counts
