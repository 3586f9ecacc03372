"""The journal's schema: made new, brought up to date by version, and compared with what it should be."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from streamcal.journal.tables import TABLES
from streamcal.sink.tables import TABLES as SINK_TABLES

SCHEMA_VERSION = 2


def make_schema(db: sqlite3.Connection) -> None:
    """Make all tables in an empty database (called inside a transaction)."""
    for statement in (*TABLES, *SINK_TABLES):
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def upgrade_schema(db: sqlite3.Connection, version: int) -> None:
    """Bring the tables of an older version up to date (called inside a transaction); what they hold stays."""
    if version < 2:
        _upgrade_from_1(db)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _upgrade_from_1(db: sqlite3.Connection) -> None:
    """Add what version 2 has; the tables of version 1 grew before they were numbered anew, some of it may be there."""
    if "changed_at" not in {name for (name,) in db.execute("SELECT name FROM pragma_table_info('exposure')")}:
        db.execute("ALTER TABLE exposure ADD COLUMN changed_at REAL NOT NULL DEFAULT 0")
        db.execute("UPDATE exposure SET changed_at = arrived_at")
    for statement in (
        "CREATE INDEX IF NOT EXISTS exposure_shot ON exposure (exposure_id)",
        "CREATE INDEX IF NOT EXISTS exposure_rejected ON exposure (changed_at) WHERE disposition = 'rejected'",
        "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "DROP INDEX IF EXISTS pair_state",
        "CREATE INDEX pair_state ON pair (state, ended_at)",
    ):
        db.execute(statement)


def check_schema(db: sqlite3.Connection) -> Iterator[str]:
    """Yield in words what tables, columns and indices of a journal are missing, or other than they should be."""
    found = _describe(db)
    with closing(sqlite3.connect(":memory:")) as model:
        make_schema(model)
        for name, columns in _describe(model).items():
            if name not in found:
                yield f"{name} is missing"
            elif found[name] != columns:
                yield f"{name} has {found[name]}, not {columns}"


def _describe(db: sqlite3.Connection) -> dict[str, str]:
    """Return the columns of each table, with their types, and the statement that made each index."""
    words = "name || ' ' || type || iif(\"notnull\", ' NOT NULL', '') || iif(pk, ' KEY', '')"
    found = {}
    for kind, name, sql in db.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall():
        columns = db.execute(f"SELECT group_concat({words}, ', ') FROM pragma_table_info(?)", (name,)).fetchone()  # noqa: S608 - a constant
        found[f"{kind} {name}"] = columns[0] if kind == "table" else sql
    return found
