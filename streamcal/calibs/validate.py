"""Checks that a `CrosstalkCalib` holds together, and that it belongs to something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from streamcal.calibs.detector import Detector
from streamcal.calibs.formats import MATRICES
from streamcal.records import Exposure

if TYPE_CHECKING:
    from streamcal.calibs.crosstalk import CrosstalkCalib


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
        values = getattr(calib, name)
        for target, source in np.argwhere(valid & ~np.isfinite(values)):
            place = f"target {target}, source {source}"
            msg = f"{name} must be finite where coeff_valid is set, got {values[target, source]} at {place}"
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
        if np.shape(array) != shape:
            msg = f"{name} must have shape {shape}, got {np.shape(array)}"
            raise ValueError(msg)


def validate_identity(calib: CrosstalkCalib, other: Detector | Exposure | CrosstalkCalib) -> None:
    """Check that a calibration and something else are of one detector.

    Identities are compared where both sides have one. An exposure's detector may be called by name, number or serial.

    Raises
    ------
    ValueError
        If the number of amplifiers, the instrument, the detector or (of two calibrations) the unit differ.
    """
    count, instrument, names = _identify(other)
    metadata = calib.get_metadata()
    pairs: list[tuple[str, Any, Any]] = [("n_amp", calib.n_amp, count)]
    if instrument and metadata["INSTRUME"]:
        pairs.append(("instrument", str(metadata["INSTRUME"]).lower(), instrument.lower()))
    if not isinstance(other, Detector | Exposure):
        pairs.append(("crosstalk_ratios_units", calib.crosstalk_ratios_units, other.crosstalk_ratios_units))
    own = _names(metadata)
    if names and own and not names & own:
        pairs.append(("detector", " or ".join(sorted(own)), " or ".join(sorted(names))))
    for name, mine, theirs in pairs:
        if mine != theirs:
            msg = f"{name} must be that of the calibration, {mine!r}, got {theirs!r}"
            raise ValueError(msg)


def _identify(other: Detector | Exposure | CrosstalkCalib) -> tuple[int, str, set[str]]:
    """Return number of amplifiers, instrument and the detector's names; the instrument of an exposure is our own."""
    if isinstance(other, Exposure):
        return len(other.amplifiers), "", {other.info.detector} - {""}
    if isinstance(other, Detector):
        return other.n_amp, other.instrument, {other.name, other.serial} - {""}
    metadata = other.get_metadata()
    return other.n_amp, str(metadata["INSTRUME"]), _names(metadata)


def _names(metadata: Mapping[str, Any]) -> set[str]:
    return {str(metadata[key]) for key in ("DETECTOR", "DETECTOR_NAME", "DETECTOR_SERIAL")} - {""}
