"""Crosstalk calibrations for the stage: found for a detector and a date, read once in each process."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog

from streamcal.errors import StageError
from streamcal.hookspecs import Context
from streamcal.paths import show_path
from streamcal.records import ExposureInfo
from streamcal.stages.files import FileCache
from streamcal.stages.validity import NoCalibrationError, find_date, find_valid_file

if TYPE_CHECKING:
    from streamcal.calibs.crosstalk import CrosstalkCalib
    from streamcal.stages.crosstalk import CrosstalkSettings

INLINE = "configuration"


class ForeignFileError(StageError):
    """A file is whole, but is no crosstalk calibration."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedCalib:
    """A calibration, which nobody may change, and where it comes from."""

    calib: CrosstalkCalib
    origin: str  # path, or ``configuration``
    digest: str | None  # xxh3-128 of the file; None for a matrix of the configuration


_files: FileCache[LoadedCalib] = FileCache(size=1024)  # some kilobytes each; LSSTCam has 205 detectors


def load_calib(info: ExposureInfo, settings: CrosstalkSettings, context: Context) -> LoadedCalib | None:
    """Return the calibration for an exposure; None where there is none and none is demanded.

    Raises
    ------
    StageError
        If it is missing (``missing = "error"``), not clear which it is, or unreadable.
    """
    if settings.matrix is not None:
        return _from_matrix(settings)
    if settings.file is None:
        return None
    try:
        return load_file(find_valid_file(settings.file, info, context.folders, _date_of))
    except NoCalibrationError:
        if settings.missing == "error":
            raise
        return None


def load_file(path: Path) -> LoadedCalib:
    """Return what a file holds, read when it is new or has changed.

    Raises
    ------
    StageError
        If it is no crosstalk calibration.
    """
    return _files.get((path,), None, lambda: _read(path))


def _date_of(path: Path) -> float | None:
    """Return from when a file holds, MJD: by its name, else by its metadata, else from ever; None: it is another."""
    date = find_date(path.name)
    if date is None:
        try:
            date = find_date(str(load_file(path).calib.get_metadata().get("CALIBDATE", "")))
        except ForeignFileError:  # a damaged calibration is no such file: an older one must not take its place
            return None
    return -math.inf if date is None else date


def _from_matrix(settings: CrosstalkSettings) -> LoadedCalib:
    from streamcal.calibs.crosstalk import CrosstalkCalib

    calib = CrosstalkCalib(n_amp=len(settings.matrix or ()), log=structlog.get_logger("streamcal.stage"))
    calib.coeffs = np.array(settings.matrix)
    calib.has_crosstalk = True
    calib.crosstalk_ratios_units = settings.units
    return LoadedCalib(calib=calib, origin=INLINE, digest=None)


def _warn(calib: CrosstalkCalib, path: Path) -> None:
    """Say once in each process what of a file cannot be used; rows have flags for it."""
    from streamcal.calibs.gains import find_bad_gains

    n_linear, n_both = (int(np.count_nonzero(calib.find_unknown(quadratic=both))) for both in (False, True))
    if n_both:
        counts = {"n_coefficients": n_linear, "n_quadratic": n_both - n_linear}
        calib.log.warning("crosstalk coefficients not finite", path=show_path(path), **counts)
    n_gains = int(np.count_nonzero(find_bad_gains(calib.fit_gains)))
    if n_gains and calib.crosstalk_ratios_units == "electron":
        calib.log.warning("crosstalk gains unknown", path=show_path(path), n_amplifiers=n_gains)


def _read(path: Path) -> LoadedCalib:
    import xxhash

    from streamcal.calibs.crosstalk import CrosstalkCalib
    from streamcal.calibs.values import KindError

    try:
        content = path.read_bytes()  # once: what the digest is of is what was understood
        calib = CrosstalkCalib.from_bytes(content, path)
    except KindError as exc:
        raise ForeignFileError(str(exc)) from exc
    except (OSError, ValueError) as exc:
        raise StageError(str(exc)) from exc
    calib.log = structlog.get_logger("streamcal.stage")
    _warn(calib, path)
    return LoadedCalib(calib=calib, origin=show_path(path), digest=xxhash.xxh3_128_hexdigest(content))
