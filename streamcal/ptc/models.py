"""Models of the photon transfer curve: from mean signal to variance and covariances, with their derivatives.

Units: ``mean`` is in ADU, covariances in ADU^2, ``gain`` g in e-/ADU, ``a`` and ``b`` in 1/e-, the noise matrix ``n``
in e-^2. The equations are those of Astier et al. 2019 (arXiv:1905.08677).

Three of the four models are polynomials of the mean whose coefficients, a matrix of lags each, depend on the
parameters. So the data enter a fit only through one small triangular matrix a lag, see `streamcal.ptc.least_squares`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamcal.ptc.convolution import convolution_matrix, convolve_errors, convolve_quadrants

Array = NDArray[np.float64]

MODELS = ("EXPAPPROXIMATION", "FULLCOVARIANCE", "FULLCOVARIANCE_NO_B", "POLYNOMIAL")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Physics:
    """Parameters of a model by what they mean; what a model lacks is empty.

    Attributes
    ----------
    gain : float
        e-/ADU.
    a : (r, r) ndarray
        Relative change of a pixel's area per electron in a neighbour, 1/e-; (1, 1) for models of the variance alone.
    noise : (r, r) ndarray
        Covariances without light, e-^2; the read noise is the root of ``noise[0, 0]``.
    ab : (r, r) or (0, 0) ndarray
        Product of a and b, element by element, 1/e-^2. The data determine it even where a vanishes, and b does not.
    """

    gain: float
    a: Array
    noise: Array
    ab: Array


class Model(Protocol):
    """What a fit needs to know of a model."""

    @property
    def side(self) -> int:
        """Number r of lags along each axis: covariances ``[i, j]`` with i, j < r are fitted."""

    @property
    def n_parameters(self) -> int:
        """Number of parameters."""

    def start(self, gain: float, a00: float, noise: float) -> Array:
        """Return parameters to start from; the noise is ``n_00`` in e-^2."""

    def evaluate(self, mean: Array, parameters: Array) -> Array:
        """Return the covariances, (n, r, r), at these means, (n,)."""

    def unpack(self, parameters: Array) -> Physics:
        """Return the parameters by what they mean."""


def make_model(name: str, side: int = 8, degree: int = 3) -> Model:
    """Return a model by its name.

    Parameters
    ----------
    name : {"EXPAPPROXIMATION", "FULLCOVARIANCE", "FULLCOVARIANCE_NO_B", "POLYNOMIAL"}
        Which.
    side : int
        Number of lags along each axis, for the models of covariances.
    degree : {2, 3}
        Of the polynomial.

    Raises
    ------
    ValueError
        If there is no such model, or ``side`` or ``degree`` is out of range.
    """
    if name not in MODELS:
        msg = f"model must be one of {', '.join(MODELS)}, got {name!r}"
        raise ValueError(msg)
    if side < 1:
        msg = f"side must be at least 1, got {side!r}"
        raise ValueError(msg)
    if name == "EXPAPPROXIMATION":
        return ExpApproximation()
    return Polynomial(degree) if name == "POLYNOMIAL" else FullCovariance(side, with_b=name == "FULLCOVARIANCE")


class ExpApproximation:
    r"""Astier eq. 16, the variance alone: :math:`C_{00} = [e^{2 a_{00} \mu g} - 1] / (2 g^2 a_{00}) + n_{00} / g^2`.

    Parameters of the fit: gain, a00, n00.
    """

    side = 1
    n_parameters = 3

    def start(self, gain: float, a00: float, noise: float) -> Array:
        """See `Model.start`."""
        return np.array([gain, a00, noise])

    def evaluate(self, mean: Array, parameters: Array) -> Array:
        """See `Model.evaluate`."""
        gain, a00, noise = parameters
        variance: Array = mean / gain * _growth(2 * a00 * mean * gain) + noise / gain**2
        return variance[:, None, None]

    def derive(self, mean: Array, parameters: Array) -> Array:
        """Return the derivatives of the variances, (n, 3), by the parameters."""
        gain, a00, noise = parameters
        x = 2 * a00 * mean * gain
        growth, slope = _growth(x), _growth_slope(x)
        by_gain = (-growth + x * slope) * mean / gain**2 - 2 * noise / gain**3
        return np.stack([by_gain, 2 * mean**2 * slope, np.full_like(mean, gain**-2)], axis=1)

    def unpack(self, parameters: Array) -> Physics:
        """See `Model.unpack`."""
        gain, a00, noise = parameters
        return Physics(gain=float(gain), a=np.full((1, 1), a00), noise=np.full((1, 1), noise), ab=np.empty((0, 0)))


def _growth(x: Array) -> Array:
    """Return (exp(x) - 1) / x, also where x is 0."""
    safe = np.where(x == 0, 1.0, x)
    with np.errstate(over="ignore"):  # a search may pass by there
        return np.where(x == 0, 1.0, np.expm1(safe) / safe)


def _growth_slope(x: Array) -> Array:
    """Return the derivative of `_growth`; near 0 by its series, where the closed form loses its digits."""
    small = np.abs(x) < 0.01
    safe = np.where(small, 1.0, x)
    series = 1 / 2 + x * (1 / 3 + x * (1 / 8 + x * (1 / 30 + x * (1 / 144 + x / 840))))
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(small, series, (np.exp(safe) * (safe - 1) + 1) / safe**2)


class MeanPolynomial:
    """Base of the models whose covariances are polynomials of the mean, with ``n_powers`` coefficients."""

    side: int
    n_parameters: int
    n_powers: int

    def coefficients(self, parameters: Array) -> Array:
        """Return the coefficients, (powers, r, r), of the powers 0, 1, ... of the mean in ADU."""
        raise NotImplementedError

    def derive_coefficients(self, parameters: Array) -> Array:
        """Return the derivatives of the coefficients, (powers, r, r, parameters), by the parameters."""
        raise NotImplementedError

    def evaluate(self, mean: Array, parameters: Array) -> Array:
        """See `Model.evaluate`."""
        coefficients = self.coefficients(parameters)
        values: Array = np.tensordot(mean_powers(mean, self.n_powers), coefficients, axes=1)
        return values


def mean_powers(mean: Array, count: int) -> Array:
    """Return the powers 0, 1, ... of the means, (n, count)."""
    return np.vander(mean, count, increasing=True)


class Polynomial(MeanPolynomial):
    r"""The variance alone as a polynomial: :math:`C_{00} = n_{00}/g^2 + \mu/g + a_{00}\mu^2 + k \mu^3`.

    Parameters of the fit: gain, a00, n00 and, for degree 3, k in 1/ADU.
    """

    side = 1

    def __init__(self, degree: int = 3) -> None:
        if degree not in {2, 3}:
            msg = f"degree must be 2 or 3, got {degree!r}"
            raise ValueError(msg)
        self.n_parameters = self.n_powers = degree + 1

    def start(self, gain: float, a00: float, noise: float) -> Array:
        """See `Model.start`."""
        return np.array([gain, a00, noise, 0.0])[: self.n_parameters]

    def coefficients(self, parameters: Array) -> Array:
        """See `MeanPolynomial.coefficients`."""
        gain, a00, noise = parameters[:3]
        return np.array([noise / gain**2, 1 / gain, a00, *parameters[3:]])[:, None, None]

    def derive_coefficients(self, parameters: Array) -> Array:
        """See `MeanPolynomial.derive_coefficients`."""
        gain, _, noise = parameters[:3]
        slopes = np.eye(self.n_parameters)
        slopes[:3, :3] = [[-2 * noise / gain**3, 0, gain**-2], [-(gain**-2), 0, 0], [0, 1, 0]]
        return slopes[:, None, None, :]

    def unpack(self, parameters: Array) -> Physics:
        """See `Model.unpack`."""
        return ExpApproximation().unpack(parameters[:3])


class FullCovariance(MeanPolynomial):
    r"""Astier eq. 20, variance and covariances together.

    .. math::

        C_{ij} = \frac{\mu}{g} [ \delta_{i0}\delta_{j0} + a_{ij} \mu g + \tfrac{2}{3} (a \otimes a + ab)_{ij} (\mu g)^2
        + \tfrac{1}{6} (2 a \otimes a \otimes a + 5 a \otimes ab)_{ij} (\mu g)^3 ] + n_{ij} / g^2

    with the convolution of the matrices mirrored to four quadrants and the product ab element by element.
    Parameters of the fit: gain, a, n and, with b, the product ab.

    Parameters
    ----------
    side : int
        Number of lags along each axis.
    with_b : bool
        Fit b; else it is zero.
    """

    n_powers = 5

    def __init__(self, side: int, *, with_b: bool = True) -> None:
        self.side = side
        self.with_b = with_b
        self.n_parameters = 1 + (3 if with_b else 2) * side**2

    def start(self, gain: float, a00: float, noise: float) -> Array:
        """See `Model.start`."""
        parameters = np.zeros(self.n_parameters)
        parameters[[0, 1, 1 + self.side**2]] = gain, a00, noise
        return parameters

    def unpack(self, parameters: Array) -> Physics:
        """See `Model.unpack`."""
        a, noise, *ab = parameters[1:].reshape(-1, self.side, self.side)
        return Physics(gain=float(parameters[0]), a=a, noise=noise, ab=ab[0] if ab else np.empty((0, 0)))

    def coefficients(self, parameters: Array) -> Array:
        """See `MeanPolynomial.coefficients`."""
        r, physics = self.side, self.unpack(parameters)
        g, a = physics.gain, physics.a
        ab = physics.ab if self.with_b else np.zeros((r, r))
        a2 = convolve_quadrants(a, a)
        a3 = convolve_quadrants(a2, a)[:r, :r]
        a_ab = convolve_quadrants(a, ab)[:r, :r]
        poisson = np.zeros((r, r))
        poisson[0, 0] = 1 / g
        third, fourth = 2 / 3 * g * (a2[:r, :r] + ab), g**2 / 6 * (2 * a3 + 5 * a_ab)
        return np.stack([physics.noise / g**2, poisson, a, third, fourth])

    def derive_coefficients(self, parameters: Array) -> Array:
        """See `MeanPolynomial.derive_coefficients`."""
        r, physics = self.side, self.unpack(parameters)
        g, a, n_lags, unit = physics.gain, physics.a, r**2, _unit(r**2)
        ab = physics.ab if self.with_b else np.zeros((r, r))
        with_a = convolution_matrix(a, r, r)
        with_a2 = convolution_matrix(convolve_quadrants(a, a), r, r)
        slopes = np.zeros((5, n_lags, self.n_parameters))
        by_gain, by_a, by_noise, by_ab = (
            slopes[:, :, 0],
            *(slopes[:, :, 1 + k * n_lags : 1 + (k + 1) * n_lags] for k in range(3)),
        )
        scale = np.array([-2 / g, -1 / g, 0, 1 / g, 2 / g])  # each coefficient is a power of the gain
        by_gain[:] = scale[:, None] * self.coefficients(parameters).reshape(5, n_lags)
        by_noise[0] = unit / g**2
        by_a[2] = unit
        by_a[3] = 4 / 3 * g * with_a
        by_a[4] = g**2 / 6 * (6 * with_a2 + 5 * convolution_matrix(ab, r, r))
        if self.with_b:
            by_ab[3] = 2 / 3 * g * unit
            by_ab[4] = g**2 / 6 * 5 * with_a
        return slopes.reshape(5, r, r, self.n_parameters)

    def bend_coefficients(self, parameters: Array, covariance: Array) -> Array:
        """Return what errors of the parameters add to the coefficients on average, to second order.

        Parameters
        ----------
        parameters : (m,) ndarray
            Where.
        covariance : (m, m) ndarray
            Of the parameters.

        Returns
        -------
        (5, r, r) ndarray of float64
        """
        r, g, a = self.side, parameters[0], self.unpack(parameters).a
        powers = np.array([-2, -1, 0, 1, 2])[:, None, None]  # of the gain, by coefficient
        added: Array = powers * (powers - 1) / 2 * covariance[0, 0] / g**2 * self.coefficients(parameters)
        added += powers / g * (self.derive_coefficients(parameters)[..., 1:] @ covariance[0, 1:])
        of_a, of_ab = slice(1, 1 + r**2), slice(1 + 2 * r**2, None)
        a2 = convolve_errors(covariance[of_a, of_a])
        added[3] += 2 / 3 * g * a2[:r, :r]
        added[4] += g**2 * convolve_quadrants(a2, a)[:r, :r]
        if self.with_b:
            added[4] += 5 / 6 * g**2 * convolve_errors(covariance[of_a, of_ab])[:r, :r]
        return added


@lru_cache(maxsize=8)
def _unit(size: int) -> Array:
    return np.eye(size)


def full_covariance(
    mean: ArrayLike, *, gain: float, a: ArrayLike, b: ArrayLike | None = None, noise: ArrayLike = 0.0
) -> Array:
    """Return the covariances of Astier eq. 20.

    Parameters
    ----------
    mean : (n,) array_like
        Mean signal in ADU.
    gain : float
        e-/ADU.
    a, b : (r, r) array_like
        In 1/e-; without ``b`` it is zero.
    noise : (r, r) array_like or float
        Covariances without light in e-^2; a number stands for a matrix with it in ``[0, 0]``.

    Returns
    -------
    (n, r, r) ndarray of float64
        In ADU^2.
    """
    a, noise = np.asarray(a, dtype=np.float64), np.asarray(noise, dtype=np.float64)
    matrix = np.zeros_like(a)
    matrix[(0, 0) if noise.ndim == 0 else ...] = noise
    model = FullCovariance(len(a), with_b=b is not None)
    ab = [] if b is None else (a * b).ravel()
    parameters = np.concatenate([[gain], a.ravel(), matrix.ravel(), ab])
    return model.evaluate(np.asarray(mean, dtype=np.float64), parameters)
