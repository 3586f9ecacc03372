"""From journaled pairs to committed rows: pairs go to the engine, not too many at once, and rows to the sink."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from streamcal.errors import (
    CompanionsWanted,
    ExposureError,
    NotWhole,
    ReadFailed,
    RetryLater,
    StageError,
    StreamcalError,
    WorkerDied,
)
from streamcal.jobs import measure_pair, pair_job
from streamcal.journal import JournaledPair
from streamcal.records import PairRecord
from streamcal.run import Run

if TYPE_CHECKING:
    import sqlite3

    import pyarrow as pa

MOST_POSTPONED = 5000  # as many wait, all others do, too: memory must not depend on the backlog


class Sink(Protocol):
    """Where rows go, exactly once."""

    @property
    def next_seq(self) -> int:
        """Number that the next batch will have."""

    def append(self, batch: pa.RecordBatch, *, key: str, record: Callable[[sqlite3.Connection, int], None]) -> int:
        """Commit a batch, and what ``record`` writes into the journal, together."""

    def tick(self) -> None:
        """Do what time asks for: roll an old segment, bring snapshot and ``CURRENT`` up to date."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """A pair that is being measured."""

    pair: JournaledPair
    future: Future[bytes]
    begun: float  # s, own clock: when it was first sent


@dataclass(frozen=True, kw_only=True, slots=True)
class Postponed:
    """A pair that is to be tried again."""

    begun: float  # s, own clock: when it was first sent
    due: float  # s, own clock: when it may be sent again


class Measuring:
    """Sends ready pairs to the engine and commits what comes back.

    Parameters
    ----------
    sink : Sink
        Takes the rows, exactly once.
    schema : pyarrow.Schema
        What rows must look like.
    run : Run
        Engine, journal and the rest.
    in_order : bool
        All files were taken up before (``--once``): rows are committed in the order in which pairs were formed, and no
        pair waits for exposures of other detectors.

    Attributes
    ----------
    committed, failed : int
        Pairs that ended so since the start.
    on_commit : callable
        Called with each pair whose rows were committed.
    """

    def __init__(self, sink: Sink, schema: pa.Schema, run: Run, *, in_order: bool = False) -> None:
        self._sink = sink
        self._schema = schema
        self._run = run
        self._config = run.config.engine
        self._journal = run.journal
        self._recipe_json = run.recipe.to_json()
        self._in_order = in_order
        self._log = structlog.get_logger("streamcal.measuring")
        self._measurements: dict[str, Measurement] = {}
        self._postponed: dict[str, Postponed] = {}
        self._asking: set[str] = set()  # detectors whose stages ask for exposures of others
        self.on_commit: Callable[[PairRecord], None] = lambda _: None
        self.committed = 0
        self.failed = 0

    @property
    def in_flight(self) -> int:
        """Number of pairs that are being measured."""
        return len(self._measurements)

    @property
    def postponed(self) -> int:
        """Number of pairs that are to be tried again."""
        return len(self._postponed)

    def dispatch(self) -> int:
        """Send ready pairs to the engine, as far as there is room; return how many."""
        now = self._run.clock()
        room = self._run.room - len(self._measurements)
        early = [pair_id for pair_id, postponed in self._postponed.items() if postponed.due > now]
        if room <= 0 or len(early) >= MOST_POSTPONED:
            return 0
        newest = self._config.order == "newest" and not self._in_order
        pairs = self._journal.ready_pairs(room, newest=newest, leave_out=(*self._measurements, *early))
        for pair in pairs:
            self._submit(pair)
        return len(pairs)

    def _submit(self, pair: JournaledPair) -> None:
        record, now = pair.record, self._run.clock()
        earlier = self._postponed.get(record.pair_id)
        begun = earlier.begun if earlier else now
        waited = math.inf if self._in_order else now - begun
        job = pair_job(record, self._recipe_json, self._find_companions(record), waited)
        future = self._run.engine.submit(measure_pair, job)
        self._measurements[record.pair_id] = Measurement(pair=pair, future=future, begun=begun)
        future.add_done_callback(lambda _: self._run.wake.set())

    def _find_companions(self, record: PairRecord) -> dict[str, dict[str, str]] | None:
        """Return the same exposures of other detectors, where a stage has asked for them: of 189 they are 190 kB.

        In order they are sent unasked: a pair that is sent again would lose its place.
        """
        if not self._in_order and record.first.detector not in self._asking:
            return None
        return {info.exposure_id: self._journal.companions(info) for info in (record.first, record.second)}

    def commit(self) -> int:
        """Commit the rows of pairs that are done, and record those that failed; return how many ended.

        Raises
        ------
        RetryLater
            If the output cannot be written now; nothing is lost, call again.
        """
        count = 0
        for pair_id, measurement in list(self._measurements.items()):
            if measurement.future.done():
                self._settle(measurement)
                del self._measurements[pair_id]
                count += 1
            elif self._in_order:
                break
        return count

    def tick(self) -> None:
        """Let the sink do what time asks for.

        Raises
        ------
        RetryLater
            If the output cannot be written now.
        """
        self._sink.tick()

    def _settle(self, measurement: Measurement) -> None:
        pair = measurement.pair
        self._postponed.pop(pair.record.pair_id, None)
        try:
            rows = measurement.future.result()
        except StageError as exc:
            self._fail(pair, str(exc), stage=exc.stage, plugin=exc.plugin, detail=exc.detail)
        except ReadFailed as exc:
            if self._may_try_again(pair, exc, stage="read"):
                self._postpone(measurement, RetryLater(str(exc)))
        except (ExposureError, NotWhole) as exc:
            self._fail(pair, str(exc), stage="read")
        except WorkerDied as exc:
            self._may_try_again(pair, exc, stage=exc.stage, plugin=exc.plugin, detail=exc.detail)
        except RetryLater as exc:
            self._postpone(measurement, exc)
        except CancelledError:
            self._log.info("not measured", pair_id=pair.record.pair_id, reason="cancelled")  # it stays ready
        except StreamcalError as exc:
            self._fail(pair, str(exc), detail=getattr(exc, "detail", ""))
        else:
            self._commit(pair, rows)

    def _postpone(self, measurement: Measurement, reason: RetryLater) -> None:
        """Leave a pair ready, but do not send it again before the time asked for, and then with what it asked for."""
        if isinstance(reason, CompanionsWanted):
            self._asking.add(measurement.pair.record.first.detector)
        record, due = measurement.pair.record, self._run.clock() + reason.after_seconds
        self._postponed[record.pair_id] = Postponed(begun=measurement.begun, due=due)
        self._log.info("postponed", pair_id=record.pair_id, reason=str(reason), retry_seconds=reason.after_seconds)

    def _commit(self, pair: JournaledPair, rows: bytes) -> None:
        import pyarrow as pa

        try:
            batch = self._read_batch(rows)
        except (pa.ArrowException, OSError, StopIteration) as exc:  # a plugin may have broken its worker's memory
            self._fail(pair, f"the worker's answer cannot be read: {exc}")
            return
        if batch is None:
            self._fail(pair, "the worker's stages are not those of this daemon: a plugin has changed; restart")
            return
        pair_id = pair.record.pair_id
        self._sink.append(batch, key=pair_id, record=lambda _db, _seq: self._journal.end_pair(pair_id))
        self.committed += 1
        self.on_commit(pair.record)
        self._log.info("pair", pair_id=pair_id, pair=str(pair.record), rows=batch.num_rows, seconds=_seconds(batch))

    def _read_batch(self, rows: bytes) -> pa.RecordBatch | None:
        import pyarrow as pa

        with pa.ipc.open_stream(rows) as reader:
            batch = reader.read_next_batch()
        batch.validate(full=True)
        if not batch.schema.equals(self._schema, check_metadata=True):
            return None
        seq = pa.array([self._sink.next_seq] * batch.num_rows, batch.schema.field("seq").type)
        return batch.set_column(batch.schema.get_field_index("seq"), batch.schema.field("seq"), seq)

    def _may_try_again(self, pair: JournaledPair, error: StreamcalError, **where: str) -> bool:
        """Count one attempt without an answer; tell whether there may be another, else the pair has failed."""
        pair_id = pair.record.pair_id
        attempts = self._journal.count_attempt(pair_id)
        if attempts >= self._config.attempts:
            self._fail(pair, f"{error}, {attempts} times", **where)
            return False
        names = {name: text for name, text in where.items() if name != "detail"}
        self._log.warning(
            "trying again", pair_id=pair_id, pair=str(pair.record), attempt=attempts, error=str(error), **names
        )
        return True

    def _fail(self, pair: JournaledPair, error: str, *, stage: str = "", plugin: str = "", detail: str = "") -> None:
        pair_id = pair.record.pair_id
        self._journal.fail_pair(pair_id, error, stage=stage, plugin=plugin, detail=detail)
        self.failed += 1
        self._log.error("pair failed", pair_id=pair_id, pair=str(pair.record), stage=stage, plugin=plugin, error=error)


def _seconds(batch: pa.RecordBatch) -> dict[str, Any]:
    timings = batch.column("timings")[0].as_py() or []
    return {name: round(seconds, 4) for name, seconds in timings}
