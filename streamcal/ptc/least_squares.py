"""Weighted least squares of a model, with its derivatives; exact and fast for models that are polynomials of the mean.

For such a model chi^2 is, for each lag, a quadratic form of its few coefficients, whatever the number of pairs: a QR
decomposition of the weighted powers of the mean, done once, leaves a triangle of p x p numbers a lag. The fit then sees
p r^2 residuals (320 for r = 8) in place of n r^2 (19200 for 300 pairs), and the same minimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamcal.ptc.models import ExpApproximation, FullCovariance, MeanPolynomial, Model, mean_powers

Array = NDArray[np.float64]

_TOLERANCE = 1e-12
_CHI2_TOLERANCE = 1e-6  # relative; less is a hundredth of an error, which few pixels leave undetermined for long
MAX_EVALUATIONS = 100


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Points:
    """What a model is fitted to.

    Attributes
    ----------
    mean : (n,) ndarray of float64
        Mean signal, ADU.
    covariance : (n, r, r) ndarray of float64
        ADU^2; ``[:, 0, 0]`` is the variance.
    error : (n, r, r) ndarray of float64
        Standard errors of the covariances, ADU^2, all above zero.
    """

    mean: Array
    covariance: Array
    error: Array

    def take(self, which: NDArray[np.bool_]) -> Points:
        """Return some of the points."""
        return Points(mean=self.mean[which], covariance=self.covariance[which], error=self.error[which])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Minimum:
    """Where chi^2 is least.

    Attributes
    ----------
    parameters : (m,) ndarray of float64
        As the model orders them.
    bias : (m,) ndarray of float64
        By how much they are off on average, see `fit_model`.
    covariance : (m, m) ndarray of float64
        Inverse of J^T J: the covariance of the parameters if the errors of the points are right. NaN where the points
        do not determine the parameters.
    chi2 : float
        Sum of squared residuals over errors.
    dof : int
        Degrees of freedom: numbers fitted less parameters.
    converged : bool
        False if the search gave up.
    """

    parameters: Array
    bias: Array
    covariance: Array
    chi2: float
    dof: int
    converged: bool

    @property
    def chi2_dof(self) -> float:
        """Reduced chi^2; NaN without degrees of freedom."""
        return self.chi2 / self.dof if self.dof > 0 else float("nan")


def fit_model(model: Model, points: Points, start: Array) -> Minimum:
    r"""Fit a model by weighted least squares (Levenberg-Marquardt).

    The convolutions of `FullCovariance` square the errors of all lags, which pushes the parameters off by a fraction of
    their errors (a00 by a quarter at 8 x 8 lags). This bias of least squares is, to second order,

    .. math:: -\tfrac{1}{2} (J^T J)^{-1} J^T\, \mathrm{tr}(C H)

    with the second derivatives H of the residuals and the covariance C of the parameters (Box 1971, J. R. Stat. Soc. B
    33, 171). C is scaled by chi^2 / dof for it: without noise there is no bias. Where it is larger than the error
    of any parameter, it is not known, and given as zero.

    Parameters
    ----------
    model : Model
        Of `streamcal.ptc.models.make_model`.
    points : Points
        Finite numbers only.
    start : (m,) ndarray
        Parameters to start from, see `Model.start`.
    """
    if isinstance(model, ExpApproximation):
        return _minimise(*_direct_residuals(model, points), start, floor=0.0, n_points=len(points.mean))
    if isinstance(model, MeanPolynomial):
        return _fit_polynomial(model, points, start)
    msg = f"model must be one of streamcal.ptc.models, got {model!r}"
    raise TypeError(msg)


def fit_robustly(model: ExpApproximation, points: Points, start: Array) -> Array:
    """Return parameters of a fit on which single outliers have little influence: residuals beyond 3 count linearly."""
    from scipy.optimize import least_squares

    residuals, derive = _direct_residuals(model, points)
    found = least_squares(
        residuals, start, jac=derive, x_scale="jac", loss="soft_l1", f_scale=3.0, max_nfev=MAX_EVALUATIONS
    )
    parameters: Array = found.x
    return parameters


Function = Callable[[Array], Array]


def _direct_residuals(model: ExpApproximation, points: Points) -> tuple[Function, Function]:
    variance, error = points.covariance[:, 0, 0], points.error[:, 0, 0]
    return (
        lambda parameters: (model.evaluate(points.mean, parameters)[:, 0, 0] - variance) / error,
        lambda parameters: model.derive(points.mean, parameters) / error[:, None],
    )


def _fit_polynomial(model: MeanPolynomial, points: Points, start: Array) -> Minimum:
    triangle, target, floor = _compress(model, points)

    def residuals(parameters: Array) -> Array:
        return _project(triangle, model.coefficients(parameters)) - target

    def derive(parameters: Array) -> Array:
        slopes = _flatten(model.derive_coefficients(parameters))  # (powers, lags, parameters)
        jacobian: Array = np.matmul(triangle, slopes.transpose(1, 0, 2))
        return jacobian.reshape(-1, model.n_parameters)

    minimum = _minimise(residuals, derive, start, floor=floor, n_points=points.covariance.size)
    if not isinstance(model, FullCovariance):
        return minimum
    bend = model.bend_coefficients(minimum.parameters, minimum.chi2_dof * minimum.covariance)
    bias = -minimum.covariance @ derive(minimum.parameters).T @ _project(triangle, bend)
    # beyond its error it is not a bias of second order any more; parameters that are not determined have none
    known = bool((np.abs(bias) < np.sqrt(np.diag(minimum.covariance))).all())
    return replace(minimum, bias=bias) if known else minimum


def _project(triangle: Array, coefficients: Array) -> Array:
    """Return the compressed model, lag by lag."""
    model_part: Array = np.einsum("lqp,pl->lq", triangle, _flatten(coefficients))
    return model_part.ravel()


def _flatten(matrices: Array) -> Array:
    """Make one axis of the two of the lags."""
    return matrices.reshape(len(matrices), -1, *matrices.shape[3:])


def _compress(model: MeanPolynomial, points: Points) -> tuple[Array, Array, float]:
    n, n_lags, count = len(points.mean), model.side**2, model.n_powers
    # powers of the mean over the largest: those of ADU would differ by 18 orders of magnitude
    scale = points.mean.max()
    powers = mean_powers(points.mean / scale, count)
    covariance, weight = points.covariance.reshape(n, n_lags).T, 1 / points.error.reshape(n, n_lags).T
    columns = np.concatenate([np.broadcast_to(powers, (n_lags, n, count)), covariance[:, :, None]], axis=2)
    corner = np.asarray(np.linalg.qr(columns * weight[:, :, None], mode="r"))
    triangle = corner[:, :count, :count] * scale ** np.arange(count)
    return triangle, corner[:, :count, count].ravel(), float(np.sum(corner[:, count:, count] ** 2))


def _minimise(residuals: Function, derive: Function, start: Array, *, floor: float, n_points: int) -> Minimum:
    from scipy.optimize import least_squares

    found = least_squares(
        residuals,
        start,
        jac=derive,
        method="lm",
        x_scale="jac",
        xtol=_TOLERANCE,
        ftol=_CHI2_TOLERANCE,
        gtol=_TOLERANCE,
        max_nfev=MAX_EVALUATIONS,
    )
    return Minimum(
        parameters=found.x,
        bias=np.zeros_like(found.x),
        covariance=_invert(found.jac),
        chi2=2 * float(found.cost) + floor,
        dof=n_points - len(start),
        converged=found.status > 0,
    )


def _invert(jacobian: Array) -> Array:
    """Return the inverse of J^T J; columns are scaled first, since parameters differ by 14 orders of magnitude."""
    norm = np.linalg.norm(jacobian, axis=0)
    if not (norm > 0).all():
        return np.full((len(norm), len(norm)), np.nan)
    triangle = np.linalg.qr(jacobian / norm, mode="r")
    try:
        inverse = np.linalg.inv(triangle)
    except np.linalg.LinAlgError:
        return np.full((len(norm), len(norm)), np.nan)
    covariance: Array = (inverse @ inverse.T) / np.outer(norm, norm)
    return covariance
