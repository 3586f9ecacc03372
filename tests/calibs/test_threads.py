"""Corrected pixels do not depend on how many threads the library of matrix products has, bit for bit."""

import numpy as np
from threadpoolctl import threadpool_limits

from streamcal.calibs.coupling import Coupling, subtract_coupled

RNG = np.random.default_rng(0)
LINEAR = RNG.normal(0, 1e-4, (16, 16)).astype(np.float32)
PIXELS = RNG.normal(3e4, 2e2, (16, 150, 509)).astype(np.float32)  # blocks that are no multiple of a vector


def subtract(n_threads):
    """Return the corrected pixels, worked out with so many threads at hand."""
    pixels = PIXELS.copy()
    with threadpool_limits(n_threads, user_api="blas"):
        subtract_coupled(list(pixels), Coupling(linear=LINEAR), iterations=2)
    return pixels


def test_threads_change_no_bit():
    """One thread, two and three."""
    one = subtract(1)
    assert not np.array_equal(one, PIXELS)
    np.testing.assert_array_equal(subtract(2), one)
    np.testing.assert_array_equal(subtract(3), one)
