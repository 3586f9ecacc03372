"""Gain of a flat pair, in e-/ADU, from the mean of D^2 / S and from the variance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from streamcal.flags import RowFlag
from streamcal.measure.sums import gain_sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamcal.measure.flatpair import Difference
    from streamcal.measure.statistics import PairStatistics

CORRECTIONS: Final = ("NONE", "SIMPLE", "FULL", "UNBIASED", "JANESICK")
MAX_NONPOSITIVE_FRACTION = 0.01  # beyond, the read noise is so near to the signal that 1/S means nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class GainStatistic:
    """The statistic ``c = <D^2 / S>``, S = I1 + I2, and the averages that its corrections need."""

    value: float  # c, ADU/e- (with the truncation factor where D is clipped); NaN when it means nothing
    scatter: float  # variance of D^2 / S over the pixels, (ADU/e-)^2
    inverse_sum: float  # <1/S>, 1/ADU
    inverse_square_sum: float  # <1/S^2>, 1/ADU^2
    n_pixels: int  # pixels averaged over
    n_nonpositive: int  # pixels left out because S <= 0


@dataclass(frozen=True, kw_only=True, slots=True)
class GainResult:
    """Gain of a flat pair."""

    gain: float  # e-/ADU; NaN when it is not a positive number
    gain_error: float  # e-/ADU
    gain_correction: str  # the correction really applied
    gain_covariance_sum: float  # e-/ADU: JANESICK, with the sum of the covariances in place of the variance
    flags: RowFlag


def measure_gain_statistic(difference: Difference, level_match: bool = True) -> GainStatistic:
    """Average ``D^2 / S`` over the pixels of a flat pair.

    Parameters
    ----------
    difference : Difference
        From `match_levels`.
    level_match : bool
        True: over the used pixels of the level-matched difference, times the truncation factor. False: the literal
        ``(I1 - I2)^2 / (I1 + I2)`` of all good pixels, unclipped; a lamp drift of 1 % ruins it.

    Returns
    -------
    GainStatistic
        Pixels with S <= 0 are left out; if they are more than 1 %, the value is NaN.
    """
    n_chosen, n_pixels, sums = difference.gain_sums if level_match else _literal_sums(difference)
    nan, n_nonpositive = math.nan, n_chosen - n_pixels
    if n_pixels < 2 or n_nonpositive > MAX_NONPOSITIVE_FRACTION * n_chosen:
        return GainStatistic(
            value=nan,
            scatter=nan,
            inverse_sum=nan,
            inverse_square_sum=nan,
            n_pixels=n_pixels,
            n_nonpositive=n_nonpositive,
        )
    factor = difference.truncation if level_match else 1.0
    ratio, square, inverse, inverse_square = (sums / n_pixels).tolist()
    return GainStatistic(
        value=factor * ratio,
        scatter=factor**2 * max(square - ratio**2, 0.0) * n_pixels / (n_pixels - 1),  # below 0 by rounding
        inverse_sum=inverse,
        inverse_square_sum=inverse_square,
        n_pixels=n_pixels,
        n_nonpositive=n_nonpositive,
    )


def _literal_sums(difference: Difference) -> tuple[int, int, NDArray[np.float64]]:
    """Sum over all good pixels, unclipped, with the level matching undone."""
    good = np.ascontiguousarray(difference.good).ravel()
    pixels = difference.difference.ravel(), difference.first.ravel(), difference.second.ravel()
    return gain_sums(*pixels, good, difference.mean_1 / difference.mean - 1)  # D + slope S is I1 - I2


def check_correction(correction: str) -> None:
    """Raise ValueError, naming the choices, unless ``correction`` is one of the five."""
    if correction not in CORRECTIONS:
        msg = f"gain_correction must be one of {', '.join(CORRECTIONS)}, got {correction!r}"
        raise ValueError(msg)


def solve_gain(
    statistics: PairStatistics,
    read_noise: float = math.nan,
    *,
    correction: str = "FULL",
    read_noise_error: float = 0.0,
    row_overscan_covariance: float = 0.0,
) -> GainResult:
    """Gain from what was measured on a flat pair; arithmetic on numbers.

    With c of `GainStatistic`, mu the mean of both flats over the used pixels, V half the variance of the difference
    and ``s^2 = read_noise^2 + row_overscan_covariance``, 1/g is

    ============  ==========================================  ===================================================
    ``NONE``      c                                           Poisson light without read noise
    ``SIMPLE``    c - (s^2 - c^2/2) / mu                      FULL, with 1/g from NONE in the bracket
    ``FULL``      solves 1/g = c - (s^2 - 1/(2 g^2)) / mu     Lupton's; biased by -1/(2 mu g) on Poisson light
    ``UNBIASED``  (c - 2 s^2 <1/S>) / (1 + 2 s^2 <1/S^2>)     exact for Poisson light with Gaussian read noise
    ``JANESICK``  (V - s^2) / mu                              Janesick (2001)
    ============  ==========================================  ===================================================

    ``gain_covariance_sum`` is JANESICK with V plus the covariances of all other lags, mirrored into the other three
    quadrants: charge that brighter-fatter moved between pixels is in the sum again. Of each lag in which per-row
    overscan subtraction adds, its part is taken off.

    Parameters
    ----------
    statistics : PairStatistics
        If measured by blocks, each block is solved and the median over blocks is the result.
    read_noise : float
        In ADU. NaN, infinite or negative means unknown: a correction that needs it becomes ``NONE``, flagged, and
        the covariance sum is then not corrected for it.
    correction : str
        One of `CORRECTIONS`.
    read_noise_error : float
        In ADU.
    row_overscan_covariance : float
        What per-row overscan subtraction adds to the variance, ADU^2; see `row_overscan_covariance`.

    Returns
    -------
    GainResult
        The error is that of the statistic, ``sqrt(scatter / N)``, and of the read noise through the derivatives of
        the formula; with blocks it is that of a median.

    Raises
    ------
    ValueError
        If the correction is unknown.
    """
    check_correction(correction)
    known = math.isfinite(read_noise) and read_noise >= 0
    flags = RowFlag(0) if known or correction == "NONE" else RowFlag.READ_NOISE_MISSING
    correction = correction if known else "NONE"
    noise = _Noise(
        square=(read_noise**2 if known else 0.0) + row_overscan_covariance,
        error=read_noise_error if math.isfinite(read_noise_error) else 0.0,
        row=row_overscan_covariance,
    )
    parts = statistics.blocks or (statistics,)
    solved = [_invert(_solve(part, correction, noise)) for part in parts]
    sums = [1 / inverse if (inverse := _covariance_sum_inverse(part, noise)) > 0 else math.nan for part in parts]
    gain, gain_error = _median([g for g, _ in solved], [error for _, error in solved])
    if math.isnan(gain):
        flags |= RowFlag.GAIN_INVALID
        if correction == "FULL" and any(_has_no_root(part, noise) for part in parts):
            flags |= RowFlag.NO_REAL_ROOT
    return GainResult(
        gain=gain,
        gain_error=gain_error,
        gain_correction=correction,
        gain_covariance_sum=_median(sums, sums)[0],
        flags=flags,
    )


class _Noise(NamedTuple):
    """Noise that is not of the light."""

    square: float  # s^2: read noise and what per-row overscan subtraction adds, ADU^2
    error: float  # of the read noise, ADU
    row: float  # the part of s^2 that is common to a row, ADU^2


class _Inverse(NamedTuple):
    """1/g and its error, ADU/e-."""

    value: float
    error: float


def _solve(statistics: PairStatistics, correction: str, noise: _Noise) -> _Inverse:
    """Solve one of the five formulas for 1/g; the error follows from its derivatives by c (or V) and by s^2."""
    c, mu, s2 = statistics.gain.value, statistics.mean_used, noise.square
    value, by_measured, by_noise = c, 1.0, 0.0
    measured_error = math.sqrt(statistics.gain.scatter / max(statistics.gain.n_pixels, 1))
    if correction == "SIMPLE":
        value, by_measured, by_noise = c - (s2 - c**2 / 2) / mu, 1 + c / mu, -1 / mu
    elif correction == "FULL":
        root = mu**2 - 2 * mu * c + 2 * s2
        value = 2 * (c * mu - s2) / (mu + math.sqrt(root)) if root >= 0 else math.nan
        by_measured = mu / (mu - value) if value != mu else math.inf
        by_noise = -by_measured / mu
    elif correction == "UNBIASED":
        k = 1 + 2 * s2 * statistics.gain.inverse_square_sum
        value = (c - 2 * s2 * statistics.gain.inverse_sum) / k
        by_measured = 1 / k
        by_noise = -2 * (statistics.gain.inverse_sum + value * statistics.gain.inverse_square_sum) / k
    elif correction == "JANESICK":
        value, by_measured, by_noise = (statistics.variance - s2) / mu, 1 / mu, -1 / mu
        measured_error = statistics.variance_error
    noise_error = 2 * math.sqrt(max(s2, 0.0)) * noise.error
    return _Inverse(value, math.hypot(by_measured * measured_error, by_noise * noise_error))


def _invert(inverse: _Inverse) -> tuple[float, float]:
    """Turn 1/g into g with its error; what is not above zero is no gain."""
    if not inverse.value > 0:
        return math.nan, math.nan
    return 1 / inverse.value, inverse.error / inverse.value**2


def _has_no_root(statistics: PairStatistics, noise: _Noise) -> bool:
    """Tell whether the quadratic equation of FULL has no real root."""
    mu = statistics.mean_used
    return mu**2 - 2 * mu * statistics.gain.value + 2 * noise.square < 0


def _covariance_sum_inverse(statistics: PairStatistics, noise: _Noise) -> float:
    """1/g from the variance and all covariances, mirrored: axes count twice, the rest four times."""
    weight = np.full(statistics.covariance.shape, 4.0)
    weight[0, :] = weight[:, 0] = 2.0
    weight[0, 0] = 0.0
    lags_along_row = 2 * (len(weight) - 1)
    total = statistics.variance + float(np.nansum(weight * statistics.covariance))
    return (total - noise.square - lags_along_row * noise.row) / statistics.mean_used


def _median(values: list[float], errors: list[float]) -> tuple[float, float]:
    """Median of the finite values and its error: their own errors', or from ten values on their scatter's."""
    finite = [(value, error) for value, error in zip(values, errors, strict=True) if math.isfinite(value)]
    if len(finite) <= 1:
        return finite[0] if finite else (math.nan, math.nan)
    sample, own = np.array(finite).T
    median = float(np.median(sample))
    sigma = math.sqrt(np.mean(own**2))
    if len(finite) >= 10:
        sigma = 1.482602 * float(np.median(np.abs(sample - median)))
    return median, math.sqrt(math.pi / 2 / len(finite)) * sigma
