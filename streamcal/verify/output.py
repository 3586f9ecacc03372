"""An output as a whole: looked at twice where a daemon works on it, and repaired as a start does it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from streamcal.errors import StateError
from streamcal.journal import Journal
from streamcal.lock import StateLock, lock_owner
from streamcal.sink.arrow import ArrowSink
from streamcal.sink.tables import RESULT_TABLES
from streamcal.state import JOURNAL, connect, find_state
from streamcal.verify.finding import Finding
from streamcal.verify.journal import check_database, check_journal, count_totals
from streamcal.verify.published import Published
from streamcal.verify.table import check_table

SECOND_LOOK = 1.0  # s; what a running daemon is just changing has changed by then


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
    StateError
        If its journal is not there.
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
        If a daemon is running, the journal is not there, or committed data are missing or damaged.
    RetryLater
        If the output cannot be written now.
    """
    state = find_state(output)
    with StateLock(state), closing(Journal(state / JOURNAL, create=False)) as journal:
        for name in _table_names(journal.query, output):
            sink = ArrowSink(output / name, name, journal, roll_bytes=1 << 62, roll_seconds=float("inf"))
            sink.recover()
            sink.close()
        with journal.transaction() as connection:
            connection.execute("DELETE FROM tally")
            connection.executemany("INSERT INTO tally VALUES (?, ?)", count_totals(connection).items())


def _look(output: Path, state: Path) -> list[Finding]:
    try:
        with _snapshot(state) as journal:
            # where it is damaged, nothing else that it says can be relied on
            return list(check_database(journal)) or [*check_journal(journal), *_check_tables(journal, output)]
    except sqlite3.Error as exc:
        return [Finding(where=str(state / JOURNAL), problem=f"cannot be read: {exc}")]
    except StateError as exc:
        return [Finding(where=str(state), problem=str(exc))]


def _check_tables(journal: sqlite3.Connection, output: Path) -> Iterator[Finding]:
    published, damaged = Published(journal), False
    for name in _table_names(journal.execute, output):
        note = published.note if name == "exposures" else None
        for finding in check_table(journal, output / name, name, note):
            yield finding
            damaged |= note is not None and not finding.repair
    if not damaged:
        yield from published.check()


def _table_names(query: Callable[[str], Iterable[tuple[str]]], output: Path) -> list[str]:
    """Return the tables that the journal knows, and those of which there are folders."""
    known = {name for (name,) in query("SELECT DISTINCT table_name FROM segment")}
    return sorted(known | {name for name in RESULT_TABLES if (output / name).is_dir()})


@contextmanager
def _snapshot(state: Path) -> Iterator[sqlite3.Connection]:
    """Open the journal; where it can be held still without keeping the daemon from writing, that is done."""
    with closing(connect(state)) as journal:
        if journal.execute("PRAGMA journal_mode").fetchone() == ("wal",):
            journal.execute("BEGIN")
        yield journal
