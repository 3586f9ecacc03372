"""Checks that a `CrosstalkCalib` holds together, and that it belongs to something."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamcal.calibs.detector import Detector
from streamcal.calibs.formats import MATRICES
from streamcal.records import Exposure

if TYPE_CHECKING:
    from streamcal.calibs.crosstalk import CrosstalkCalib

FINITE, NOT_NEGATIVE = "be finite where coeff_valid is set", "not be negative"
OTHER_NAMES = {"lsstcomcam": "comcam", "hyper suprime-cam": "hsc"}  # of a camera, in headers or in calibrations
AMPLIFIERS_KEY = "AMPLIFIERS"  # metadata: names in the order of the coefficients; deployed files lack it


def join_names(names: Iterable[str]) -> str:
    """Return the names of amplifiers as metadata hold them."""
    return ",".join(names)


def validate_content(calib: CrosstalkCalib) -> None:
    """Check unit, shapes and coefficients.

    Raises
    ------
    ValueError
        Naming the attribute, the rule and the value.
    """
    if calib.crosstalk_ratios_units not in {"adu", "electron"}:
        msg = f"crosstalk_ratios_units must be 'adu' or 'electron', got {calib.crosstalk_ratios_units!r}"
        raise ValueError(msg)
    _validate_shapes(calib)
    valid = calib.coeff_valid.astype(bool)
    for name in ("coeffs", "coeffs_sqr"):
        _validate_numbers(name, getattr(calib, name), valid & ~np.isfinite(getattr(calib, name)), FINITE)
    for name in ("coeff_err", "coeff_num", "coeff_err_sqr", "amp_gain_ratios"):
        _validate_numbers(name, getattr(calib, name), getattr(calib, name) < 0, NOT_NEGATIVE)
    if not calib.has_crosstalk and (calib.coeffs[calib.usable].any() or calib.coeffs_sqr[calib.usable].any()):
        msg = "has_crosstalk must be set where a coefficient is not zero"
        raise ValueError(msg)
    for name, matrix in calib.inter_chip.items():
        if not np.isfinite(matrix).all():
            msg = f"inter_chip[{name!r}] must be finite"
            raise ValueError(msg)


def _validate_shapes(calib: CrosstalkCalib) -> None:
    square = (calib.n_amp, calib.n_amp)
    if tuple(calib.crosstalk_shape) != square:
        msg = f"crosstalk_shape must be {square}, got {tuple(calib.crosstalk_shape)}"
        raise ValueError(msg)
    arrays = [(name, getattr(calib, name), square) for name in MATRICES]
    arrays += [(f"inter_chip[{name!r}]", matrix, square) for name, matrix in calib.inter_chip.items()]
    for name, array, shape in [*arrays, ("fit_gains", calib.fit_gains, (calib.n_amp,))]:
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            msg = f"{name} must be an array of numbers, got {getattr(array, 'dtype', type(array).__name__)}"
            raise ValueError(msg)
        if array.shape != shape:
            msg = f"{name} must have shape {shape}, got {array.shape}"
            raise ValueError(msg)


def _validate_numbers(name: str, values: NDArray[Any], wrong: NDArray[np.bool_], rule: str) -> None:
    for target, source in np.argwhere(wrong):
        msg = f"{name} must {rule}, got {values[target, source]} at target {target}, source {source}"
        raise ValueError(msg)


def validate_identity(calib: CrosstalkCalib, other: Detector | Exposure | CrosstalkCalib) -> None:
    """Check that a calibration and something else are of one detector.

    Identities are compared where both sides have one. An exposure's detector may be called by name, number or serial,
    its instrument as in ``INSTRUME`` of its header or as in the configuration; upper and lower case do not matter.

    Raises
    ------
    ValueError
        If number, names or order of the amplifiers, the instrument, the detector or (of two calibrations) the unit
        differ, or the other is something else altogether.
    """
    if not isinstance(other, Detector | Exposure) and not hasattr(other, "crosstalk_ratios_units"):
        msg = f"a calibration is validated against a Detector, an Exposure or another one, got {type(other).__name__}"
        raise ValueError(msg)
    count, instruments, names = _identify(other)
    metadata = calib.get_metadata()
    pairs: list[tuple[str, Any, Any]] = [("n_amp", calib.n_amp, count)]
    amplifiers = _amplifiers(other)
    if amplifiers and metadata.get(AMPLIFIERS_KEY):
        pairs.append(("amplifiers", metadata[AMPLIFIERS_KEY], amplifiers))
    instrument = _instruments(metadata["INSTRUME"])
    if instruments and instrument and not instruments & instrument:
        pairs.append(("instrument", " or ".join(sorted(instrument)), " or ".join(sorted(instruments))))
    if not isinstance(other, Detector | Exposure):
        pairs.append(("crosstalk_ratios_units", calib.crosstalk_ratios_units, other.crosstalk_ratios_units))
    own = _names(metadata)
    if names and own and not names & own:
        pairs.append(("detector", " or ".join(sorted(own)), " or ".join(sorted(names))))
    for name, mine, theirs in pairs:
        if mine != theirs:
            msg = f"{name} must be that of the calibration, {mine!r}, got {theirs!r}"
            raise ValueError(msg)


def _identify(other: Detector | Exposure | CrosstalkCalib) -> tuple[int, set[str], set[str]]:
    """Return number of amplifiers, names of the instrument and of the detector."""
    if isinstance(other, Exposure):
        said = _instruments(other.header.get("INSTRUME"))  # without it there is only the name of a configuration
        return len(other.amplifiers), said and said | _instruments(other.info.instrument), {other.info.detector} - {""}
    if isinstance(other, Detector):
        return other.n_amp, _instruments(other.instrument), {other.name, other.serial} - {""}
    metadata = other.get_metadata()
    return other.n_amp, _instruments(metadata["INSTRUME"]), _names(metadata)


def _instruments(stated: Any) -> set[str]:
    name = str(stated or "").strip().lower()
    return {OTHER_NAMES.get(name, name)} - {""}


def _amplifiers(other: Detector | Exposure | CrosstalkCalib) -> str:
    """Return the names of the amplifiers in order, where they are known."""
    if isinstance(other, Exposure):
        return join_names(other.amplifiers)
    if isinstance(other, Detector):
        return join_names(other.gains)
    return str(other.get_metadata().get(AMPLIFIERS_KEY, ""))


def _names(metadata: Mapping[str, Any]) -> set[str]:
    return {str(metadata[key]) for key in ("DETECTOR", "DETECTOR_NAME", "DETECTOR_SERIAL")} - {""}
