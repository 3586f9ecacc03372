# ruff: noqa: S608 - statements are put together from constants of this module only
"""Pairs, from formed to committed or set aside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streamcal.journal.exposures import Exposures
from streamcal.records import Disposition, ExposureInfo, PairRecord, PairState


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


class Pairs(Exposures):
    """What is known of pairs."""

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
            f"WHERE state = 'ready' AND ended_at IS NULL AND pair_id NOT IN ({marks}) ORDER BY number {order} LIMIT ?",
            (*leave_out, limit),
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
            db.execute("UPDATE pair SET attempts = 0 WHERE pair_id = ?", (pair_id,))

    def count_attempt(self, pair_id: str) -> int:
        """Count one attempt that ended without an answer; return how many there were."""
        with self.transaction() as db:
            db.execute("UPDATE pair SET attempts = attempts + 1 WHERE pair_id = ?", (pair_id,))
        ((attempts,),) = self.query("SELECT attempts FROM pair WHERE pair_id = ?", (pair_id,))
        return int(attempts)

    def refresh_exposure(self, number: int, info: ExposureInfo) -> None:
        """Take the new identity of a file that was touched but holds what it held; a pair it failed is tried again."""
        with self.transaction() as db:
            db.execute("UPDATE exposure SET info = ? WHERE number = ?", (json.dumps(info.to_dict()), number))
            sql = "SELECT pair_id FROM pair WHERE ? IN (first, second) AND state = 'failed' AND stage = 'read'"
            for (pair_id,) in self.query(sql, (number,)):
                self.retry_pair(pair_id)

    def _set_state(self, pair_id: str, state: PairState) -> None:
        with self.transaction() as db:
            ((before,),) = self.query("SELECT state FROM pair WHERE pair_id = ?", (pair_id,))
            ended_at = None if state == PairState.READY else self._clock()
            db.execute("UPDATE pair SET state = ?, ended_at = ? WHERE pair_id = ?", (state.value, ended_at, pair_id))
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
