"""Residuals of a fit: over their errors, and whether these explain them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streamcal.ptc.least_squares import Points
from streamcal.ptc.models import Model

Array = NDArray[np.float64]

POOR = 1e-3  # probability of chi2 below which the errors of the points do not explain the residuals


def find_pulls(model: Model, points: Points, parameters: Array) -> Array:
    """Return the residuals over their errors, (n, r, r)."""
    pulls: Array = (points.covariance - model.evaluate(points.mean, parameters)) / points.error
    return pulls


def reweight(points: Points, variance: Array) -> Points:
    """Return the points with errors in proportion to a model's variance, (n,), in place of the measured one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.abs(variance) / points.covariance[:, 0, 0]
    return replace(points, error=points.error * ratio[:, None, None])


def find_excess(pulls: Array, n_parameters: int) -> Array:
    """Return how many times larger than their errors the residuals are, of the variances and of the covariances.

    Parameters
    ----------
    pulls : (n, r, r) ndarray of float64
        Residuals over errors; ``[:, 0, 0]`` are those of the variances.
    n_parameters : int
        Of the model: the gain and some matrices, of which the variances see one element each.

    Returns
    -------
    (r, r) ndarray of float64
        The root of chi^2 / dof, for ``[0, 0]`` and for all other lags; 1 where the errors explain the residuals.
    """
    n, side = pulls.shape[:2]
    chi2, chi2_variance = np.sum(pulls**2), np.sum(pulls[:, 0, 0] ** 2)
    dof, dof_variance = pulls.size - n_parameters, n - 1 - (n_parameters - 1) // side**2
    factor = np.full((side, side), _excess(chi2 - chi2_variance, dof - dof_variance))
    factor[0, 0] = _excess(chi2_variance, dof_variance)
    return factor


def _excess(chi2: float, dof: int) -> float:
    from scipy.special import gammaincc

    poor = dof > 0 and gammaincc(dof / 2, chi2 / 2) < POOR
    return float(np.sqrt(chi2 / dof)) if poor else 1.0
