# ruff: noqa: S608 - statements are put together from constants only
"""The journal by itself: is it whole, and does what it says of files, exposures and pairs fit together."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import chain

from streamcal.journal.schema import SCHEMA_VERSION, check_schema
from streamcal.paths import show_path
from streamcal.state import read_version
from streamcal.verify.finding import SHOWN, Finding

# as `exposure` writes it
_PATH = "CAST(CASE folder WHEN x'2F' THEN '/' ELSE folder || '/' END || name AS BLOB)"


def check_database(journal: sqlite3.Connection) -> Iterator[Finding]:
    """Yield what makes the journal unfit to be asked anything else."""
    for (text,) in journal.execute(f"PRAGMA integrity_check({SHOWN})"):
        if text != "ok":
            yield Finding(where="journal", problem=text)
    version = read_version(journal)
    if 0 < version < SCHEMA_VERSION:
        problem = f"has version {version}, this streamcal has {SCHEMA_VERSION}"
        yield Finding(where="journal", problem=problem, repair="bring it up to date")
    elif version != SCHEMA_VERSION:
        yield Finding(where="journal", problem=f"has version {version}, this streamcal knows {SCHEMA_VERSION}")
    else:
        yield from (Finding(where="journal", problem=problem) for problem in check_schema(journal))


def check_journal(journal: sqlite3.Connection) -> Iterator[Finding]:
    """Yield what does not fit together in a journal that is whole."""
    checks = (_check_references, _check_totals, _check_pairs, _check_exposures, _check_files)
    yield from chain.from_iterable(check(journal) for check in checks)


def count_totals(journal: sqlite3.Connection) -> dict[str, int]:
    """Return what the running totals should be."""
    sql = """
        SELECT 'disposition:' || disposition, count(*) FROM exposure GROUP BY disposition
        UNION ALL SELECT 'pair:' || state, count(*) FROM pair GROUP BY state
    """
    return dict(journal.execute(sql))


def _check_references(journal: sqlite3.Connection) -> Iterator[Finding]:
    for table, row, parent, _ in journal.execute("PRAGMA foreign_key_check").fetchmany(SHOWN):
        yield Finding(where=f"journal, {table}", problem=f"row {row} speaks of a missing {parent}")


def _check_totals(journal: sqlite3.Connection) -> Iterator[Finding]:
    told = {name: count for name, count in journal.execute("SELECT name, count FROM tally") if count}
    counted = count_totals(journal)
    for name in sorted(told.keys() | counted.keys()):
        if told.get(name, 0) != counted.get(name, 0):
            problem = f"total {name} is {told.get(name, 0)}, there are {counted.get(name, 0)}"
            yield Finding(where="journal", problem=problem, repair="count anew")


def _check_pairs(journal: sqlite3.Connection) -> Iterator[Finding]:
    keys = "SELECT key FROM batch WHERE table_name = 'measurements'"
    for problem, sql in (
        ("is done and has no rows", f"SELECT pair_id FROM pair WHERE state = 'done' AND pair_id NOT IN ({keys})"),
        ("has rows and is not done", f"SELECT pair_id FROM pair WHERE state != 'done' AND pair_id IN ({keys})"),
        ("has rows and is not known", f"{keys} AND key NOT IN (SELECT pair_id FROM pair)"),
    ):
        for (pair_id,) in journal.execute(f"{sql} LIMIT {SHOWN}"):
            yield Finding(where=f"journal, pair {pair_id}", problem=problem)


def _check_exposures(journal: sqlite3.Connection) -> Iterator[Finding]:
    paired = "SELECT 1 FROM pair WHERE pair.pair_id = exposure.pair_id AND exposure.number IN (first, second)"
    sql = f"SELECT number, disposition FROM exposure WHERE (disposition = 'paired') != EXISTS ({paired}) LIMIT {SHOWN}"
    for number, disposition in journal.execute(sql):
        which = "is paired without being" if disposition == "paired" else f"is {disposition} and yet"
        yield Finding(where=f"journal, exposure {number}", problem=f"{which} a member of a pair")


def _check_files(journal: sqlite3.Connection) -> Iterator[Finding]:
    files, exposures = f"SELECT {_PATH} FROM file", "SELECT path FROM exposure"
    for problem, sql in (
        ("was taken up and has no disposition", f"{files} EXCEPT {exposures}"),
        # what was rejected is forgotten by a retry, so that it is taken up again
        (
            "has a disposition and was not taken up",
            f"{exposures} EXCEPT {files} EXCEPT {exposures} WHERE disposition = 'rejected'",
        ),
    ):
        for (path,) in journal.execute(f"{sql} LIMIT {SHOWN}"):
            yield Finding(where=f"journal, file {show_path(path)}", problem=problem)
