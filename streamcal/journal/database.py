"""The journal's database: opened safely, all or nothing in a transaction, errors told by what they ask for."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streamcal.errors import RetryLater, StateError
from streamcal.journal.schema import SCHEMA_VERSION, check_schema, make_schema, upgrade_schema

# in WAL mode older libraries can corrupt a database (sqlite.org/wal.html#walresetbug)
WAL_SAFE_SINCE = (3, 51, 3)

_PASSING = {
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED),
    *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
}
_LASTING = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Database:
    """The connection, transactions and running totals.

    Parameters
    ----------
    path : Path
        Database file.
    clock : callable, optional
        Unix time in seconds.
    create : bool
        Make the file when it is not there.

    Raises
    ------
    StateError
        If the file is not there, is no journal, is damaged, or was written by a newer version.
    RetryLater
        If it is of an older version and cannot be brought up to date now.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time, create: bool = True) -> None:
        self._clock = clock
        self.path = path
        self._afterwards: list[Callable[[], object]] = []
        if not (create or path.exists()):
            msg = f"journal {path} is not there: bring it back, or begin with an empty output"
            raise StateError(msg)
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=10.0)
            self._prepare(create=create)
        except sqlite3.DatabaseError as exc:
            msg = f"{path}: journal cannot be used: {exc}"
            raise StateError(msg) from exc

    def _prepare(self, *, create: bool) -> None:
        mode = "WAL" if sqlite3.sqlite_version_info >= WAL_SAFE_SINCE else "TRUNCATE"
        self._db.execute(f"PRAGMA journal_mode = {mode}")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            msg = f"{self.path}: journal has version {version}, this streamcal knows up to {SCHEMA_VERSION}"
            raise StateError(msg)
        if version == 0:
            if not create:
                msg = f"journal {self.path} is empty: bring back what it held, or begin with an empty output"
                raise StateError(msg)
            with self.transaction() as db:
                make_schema(db)
        elif version < SCHEMA_VERSION:
            with self.transaction() as db:
                upgrade_schema(db, version)
        for problem in check_schema(self._db):
            msg = f"journal {self.path} is damaged: {problem}"
            raise StateError(msg)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a block as one transaction: all of it is on disk afterwards, or nothing.

        Raises
        ------
        RetryLater
            If the disk is full or away, or another process holds the journal.
        StateError
            If the journal is damaged or gone, or the disk failed.
        """
        if self._db.in_transaction:  # a part of a larger transaction
            yield self._db
            return
        self._afterwards.clear()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as exc:
            raise explain(exc, self.path) from exc
        finally:
            self._roll_back()
        acts, self._afterwards = self._afterwards, []
        for act in acts:
            act()

    def afterwards(self, act: Callable[[], object]) -> None:
        """Have something counted or told once the running transaction is on disk; never, if it is rolled back.

        Parameters
        ----------
        act : callable
            Called without arguments; at once, where no transaction runs.
        """
        if self._db.in_transaction:
            self._afterwards.append(act)
        else:
            act()

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a reading statement; raises as `transaction`."""
        try:
            return self._db.execute(sql, parameters).fetchall()
        except sqlite3.DatabaseError as exc:
            if self._db.in_transaction:  # whoever began it explains it
                raise
            raise explain(exc, self.path) from exc

    def tallies(self) -> dict[str, int]:
        """Return the running totals: ``disposition:<name>``, ``pair:<state>`` and others."""
        return dict(self.query("SELECT name, count FROM tally ORDER BY name"))

    def _count(self, name: str, step: int) -> None:
        self._db.execute(
            "INSERT INTO tally VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET count = count + ?2", (name, step)
        )


def explain(error: sqlite3.DatabaseError, path: Path) -> Exception:
    """Tell what passes by itself from what a person has to look at, and both from our own mistakes.

    Parameters
    ----------
    error : sqlite3.DatabaseError
        What SQLite raised.
    path : Path
        The journal.

    Returns
    -------
    Exception
        `RetryLater`, `StateError`, or the error itself.
    """
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_READONLY_DBMOVED:
        return StateError(f"journal {path}: it was moved or removed")
    if code & 0xFF in _PASSING:
        return RetryLater(f"journal {path}: {error}")
    if code & 0xFF in _LASTING:
        return StateError(f"journal {path}: {error}")
    return error
