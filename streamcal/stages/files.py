"""Files that settings name: found by pattern, and kept in memory as long as they stay the same."""

from __future__ import annotations

import string
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, Field

from streamcal.errors import StageError
from streamcal.hookspecs import CheckContext
from streamcal.records import ExposureInfo, FileStat

T = TypeVar("T")

FITS_SUFFIXES = (".fits", ".fit", ".fits.fz", ".fits.gz", ".fit.gz")
PLACEHOLDERS = ("instrument", "detector", "exposure_id", "path", "folder", "name", "stem")


def _check_pattern(text: str) -> str:
    for _, name, form, conversion in string.Formatter().parse(text):
        if name is not None and (name not in PLACEHOLDERS or form or conversion):
            known = ", ".join(f"{{{place}}}" for place in PLACEHOLDERS)
            msg = f"must hold no other braces than {known}, got {text!r}"
            raise ValueError(msg)
    return text


PathPattern = Annotated[str, Field(min_length=1), AfterValidator(_check_pattern)]
"""A path in which ``{instrument}``, ``{detector}``, ``{exposure_id}``, and the file's ``{path}``, ``{folder}``,
``{name}`` and ``{stem}`` (the name without ``.fits`` and its like) stand for those of the exposure at hand."""


def is_fits(path: Path) -> bool:
    """Tell from its name whether a file is FITS."""
    return path.name.lower().endswith(FITS_SUFFIXES)


def search_file(pattern: str, info: ExposureInfo, folders: Iterable[Path]) -> Path | None:
    """Return the file that a pattern means for one exposure, None if there is none; see `find_file`."""
    path = Path(expand_pattern(pattern, info)).expanduser()
    places = (folder / path for folder in (folders if not path.is_absolute() else (Path(),)))
    return next((place for place in places if place.is_file()), None)


def find_file(pattern: str, info: ExposureInfo, folders: Iterable[Path]) -> Path:
    """Return the file that a pattern means for one exposure.

    Parameters
    ----------
    pattern : str
        See `PathPattern`; ``~`` is the home folder.
    info : ExposureInfo
        The exposure at hand.
    folders : iterable of Path
        Where a relative path is looked for, in order.

    Raises
    ------
    StageError
        If there is no such file; names it and the folders.
    """
    folders = tuple(folders)
    path = search_file(pattern, info, folders)
    if path is None:
        places = ", ".join(map(str, folders))
        msg = f"no file {expand_pattern(pattern, info)!r} (relative names are looked for in: {places})"
        raise StageError(msg)
    return path


def check_file(key: str, pattern: str | None, context: CheckContext, *, marks: str = "{") -> Iterator[str]:
    """Say in one line if what a pattern means cannot be there; what hangs on an exposure is not known yet.

    Parameters
    ----------
    key : str
        The setting.
    pattern : str or None
        See `PathPattern`; None is fine.
    context : CheckContext
        Where relative names are looked for.
    marks : str
        Signs with which a part of the path is open: only the folders before it can be looked for.
    """
    if pattern is None:
        return
    path = Path(pattern).expanduser()
    fixed = Path(*takewhile(lambda part: not set(marks) & set(part), path.parts))
    places = [folder / fixed for folder in (context.folders if not path.is_absolute() else (Path(),))]
    if not any(place.exists() if fixed == path else place.is_dir() for place in places):
        where = "" if path.is_absolute() else f" (looked for in: {', '.join(map(str, context.folders))})"
        yield f"{key}: no {'file' if fixed == path else 'folder'} {str(fixed)!r}{where}"


def expand_pattern(pattern: str, info: ExposureInfo) -> str:
    """Return a pattern with what stands in braces replaced; raises `StageError` where a header leads elsewhere."""
    identity = {"instrument": info.instrument, "detector": info.detector, "exposure_id": info.exposure_id}
    for key, value in identity.items():
        if f"{{{key}}}" in pattern and ("/" in value or value in {".", ".."}):  # headers must not lead elsewhere
            msg = f"{key} {value!r} cannot stand in a file name, as {pattern!r} asks"
            raise StageError(msg)
    path = Path(info.path)
    suffix = max((suffix for suffix in FITS_SUFFIXES if path.name.lower().endswith(suffix)), key=len, default="")
    stem = path.name[: len(path.name) - len(suffix)]
    return pattern.format(**identity, path=info.path, folder=path.parent, name=path.name, stem=stem)


class FileCache(Generic[T]):
    """What was made from files, kept until they change; what was used longest ago goes first.

    Parameters
    ----------
    size : int
        Most entries kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, paths: tuple[Path, ...], key: Hashable, load: Callable[[], T]) -> T:
        """Return what ``load`` made from these files, calling it if they are new or have changed.

        Parameters
        ----------
        paths : tuple of Path
            The files.
        key : hashable
            All else that the result depends on.
        load : callable
            Makes the result, which nobody may change.
        """
        identity = (key, tuple((path, FileStat.of(path.stat())) for path in paths))
        if identity not in self._entries:
            self._entries[identity] = load()
        self._entries.move_to_end(identity)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return self._entries[identity]
