"""The compiled kernels as such."""

import numpy as np

from streamcal.measure import kernels, measure_amplifier, warm_kernels


def test_warm_kernels_leaves_nothing_to_compile():
    """After warm_kernels a measurement, with holes, compiles no further signature."""
    warm_kernels()
    compiled = [kernels.moments_within, kernels.lag_products, kernels.hole_losses]
    before = [list(kernel.signatures) for kernel in compiled]
    assert all(before)
    first, second = np.random.default_rng(0).normal(100, 10, (2, 110, 100)).astype(np.float32)
    measure_amplifier(first, second, np.eye(110, 100, dtype=np.uint32), 3.0)
    assert [list(kernel.signatures) for kernel in compiled] == before


def test_moments_do_not_cancel():
    """Variance is taken about the centre: a level of 1e9 does not eat it."""
    values = 1e9 + np.array([-1.0, 0.0, 1.0, 2.0])
    n, mean, variance = kernels.moments_within(values, 1e9, 1.0)
    assert (n, mean, variance) == (3, 1e9, 1.0)


def test_nan_is_outside_every_cut():
    """NaN is within no cut, however wide."""
    assert kernels.moments_within(np.array([1.0, np.nan]), 1.0, np.inf)[0] == 1
