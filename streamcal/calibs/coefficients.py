"""Which coefficients a subtraction uses, and what leads from the unit of the pixels to theirs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamcal.calibs.coupling import Coupling
from streamcal.calibs.gains import Gains, fill_gains, order_gains
from streamcal.records import Exposure

Units = Literal["adu", "electron"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Coefficients:
    """Coefficients and the scales that lead from the unit of the pixels to theirs.

    Attributes
    ----------
    linear : (n_target, n_source) ndarray of float64
        Zero where unused.
    quadratic : (n_target, n_source) ndarray of float64 or None
        Per unit of the source; zero where unused.
    target_scale, source_scale : (n,) ndarray of float64
        A pixel times its amplifier's scale is in the unit of the coefficients.
    """

    linear: NDArray[np.float64]
    quadratic: NDArray[np.float64] | None
    target_scale: NDArray[np.float64]
    source_scale: NDArray[np.float64]

    @classmethod
    def choose(
        cls,
        linear: ArrayLike,
        quadratic: ArrayLike | None,
        valid: ArrayLike | None,
        unused: NDArray[np.bool_],
        scales: tuple[NDArray[np.float64], NDArray[np.float64]],
    ) -> Self:
        """Take the coefficients that are valid, finite and to be used.

        Parameters
        ----------
        linear, quadratic : (n_target, n_source) array_like
            ``[target, source]``; a pair whose linear one is not finite has no quadratic one either.
        valid : (n_target, n_source) array_like of bool or 0/1 or None
            None: all.
        unused : (n_target, n_source) ndarray of bool
            What not to use.
        scales : tuple of ndarray
            Of targets and sources.

        Raises
        ------
        ValueError
            If a matrix has another shape than ``unused``.
        """
        matrix = _matrix(linear, "coeffs", unused.shape)
        allowed = np.isfinite(matrix) & ~unused
        if valid is not None:
            allowed &= _matrix(valid, "coeffs_valid", unused.shape) != 0  # 0/1 integers are no boolean index
        square = None if quadratic is None else _matrix(quadratic, "coeffs_sqr", unused.shape)
        return cls(
            linear=np.where(allowed, matrix, 0.0),
            quadratic=None if square is None else np.where(allowed & np.isfinite(square), square, 0.0),
            target_scale=scales[0],
            source_scale=scales[1],
        )

    def coupling(self, background: NDArray[np.float64] | None = None) -> Coupling:
        """Return the same for pixels as they are: the matrices are converted, never the images.

        Parameters
        ----------
        background : (n_source,) ndarray, optional
            Level of each source that does not count, in the unit of the pixels.
        """
        linear = self.linear * self.source_scale / self.target_scale[:, None]
        quadratic = None
        if self.quadratic is not None and self.quadratic.any():
            quadratic = (self.quadratic * self.source_scale**2 / self.target_scale[:, None]).astype(np.float32)
        level = None if background is None else background.astype(np.float32)[:, None]
        return Coupling(linear=linear.astype(np.float32), quadratic=quadratic, background=level)


def pixel_scale(
    exposure: Exposure, units: Units, coefficient_units: str, gains: Gains | None, log: Any
) -> NDArray[np.float64]:
    """Return by what each amplifier's pixels are multiplied to be in the unit of the coefficients.

    Parameters
    ----------
    exposure : Exposure
        Whose amplifiers.
    units : {"adu", "electron"}
        Unit of its pixels.
    coefficient_units : {"adu", "electron"}
        Unit for which the coefficients hold.
    gains : mapping, sequence or None
        e-/ADU; needed only where the units differ.
    log : logger
        Warned of bad gains.

    Raises
    ------
    ValueError
        If a unit is unknown, or gains are needed and there is none.
    """
    for unit in (units, coefficient_units):
        if unit not in {"adu", "electron"}:
            msg = f"units must be 'adu' or 'electron', got {unit!r}"
            raise ValueError(msg)
    names = list(exposure.amplifiers)
    if units == coefficient_units:
        return np.ones(len(names))
    if gains is None:
        msg = f"gains of {exposure.info} must be given to convert between adu and electron"
        raise ValueError(msg)
    good = fill_gains(order_gains(gains, names), names, log)
    return good if units == "adu" else 1.0 / good


def same_detector(exposure: Exposure, source: Exposure) -> bool:
    """Tell whether two exposures are known to be of one detector: those without a name are not."""
    mine, other = exposure.info, source.info
    alike = (mine.instrument, mine.detector) == (other.instrument, other.detector)
    return exposure is source or (mine.detector != "" and alike)


def find_unused(
    exposure: Exposure, source: Exposure, bad_amps: Iterable[str], bad_source_amps: Iterable[str] | None
) -> NDArray[np.bool_]:
    """Return which pairs have a bad amplifier at an end, (n_target, n_source).

    Parameters
    ----------
    exposure, source : Exposure
        Targets and sources.
    bad_amps : iterable of str
        Bad amplifiers of the exposure.
    bad_source_amps : iterable of str or None
        Those of the source; None: the same, if it is of the same detector.

    Raises
    ------
    ValueError
        If an amplifier is unknown.
    """
    if bad_source_amps is None:
        bad_source_amps = bad_amps if same_detector(exposure, source) else ()
    targets = choose_names("bad_amps", bad_amps, exposure.amplifiers)
    sources = choose_names("bad_source_amps", bad_source_amps, source.amplifiers)
    return np.array([[t in targets or s in sources for s in source.amplifiers] for t in exposure.amplifiers])


def choose_names(argument: str, names: Iterable[str], known: Collection[str]) -> set[str]:
    """Return names as a set.

    Parameters
    ----------
    argument : str
        What the caller calls them, for the error.
    names : iterable of str
        Of amplifiers. A string is refused, as its letters would be taken for names.
    known : collection of str
        What there is.

    Raises
    ------
    ValueError
        If there is no such amplifier.
    """
    unknown = {names} if isinstance(names, str) else set(names) - set(known)
    if unknown:
        msg = f"{argument} must be names of {', '.join(known)}, got {', '.join(sorted(unknown))}"
        raise ValueError(msg)
    return set(names)


def _matrix(values: ArrayLike, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    matrix: NDArray[np.float64] = np.array(values, float)
    if matrix.shape != shape:
        msg = f"{name} must have shape {shape}, [target, source], got {matrix.shape}"
        raise ValueError(msg)
    return matrix
