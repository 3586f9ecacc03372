"""A table of results: what the journal says of its segments, and what lies in its folders."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c

from streamcal.errors import StreamcalError
from streamcal.sink.files import SystemFiles
from streamcal.sink.recovery import find_strays
from streamcal.sink.segments import Content, Current, Layout, decode_segment
from streamcal.verify.finding import Finding

_FILES = SystemFiles()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Segment:
    number: int
    state: str
    schema_id: str
    first_row: int
    rows: int
    committed: int
    sealed_size: int | None
    sealed_crc32c: int | None


def check_table(
    journal: sqlite3.Connection, folder: Path, name: str, note: Callable[[Content], None] | None = None
) -> Iterator[Finding]:
    """Yield what does not agree.

    Parameters
    ----------
    journal : sqlite3.Connection
        The journal.
    folder : Path
        Folder of the table.
    name : str
        What the journal calls it; it need not know of it.
    note : callable, optional
        Called with what each segment holds, in order.
    """
    sql = (
        "SELECT number, state, schema_id, first_row, row_count, committed, sealed_size, sealed_crc32c FROM segment"
        " WHERE table_name = ? ORDER BY number"
    )
    names = _Segment.__slots__
    segments = [_Segment(**dict(zip(names, row, strict=True))) for row in journal.execute(sql, (name,))]
    yield from _check_numbers(journal, segments, name)
    layout = Layout(folder)
    for segment in segments:
        try:
            yield from _check_segment(journal, layout, segment, name, note)
        except (StreamcalError, OSError) as exc:
            yield Finding(where=f"{name}, segment {segment.number}", problem=str(exc))
    yield from _check_strays(layout, segments)
    yield from _check_current(journal, layout, segments, name)


def _check_numbers(journal: sqlite3.Connection, segments: Sequence[_Segment], name: str) -> Iterator[Finding]:
    row = 0
    for number, segment in enumerate(segments, 1):
        if (segment.number, segment.first_row) != (number, row):
            problem = f"segment {segment.number} from row {segment.first_row} follows {number - 1} rows {row}"
            yield Finding(where=f"journal, {name}", problem=problem)
        row = segment.first_row + segment.rows
        sql = "SELECT coalesce(sum(row_count), 0) FROM batch WHERE table_name = ? AND segment = ?"
        ((rows,),) = journal.execute(sql, (name, segment.number)).fetchall()
        if rows != segment.rows:
            problem = f"segment {segment.number} has {segment.rows} rows, its batches {rows}"
            yield Finding(where=f"journal, {name}", problem=problem)
    sql = "SELECT count(*), coalesce(max(seq), 0) FROM batch WHERE table_name = ?"
    ((count, last),) = journal.execute(sql, (name,)).fetchall()
    if count != last:
        yield Finding(where=f"journal, {name}", problem=f"{count} commits are numbered up to {last}")


def _check_segment(
    journal: sqlite3.Connection, layout: Layout, segment: _Segment, name: str, note: Callable[[Content], None] | None
) -> Iterator[Finding]:
    live = segment.state == "live"
    path = layout.live(segment.number) if live else layout.sealed(segment.number)
    expected = segment.committed if live else segment.sealed_size or 0
    size = _FILES.size(path)
    if size is None or size < expected or (size > expected and not live):
        there = "is not there" if size is None else f"has {size} bytes"
        yield Finding(where=str(path), problem=f"missing data: {there}, the journal committed {expected} bytes")
        return
    if size > expected:
        repair = f"cut {size - expected} bytes"
        yield Finding(where=str(path), problem="something stands behind what is committed", repair=repair)
    data = _FILES.read(path, 0, expected)
    if not live and google_crc32c.value(data) != segment.sealed_crc32c:
        yield Finding(where=str(path), problem="damaged: the checksum of the file is not the journal's")
    if live:
        yield from _check_batches(journal, data, segment, name, path)
    content = decode_segment(data, path)
    if note is not None:
        note(content)
    yield from _check_content(content, segment, path)


def _check_batches(
    journal: sqlite3.Connection, data: bytes, segment: _Segment, name: str, path: Path
) -> Iterator[Finding]:
    sql = "SELECT seq, offset, length, crc32c FROM batch WHERE table_name = ? AND segment = ? ORDER BY seq"
    for seq, offset, length, crc32c in journal.execute(sql, (name, segment.number)):
        if google_crc32c.value(data[offset : offset + length]) != crc32c:
            yield Finding(where=str(path), problem=f"damaged at byte {offset}: commit {seq} has another checksum")


def _check_content(content: Content, segment: _Segment, path: Path) -> Iterator[Finding]:
    found: dict[str, Any] = {
        "rows": content.rows,
        "first row": content.first_row,
        "schema": content.schema.metadata[b"schema_id"].decode(),
    }
    expected = {"rows": segment.rows, "first row": segment.first_row, "schema": segment.schema_id}
    for name, value in expected.items():
        if found[name] != value:
            yield Finding(where=str(path), problem=f"{name}: {found[name]}, in the journal {value}")


def _check_strays(layout: Layout, segments: Sequence[_Segment]) -> Iterator[Finding]:
    missing = [folder for folder in (layout.live_folder, layout.sealed_folder) if not folder.is_dir()]
    if missing:
        for folder in missing if segments else ():
            yield Finding(
                where=str(folder), problem="missing data: the folder is gone, the journal knows of rows in it"
            )
        return
    last, live = (segments[-1].number, segments[-1].state == "live") if segments else (0, False)
    strays = find_strays(_FILES, layout, last, live=live)
    for path in strays.leftovers:
        yield Finding(where=str(path), problem="left over from an interruption", repair="remove it")
    for path in strays.unknown:
        yield Finding(where=str(path), problem="is not in the journal: it is not the journal of these results")
    for path in strays.foreign:
        yield Finding(where=str(path), problem="is no file of streamcal, which leaves it alone: move it elsewhere")
    if live and layout.sealed(last).exists():
        yield Finding(where=str(layout.sealed(last)), problem="its sealing was interrupted", repair="finish it")


def _check_current(
    journal: sqlite3.Connection, layout: Layout, segments: Sequence[_Segment], name: str
) -> Iterator[Finding]:
    path = layout.current
    found = None if _FILES.size(path) is None else Current.from_json(_FILES.read(path))
    ((seq,),) = journal.execute("SELECT coalesce(max(seq), 0) FROM batch WHERE table_name = ?", (name,)).fetchall()
    if found is not None and found.seq > seq:
        problem = f"speaks of commit {found.seq}, the journal knows {seq}: it is not the journal of these results"
        yield Finding(where=str(path), problem=problem)
    elif segments and found != (expected := _expect_current(segments[-1], seq)):
        problem = f"says {found}, the journal {expected}"
        yield Finding(where=str(path), problem=problem, repair="write what the journal says")


def _expect_current(last: _Segment, seq: int) -> Current:
    return Current(
        segment=last.number,
        committed_offset=last.committed,
        seq=seq,
        schema_id=last.schema_id,
        rows=last.first_row + last.rows,
    )
