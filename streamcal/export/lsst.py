"""Photon transfer curves as LSST's batch stack keeps them: FITS, schema "Gen3 Photon Transfer Curve", version 2.6.

One row an amplifier. A solved curve holds all pairs of a group; a ``PARTIAL`` file holds one pair, from which the batch
solver can start; a ``DUMMY`` stands for an exposure that gave nothing, so that outputs match inputs one to one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamcal import __version__
from streamcal.export.files import write_whole
from streamcal.export.pairs import GroupPairs
from streamcal.ptc.flags import BAD
from streamcal.ptc.models import Model, Polynomial, make_model
from streamcal.ptc.observations import GroupKey
from streamcal.ptc.selection import MAD_TO_SIGMA

if TYPE_CHECKING:
    from astropy.table import Table

Row = Mapping[str, Any]
Array = NDArray[np.float64]

SCHEMA, VERSION = "Gen3 Photon Transfer Curve", 2.6
NAN = float("nan")

# column of theirs: column of ours, one value a pair; NaN where no stage measured it
PER_PAIR = {
    "INPUT_EXP_PAIR_MJD_START": "mjd_start",
    "RAW_EXP_TIMES": "exposure_time",
    "RAW_MEANS": "mean",
    "RAW_VARS": "variance",
    "RAW_DELTAS": "delta",
    "ROW_MEAN_VARIANCE": "row_mean_variance",
    "GAIN_LIST": "gain",
    "NOISE_LIST": "read_noise",
    "OVERSCAN_MEDIAN_LIST": "overscan_level",
    "HIST_VARS": "normality_variance",
    "HIST_CHI2_DOFS": "normality_chi2_dof",
    "KS_PVALUES": "normality_ks_p",
    "PHOTO_CHARGE": "photo_charge",
    "PHOTO_CHARGE_DELTAS": "photo_charge_delta",
    "AMP_OFFSETS": "amp_offset",
}
ROLLOFF = ("PTC_ROLLOFF", "PTC_ROLLOFF_ERROR", "PTC_ROLLOFF_TAU", "PTC_ROLLOFF_TAU_ERROR")


def make_solved(pairs: GroupPairs, solutions: Sequence[Row]) -> Table:
    """Return the table of a solved curve.

    Parameters
    ----------
    pairs : GroupPairs
        Measurements of the group.
    solutions : sequence of mapping
        Solutions of its amplifiers, all of one model.

    Raises
    ------
    ValueError
        If the solutions are of several models: a file has one.
    """
    models = sorted({row["model"] for row in solutions})
    if len(models) != 1:
        msg = f"solutions must be of one model, got {', '.join(models) or 'none'}"
        raise ValueError(msg)
    bad = [row["amplifier"] for row in solutions if row["flags"] & BAD]
    n_pixels = common_pixels(pairs)
    rows = [
        {
            **_describe_pairs(pairs, row["amplifier"], n_pixels),
            **_describe_solution(pairs, row),
            "BAD_AMPS": _names(bad),
        }
        for row in solutions
    ]
    return _finish(rows, models[0], pairs)


def make_partial(pairs: GroupPairs, place: int, n_pixels: int | None = None) -> Table:
    """Return the table of one pair, ``PARTIAL``; the solution's columns are NaN.

    Parameters
    ----------
    pairs : GroupPairs
        Measurements of the group.
    place : int
        Which pair.
    n_pixels : int, optional
        Pixel count of all pairs of the group; the batch solver wants the same in each, so the median by default.
    """
    one = pairs.take(place)
    count = common_pixels(pairs) if n_pixels is None else n_pixels
    rows = []
    for name in pairs.amplifiers:
        row = {**_describe_pairs(one, name, count), **_blank_solution(1, _side(one, name)), "BAD_AMPS": _names([])}
        row["EXP_ID_MASK"] = np.isfinite(row["RAW_MEANS"]) & np.isfinite(row["RAW_VARS"])
        row |= {"GAIN": row["GAIN_LIST"][0], "GAIN_UNADJUSTED": row["GAIN_LIST"][0], "NOISE": row["NOISE_LIST"][0]}
        rows.append(row)
    return _finish(rows, "PARTIAL", one)


def make_dummy(amplifiers: Sequence[str], side: int) -> Table:
    """Return the table of an exposure that gave nothing, ``DUMMY``: one pair of NaN, ids -1."""
    import pyarrow as pa

    empty = pa.table({"amplifier": pa.array([], pa.string())})
    nothing = np.full((1, side, side), NAN)
    rows = []
    for name in amplifiers:
        row = {**dict.fromkeys(PER_PAIR, np.full(1, NAN)), **_blank_solution(1, side), "BAD_AMPS": _names([])}
        row |= {"AMPLIFIER_NAME": name, "COV_MATRIX_SIDE": side, "NPIXEL_COVARIANCES": -1}
        row |= {"INPUT_EXP_ID_PAIRS": np.full((1, 2), -1), "OVERSCAN_MEDIAN": NAN, "OVERSCAN_MEDIAN_SIGMA": 0.0}
        row |= {"COVARIANCES": nothing.ravel(), "COVARIANCES_SQRT_WEIGHTS": nothing.ravel()}
        rows.append(row)
    blank = GroupPairs(seq=[], exposure_ids=np.empty((0, 2), np.int64), amplifiers=(), table=empty, places={})
    return _finish(rows, "DUMMY", blank)


def _describe_pairs(pairs: GroupPairs, amplifier: str, n_pixels: int) -> dict[str, Any]:
    covariance = pairs.matrices(amplifier, "covariance")
    with np.errstate(divide="ignore"):
        weight = 1 / pairs.matrices(amplifier, "covariance_error")
    levels = pairs.numbers(amplifier, "overscan_level")
    known = levels[np.isfinite(levels)]
    level = float(np.median(known)) if len(known) else NAN
    return {
        "AMPLIFIER_NAME": amplifier,
        "COV_MATRIX_SIDE": covariance.shape[1],
        "INPUT_EXP_ID_PAIRS": pairs.exposure_ids,
        **{theirs: pairs.numbers(amplifier, ours) for theirs, ours in PER_PAIR.items()},
        "OVERSCAN_MEDIAN": level,
        "OVERSCAN_MEDIAN_SIGMA": MAD_TO_SIGMA * float(np.median(np.abs(known - level))) if len(known) else NAN,
        "NPIXEL_COVARIANCES": n_pixels,
        "COVARIANCES": covariance.ravel(),
        "COVARIANCES_SQRT_WEIGHTS": weight.ravel(),
    }


def _side(pairs: GroupPairs, amplifier: str) -> int:
    return int(pairs.matrices(amplifier, "covariance").shape[1])


def common_pixels(pairs: GroupPairs) -> int:
    """Return the median of the pixels selected; their solver refuses a group in which counts differ."""
    counts = np.concatenate([pairs.numbers(name, "n_selected") for name in pairs.amplifiers])
    known = counts[np.isfinite(counts)]
    return int(np.median(known)) if len(known) else -1


def _blank_solution(n_pairs: int, side: int) -> dict[str, Any]:
    per_pair = np.full(n_pairs, NAN)
    matrix = np.full(side**2, NAN)
    single = ("GAIN", "GAIN_ERR", "GAIN_UNADJUSTED", "NOISE", "NOISE_ERR", "PTC_FIT_CHI_SQ", "PTC_TURNOFF")
    return {
        "COV_MATRIX_SIDE_FULL_COV_FIT": side,
        "EXP_ID_MASK": np.zeros(n_pairs, dtype=bool),
        "EXP_ID_ROLLOFF_MASK": np.zeros(n_pairs, dtype=bool),
        **dict.fromkeys((*single, "PTC_TURNOFF_SAMPLING_ERROR", *ROLLOFF), NAN),
        "PTC_FIT_PARS": np.array([NAN]),
        "PTC_FIT_PARS_ERROR": np.array([NAN]),
        **dict.fromkeys(("A_MATRIX", "B_MATRIX", "NOISE_MATRIX"), matrix),
        "COVARIANCES_MODEL": np.full(n_pairs * side**2, NAN),
        **dict.fromkeys(("FINAL_MEANS", "FINAL_VARS", "FINAL_MODEL_VARS"), per_pair),
    }


def _describe_solution(pairs: GroupPairs, row: Row) -> dict[str, Any]:
    """Return the columns of a solution; NaN, and no pair used, where there is none."""
    side = len(row["a_matrix"])
    blank = _blank_solution(len(pairs), side)
    rank = {seq: index for index, seq in enumerate(pairs.seq)}
    where = np.array([rank[seq] for seq in row["pair_seq"] if seq in rank], dtype=np.int64)
    solved = {name: _scatter(row[name], where, len(pairs)) for name in ("used", "mean", "variance")}
    used = solved["used"] == 1
    model = make_model(row["model"], side=side, degree=_degree(row))
    parameters = np.array(row["parameters"], dtype=np.float64)
    fitted = np.full((len(pairs), side, side), NAN)
    if len(parameters):
        fitted = model.evaluate(solved["mean"], parameters)
    values, errors = order_parameters(model, row["model"], row["parameters"], row["parameters_error"])
    return {
        **blank,
        "EXP_ID_MASK": used,
        "GAIN": row["gain"],
        "GAIN_ERR": row["gain_error"],
        "GAIN_UNADJUSTED": row["gain"],
        "NOISE": row["noise"],
        "NOISE_ERR": row["noise_error"],
        "PTC_FIT_PARS": values,
        "PTC_FIT_PARS_ERROR": errors,
        "PTC_FIT_CHI_SQ": row["chi2_dof"],
        "PTC_TURNOFF": row["turnoff"],
        "PTC_TURNOFF_SAMPLING_ERROR": row["turnoff_error"],
        "A_MATRIX": np.ravel(row["a_matrix"]),
        "B_MATRIX": np.ravel(row["b_matrix"]),
        "NOISE_MATRIX": np.ravel(row["noise_matrix"]),
        "COVARIANCES_MODEL": fitted.ravel(),
        "FINAL_MEANS": np.where(used, solved["mean"], NAN),
        "FINAL_VARS": np.where(used, solved["variance"], NAN),
        "FINAL_MODEL_VARS": np.where(used, fitted[:, 0, 0], NAN),
    }


def _scatter(values: Sequence[float], where: NDArray[np.int64], count: int) -> Array:
    scattered = np.full(count, NAN)
    scattered[where] = np.array(values, dtype=np.float64)[: len(where)]
    return scattered


def _degree(row: Row) -> int:
    return 2 if row["model"] == "POLYNOMIAL" and len(row["parameters"]) == 3 else 3


def order_parameters(
    model: Model, name: str, parameters: Sequence[float], errors: Sequence[float]
) -> tuple[Array, Array]:
    """Return parameters and their errors as the batch stack has them.

    That is a00, gain, noise variance for EXPAPPROXIMATION; a, ab, n, gain for the full covariances (b = 0: a, n, gain);
    for POLYNOMIAL the coefficients of the powers 0, 1, 2, 3 of the mean. The error of the first neglects that gain and
    noise are correlated, and is some 15 % too large. All NaN where there is no solution.
    """
    values, spread = np.full((2, model.n_parameters), NAN)
    if len(parameters):
        values, spread = np.array(parameters, dtype=np.float64), np.array(errors, dtype=np.float64)
    if isinstance(model, Polynomial):
        slopes = model.derive_coefficients(values)[:, 0, 0]
        return model.coefficients(values).ravel(), np.sqrt(slopes**2 @ spread**2)
    return _reorder(name, values), _reorder(name, spread)


def _reorder(name: str, values: Array) -> Array:
    if name == "EXPAPPROXIMATION":
        return values[[1, 0, 2]]
    gain, (a, noise, *ab) = values[:1], np.split(values[1:], 3 if name == "FULLCOVARIANCE" else 2)
    return np.concatenate([a, *ab, noise, gain])


def _names(bad: Sequence[str]) -> NDArray[np.str_]:
    return np.array(bad) if bad else np.array([], dtype="U3")


def _finish(rows: list[dict[str, Any]], fit_type: str, pairs: GroupPairs) -> Table:
    from astropy.table import Table

    auxiliary = {f"PTCAUX_{key.upper()}": value for key, value in pairs.auxiliary().items()} if len(pairs) else {}
    return Table([{"PTC_FIT_TYPE": fit_type, **row, **auxiliary} for row in rows])


def describe_origin(key: GroupKey, fit_type: str, filter_name: str) -> dict[str, Any]:
    """Return the metadata of a file: what the batch stack asks of a calibration, and where it comes from."""
    now = datetime.now(UTC)
    return {
        "OBSTYPE": "PTC",
        "PTC_SCHEMA": SCHEMA,
        "PTC_VERSION": VERSION,
        "PTC_FIT_TYPE": fit_type,
        "CALIBCLS": "lsst.ip.isr.ptcDataset.PhotonTransferCurveDataset",
        "INSTRUME": key.instrument,
        **({"DETECTOR": int(key.detector)} if key.detector.isdigit() else {}),
        "DET_NAME": key.detector,
        "FILTER": filter_name,
        "CALIB_CREATION_DATE": now.strftime("%Y-%m-%d"),
        "CALIB_CREATION_TIME": now.strftime("%H:%M:%S UTC"),
        "STREAMCAL_VERSION": __version__,
        "STREAMCAL_GROUP": key.group,
    }


def write_fits(table: Table, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a table as the second HDU of a FITS file; it appears at once, whole, and replaces one of this name."""
    from astropy.io import fits

    hdu = fits.table_to_hdu(table)
    for name, value in metadata.items():
        hdu.header[name if len(name) <= 8 else f"HIERARCH {name}"] = value
    with write_whole(path) as hidden:
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(hidden, overwrite=True)
