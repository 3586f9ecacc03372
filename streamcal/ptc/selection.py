"""Which pairs of a curve count: signal range, turnoff and outliers, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcal.ptc.least_squares import Minimum, Points, fit_model, fit_robustly
from streamcal.ptc.models import ExpApproximation, Model
from streamcal.ptc.residuals import find_excess, find_pulls
from streamcal.ptc.settings import FitConfig

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

LEVEL_STEP = 1.05  # means closer than this are one level
MAD_TO_SIGMA = 1.4826  # of a Gaussian

USED = ""
NOT_MEASURED = "not measured"
BELOW_RANGE = "below min_signal"
ABOVE_RANGE = "above max_signal"
ABOVE_TURNOFF = "above turnoff"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judgement:
    """What a fit of the variance says of its points.

    Attributes
    ----------
    minimum : Minimum
        Of `ExpApproximation`.
    pulls : (n,) ndarray of float64
        Variance less model over its error.
    scale : float
        Robust standard deviation of the pulls; at least 1.
    above : (n,) ndarray of bool
        Points above the turnoff.
    used : (n,) ndarray of bool
        Points neither above the turnoff nor outliers.
    converged : bool
        The last round changed nothing.
    """

    minimum: Minimum
    pulls: Array
    scale: float
    above: Mask
    used: Mask
    converged: bool


def count_levels(mean: Array) -> int:
    """Return the number of means that lie more than 5 % above the one counted before."""
    count, last = 0, 0.0
    for value in np.sort(mean):
        if value > last * LEVEL_STEP:
            count, last = count + 1, value
    return count


def judge_variances(points: Points, config: FitConfig) -> Judgement | None:
    """Find turnoff and outliers by a fit of the variances, repeated until it changes nothing.

    It starts below the highest variance, robustly. In each round a point is good if its pull is below ``n_sigma``
    robust standard deviations, or if it is off by less than twice the tolerance: this model is a rough one, and with a
    million pixels its own faults at high signal are many standard deviations. The turnoff is put where it best divides
    the good below from the bad above, so that neither one good pair past a dip nor one bad pair on the way up moves it.
    After the fourth round no pair comes back.

    Parameters
    ----------
    points : Points
        Variances above zero in ``[:, 0, 0]``.
    config : FitConfig
        Gives ``n_sigma``, ``tolerance_percent``, ``max_iterations`` and ``min_levels``.

    Returns
    -------
    Judgement or None
        None if fewer points are left than levels are needed.
    """
    order = np.argsort(points.mean, kind="stable")
    relative = points.error[:, 0, 0] / points.covariance[:, 0, 0]
    used = _below_peak(points, order)
    if used.sum() < config.min_levels:
        return None
    model = ExpApproximation()
    below = points.take(used)
    parameters = fit_robustly(model, below, _guess(model, below))
    for iteration in range(config.max_iterations):
        # errors follow the model: those of points that fluctuate low, or have no charge noise left, are too small
        expected = model.evaluate(points.mean, parameters)
        error = np.abs(expected) * relative[:, None, None]
        pulls = ((points.covariance - expected) / error)[:, 0, 0]
        scale = max(1.0, MAD_TO_SIGMA * float(np.median(np.abs(pulls[used]))))
        good = ~is_off(pulls, relative, config.n_sigma * scale, 0.02 * config.tolerance_percent)
        above = find_above(pulls, good, order)
        wanted = good & ~above & (used if iteration > 3 else True)
        if wanted.sum() < config.min_levels:
            return None
        if converged := bool((wanted == used).all()) and iteration > 0:
            break
        used = wanted
        weighted = Points(mean=points.mean, covariance=points.covariance, error=error)
        minimum = fit_model(model, weighted.take(used), parameters)
        parameters = minimum.parameters
    return Judgement(minimum=minimum, pulls=pulls, scale=scale, above=above, used=used, converged=converged)


def is_off(pulls: Array, relative: Array, n_sigma: float, tolerance: float) -> Mask:
    """Return which points are off by more than so many standard deviations and by more than a fraction of the variance.

    Parameters
    ----------
    pulls : (n,) ndarray of float64
        Variance less model over its error.
    relative : (n,) ndarray of float64
        Relative error of the variance.
    n_sigma, tolerance : float
        The two limits.
    """
    off: Mask = (np.abs(pulls) > n_sigma) & (np.abs(pulls) * relative > tolerance)
    return off


def _below_peak(points: Points, order: NDArray[np.intp]) -> Mask:
    """Return which points lie at or below the highest variance, of medians of three so that one outlier is none."""
    variance = points.covariance[order, 0, 0]
    padded = np.concatenate([variance[:1], variance, variance[-1:]])
    smooth = np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
    used = np.zeros(len(order), dtype=bool)
    used[order[: int(smooth.argmax()) + 1]] = True
    return used


def _guess(model: ExpApproximation, points: Points) -> Array:
    bright = points.mean >= np.median(points.mean)
    gain = float(np.median(points.mean[bright] / points.covariance[bright, 0, 0]))
    return model.start(gain, -1e-6, 25.0)


def find_above(pulls: Array, good: Mask, order: NDArray[np.intp]) -> Mask:
    """Return which points lie above the turnoff.

    Parameters
    ----------
    pulls : (n,) ndarray of float64
        Variance less model over its error.
    good : (n,) ndarray of bool
        Points that fit.
    order : (n,) ndarray of int
        Points by ascending mean.

    Returns
    -------
    (n,) ndarray of bool
        None of them unless most of those that would be have too low a variance.
    """
    score = np.cumsum(np.where(good[order], 1, -1))
    last = len(score) - 1 - int(score[::-1].argmax())  # of equal scores the last: one good point outweighs one bad
    beyond = order[last + 1 :]
    above = np.zeros(len(order), dtype=bool)
    above[beyond] = bool((pulls[beyond] < 0).mean() > 0.5) if len(beyond) else False
    return above


def find_soft_turnoff(model: Model, points: Points, start: Array, config: FitConfig) -> Mask:
    """Return which points lie above a turnoff that sets in so gently that a fit of all points bends down with them.

    Where the errors do not explain the variances, the brightest tenth is left out, then the next, down to half of the
    points. If errors explain what is left, points are held against that curve, as any others.

    Parameters
    ----------
    model : Model
        What is fitted.
    points : Points
        Pairs that are used, errors in proportion to the model's variance.
    start : (m,) ndarray of float64
        Parameters fitted to all of them.
    config : FitConfig
        Gives ``n_sigma``, ``tolerance_percent`` and ``min_levels``.

    Returns
    -------
    (n,) ndarray of bool
        None of them if the variances are explained, or if they scatter everywhere.
    """
    for share in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5):
        low = points.take(points.mean <= np.quantile(points.mean, share))
        if count_levels(low.mean) <= config.min_levels:
            break
        parameters = start if share == 1 else fit_model(model, low, start).parameters
        if find_excess(find_pulls(model, low, parameters), model.n_parameters)[0, 0] > 1:
            continue
        pulls = find_pulls(model, points, parameters)[:, 0, 0]
        relative = points.error[:, 0, 0] / points.covariance[:, 0, 0]
        good = ~is_off(pulls, relative, config.n_sigma, 0.01 * config.tolerance_percent)
        return find_above(pulls, good, np.argsort(points.mean, kind="stable"))
    return np.zeros(len(points.mean), dtype=bool)
