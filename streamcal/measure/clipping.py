"""Clipped mean and variance, with the correction for what a cut takes from a Gaussian."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamcal.measure.scan import SIGMA_PER_IQR, as_floats, scan_sample

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

QUANTUM = 1.0  # ADU: the step of an analogue-to-digital converter
QUANTISED_SIGMA = 0.25  # ADU: a narrower core is that of integers less a level per row: quartiles cannot see the noise


@dataclass(frozen=True, kw_only=True, slots=True)
class ClippedStatistics:
    """Mean and variance of the values that survived the clipping."""

    median: float  # of all finite values, in their unit; NaN when there are none
    mean: float  # NaN when there are none
    variance: float  # unbiased (n - 1), not corrected for the truncation; NaN for fewer than two values
    n_finite: int  # values that are finite
    n_values: int  # values within the last cut
    half_width: float  # of the last cut, the one these statistics are made with
    next_half_width: float  # of the cut about `mean` that the next iteration would make

    def within(self, values: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which values lie in the final cut, centred on the clipped mean; NaN lies outside."""
        kept: NDArray[np.bool_] = np.abs(values - self.mean) <= self.next_half_width
        return kept

    @property
    def sigma(self) -> float:
        """Standard deviation, corrected for the truncation by the cut that was really made.

        The cut is in units of the clipped, so slightly too small, standard deviation; the fixed point of
        ``sigma^2 = variance * f(half_width / sigma)`` takes that into account as well.
        """
        sigma = math.sqrt(self.variance) if self.variance > 0 else self.variance
        if not sigma > 0:
            return sigma
        for _ in range(20):
            sigma = math.sqrt(self.variance * truncation_factor(max(self.half_width / sigma, 1.0)))
        return sigma


def truncation_factor(n_sigma: float) -> float:
    """Ratio of the variance of a Gaussian to that of the same Gaussian cut at ``n_sigma``.

    ``f = 1 / (1 - 2 n phi(n) / (Phi(n) - Phi(-n)))``, phi and Phi the density and distribution of the standard
    normal: the variance of a symmetrically truncated normal, inverted.

    Parameters
    ----------
    n_sigma : float
        Half width of the cut in true standard deviations, above 0.

    Returns
    -------
    float
        At least 1.
    """
    if n_sigma <= 0:
        msg = f"n_sigma must be above 0, got {n_sigma!r}"
        raise ValueError(msg)
    if math.isinf(n_sigma):
        return 1.0
    density = math.exp(-0.5 * n_sigma**2) / math.sqrt(2 * math.pi)
    return 1 / (1 - 2 * n_sigma * density / math.erf(n_sigma / math.sqrt(2)))


def clip_statistics(values: ArrayLike, n_sigma: float = 5.5, n_iter: int = 3) -> ClippedStatistics:
    """Mean and variance of values within ``n_sigma`` standard deviations of the mean.

    The first cut is about the median, with 0.741301 times the interquartile range as the standard deviation; each
    further one about the mean, with the standard deviation, of the values within the cut before. Every iteration
    starts again from all values; a value on the edge is kept. Integers of low noise have no width between their
    quartiles: for them the first cut is taken from the standard deviation, and no cut is narrower than 1 ADU.

    Parameters
    ----------
    values : array_like of real numbers
        In ADU, any shape. Values that are not finite are left out. Sums are in float64.
    n_sigma : float
        Half width of the cuts in standard deviations, above 0.
    n_iter : int
        Number of cuts, at least 1.

    Returns
    -------
    ClippedStatistics
        The variance is not corrected for the truncation; see `truncation_factor`.

    Raises
    ------
    ValueError
        If ``n_sigma`` or ``n_iter`` is out of range.
    """
    check_clipping(n_sigma, n_iter)
    scan = scan_sample(as_floats(values).ravel(), n_sigma)
    low, centre, high = scan.quartiles
    sigma, narrowest = SIGMA_PER_IQR * (high - low), 0.0
    if sigma < QUANTISED_SIGMA:
        variance = scan.moments_within(centre, math.inf)[2]
        sigma, narrowest = math.sqrt(variance), QUANTUM
    n, mean, variance = 0, centre, math.nan
    next_half_width = max(narrowest, n_sigma * sigma)  # in this order NaN gives way
    for _ in range(n_iter):
        half_width = next_half_width
        n, mean, variance = scan.moments_within(mean, half_width)
        next_half_width = max(narrowest, n_sigma * math.sqrt(variance))
    return ClippedStatistics(
        median=scan.quartiles[1],
        mean=mean,
        variance=variance,
        n_finite=scan.n_finite,
        n_values=n,
        half_width=half_width,
        next_half_width=next_half_width,
    )


def check_clipping(n_sigma: float, n_iter: int) -> None:
    """Raise ValueError unless ``n_sigma`` is above 0 and ``n_iter`` at least 1."""
    if not n_sigma > 0:
        msg = f"n_sigma must be above 0, got {n_sigma!r}"
        raise ValueError(msg)
    if n_iter < 1:
        msg = f"n_iter must be at least 1, got {n_iter!r}"
        raise ValueError(msg)
