"""Steps of the gain with time, within a group: pairs of one curve that are not of one gain."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from streamcal.ptc.curve import Curve
from streamcal.ptc.flags import FitFlag
from streamcal.ptc.selection import MAD_TO_SIGMA
from streamcal.ptc.settings import LimitsConfig
from streamcal.ptc.solution import Solution

Array = NDArray[np.float64]

LEAST = 5  # pairs before and after a step: fewer may be a flicker of the lamp


def check_step(curve: Curve, solution: Solution, time: Array, limits: LimitsConfig) -> Iterator[tuple[FitFlag, str]]:
    """Yield the flag, with number and limit, if the gain changes with time within the group.

    Parameters
    ----------
    curve : Curve
        Measured.
    solution : Solution
        Fitted to it.
    time : (n,) ndarray of float64
        When each pair was taken; those of an unknown time count as the last.
    limits : LimitsConfig
        The limits.
    """
    limit = limits.gain_change_percent
    if limit is None or not solution.good:
        return
    order = np.argsort(time, kind="stable")
    change = 100 * find_step(relate_gains(curve, solution)[order], limits.n_sigma)
    if abs(change) > limit:
        yield FitFlag.GAIN_STEP, f"gain of the pairs changed by {change:+.1f} % within the group, limit {limit:g} %"


def relate_gains(curve: Curve, solution: Solution) -> Array:
    """Return the gain of each pair over that of the curve: the ratio of their variances without that of the noise.

    Parameters
    ----------
    curve : Curve
        Measured.
    solution : Solution
        Fitted to it.

    Returns
    -------
    (n,) ndarray of float64
        NaN for pairs that say nothing of the gain: those above the turnoff or not measured, and those whose variance is
        mostly noise. Outliers are not left out: after a step half of the pairs may be.
    """
    noise = solution.noise_matrix[0, 0] / solution.gain**2
    light = solution.model_covariance[:, 0, 0] - noise
    telling = solution.used | np.array([text.startswith("outlier") for text in solution.dropped], dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        telling &= (curve.mean <= solution.turnoff) & (light > noise)
        return np.where(telling, light / (curve.variance - noise), np.nan)


def find_step(gain: Array, n_sigma: float) -> float:
    """Return the largest step in a series; a drift counts as one.

    The step lies where the means before and after differ most, for their numbers, of the series smoothed by medians of
    three; its size is the difference of the medians.

    Parameters
    ----------
    gain : (n,) ndarray of float64
        Relative gains in order of time; NaN is left out.
    n_sigma : float
        So many standard errors of the medians a step must have.

    Returns
    -------
    float
        Relative to the median before it; 0 if there is none.
    """
    known = gain[np.isfinite(gain)]
    if len(known) < 2 * LEAST:
        return 0.0
    smooth = np.median(np.stack([known[:-2], known[1:-1], known[2:]]), axis=0)
    smooth = np.concatenate([smooth[:1], smooth, smooth[-1:]])
    count = np.arange(LEAST, len(known) - LEAST + 1)
    total = np.cumsum(smooth)[count - 1]
    difference = (smooth.sum() - total) / (len(known) - count) - total / count
    place = int(count[np.argmax(np.abs(difference) * np.sqrt(count * (len(known) - count)))])
    before, after = known[:place], known[place:]
    low, high = float(np.median(before)), float(np.median(after))
    scatter = MAD_TO_SIGMA * float(np.median(np.abs(np.concatenate([before - low, after - high]))))
    error = 1.25 * scatter * np.sqrt(1 / len(before) + 1 / len(after))  # of medians of a Gaussian
    needed = np.sqrt(n_sigma**2 + 2 * np.log(len(known)))  # the place was chosen among so many
    return high / low - 1 if abs(high - low) > needed * error else 0.0
