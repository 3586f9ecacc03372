# ruff: noqa: S608 - statements are put together from constants of this module only
"""Exposures and what became of them; each change waits here until it is a row of the exposures table."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from streamcal.journal.database import Database
from streamcal.records import Disposition, ExposureInfo

NEW = "new"
_RENEWED = ("disposition", "reason", "pair_id", "arrived_at", "changed_at")  # with the content of a file
_COLUMNS = "number, info, disposition, reason, pair_id, arrived_at"
_SAME_LEVEL = "WHERE instrument = ? AND detector = ? AND grp = ? AND level BETWEEN ? AND ?"


@dataclass(frozen=True, kw_only=True, slots=True)
class JournaledExposure:
    """An exposure as the journal holds it."""

    number: int
    info: ExposureInfo
    disposition: str  # a Disposition, or "new" before it was offered to pairing
    reason: str
    pair_id: str
    arrived_at: float  # s, Unix time


class Exposures(Database):
    """What is known of exposures."""

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
            os.fsencode(info.path),
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
            now := self._clock(),
            now,
        )
        names = "path, digest, instrument, detector, grp, exposure_id, id_number, level, mjd_start, info"
        # not REPLACE: it deletes first, and would look through all pairs for one that refers to the row
        renewed = ", ".join(f"{name} = excluded.{name}" for name in (*names.split(", "), *_RENEWED))
        sql = f"""
            INSERT INTO exposure ({names}, disposition, arrived_at, changed_at, number) VALUES ({"?, " * len(values)} ?)
            ON CONFLICT (number) DO UPDATE SET {renewed}
        """
        with self.transaction() as db:
            if replaces is not None:
                self._count(f"disposition:{self.exposure(replaces).disposition}", -1)
            number = db.execute(sql, (*values, replaces)).lastrowid
            self._count(f"disposition:{NEW}", 1)
        return int(number or 0) if replaces is None else replaces

    def rematch(self, match: str, level: Callable[[ExposureInfo], float]) -> None:
        """See to it that the levels of all exposures mean what pairs are matched by now.

        Parameters
        ----------
        match : str
            What pairs are matched by; nothing is done when it is what it was.
        level : callable
            Gives the level of an exposure.
        """
        if self.query("SELECT value FROM meta WHERE key = 'match'") == [(match,)]:
            return
        sql = "SELECT number, info FROM exposure WHERE number > ? ORDER BY number LIMIT 1000"
        last = 0
        with self.transaction() as db:
            while page := self.query(sql, (last,)):
                levels = [(level(ExposureInfo.from_dict(json.loads(info))), number) for number, info in page]
                db.executemany("UPDATE exposure SET level = ? WHERE number = ?", levels)
                last = page[-1][0]
            db.execute("INSERT OR REPLACE INTO meta VALUES ('match', ?)", (match,))

    def set_disposition(self, number: int, disposition: Disposition, reason: str = "", pair_id: str = "") -> None:
        """Record what became of an exposure; each change is a row of the ``exposures`` table."""
        with self.transaction() as db:
            before, now = self.exposure(number).disposition, self._clock()
            db.execute(
                "UPDATE exposure SET disposition = ?, reason = ?, pair_id = ?, changed_at = ? WHERE number = ?",
                (disposition.value, reason, pair_id, now, number),
            )
            db.execute(
                "INSERT INTO change (exposure, disposition, reason, pair_id, changed_at) VALUES (?, ?, ?, ?, ?)",
                (number, disposition.value, reason, pair_id, now),
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
        return self._exposures("WHERE path = ? ORDER BY number", (os.fsencode(path),))

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

    def _exposures(self, where: str, parameters: Sequence[Any]) -> list[JournaledExposure]:
        rows = self.query(f"SELECT {_COLUMNS} FROM exposure {where}", parameters)
        return [_exposure(row) for row in rows]


def _level_key(info: ExposureInfo, low: float, high: float) -> tuple[Any, ...]:
    return info.instrument, info.detector, info.group, low, high


def id_number(exposure_id: str) -> int | None:
    """Return an exposure id as a number if it is a non-negative integer that SQLite can hold, else None."""
    if exposure_id.isascii() and exposure_id.isdigit() and len(exposure_id) <= 18:
        return int(exposure_id)
    return None


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
