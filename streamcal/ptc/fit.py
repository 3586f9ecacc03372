"""The fit of one amplifier's curve: which pairs count, the model's parameters and their errors, or why there are none.

Two steps. First `streamcal.ptc.selection` finds turnoff and outliers by the variances. Then the wanted model is fitted
to the pairs that are left, and pairs whose covariances lie off are dropped, until none is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streamcal.ptc.curve import Curve
from streamcal.ptc.flags import FitFlag
from streamcal.ptc.least_squares import MAX_EVALUATIONS, Minimum, Points, fit_model
from streamcal.ptc.models import ExpApproximation, Model, Physics, make_model
from streamcal.ptc.residuals import find_excess, find_pulls, reweight
from streamcal.ptc.selection import (
    ABOVE_RANGE,
    ABOVE_TURNOFF,
    BELOW_RANGE,
    MAD_TO_SIGMA,
    NOT_MEASURED,
    USED,
    Judgement,
    count_levels,
    find_soft_turnoff,
    is_off,
    judge_variances,
)
from streamcal.ptc.settings import FitConfig
from streamcal.ptc.signal import judge_signal
from streamcal.ptc.solution import Solution

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

GAIN_RANGE = (1e-3, 1e3)  # e-/ADU; outside, the fit ran away
LARGEST_GAIN_ERROR = 0.5  # relative; beyond, the gain is not determined
WEIGHT_TOLERANCE = 0.01  # relative change of the model's variance, and so of the errors, that asks for another round


def fit_amplifier(curve: Curve, config: FitConfig | None = None) -> Solution:
    """Fit the photon transfer curve of one amplifier.

    Errors are the roots of the diagonal of the inverse of J^T J, with the errors of the points as measured (white-noise
    theory) but in proportion to the model's variance in place of the measured one, which would give low points too
    much weight. Light or electronics may make the variances scatter more than that and leave the covariances alone, so
    the two are looked at apart: where the chi^2 of either is so large that its probability is below 0.1 %, its errors
    are multiplied by the root of its chi^2 / dof, the fit is repeated, and the solution is flagged POOR_FIT.

    Parameters
    ----------
    curve : Curve
        Measured means, variances and covariances.
    config : FitConfig, optional
        Model, range of lags and limits of the selection.

    Returns
    -------
    Solution
        With NaN and a reason if the amplifier cannot be fitted.
    """
    config = config or FitConfig()
    model = make_model(config.model, config.side, config.degree)
    if curve.covariance.shape[1] < model.side:
        n_lags = curve.covariance.shape[1]
        reason = (
            f"{config.model} needs covariances at {model.side} x {model.side} lags, measured are {n_lags} x {n_lags}"
        )
        dropped = (NOT_MEASURED,) * len(curve)
        return Solution.refuse(config.model, model.side, dropped, FitFlag.NOT_MEASURED, reason)
    return _Fit(curve, config, model).run()


class _Fit:
    """One fit on its way; ``dropped`` says of each pair why it does not count."""

    def __init__(self, curve: Curve, config: FitConfig, model: Model) -> None:
        self.curve = curve
        self.config = config
        self.model = model
        self.points = _fitted_points(curve, model)
        self.dropped = np.full(len(curve), USED, dtype=object)

    def run(self) -> Solution:
        self._apply_range()
        if refusal := self._refuse_dark() or self._refuse_few():
            return refusal
        judgement = self._judge()
        if judgement is None:
            self.dropped[self.used] = "no fit"
            return self._refuse(FitFlag.TOO_FEW_LEVELS, "the variances do not follow a curve")
        if refusal := self._refuse_few() or self._refuse_result(judgement.minimum, ""):
            return refusal
        minimum, settled = self._fit(judgement)
        if settled and self._drop_soft_turnoff(minimum):
            minimum, settled = self._fit(judgement)
        unsettled = self._find_unsettled(judgement, minimum, settled=settled)
        if refusal := self._refuse_few() or self._refuse_result(minimum, unsettled):
            return refusal
        return self._describe(*self._stretch_errors(minimum))

    @property
    def used(self) -> Mask:
        used: Mask = self.dropped == USED
        return used

    def _apply_range(self) -> None:
        curve, points = self.curve, self.points
        whole = np.isfinite(points.covariance).all((1, 2)) & np.isfinite(points.error).all((1, 2))
        positive = (points.error > 0).all((1, 2)) & (points.covariance[:, 0, 0] > 0) & (curve.mean > 0)
        high = np.inf if self.config.max_signal is None else self.config.max_signal
        self.dropped[curve.mean < self.config.min_signal] = BELOW_RANGE
        self.dropped[curve.mean > high] = ABOVE_RANGE
        self.dropped[~(whole & positive)] = NOT_MEASURED

    def _judge(self) -> Judgement | None:
        """Drop what the variances show: pairs above the turnoff, and outliers."""
        which = np.flatnonzero(self.used)
        points = self.points.take(self.used)
        judgement = judge_variances(points, self.config)
        if judgement is None:
            return None
        outliers = ~judgement.used & ~judgement.above
        self.dropped[which[outliers]] = [
            f"outlier: variance off by {pull:+.1f} sigma" for pull in judgement.pulls[outliers]
        ]
        self.dropped[which[judgement.above]] = ABOVE_TURNOFF
        return judgement

    def _fit(self, judgement: Judgement) -> tuple[Minimum, bool]:
        """Fit the model, drop pairs that lie off, and again until none does; return whether it came to that."""
        gain, a00, noise = judgement.minimum.parameters
        parameters = self.model.start(gain, a00, noise)
        expected = _variance_model(self.curve, judgement)
        minimum, settled = None, False
        for _ in range(self.config.max_iterations):
            points = reweight(self.points, expected)
            minimum = fit_model(self.model, points.take(self.used), parameters)
            parameters = minimum.parameters
            fitted = self.model.evaluate(self.curve.mean, parameters)
            change = np.abs(fitted[self.used, 0, 0] / expected[self.used] - 1).max()
            expected = fitted[:, 0, 0]
            settled = not self._drop_outliers(points, fitted) and change < WEIGHT_TOLERANCE and minimum.converged
            if settled or self.used.sum() < self.config.min_levels:
                break
        assert minimum is not None  # noqa: S101 - max_iterations is at least 1
        return minimum, settled

    def _drop_outliers(self, points: Points, fitted: Array) -> bool:
        """Drop pairs whose variance, or whose covariances taken together, lie off; return whether there were any."""
        n_sigma, used = self.config.n_sigma, self.used
        pulls = (points.covariance - fitted) / points.error
        sigma = max(1.0, MAD_TO_SIGMA * float(np.median(np.abs(pulls[used, 0, 0]))))
        relative = points.error[:, 0, 0] / np.abs(fitted[:, 0, 0])
        off = used & is_off(pulls[:, 0, 0], relative, n_sigma * sigma, 0.01 * self.config.tolerance_percent)
        self.dropped[off] = [f"outlier: variance off by {pull:+.1f} sigma" for pull in pulls[off, 0, 0]]
        n_lags = max(self.model.side**2 - 1, 1)
        spread = ((pulls**2).sum((1, 2)) - pulls[:, 0, 0] ** 2) / n_lags
        usual = max(1.0, float(np.median(spread[used])))
        odd = used & ~off & (spread > usual * (1 + n_sigma * np.sqrt(2 / n_lags)))
        self.dropped[odd] = [f"outlier: covariances scatter {value:.1f} times as expected" for value in spread[odd]]
        return bool((off | odd).any())

    def _drop_soft_turnoff(self, minimum: Minimum) -> bool:
        """Drop bright pairs that bend the curve down, though none of them is far off; return whether any did."""
        which = np.flatnonzero(self.used)
        above = find_soft_turnoff(self.model, self._used_points(minimum), minimum.parameters, self.config)
        self.dropped[which[above]] = ABOVE_TURNOFF
        return bool(above.any())

    def _stretch_errors(self, minimum: Minimum) -> tuple[Minimum, bool]:
        """Fit again with errors as large as the residuals show; return it with chi^2 as before, and if it is poor."""
        points, start = self._used_points(minimum), minimum.parameters
        factor = find_excess(find_pulls(self.model, points, start), self.model.n_parameters)
        if (factor == 1).all():
            return minimum, False
        found = fit_model(self.model, replace(points, error=points.error * factor), start)
        pulls = find_pulls(self.model, points, found.parameters)
        return replace(found, chi2=float(np.sum(pulls**2))), True

    def _used_points(self, minimum: Minimum) -> Points:
        points = self.points.take(self.used)
        return reweight(points, self.model.evaluate(points.mean, minimum.parameters)[:, 0, 0])

    # what keeps an amplifier from having a solution

    def _refuse(self, flag: FitFlag, reason: str) -> Solution:
        return Solution.refuse(self.config.model, self.model.side, tuple(self.dropped), flag, reason)

    def _refuse_dark(self) -> Solution | None:
        missing = judge_signal(self.curve, self.points.covariance[:, 0, 0], self.used, self.config)
        if missing is None:
            return None
        self.dropped[self.used] = "no signal"
        return self._refuse(*missing)

    def _refuse_few(self) -> Solution | None:
        needed = max(self.config.min_levels, 5 if self.config.model == "FULLCOVARIANCE" else 4)
        n_levels = count_levels(self.curve.mean[self.used])
        if n_levels >= needed:
            return None
        counts = Counter(reason.split(":")[0] for reason in self.dropped if reason != USED)
        others = "".join(f", {count} {reason}" for reason, count in counts.items())
        text = (
            f"too few levels: {n_levels} usable, {needed} needed; of {len(self.curve)} pairs {self.used.sum()} usable"
        )
        self.dropped[self.used] = "too few levels"
        return self._refuse(FitFlag.TOO_FEW_LEVELS, text + others)

    def _find_unsettled(self, judgement: Judgement, minimum: Minimum, *, settled: bool) -> str:
        """Return what did not come to an end; empty if all did."""
        rounds = f"{self.config.max_iterations} rounds"
        if not judgement.converged:
            return f"the fit did not converge: turnoff and outliers still change after {rounds}"
        if not minimum.converged:
            return f"the fit did not converge: chi2 still falls after {rounds} of {MAX_EVALUATIONS} evaluations"
        return "" if settled else f"the fit did not converge: weights or outliers still change after {rounds}"

    def _refuse_result(self, minimum: Minimum, unsettled: str) -> Solution | None:
        gain, variance = float(minimum.parameters[0]), float(minimum.covariance[0, 0])
        reason, flag = "", FitFlag.IMPLAUSIBLE
        if unsettled:
            reason, flag = unsettled, FitFlag.NOT_CONVERGED
        elif not GAIN_RANGE[0] < gain < GAIN_RANGE[1]:
            reason = f"fit at a bound: gain {gain:.3g} e-/ADU, outside {GAIN_RANGE[0]:g} to {GAIN_RANGE[1]:g}"
        elif not 0 < variance < (LARGEST_GAIN_ERROR * gain) ** 2:
            reason = f"the gain is not determined: {gain:.3g} +- {variance**0.5 if variance > 0 else np.nan:.2g} e-/ADU"
        if not reason:
            return None
        self.dropped[self.used] = "no fit"
        return self._refuse(flag, reason)

    # the solution

    def _describe(self, minimum: Minimum, poor: bool) -> Solution:
        covariance = minimum.covariance
        parameters = minimum.parameters - minimum.bias
        physics = self.model.unpack(parameters)
        errors = self.model.unpack(np.sqrt(np.diag(covariance)))
        turnoff, turnoff_error, reached = self._turnoff()
        noise2 = physics.noise[0, 0]
        noise = float(np.sqrt(noise2)) if noise2 > 0 else np.nan
        checks = (
            (FitFlag.POOR_FIT, poor),
            (FitFlag.TURNOFF_NOT_REACHED, not reached),
            (FitFlag.NO_NOISE, not noise > 0),
        )
        solution = Solution(
            model=self.config.model,
            used=self.used,
            dropped=tuple(self.dropped),
            flags=sum(int(flag) for flag, holds in checks if holds),
            reason="" if noise > 0 else f"the fitted noise variance is {noise2:.3g} e-^2",
            gain=physics.gain,
            gain_error=errors.gain,
            noise=noise,
            noise_error=float(errors.noise[0, 0]) / (2 * noise),
            a00=float(physics.a[0, 0]),
            a00_error=float(errors.a[0, 0]),
            turnoff=turnoff,
            turnoff_error=turnoff_error,
            chi2_dof=minimum.chi2_dof,
            dof=minimum.dof,
            a=physics.a,
            a_error=errors.a,
            noise_matrix=physics.noise,
            noise_matrix_error=errors.noise,
            model_covariance=self.model.evaluate(self.curve.mean, minimum.parameters),
            parameters=parameters,
            parameter_covariance=covariance,
        )
        b, b_error = _divide(physics, covariance)
        return replace(solution, b=b, b_error=b_error)

    def _turnoff(self) -> tuple[float, float, bool]:
        """Return the highest mean used, half its distance to the next pair, and whether any pair had more light."""
        mean, light, used = self.curve.mean, self.curve.light, self.used
        top = float(mean[used].max())
        # bright pairs that are all outliers lie above it, too
        off = np.array([text == ABOVE_TURNOFF or text.startswith("outlier") for text in self.dropped], dtype=bool)
        above = mean[off & (mean > top)]
        falling = (mean < top) & (self.dropped == ABOVE_TURNOFF)
        lost = light[self.dropped == NOT_MEASURED] > light[used].max()
        reached = bool(len(above) or falling.any() or lost.any())
        below = mean[used & (mean < top)]
        gap = above.min() - top if len(above) else top - below.max()
        return top, float(gap) / 2, reached


def _fitted_points(curve: Curve, model: Model) -> Points:
    r = model.side
    covariance = curve.covariance[:, :r, :r]
    if r == 1:
        covariance = curve.variance[:, None, None]
    return Points(mean=curve.mean, covariance=covariance, error=curve.error[:, :r, :r])


def _variance_model(curve: Curve, judgement: Judgement) -> Array:
    variance: Array = ExpApproximation().evaluate(curve.mean, judgement.minimum.parameters)[:, 0, 0]
    return variance


def _divide(physics: Physics, covariance: Array) -> tuple[Array, Array]:
    """Return b = ab / a with its error; NaN where the model has none or a is zero."""
    n_lags = physics.a.size
    if physics.ab.size == 0:
        return np.full_like(physics.a, np.nan), np.full_like(physics.a, np.nan)
    of_a, of_ab = slice(1, 1 + n_lags), slice(1 + 2 * n_lags, 1 + 3 * n_lags)
    variance = np.diag(covariance)
    mixed = np.diag(covariance[of_a, of_ab]).reshape(physics.a.shape)
    a = np.where(physics.a == 0, np.nan, physics.a)
    b = physics.ab / a
    spread = variance[of_ab].reshape(a.shape) - 2 * b * mixed + b**2 * variance[of_a].reshape(a.shape)
    return b, np.sqrt(np.maximum(spread, 0)) / np.abs(a)
