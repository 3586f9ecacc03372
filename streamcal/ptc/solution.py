"""What a fit says of one amplifier."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from streamcal.ptc.flags import BAD, FitFlag

Array = NDArray[np.float64]
NAN = float("nan")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Solution:
    """Gain, noise and brighter-fatter coefficients of one amplifier; NaN, with a reason, where there are none.

    Attributes
    ----------
    model : str
        Name of the model.
    gain, gain_error : float
        e-/ADU.
    noise, noise_error : float
        Root of n_00, e-; it includes the digitisation noise.
    a00, a00_error : float
        1/e-.
    turnoff, turnoff_error : float
        Mean of the highest pair used, and half the gap to the next one, ADU.
    chi2_dof : float
        Reduced chi^2.
    dof : int
        Degrees of freedom.
    a, a_error, b, b_error : (r, r) ndarray
        1/e-; models of the variance alone have r = 1 and b NaN.
    noise_matrix, noise_matrix_error : (r, r) ndarray
        e-^2.
    used : (n,) ndarray of bool
        Pairs that were fitted.
    dropped : tuple of str
        Why a pair was not; empty for those used.
    model_covariance : (n, r, r) ndarray
        The curve of least chi^2 at the mean of each pair, used or not, ADU^2. The bias that is taken off the parameters
        is not one of the curve.
    parameters : (m,) ndarray
        As the model orders them.
    parameter_covariance : (m, m) ndarray
        Of the parameters, scaled as the errors are.
    flags : int
        Bits of `FitFlag`.
    reason : str
        Why there is no solution, or what is to be said against it.
    """

    model: str
    used: NDArray[np.bool_]
    dropped: tuple[str, ...]
    flags: int = 0
    reason: str = ""
    gain: float = NAN
    gain_error: float = NAN
    noise: float = NAN
    noise_error: float = NAN
    a00: float = NAN
    a00_error: float = NAN
    turnoff: float = NAN
    turnoff_error: float = NAN
    chi2_dof: float = NAN
    dof: int = 0
    a: Array = field(default_factory=lambda: np.full((1, 1), NAN))
    a_error: Array = field(default_factory=lambda: np.full((1, 1), NAN))
    b: Array = field(default_factory=lambda: np.full((1, 1), NAN))
    b_error: Array = field(default_factory=lambda: np.full((1, 1), NAN))
    noise_matrix: Array = field(default_factory=lambda: np.full((1, 1), NAN))
    noise_matrix_error: Array = field(default_factory=lambda: np.full((1, 1), NAN))
    model_covariance: Array = field(default_factory=lambda: np.empty((0, 1, 1)))
    parameters: Array = field(default_factory=lambda: np.empty(0))
    parameter_covariance: Array = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def good(self) -> bool:
        """Whether there is a solution at all."""
        return not self.flags & BAD

    @classmethod
    def refuse(cls, model: str, side: int, dropped: tuple[str, ...], flag: FitFlag, reason: str) -> Self:
        """Return what is said of an amplifier that cannot be fitted: NaN everywhere, and why."""
        nothing = np.full((side, side), NAN)
        return cls(
            model=model,
            used=np.zeros(len(dropped), dtype=bool),
            dropped=dropped,
            flags=int(flag),
            reason=reason,
            a=nothing,
            a_error=nothing,
            b=nothing,
            b_error=nothing,
            noise_matrix=nothing,
            noise_matrix_error=nothing,
            model_covariance=np.full((len(dropped), side, side), NAN),
        )
