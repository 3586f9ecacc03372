"""A Gaussian fitted to a histogram by maximum likelihood, with its error and its chi-square."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_EXPECTED = 10.0  # counts; below, Pearson's statistic does not follow chi-square
MAX_STEPS = 100
TOLERANCE = 1e-9  # of sigma


@dataclass(frozen=True, kw_only=True, slots=True)
class GaussianFit:
    """A Gaussian and how well it fits; all NaN where there is no such Gaussian."""

    mean: float  # in the unit of the values
    sigma: float  # likewise, of the whole Gaussian although only a part of it was fitted
    sigma_error: float  # standard error, from the Fisher information
    chi2_dof: float  # Pearson's chi-square per degree of freedom; NaN for fewer than 4 groups of bins


NO_FIT = GaussianFit(mean=math.nan, sigma=math.nan, sigma_error=math.nan, chi2_dof=math.nan)


def fit_gaussian(values: NDArray[np.floating], n_bins: int = 100, range_sigmas: float = 4.0) -> GaussianFit:
    r"""Fit a Gaussian to the histogram of some values.

    Bin k has the probability

    .. math:: p_k = \frac{\Phi(z_{k+1}) - \Phi(z_k)}{\Phi(z_n) - \Phi(z_0)}, \qquad z_k = (e_k - \mu) / \sigma,

    of a Gaussian integrated over the bin and cut at the ends of the histogram, and the multinomial likelihood
    :math:`\sum n_k \ln p_k` is maximised by Fisher scoring. So neither the width of the bins nor the range moves
    :math:`\sigma`, values beyond the range do not count, and empty bins need no invented errors (least squares with
    the errors :math:`\sqrt{n_k}` is biased low).

    Parameters
    ----------
    values : (n,) ndarray of float
        Finite.
    n_bins : int
        Number of bins of equal width.
    range_sigmas : float
        The histogram covers the mean of the values and so many of their standard deviations to either side; at most
        6, where a Gaussian still has probabilities that double precision can tell apart.

    Returns
    -------
    GaussianFit
        ``chi2_dof`` is Pearson's :math:`\sum (n_k - E_k)^2 / E_k` over neighbouring bins joined until each group
        expects `MIN_EXPECTED` counts, divided by groups - 3 (total, mean and sigma are taken from the data). NaN
        where the values have no width or the histogram no maximum like that of a Gaussian.
    """
    centre, scale = float(values.mean()), float(values.std())
    if not scale > 0:
        return NO_FIT
    edges = np.linspace(-range_sigmas, range_sigmas, n_bins + 1)
    counts = np.histogram((values - centre) / scale, edges)[0]
    solution = _maximise_likelihood(counts, edges)
    if solution is None:
        return NO_FIT
    mean, sigma, sigma_error = solution
    probability = _bin_probabilities((edges - mean) / sigma)
    return GaussianFit(
        mean=centre + scale * mean,
        sigma=scale * sigma,
        sigma_error=scale * sigma_error,
        chi2_dof=reduced_chi2(counts, counts.sum() * probability / probability.sum()),
    )


def _maximise_likelihood(counts: NDArray[np.integer], edges: NDArray[np.floating]) -> tuple[float, float, float] | None:
    """Return mean, sigma and the error of sigma, starting from 0 and 1; None if that leads nowhere."""
    mean, sigma = 0.0, 1.0
    total = counts.sum()
    for _ in range(MAX_STEPS):
        probability, slopes = _likelihood_terms(edges, mean, sigma)
        score = slopes @ (counts / probability)
        information = total * (slopes / probability) @ slopes.T
        try:
            covariance = np.linalg.inv(information)
        except np.linalg.LinAlgError:
            return None
        step_mean, step_sigma = covariance @ score
        mean += float(np.clip(step_mean, -sigma, sigma))
        sigma = float(np.clip(sigma + step_sigma, sigma / 2, 2 * sigma))
        if sigma > edges[-1]:
            return None  # as good as flat over the whole histogram: the likelihood has no maximum
        if max(abs(step_mean), abs(step_sigma)) < TOLERANCE * sigma:
            return mean, sigma, math.sqrt(covariance[1, 1])
    return None


def _likelihood_terms(
    edges: NDArray[np.floating], mean: float, sigma: float
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the probability of each bin, (n,), and its derivatives by mean and sigma, (2, n)."""
    z = (edges - mean) / sigma
    inside = _bin_probabilities(z)
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    slopes = np.diff(np.stack([-density, -z * density]) / sigma, axis=1)
    total, total_slope = inside.sum(), slopes.sum(axis=1, keepdims=True)
    probability = np.maximum(inside / total, np.finfo(float).tiny)
    return probability, (slopes - probability * total_slope) / total


def _bin_probabilities(z: NDArray[np.floating]) -> NDArray[np.floating]:
    """Integrate the standard normal between neighbouring edges, without cancellation in the upper tail."""
    low, high = z[:-1], z[1:]
    mirrored = low > 0
    result: NDArray[np.floating] = ndtr(np.where(mirrored, -low, high)) - ndtr(np.where(mirrored, -high, low))
    return result


def reduced_chi2(counts: NDArray[np.integer], expected: NDArray[np.floating]) -> float:
    """Return Pearson's chi-square per degree of freedom, see `fit_gaussian`.

    Parameters
    ----------
    counts, expected : (n,) ndarray
        Of neighbouring bins, with equal sums.
    """
    starts = _group_bins(expected)
    if len(starts) < 4:
        return math.nan
    observed, wanted = np.add.reduceat(counts, starts), np.add.reduceat(expected, starts)
    return float(((observed - wanted) ** 2 / wanted).sum()) / (len(starts) - 3)


def _group_bins(expected: NDArray[np.floating]) -> list[int]:
    """Return where groups of neighbouring bins begin that each expect `MIN_EXPECTED` counts, from the left."""
    starts, content = [0], 0.0
    for index, value in enumerate(expected):
        if content >= MIN_EXPECTED:
            starts.append(index)
            content = 0.0
        content += float(value)
    if content < MIN_EXPECTED and len(starts) > 1:
        starts.pop()  # what is left over joins the last whole group
    return starts
