"""Which of several calibration files holds for an exposure: the newest whose date is not after its start."""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from streamcal.errors import StageError
from streamcal.records import ExposureInfo
from streamcal.stages.files import FITS_SUFFIXES, expand_pattern, find_file, search_file

ENDINGS = (*FITS_SUFFIXES, ".ecsv", ".yaml", ".yml")
_DATE = re.compile(
    r"(?<!\d)((?:19|20)\d\d)-?(\d\d)-?(\d\d)"  # other eight digits are serial numbers
    r"(?:[T ](\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d+))?)?)?)?(?!\d)"
)
_MJD_EPOCH = datetime(1858, 11, 17)  # noqa: DTZ001 - compared with others that are UTC by convention


class NoCalibrationError(StageError):
    """There is no calibration for an exposure."""


def find_valid_file(
    pattern: str, info: ExposureInfo, folders: Iterable[Path], date_of: Callable[[Path], float | None]
) -> Path:
    """Return the file that a pattern means for one exposure, by date where it means several.

    Parameters
    ----------
    pattern : str
        See `streamcal.stages.files.PathPattern`. It may also name a folder, or hold the wildcards ``*``, ``?`` and
        ``[...]``. Where nothing is found, instrument and detector are tried in lower case.
    info : ExposureInfo
        The exposure at hand.
    folders : iterable of Path
        Where a relative path is looked for, in order.
    date_of : callable
        Returns from when a file holds, as MJD (UTC); -inf: always; None: it is no such calibration at all.

    Raises
    ------
    NoCalibrationError
        If there is no file, or none that holds yet.
    StageError
        If the choice is not clear: two files of one date, or an exposure without start.
    """
    folders = tuple(folders)
    for variant in (info, replace(info, instrument=info.instrument.lower(), detector=info.detector.lower())):
        if (path := search_file(pattern, variant, folders)) is not None:
            return path
        if listed := list_files(pattern, variant, folders):
            return choose_valid(listed, info, date_of)
    try:
        return find_file(pattern, info, folders)
    except StageError as exc:
        msg = f"{exc}; in a folder files count that end in {', '.join(ENDINGS)}"
        raise NoCalibrationError(msg) from exc


def list_files(pattern: str, info: ExposureInfo, folders: Iterable[Path]) -> list[Path]:
    """Return the calibration files that a pattern with wildcards matches, or that lie in a folder it matches.

    Those of the first of the ``folders`` that has any, by name; hidden ones are left out.
    """
    names = ("instrument", "detector", "exposure_id", "path")
    literal = replace(info, **{name: glob.escape(getattr(info, name)) for name in names})
    expanded = os.path.expanduser(expand_pattern(pattern, literal))  # noqa: PTH111 - it is no path yet
    for folder in folders:
        place = os.path.join(glob.escape(str(folder)), expanded)  # noqa: PTH118 - the same
        found = [Path(name) for name in (*glob.glob(place), *glob.glob(f"{place}/*"))]  # noqa: PTH207 - absolute too
        if files := sorted(path for path in found if path.name.lower().endswith(ENDINGS) and path.is_file()):
            return files
    return []


def choose_valid(paths: Sequence[Path], info: ExposureInfo, date_of: Callable[[Path], float | None]) -> Path:
    """Return the file with the newest date that is not after the start of the exposure; raises as `find_valid_file`."""
    dates = {path: date for path in paths if (date := date_of(path)) is not None}
    if not dates:
        msg = f"none of {len(paths)} files such as {paths[0]} is such a calibration"
        raise NoCalibrationError(msg)
    start = info.mjd_start if math.isnan(info.mjd_start_utc) else info.mjd_start_utc
    if math.isnan(start) and any(map(math.isfinite, dates.values())):
        msg = f"exposure {info} has no start time by which to choose among {len(dates)} files such as {paths[0]}"
        raise StageError(msg)
    valid = [path for path, date in dates.items() if not date > start]
    if not valid:
        msg = f"all of {len(dates)} files such as {next(iter(dates))} hold from after the start of exposure {info} only"
        raise NoCalibrationError(msg)
    newest = max(dates[path] for path in valid)
    first, *others = [path for path in valid if dates[path] == newest]
    if others:
        msg = f"{first} and {others[0]} hold from the same time: give them different dates, or remove one"
        raise StageError(msg)
    return first


def find_date(text: str) -> float | None:
    """Return the last date in a text as MJD; None if there is none from 1900 to 2099.

    Such as ``20240131``, ``2024-01-31T12:00:00.5``, ``2024-01-31 12:00``.
    """
    for found in reversed(list(_DATE.finditer(text))):
        *parts, fraction = found.groups()
        try:
            date = datetime(*(int(part or 0) for part in parts))  # type: ignore[arg-type]  # noqa: DTZ001 - see above
        except ValueError:
            continue
        return ((date - _MJD_EPOCH).total_seconds() + float(f"0.{fraction or 0}")) / 86400.0
    return None
