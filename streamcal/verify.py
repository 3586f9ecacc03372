"""Do journal, segments and schemas of an output agree? What a start would repair is told apart from what it cannot."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c

from streamcal.errors import StateError, StreamcalError
from streamcal.journal import Journal
from streamcal.lock import StateLock, lock_owner
from streamcal.sink.arrow import ArrowSink
from streamcal.sink.files import SystemFiles
from streamcal.sink.segments import Content, Current, Layout, decode_segment
from streamcal.status import find_state, open_journal

SHOWN = 5  # examples of one kind
SECOND_LOOK = 1.0  # s; what a running daemon is just changing has changed by then

_FILES = SystemFiles()


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something that does not agree.

    Attributes
    ----------
    where : str
        File, or part of the journal.
    problem : str
        What is wrong, in words.
    repair : str
        What `repair_output` would do about it, and any start of the daemon; empty if only a person can decide.
    """

    where: str
    problem: str
    repair: str = ""

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.where}: {self.problem}" + (f"; to be repaired: {self.repair}" if self.repair else "")


def verify_output(output: Path) -> list[Finding]:
    """Compare all that an output holds; nothing is changed, a daemon may be running.

    Parameters
    ----------
    output : Path
        Output folder of a run.

    Returns
    -------
    list of Finding
        Empty: all agrees. With a daemon running only what is found twice.

    Raises
    ------
    ConfigError
        If the folder is not an output of streamcal.
    """
    state = find_state(output)
    findings = _look(output, state)
    if findings and lock_owner(state):
        time.sleep(SECOND_LOOK)
        again = _look(output, state)
        findings = [finding for finding in findings if finding in again]
    return findings


def repair_output(output: Path) -> None:
    """Do what a start does to an interrupted output, and count totals anew; rows are never removed or changed.

    Raises
    ------
    ConfigError
        If the folder is not an output of streamcal.
    StateError
        If a daemon is running, or committed data are missing or damaged.
    RetryLater
        If the output cannot be written now.
    """
    state = find_state(output)
    with StateLock(state), closing(Journal(state / "journal.db")) as journal:
        for name in _table_names(journal.query):
            sink = ArrowSink(output / name, name, journal, roll_bytes=1 << 62, roll_seconds=float("inf"))
            sink.recover()
            sink.close()
        with journal.transaction() as connection:
            connection.execute("DELETE FROM tally")
            connection.executemany("INSERT INTO tally VALUES (?, ?)", _count(connection).items())


def _look(output: Path, state: Path) -> list[Finding]:
    try:
        with _snapshot(state) as journal:
            if journal is None:
                return [Finding(where=str(state / "journal.db"), problem="is not there")]
            damages = list(_check_database(journal))
            if damages:  # whatever else it says cannot be relied on
                return damages
            tables = [
                finding
                for name in _table_names(journal.execute)
                for finding in _check_table(journal, output / name, name)
            ]
            return [*_check_totals(journal), *_check_pairs(journal), *_check_exposures(journal), *tables]
    except sqlite3.Error as exc:
        return [Finding(where=str(state / "journal.db"), problem=f"cannot be read: {exc}")]
    except StateError as exc:
        return [Finding(where=str(state), problem=str(exc))]


def _table_names(query: Callable[[str], Iterable[tuple[str]]]) -> list[str]:
    """Return the tables that ever had a row."""
    return [name for (name,) in query("SELECT DISTINCT table_name FROM segment ORDER BY table_name")]


@contextmanager
def _snapshot(state: Path) -> Iterator[sqlite3.Connection | None]:
    """Open the journal; where it can be held still without keeping the daemon from writing, that is done."""
    journal = open_journal(state)
    if journal is None:
        yield None
        return
    with closing(journal):
        if journal.execute("PRAGMA journal_mode").fetchone() == ("wal",):
            journal.execute("BEGIN")
        yield journal


# the journal by itself


def _check_database(journal: sqlite3.Connection) -> Iterator[Finding]:
    for (text,) in journal.execute(f"PRAGMA integrity_check({SHOWN})"):
        if text != "ok":
            yield Finding(where="journal", problem=text)
    for table, row, parent, _ in journal.execute("PRAGMA foreign_key_check").fetchmany(SHOWN):
        yield Finding(where=f"journal, {table}", problem=f"row {row} speaks of a missing {parent}")


def _count(journal: sqlite3.Connection) -> dict[str, int]:
    sql = """
        SELECT 'disposition:' || disposition, count(*) FROM exposure GROUP BY disposition
        UNION ALL SELECT 'pair:' || state, count(*) FROM pair GROUP BY state
    """
    return dict(journal.execute(sql))


def _check_totals(journal: sqlite3.Connection) -> Iterator[Finding]:
    told = {name: count for name, count in journal.execute("SELECT name, count FROM tally") if count}
    counted = _count(journal)
    for name in sorted(told.keys() | counted.keys()):
        if told.get(name, 0) != counted.get(name, 0):
            problem = f"total {name} is {told.get(name, 0)}, there are {counted.get(name, 0)}"
            yield Finding(where="journal", problem=problem, repair="count anew")


def _check_pairs(journal: sqlite3.Connection) -> Iterator[Finding]:
    keys = "SELECT key FROM batch WHERE table_name = 'measurements'"
    for problem, sql in (
        ("is done and has no rows", f"SELECT pair_id FROM pair WHERE state = 'done' AND pair_id NOT IN ({keys})"),  # noqa: S608
        ("has rows and is not done", f"SELECT pair_id FROM pair WHERE state != 'done' AND pair_id IN ({keys})"),  # noqa: S608
        ("has rows and is not known", f"{keys} AND key NOT IN (SELECT pair_id FROM pair)"),  # noqa: S608
    ):
        for (pair_id,) in journal.execute(f"{sql} LIMIT {SHOWN}"):
            yield Finding(where=f"journal, pair {pair_id}", problem=problem)


def _check_exposures(journal: sqlite3.Connection) -> Iterator[Finding]:
    paired = "SELECT 1 FROM pair WHERE pair.pair_id = exposure.pair_id AND exposure.number IN (first, second)"
    sql = f"SELECT number, disposition FROM exposure WHERE (disposition = 'paired') != EXISTS ({paired}) LIMIT {SHOWN}"  # noqa: S608
    for number, disposition in journal.execute(sql):
        which = "is paired without being" if disposition == "paired" else f"is {disposition} and yet"
        yield Finding(where=f"journal, exposure {number}", problem=f"{which} a member of a pair")


# a table: the journal's side, then its files


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


def _check_table(journal: sqlite3.Connection, folder: Path, name: str) -> Iterator[Finding]:
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
            yield from _check_segment(journal, layout, segment, name)
        except (StreamcalError, OSError) as exc:
            yield Finding(where=f"{name}, segment {segment.number}", problem=str(exc))
    yield from _check_leftovers(layout, segments)
    if segments:
        yield from _check_current(journal, layout, segments[-1], name)


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


def _check_segment(journal: sqlite3.Connection, layout: Layout, segment: _Segment, name: str) -> Iterator[Finding]:
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
    yield from _check_content(decode_segment(data, path), segment, path)


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


def _check_leftovers(layout: Layout, segments: Sequence[_Segment]) -> Iterator[Finding]:
    live = {layout.live(segment.number).name for segment in segments if segment.state == "live"}
    sealed = {layout.sealed(segment.number).name for segment in segments if segment.state == "sealed"}
    sealing = {layout.sealed(segment.number).name for segment in segments if segment.state == "live"}
    for folder, names in ((layout.live_folder, live), (layout.sealed_folder, sealed)):
        for name in sorted(set(_FILES.list(folder)) - names) if folder.is_dir() else []:
            if folder == layout.sealed_folder and name in sealing:
                yield Finding(where=str(folder / name), problem="its sealing was interrupted", repair="finish it")
            elif name.endswith((".arrows", ".tmp")):
                yield Finding(where=str(folder / name), problem="left over from an interruption", repair="remove it")
            else:
                yield Finding(where=str(folder / name), problem="is not in the journal")


def _check_current(journal: sqlite3.Connection, layout: Layout, last: _Segment, name: str) -> Iterator[Finding]:
    ((seq,),) = journal.execute("SELECT max(seq) FROM batch WHERE table_name = ?", (name,)).fetchall()
    expected = Current(
        segment=last.number,
        committed_offset=last.committed,
        seq=seq,
        schema_id=last.schema_id,
        rows=last.first_row + last.rows,
    )
    path = layout.current
    found = None if _FILES.size(path) is None else Current.from_json(_FILES.read(path))
    if found != expected:
        yield Finding(
            where=str(path), problem=f"says {found}, the journal {expected}", repair="write what the journal says"
        )
