"""What a restart does first: compare files and journal, and finish or take back what was interrupted."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import google_crc32c

from streamcal.errors import StateError
from streamcal.sink.files import sync_folder
from streamcal.sink.register import Segment
from streamcal.sink.segments import segment_number
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


def _remove_leftovers(store: Store, segment: Segment | None) -> tuple[str, ...]:
    last = segment.number if segment else 0
    live = last if segment and segment.live else None
    removed = []
    for name in sorted(store.files.list(store.layout.live_folder)):
        number = segment_number(name)
        _check_known(store, number, last + 1, f"live/{name}")  # the next one may have been begun
        if number is not None and number != live:
            store.remove_live(number)
            removed.append(f"live/{name}")
    for name in sorted(store.files.list(store.layout.sealed_folder)):
        _check_known(store, segment_number(name), last, f"sealed/{name}")
        if name.startswith(".") and name.endswith(".tmp"):
            store.files.unlink(store.layout.sealed_folder / name)
            removed.append(f"sealed/{name}")
    return tuple(removed)


def _check_known(store: Store, number: int | None, last: int, name: str) -> None:
    if number is not None and number > last:
        msg = f"{store.layout.folder / name} is not in the journal: it is not the journal of these results"
        raise StateError(msg)


def _check_last_batch(store: Store, segment: Segment) -> None:
    batch = store.register.last_batch()
    if batch is None or batch.segment != segment.number:
        return
    path = store.layout.live(segment.number)
    if google_crc32c.value(store.files.read(path, batch.offset, batch.length)) != batch.crc32c:
        msg = f"{path}: damaged at byte {batch.offset}: the checksum is not the journal's"
        raise StateError(msg)
