"""`CrosstalkCalib` to and from the peer's dict and tables: names, legacy forms, axes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamcal.calibs import axes
from streamcal.calibs.values import KindError, as_array, as_flag, as_mapping, as_number

if TYPE_CHECKING:
    from astropy.table import Table

    from streamcal.calibs.crosstalk import CrosstalkCalib

MATRICES: dict[str, tuple[str, str, type, float]] = {  # attribute: key in dicts, column in tables, type, default
    "coeffs": ("coeffs", "CT_COEFFS", float, 0.0),
    "coeff_err": ("coeffErr", "CT_ERRORS", float, 0.0),
    "coeff_num": ("coeffNum", "CT_COUNTS", int, 0),
    "coeff_valid": ("coeffValid", "CT_VALID", bool, True),
    "coeffs_sqr": ("coeffsSqr", "CT_COEFFS_SQR", float, 0.0),
    "coeff_err_sqr": ("coeffErrSqr", "CT_ERRORS_SQR", float, 0.0),
    "amp_gain_ratios": ("ampGainRatios", "CT_AMP_GAIN_RATIOS", float, 0.0),
}
UNITS = ("adu", "electron")
FIRST_VERSION_WITH_UNITS = 1.1


def count_amplifiers(dictionary: Mapping[str, Any]) -> int:
    """Return the number of amplifiers that a dict states, or that its coefficients imply.

    Raises
    ------
    ValueError
        If it states none and has no coefficients, or states what is no such number.
    """
    stated = _look_up(dictionary, "nAmp", "NAMP")
    if not stated:
        return int(np.sqrt(as_array(_require_coeffs(dictionary), "coeffs", float).size))
    count = as_array(stated, "nAmp", int)
    if count.ndim or count < 0:
        msg = f"nAmp must be a number of amplifiers, got {stated!r}"
        raise ValueError(msg)
    return int(count)


def fill_from_dict(calib: CrosstalkCalib, dictionary: Mapping[str, Any]) -> None:
    """Set the content of a calibration from a dict; see `CrosstalkCalib.from_dict`.

    Raises
    ------
    ValueError
        If ``coeffs`` are missing, a size does not fit the number of amplifiers, or a value is of another type.
    """
    has_crosstalk = _look_up(dictionary, "hasCrosstalk", "HAS_CROSSTALK")
    calib.has_crosstalk = has_crosstalk in (None, "") or as_flag(has_crosstalk, "hasCrosstalk")
    if calib.has_crosstalk:
        _require_coeffs(dictionary)
    calib.crosstalk_ratios_units = _read_units(dictionary)
    metadata = {"INSTRUME": dictionary.get("instrument", "")} | as_mapping(dictionary.get("metadata"), "metadata")
    order = axes.axes_of(metadata)
    for name, (key, _, dtype, _) in MATRICES.items():
        if dictionary.get(key) is not None:
            setattr(calib, name, axes.from_file(dictionary[key], calib.n_amp, key, dtype, order))
    calib.fit_gains = _read_fit_gains(dictionary.get("fitGains"), calib.n_amp)
    order = axes.axes_of(metadata, between_chips=True)
    calib.inter_chip = {
        source: axes.from_file(values, calib.n_amp, f"interChip {source}", float, order)
        for source, values in as_mapping(dictionary.get("interChip"), "interChip").items()
    }


def make_dict(calib: CrosstalkCalib) -> dict[str, Any]:
    """Return the content of a calibration as a dict of plain values; see `CrosstalkCalib.to_dict`."""
    return {
        "metadata": copy.deepcopy(calib.get_metadata()),
        "hasCrosstalk": calib.has_crosstalk,
        "nAmp": calib.n_amp,
        "crosstalkShape": list(calib.crosstalk_shape),
        "crosstalkRatiosUnits": calib.crosstalk_ratios_units,
        **{key: axes.to_file(getattr(calib, name)).tolist() for name, (key, _, _, _) in MATRICES.items()},
        "fitGains": calib.fit_gains.tolist(),
        "interChip": {source: axes.to_file(matrix).tolist() for source, matrix in calib.inter_chip.items()},
    }


def dict_from_tables(tables: Sequence[Table]) -> dict[str, Any]:
    """Return the dict that the peer's tables stand for."""
    if not tables or len(tables[0]) != 1:
        msg = f"a first table of one row must be there, got {f'{len(tables[0])} rows' if tables else 'no table'}"
        raise ValueError(msg)
    table, *others = tables
    dictionary: dict[str, Any] = {"metadata": dict(table.meta), "interChip": {}}
    columns = {column: key for key, column, _, _ in MATRICES.values()} | {"CT_FIT_GAINS": "fitGains"}
    for column, key in columns.items():
        if column in table.colnames:
            dictionary[key] = np.asarray(table[column][0])
    for other in others:
        _add_inter_chip(dictionary["interChip"], other)
    return dictionary


def _add_inter_chip(matrices: dict[str, Any], table: Table) -> None:
    if not {"IC_SOURCE_DET", "IC_COEFFS"} <= set(table.colnames):
        msg = f"a second table must have IC_SOURCE_DET and IC_COEFFS, got {', '.join(table.colnames)}"
        raise ValueError(msg)
    for row in table:
        source = str(row["IC_SOURCE_DET"]).strip()
        if source in matrices:
            msg = f"IC_SOURCE_DET must name each detector once, got {source!r} twice"
            raise ValueError(msg)
        matrices[source] = np.asarray(row["IC_COEFFS"])


def make_tables(calib: CrosstalkCalib) -> list[Table]:
    """Return the peer's tables of a calibration; see `CrosstalkCalib.to_table`.

    Raises
    ------
    ValueError
        If a table cannot hold the name of a source detector.
    """
    from astropy.table import Table

    for source in calib.inter_chip:
        if not source or source != source.strip():
            msg = f"inter_chip must have names without blanks at their ends, got {source!r}"
            raise ValueError(msg)
    columns = {column: axes.to_file(getattr(calib, name))[None] for name, (_, column, _, _) in MATRICES.items()}
    table = Table(columns | {"CT_FIT_GAINS": calib.fit_gains[None]}, meta=copy.deepcopy(calib.get_metadata()))
    if not calib.inter_chip:
        return [table]
    coefficients = np.array([axes.to_file(matrix) for matrix in calib.inter_chip.values()])
    return [table, Table({"IC_SOURCE_DET": list(calib.inter_chip), "IC_COEFFS": coefficients})]


def _require_coeffs(dictionary: Mapping[str, Any]) -> Any:
    if dictionary.get("coeffs") is None:
        msg = "coefficients are missing: coeffs (CT_COEFFS in tables) is required"
        said = _look_up(dictionary, "OBSTYPE", "OBSTYPE")  # of another kind it is refused before
        raise (ValueError if said else KindError)(msg)
    return dictionary["coeffs"]


def _look_up(dictionary: Mapping[str, Any], key: str, metadata_key: str) -> Any:
    """Return an entry of a dict, else that of its metadata, else None."""
    metadata = as_mapping(dictionary.get("metadata"), "metadata")
    return dictionary[key] if dictionary.get(key) is not None else metadata.get(metadata_key)


def _read_units(dictionary: Mapping[str, Any]) -> str:
    metadata = as_mapping(dictionary.get("metadata"), "metadata")
    version = metadata.get("CROSSTALK_VERSION") or FIRST_VERSION_WITH_UNITS
    if as_number(version, "CROSSTALK_VERSION") < FIRST_VERSION_WITH_UNITS:
        return "adu"
    units = _look_up(dictionary, "crosstalkRatiosUnits", "CROSSTALK_RATIOS_UNITS") or "adu"
    if units not in UNITS:
        msg = f"crosstalkRatiosUnits must be 'adu' or 'electron', got {units!r}"
        raise ValueError(msg)
    return str(units)


def _read_fit_gains(values: Any, n_amp: int) -> NDArray[np.float64]:
    gains = np.zeros(n_amp) if values is None else as_array(values, "fitGains", float).ravel()
    if gains.size == 1 and n_amp > 1:  # what writers before version 1.2 left: unknown
        return np.zeros(n_amp)
    if gains.size != n_amp:
        msg = f"fitGains must hold {n_amp} values, got {gains.size}"
        raise ValueError(msg)
    return gains
