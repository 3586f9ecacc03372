"""From committed rows to solutions: groups with new pairs are fitted again, one at a time, and never at once."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from streamcal.errors import RetryLater, StreamcalError
from streamcal.measuring import Sink
from streamcal.ptc.flags import BAD, LIMITS, decode_fit_flags
from streamcal.ptc.observations import GroupKey
from streamcal.ptc.settings import FitConfig
from streamcal.ptc.solutions import find_stale, fit_group, fit_job
from streamcal.records import PairRecord
from streamcal.run import Run

if TYPE_CHECKING:
    import pyarrow as pa


class Refitting:
    """Has groups with new pairs fitted by the engine, and appends what comes back as a new version.

    New pairs of a group are collected for a while first, and for longer while others wait to be measured; one group is
    fitted at a time. So measuring is never held up by more than one job.

    Parameters
    ----------
    sink : Sink
        Of the ``ptc`` table.
    run : Run
        Engine and clock.
    output : Path
        Output folder, which jobs read.
    config : FitConfig
        How to fit, and when.

    Attributes
    ----------
    committed : int
        Groups fitted since the start.
    """

    def __init__(self, sink: Sink, run: Run, output: Path, config: FitConfig) -> None:
        self._sink = sink
        self._run = run
        self._output = output
        self._config = config
        self._log = structlog.get_logger("streamcal.refitting")
        self._dirty: dict[GroupKey, float] = {}  # since when
        self._unsearched = False  # groups left over from before are still to be looked for
        self._key: GroupKey | None = None  # the group in work; None while those are looked for
        self._future: Future[bytes] | None = None
        self._began = 0.0
        self._batch: tuple[str, pa.RecordBatch] | None = None  # solved, not committed yet
        self.committed = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is in work and nothing waits."""
        return not self._dirty and not self._unsearched and self._future is None and self._batch is None

    def start(self) -> None:
        """Have groups looked for whose last pairs were not fitted before the program ended."""
        self._unsearched = self._config.live

    def note(self, record: PairRecord) -> None:
        """Take notice of a pair that was committed."""
        info = record.first
        self._mark(GroupKey(instrument=info.instrument, detector=info.detector, group=info.group))

    def _mark(self, key: GroupKey) -> None:
        if self._config.live:
            self._dirty.setdefault(key, self._run.clock())

    def dispatch(self, *, busy: bool = False, now: bool = False) -> bool:
        """Send the group that has waited longest to the engine, if it is due; return whether anything was sent.

        Parameters
        ----------
        busy : bool
            Pairs wait to be measured: only groups that have waited ``busy_interval_seconds`` are due.
        now : bool
            All are due.
        """
        if self._future is not None or self._batch is not None or self._run.room <= 0:
            return False
        if self._unsearched:
            self._unsearched = False
            self._submit(None)
            return True
        interval = self._config.busy_interval_seconds if busy else self._config.interval_seconds
        key = min(self._dirty, key=lambda one: self._dirty[one], default=None)
        if key is None or not (now or self._run.clock() - self._dirty[key] >= interval):
            return False
        del self._dirty[key]
        self._submit(key)
        return True

    def _submit(self, key: GroupKey | None) -> None:
        self._key = key
        self._began = self._run.clock()
        if key is None:
            self._future = self._run.engine.submit(find_stale, str(self._output).encode())
        else:
            self._future = self._run.engine.submit(fit_group, fit_job(self._output, key, self._config))
        self._future.add_done_callback(lambda _: self._run.wake.set())

    def commit(self) -> int:
        """Append the solutions of a group that is done; return how many rows there were.

        Raises
        ------
        RetryLater
            If the output cannot be written now; nothing is lost, call again.
        """
        if self._future is not None and self._future.done():
            future, self._future = self._future, None
            self._settle(future)
        return self._append()

    def tick(self) -> None:
        """Let the sink do what time asks for; raises as `commit`."""
        self._sink.tick()

    def _settle(self, future: Future[bytes]) -> None:
        try:
            answer = future.result()
        except (CancelledError, RetryLater):
            if self._key is None:
                self._unsearched = True
            else:
                self._mark(self._key)
        except StreamcalError as exc:  # the next pair of the group brings another try
            names = self._key.to_dict() if self._key else {}
            self._log.error("not fitted", **names, error=str(exc), detail=getattr(exc, "detail", ""))
        else:
            self._take(answer)

    def _take(self, answer: bytes) -> None:
        import pyarrow as pa

        if self._key is None:
            for values in json.loads(answer):
                self._mark(GroupKey(**values))
            return
        with pa.ipc.open_stream(answer) as reader:
            batch = reader.read_next_batch()
        if batch.num_rows:
            self._batch = uuid.uuid4().hex, batch

    def _append(self) -> int:
        from streamcal.sink.batches import set_seq

        if self._batch is None:
            return 0
        key, batch = self._batch
        self._sink.append(set_seq(batch, self._sink.next_seq), key=key, record=lambda _db, _seq: None)
        self._batch = None
        self.committed += 1
        self._report(batch)
        return int(batch.num_rows)

    def _report(self, batch: pa.RecordBatch) -> None:
        names = ("amplifier", "gain", "n_pairs", "n_used", "flags", "reason")
        rows: list[dict[str, Any]] = batch.select(names).to_pylist()
        of_group = self._key.to_dict() if self._key else {}
        bad = sum(bool(row["flags"] & BAD) for row in rows)
        seconds = round(self._run.clock() - self._began, 3)
        pairs = max(row["n_pairs"] for row in rows)
        self._log.info("fitted", **of_group, amplifiers=len(rows), without_solution=bad, pairs=pairs, seconds=seconds)
        for row in rows:
            if row["flags"] & LIMITS:
                flags = decode_fit_flags(row["flags"] & LIMITS)
                self._log.warning(
                    "limit broken", **of_group, amplifier=row["amplifier"], flags=flags, reason=row["reason"]
                )
