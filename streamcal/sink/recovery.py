"""What a restart does first: compare files and journal, and finish or take back what was interrupted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from streamcal.errors import StateError
from streamcal.sink.files import Files, hidden_path, sync_folder
from streamcal.sink.register import Segment
from streamcal.sink.segments import Layout, segment_number
from streamcal.sink.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovery:
    """What a recovery found and did."""

    torn_bytes: int = 0  # cut behind the committed end of the live segment
    sealed: int | None = None  # segment whose interrupted sealing was finished
    removed: tuple[str, ...] = ()  # files that were left over

    def __bool__(self) -> bool:
        """Tell whether anything had to be done."""
        return self != Recovery()


@dataclass(frozen=True, kw_only=True, slots=True)
class Strays:
    """Files in the folders of a table that are no committed segments, by what a start does about them."""

    leftovers: tuple[Path, ...] = ()  # left by an interruption: it removes them
    unknown: tuple[Path, ...] = ()  # segments that the journal does not know: it refuses to go on
    foreign: tuple[Path, ...] = ()  # never written by a sink: it leaves them alone


def recover_table(store: Store) -> Recovery:
    """Bring the files of a table back to what the journal committed.

    Raises
    ------
    StateError
        If committed data are missing or damaged, or if there are results that the journal does not know.
    RetryLater
        If the disk is full or away; to be called again.
    """
    segment = store.register.last_segment()
    if segment is None:
        _make_folders(store)
    _check_folders(store)
    _check_current(store)
    _check_sealed(store)
    removed = _remove_leftovers(store, segment)
    if segment is None or not segment.live:
        return Recovery(removed=removed)
    torn = store.cut_live(segment)
    _check_last_batch(store, segment)
    sealing = store.is_sealing(segment)
    if sealing:
        store.seal(segment)
    return Recovery(torn_bytes=torn, sealed=segment.number if sealing else None, removed=removed)


def _make_folders(store: Store) -> None:
    layout = store.layout
    for folder in (layout.folder.parent, layout.folder, layout.live_folder, layout.sealed_folder):
        if store.files.size(folder) is None:
            store.files.make_folder(folder)
        with suppress(PermissionError):  # what lies above the output may be closed to us
            sync_folder(store.files, folder.parent)  # whoever made it may have been interrupted


def _check_folders(store: Store) -> None:
    for folder in (store.layout.live_folder, store.layout.sealed_folder):
        if store.files.size(folder) is None:
            msg = f"missing data: the folder {folder} is gone, the journal knows of rows in it"
            raise StateError(msg)


def _check_current(store: Store) -> None:
    current = store.read_current()
    known = store.register.last_seq()
    if current and current.seq > known:
        said = f"{store.layout.current} speaks of commit {current.seq}, the journal knows {known}"
        msg = f"{said}: it is not the journal of these results"
        raise StateError(msg)


def _check_sealed(store: Store) -> None:
    for number, size in store.register.sealed_sizes().items():
        path = store.layout.sealed(number)
        found = store.files.size(path)
        if found != size:
            there = "is gone" if found is None else f"has {found} bytes"
            msg = f"missing data: {path} {there}, the journal committed {size} bytes"
            raise StateError(msg)


def find_strays(files: Files, layout: Layout, last: int, *, live: bool) -> Strays:
    """Sort what lies in the folders of a table and is no committed segment.

    Parameters
    ----------
    files : Files
        The system calls.
    layout : Layout
        Where the table lies.
    last : int
        Number of the newest segment that the journal knows; 0: none.
    live : bool
        Whether that one is live; a sealed file of it then is one whose sealing was interrupted.
    """
    leftovers, unknown, foreign = [], [], []
    for path in _list(files, layout.live_folder):
        number = _number_of(path, layout.live)
        if number is None:
            foreign.append(path)
        elif number > last + 1:  # the next one may have been begun
            unknown.append(path)
        elif not (live and number == last):
            leftovers.append(path)
    for path in _list(files, layout.sealed_folder):
        number = _number_of(path, layout.sealed)
        if _number_of(path, lambda begun: hidden_path(layout.sealed(begun))) is not None:
            leftovers.append(path)
        elif number is None:
            foreign.append(path)
        elif number > last:
            unknown.append(path)
    return Strays(leftovers=tuple(leftovers), unknown=tuple(unknown), foreign=tuple(foreign))


def _list(files: Files, folder: Path) -> list[Path]:
    return [folder / name for name in sorted(files.list(folder))]


def _number_of(path: Path, name_of: Callable[[int], Path]) -> int | None:
    """Return the number for which a file has exactly the name that a sink gives it."""
    number = segment_number(path.name.removeprefix(".").removesuffix(".tmp"))
    return number if number is not None and name_of(number) == path else None


def _remove_leftovers(store: Store, segment: Segment | None) -> tuple[str, ...]:
    last, live = (segment.number, segment.live) if segment else (0, False)
    strays = find_strays(store.files, store.layout, last, live=live)
    for path in strays.unknown:
        msg = f"{path} is not in the journal: it is not the journal of these results"
        raise StateError(msg)
    for path in strays.leftovers:
        store.files.unlink(path)
        sync_folder(store.files, path.parent)
    return tuple(str(path.relative_to(store.layout.folder)) for path in strays.leftovers)


def _check_last_batch(store: Store, segment: Segment) -> None:
    batch = store.register.last_batch()
    if batch is None or batch.segment != segment.number:
        return
    path = store.layout.live(segment.number)
    if google_crc32c.value(store.files.read(path, batch.offset, batch.length)) != batch.crc32c:
        msg = f"{path}: damaged at byte {batch.offset}: the checksum is not the journal's"
        raise StateError(msg)
