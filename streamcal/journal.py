# ruff: noqa: S608 - statements are put together from constants of this module only
"""What was seen and what became of it: the SQLite journal, written by one process on one connection.

The journal is the truth about files, exposures and pairs; the Arrow folders are the truth about rows, and each append
there is one transaction here (see `streamcal.sink`). All that the daemon must know after a restart stands in here.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamcal.errors import RetryLater, StateError
from streamcal.records import Disposition, ExposureInfo, FileStat, PairRecord, PairState
from streamcal.sink.tables import TABLES as SINK_TABLES

SCHEMA_VERSION = 1

# in WAL mode older libraries can corrupt a database (sqlite.org/wal.html#walresetbug)
WAL_SAFE_SINCE = (3, 51, 3)

# a file that vanished is remembered with this identity, so that it is looked into again when it comes back
VANISHED = FileStat(size=-1, mtime_ns=0, inode=0, device=0)

_TABLES = (
    """
    CREATE TABLE file (
        folder BLOB NOT NULL, name BLOB NOT NULL,
        size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL, device INTEGER NOT NULL,
        PRIMARY KEY (folder, name)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE exposure (
        number INTEGER PRIMARY KEY,
        path BLOB NOT NULL, digest TEXT NOT NULL,
        instrument TEXT NOT NULL, detector TEXT NOT NULL, grp TEXT NOT NULL, exposure_id TEXT NOT NULL,
        id_number INTEGER, level REAL, mjd_start REAL,
        info TEXT NOT NULL,
        disposition TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', pair_id TEXT NOT NULL DEFAULT '',
        arrived_at REAL NOT NULL
    )
    """,
    "CREATE INDEX exposure_identity ON exposure (instrument, detector, exposure_id)",
    "CREATE INDEX exposure_path ON exposure (path)",
    "CREATE INDEX exposure_level ON exposure (instrument, detector, grp, level, disposition)",
    "CREATE INDEX exposure_disposition ON exposure (disposition, arrived_at)",
    """
    CREATE TABLE pair (
        number INTEGER PRIMARY KEY, pair_id TEXT NOT NULL UNIQUE,
        first INTEGER NOT NULL REFERENCES exposure, second INTEGER NOT NULL REFERENCES exposure,
        state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
        error TEXT NOT NULL DEFAULT '', stage TEXT NOT NULL DEFAULT '', plugin TEXT NOT NULL DEFAULT '',
        detail TEXT NOT NULL DEFAULT '',
        formed_at REAL NOT NULL, ended_at REAL
    )
    """,
    "CREATE INDEX pair_state ON pair (state, number)",
    """
    CREATE TABLE change (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, exposure INTEGER NOT NULL REFERENCES exposure,
        disposition TEXT NOT NULL, reason TEXT NOT NULL, pair_id TEXT NOT NULL, changed_at REAL NOT NULL
    )
    """,
    # running totals, so that status costs nothing however long the history
    "CREATE TABLE tally (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class JournaledExposure:
    """An exposure as the journal holds it."""

    number: int
    info: ExposureInfo
    disposition: str  # a Disposition, or "new" before it was offered to pairing
    reason: str
    pair_id: str
    arrived_at: float  # s, Unix time


@dataclass(frozen=True, kw_only=True, slots=True)
class JournaledPair:
    """A pair as the journal holds it."""

    number: int
    record: PairRecord
    state: PairState
    attempts: int
    error: str = ""
    stage: str = ""
    plugin: str = ""
    detail: str = ""


_EXPOSURE_COLUMNS = "number, info, disposition, reason, pair_id, arrived_at"
NEW = "new"


class Journal:
    """The journal of one output.

    Parameters
    ----------
    path : Path
        Database file; made when it is not there.
    clock : callable, optional
        Unix time in seconds.

    Raises
    ------
    StateError
        If the file is no journal, is damaged, or was written by a newer version.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=10.0)
            self._prepare()
        except sqlite3.DatabaseError as exc:
            msg = f"{path}: journal cannot be used: {exc}"
            raise StateError(msg) from exc

    def _prepare(self) -> None:
        mode = "WAL" if sqlite3.sqlite_version_info >= WAL_SAFE_SINCE else "TRUNCATE"
        self._db.execute(f"PRAGMA journal_mode = {mode}")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            msg = f"{self.path}: journal has version {version}, this streamcal knows up to {SCHEMA_VERSION}"
            raise StateError(msg)
        if version == 0:
            with self.transaction() as db:
                for statement in (*_TABLES, *SINK_TABLES):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        # came later; older versions do not mind it
        self._db.execute("CREATE INDEX IF NOT EXISTS exposure_shot ON exposure (exposure_id)")

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
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as exc:
            raise _explain(exc, self.path) from exc
        finally:
            self._roll_back()

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
            raise _explain(exc, self.path) from exc

    # files

    def known_folder(self, folder: str) -> dict[str, FileStat]:
        """Return the identity of each file of a folder as it was when it was taken up."""
        rows = self.query("SELECT name, size, mtime_ns, inode, device FROM file WHERE folder = ?", (_encode(folder),))
        return {os.fsdecode(name): _file_stat(values) for name, *values in rows}

    def known_file(self, path: str) -> FileStat | None:
        """Return the identity of a file as it was when it was taken up, or None if it never was."""
        sql = "SELECT size, mtime_ns, inode, device FROM file WHERE folder = ? AND name = ?"
        rows = self.query(sql, _split(path))
        return _file_stat(rows[0]) if rows else None

    def take_file(self, path: str, stat: FileStat) -> None:
        """Remember that this content of a file was dealt with."""
        with self.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?)",
                (*_split(path), stat.size, stat.mtime_ns, stat.inode, stat.device),
            )

    def forget_file(self, path: str) -> None:
        """Make a file look as if it had never been seen, so that it is taken up again."""
        with self.transaction() as db:
            db.execute("DELETE FROM file WHERE folder = ? AND name = ?", _split(path))

    # exposures

    def add_exposure(self, info: ExposureInfo, level: float, *, replaces: int | None = None) -> int:
        """Enter an exposure that has not been offered to pairing yet.

        Parameters
        ----------
        info : ExposureInfo
            What its header says.
        level : float
            Exposure time or flux, whatever pairs are matched by; NaN if it has none.
        replaces : int, optional
            Number of an unmeasured exposure of the same file, of which this is the newer content.

        Returns
        -------
        int
            Its number: its identity in the journal and in the ``exposures`` table.
        """
        values = (
            _encode(info.path),
            info.digest,
            info.instrument,
            info.detector,
            info.group,
            info.exposure_id,
            id_number(info.exposure_id),
            level,
            info.mjd_start,
            json.dumps(info.to_dict()),
            NEW,
            self._clock(),
        )
        names = "path, digest, instrument, detector, grp, exposure_id, id_number, level, mjd_start, info"
        sql = f"""
            INSERT OR REPLACE INTO exposure ({names}, disposition, arrived_at, number)
            VALUES ({"?, " * len(values)} ?)
        """
        with self.transaction() as db:
            if replaces is not None:
                self._count(f"disposition:{self.exposure(replaces).disposition}", -1)
            number = db.execute(sql, (*values, replaces)).lastrowid
            self._count(f"disposition:{NEW}", 1)
        return int(number or 0)

    def refresh_exposure(self, number: int, info: ExposureInfo) -> None:
        """Take the new identity of a file that was touched but holds what it held; a pair it failed is tried again."""
        with self.transaction() as db:
            db.execute("UPDATE exposure SET info = ? WHERE number = ?", (json.dumps(info.to_dict()), number))
            sql = "SELECT pair_id FROM pair WHERE ? IN (first, second) AND state = 'failed' AND stage = 'read'"
            for (pair_id,) in self.query(sql, (number,)):
                self.retry_pair(pair_id)

    def set_disposition(self, number: int, disposition: Disposition, reason: str = "", pair_id: str = "") -> None:
        """Record what became of an exposure; each change is a row of the ``exposures`` table."""
        with self.transaction() as db:
            before = self.exposure(number).disposition
            db.execute(
                "UPDATE exposure SET disposition = ?, reason = ?, pair_id = ? WHERE number = ?",
                (disposition.value, reason, pair_id, number),
            )
            db.execute(
                "INSERT INTO change (exposure, disposition, reason, pair_id, changed_at) VALUES (?, ?, ?, ?, ?)",
                (number, disposition.value, reason, pair_id, self._clock()),
            )
            self._count(f"disposition:{before}", -1)
            self._count(f"disposition:{disposition.value}", 1)

    def exposure(self, number: int) -> JournaledExposure:
        """Return one exposure."""
        return self._exposures("WHERE number = ?", (number,))[0]

    def same_exposures(self, info: ExposureInfo) -> list[JournaledExposure]:
        """Return the accepted exposures of the same instrument, detector and exposure id, oldest first."""
        return self._exposures(
            "WHERE instrument = ? AND detector = ? AND exposure_id = ? "
            "AND disposition NOT IN ('rejected', 'duplicate', 'ignored', 'new') ORDER BY number",
            (info.instrument, info.detector, info.exposure_id),
        )

    def companions(self, info: ExposureInfo) -> dict[str, str]:
        """Return the same exposure of other detectors: by detector, the `ExposureInfo` as JSON."""
        sql = (
            "SELECT detector, info FROM exposure WHERE exposure_id = ? AND instrument = ? AND detector NOT IN (?, '') "
            "AND disposition NOT IN ('rejected', 'duplicate') ORDER BY number DESC"
        )
        return dict(self.query(sql, (info.exposure_id, info.instrument, info.detector)))  # the oldest counts

    def exposures_of_file(self, path: str) -> list[JournaledExposure]:
        """Return all that was entered for a file, oldest first."""
        return self._exposures("WHERE path = ? ORDER BY number", (_encode(path),))

    def new_exposures(self, limit: int) -> list[JournaledExposure]:
        """Return exposures not yet offered to pairing, in order of exposure id."""
        return self._exposures(
            "WHERE disposition = 'new' ORDER BY id_number IS NULL, id_number, exposure_id, detector, path LIMIT ?",
            (limit,),
        )

    def open_exposures(self, info: ExposureInfo, low: float, high: float) -> list[JournaledExposure]:
        """Return exposures of the same detector and group, at a level in ``low..high``, that could become a pair."""
        return self._exposures(
            f"{_SAME_LEVEL} AND disposition IN ('waiting', 'orphan') ORDER BY number", _level_key(info, low, high)
        )

    def has_pair(self, info: ExposureInfo, low: float, high: float) -> bool:
        """Tell whether the same detector and group has a pair already at a level in ``low..high``."""
        sql = f"SELECT 1 FROM exposure {_SAME_LEVEL} AND disposition = 'paired' LIMIT 1"
        return bool(self.query(sql, _level_key(info, low, high)))

    def has_extra(self, info: ExposureInfo) -> bool:
        """Tell whether the same detector and group has an extra already."""
        sql = (
            "SELECT 1 FROM exposure WHERE instrument = ? AND detector = ? AND grp = ? AND disposition = 'extra' LIMIT 1"
        )
        return bool(self.query(sql, (info.instrument, info.detector, info.group)))

    def overdue_exposures(self, arrived_before: float, limit: int) -> list[JournaledExposure]:
        """Return exposures that have been waiting since before a time, oldest first."""
        return self._exposures(
            "WHERE disposition = 'waiting' AND arrived_at <= ? ORDER BY arrived_at LIMIT ?", (arrived_before, limit)
        )

    def waiting_exposures(self, *, group: str | None = None, detector: str | None = None) -> list[JournaledExposure]:
        """Return all waiting exposures, or those of a group or detector."""
        return self._exposures(
            "WHERE disposition = 'waiting' AND grp = coalesce(?, grp) AND detector = coalesce(?, detector) "
            "ORDER BY number",
            (group, detector),
        )

    def rejected_exposures(self) -> list[JournaledExposure]:
        """Return all rejected exposures, oldest first."""
        return self._exposures("WHERE disposition = 'rejected' ORDER BY number", ())

    def older_groups(self, info: ExposureInfo) -> list[JournaledExposure]:
        """Return the waiting exposures of the same detector that belong to other groups and began earlier."""
        return self._exposures(
            "WHERE disposition = 'waiting' AND instrument = ? AND detector = ? AND grp != ? "
            "AND (mjd_start < ? OR mjd_start IS NULL) ORDER BY number",
            (info.instrument, info.detector, info.group, info.mjd_start),
        )

    def _exposures(self, where: str, parameters: Sequence[Any]) -> list[JournaledExposure]:
        rows = self.query(f"SELECT {_EXPOSURE_COLUMNS} FROM exposure {where}", parameters)
        return [_exposure(row) for row in rows]

    # pairs

    def add_pair(self, record: PairRecord, first: int, second: int) -> None:
        """Enter a formed pair, ready to be measured, and record both exposures as paired."""
        with self.transaction() as db:
            db.execute(
                "INSERT INTO pair (pair_id, first, second, state, formed_at) VALUES (?, ?, ?, ?, ?)",
                (record.pair_id, first, second, PairState.READY.value, self._clock()),
            )
            self._count("pair:ready", 1)
            for number in (first, second):
                self.set_disposition(number, Disposition.PAIRED, pair_id=record.pair_id)

    def ready_pairs(self, limit: int, *, newest: bool = False, leave_out: Sequence[str] = ()) -> list[JournaledPair]:
        """Return pairs that are to be measured.

        Parameters
        ----------
        limit : int
            At most so many.
        newest : bool
            Newest first, else oldest first.
        leave_out : sequence of str
            Ids of pairs that are in work.
        """
        marks = ", ".join("?" * len(leave_out))
        order = "DESC" if newest else "ASC"
        return self._pairs(
            f"WHERE state = 'ready' AND pair_id NOT IN ({marks}) ORDER BY number {order} LIMIT ?", (*leave_out, limit)
        )

    def failed_pairs(self, limit: int = -1) -> list[JournaledPair]:
        """Return pairs that were set aside, newest first."""
        return self._pairs("WHERE state = 'failed' ORDER BY ended_at DESC, number DESC LIMIT ?", (limit,))

    def find_pairs(self, prefix: str) -> list[JournaledPair]:
        """Return the pairs whose id begins like this."""
        return self._pairs("WHERE substr(pair_id, 1, ?) = ? ORDER BY number", (len(prefix), prefix))

    def end_pair(self, pair_id: str) -> None:
        """Record that a pair's rows are committed (called inside the transaction that commits them)."""
        self._set_state(pair_id, PairState.DONE)

    def fail_pair(self, pair_id: str, error: str, *, stage: str = "", plugin: str = "", detail: str = "") -> None:
        """Set a pair aside with its reason."""
        with self.transaction() as db:
            self._set_state(pair_id, PairState.FAILED)
            db.execute(
                "UPDATE pair SET error = ?, stage = ?, plugin = ?, detail = ? WHERE pair_id = ?",
                (error, stage, plugin, detail, pair_id),
            )

    def retry_pair(self, pair_id: str) -> None:
        """Make a failed pair ready again, with all its attempts."""
        with self.transaction() as db:
            self._set_state(pair_id, PairState.READY)
            db.execute("UPDATE pair SET attempts = 0, ended_at = NULL WHERE pair_id = ?", (pair_id,))

    def count_attempt(self, pair_id: str) -> int:
        """Count one attempt that ended without an answer; return how many there were."""
        with self.transaction() as db:
            db.execute("UPDATE pair SET attempts = attempts + 1 WHERE pair_id = ?", (pair_id,))
        ((attempts,),) = self.query("SELECT attempts FROM pair WHERE pair_id = ?", (pair_id,))
        return int(attempts)

    def _set_state(self, pair_id: str, state: PairState) -> None:
        with self.transaction() as db:
            ((before,),) = self.query("SELECT state FROM pair WHERE pair_id = ?", (pair_id,))
            db.execute(
                "UPDATE pair SET state = ?, ended_at = ? WHERE pair_id = ?", (state.value, self._clock(), pair_id)
            )
            self._count(f"pair:{before}", -1)
            self._count(f"pair:{state.value}", 1)

    def _pairs(self, where: str, parameters: Sequence[Any]) -> list[JournaledPair]:
        rows = self.query(
            f"SELECT number, pair_id, first, second, state, attempts, error, stage, plugin, detail FROM pair {where}",
            parameters,
        )
        return [self._pair(row) for row in rows]

    def _pair(self, row: tuple[Any, ...]) -> JournaledPair:
        number, pair_id, first, second, state, attempts, error, stage, plugin, detail = row
        record = PairRecord(pair_id=pair_id, first=self.exposure(first).info, second=self.exposure(second).info)
        return JournaledPair(
            number=number,
            record=record,
            state=PairState(state),
            attempts=attempts,
            error=error,
            stage=stage,
            plugin=plugin,
            detail=detail,
        )

    # changes of disposition, on their way to the exposures table

    def changes(self, limit: int) -> list[tuple[int, float, JournaledExposure]]:
        """Return changes that are not published yet, as (seq, Unix time, the exposure as it then became)."""
        rows = self.query(
            "SELECT seq, changed_at, change.disposition, change.reason, change.pair_id, exposure FROM change "
            "ORDER BY seq LIMIT ?",
            (limit,),
        )
        return [
            (seq, changed_at, self._as_changed(number, disposition, reason, pair_id))
            for seq, changed_at, disposition, reason, pair_id, number in rows
        ]

    def _as_changed(self, number: int, disposition: str, reason: str, pair_id: str) -> JournaledExposure:
        now = self.exposure(number)
        return JournaledExposure(
            number=number,
            info=now.info,
            disposition=disposition,
            reason=reason,
            pair_id=pair_id,
            arrived_at=now.arrived_at,
        )

    def drop_changes(self, up_to: int) -> None:
        """Forget published changes (called inside the transaction that commits their rows)."""
        with self.transaction() as db:
            db.execute("DELETE FROM change WHERE seq <= ?", (up_to,))

    # tallies

    def tallies(self) -> dict[str, int]:
        """Return the running totals: ``disposition:<name>``, ``pair:<state>`` and others."""
        return dict(self.query("SELECT name, count FROM tally ORDER BY name"))

    def _count(self, name: str, step: int) -> None:
        self._db.execute(
            "INSERT INTO tally VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET count = count + ?2", (name, step)
        )


_SAME_LEVEL = "WHERE instrument = ? AND detector = ? AND grp = ? AND level BETWEEN ? AND ?"


_PASSING = {
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED),
    *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
}
_LASTING = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _explain(error: sqlite3.DatabaseError, path: Path) -> Exception:
    """Tell what passes by itself from what a person has to look at, and both from our own mistakes."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_READONLY_DBMOVED:
        return StateError(f"journal {path}: it was moved or removed")
    if code & 0xFF in _PASSING:
        return RetryLater(f"journal {path}: {error}")
    if code & 0xFF in _LASTING:
        return StateError(f"journal {path}: {error}")
    return error


def _level_key(info: ExposureInfo, low: float, high: float) -> tuple[Any, ...]:
    return info.instrument, info.detector, info.group, low, high


def id_number(exposure_id: str) -> int | None:
    """Return an exposure id as a number if it is a non-negative integer that SQLite can hold, else None."""
    if exposure_id.isascii() and exposure_id.isdigit() and len(exposure_id) <= 18:
        return int(exposure_id)
    return None


def _encode(path: str) -> bytes:
    return os.fsencode(path)


def _split(path: str) -> tuple[bytes, bytes]:
    folder, name = os.path.split(os.fsencode(path))
    return folder, name


def _file_stat(values: Sequence[int]) -> FileStat:
    size, mtime_ns, inode, device = values
    return FileStat(size=size, mtime_ns=mtime_ns, inode=inode, device=device)


def _exposure(row: tuple[Any, ...]) -> JournaledExposure:
    number, info, disposition, reason, pair_id, arrived_at = row
    return JournaledExposure(
        number=number,
        info=ExposureInfo.from_dict(json.loads(info)),
        disposition=disposition,
        reason=reason,
        pair_id=pair_id,
        arrived_at=arrived_at,
    )
