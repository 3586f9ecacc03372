"""From committed rows to solutions: groups with new pairs are fitted again, one at a time, and never at once."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from streamcal.errors import RetryLater, StreamcalError
from streamcal.measuring import Sink
from streamcal.ptc.flags import BAD, LIMITS, decode_fit_flags
from streamcal.ptc.observations import GroupKey
from streamcal.ptc.settings import FitConfig
from streamcal.ptc.solutions import find_stale, fit_group, fit_job
from streamcal.records import PairRecord
from streamcal.requests import Outcome
from streamcal.run import Run

if TYPE_CHECKING:
    import pyarrow as pa


class Wish(NamedTuple):
    """How a group is to be fitted."""

    config: FitConfig
    accept: bool = False  # later solutions are to be compared with these


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
        self._dirty: dict[GroupKey, tuple[float, Wish]] = {}  # since when, and how to fit
        self._unsearched = False  # groups left over from before are still to be looked for
        self._key: GroupKey | None = None  # the group in work; None while those are looked for
        self._how = Wish(config)  # it is fitted
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
        if self._config.live:
            self._mark(GroupKey(instrument=info.instrument, detector=info.detector, group=info.group))

    def ask(self, values: Mapping[str, Any]) -> Outcome:
        """Fit groups as a request wants it, in place of how and when they would be; live or not.

        Parameters
        ----------
        values : mapping
            ``groups``, a list of the names that make a `GroupKey`, ``fit``, the values of a `FitConfig`, and
            ``accept``, whether later solutions are to be compared with these.

        Returns
        -------
        Outcome
            How many groups will be fitted.
        """
        try:
            keys = [GroupKey(**names) for names in values["groups"]]
            how = Wish(FitConfig.model_validate(values["fit"]), accept=values.get("accept") is True)
            _check_names(keys)
        except (KeyError, TypeError, ValueError) as exc:
            return Outcome(text=f"not a request for fits, nothing done: {exc}", count=0)
        for key in keys:
            self._dirty[key] = (float("-inf"), how)
        return Outcome(text=f"groups to be fitted: {len(keys)}", count=len(keys))

    def _mark(self, key: GroupKey, how: Wish | None = None) -> None:
        self._dirty.setdefault(key, (self._run.clock(), how or Wish(self._config)))

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
        key = min(self._dirty, key=lambda one: self._dirty[one][0], default=None)
        if key is None or not (now or self._run.clock() - self._dirty[key][0] >= interval):
            return False
        _, self._how = self._dirty.pop(key)
        self._submit(key)
        return True

    def _submit(self, key: GroupKey | None) -> None:
        self._key = key
        self._began = self._run.clock()
        if key is None:
            self._future = self._run.engine.submit(find_stale, str(self._output).encode())
        else:
            job = fit_job(self._output, key, self._how.config, accept=self._how.accept)
            self._future = self._run.engine.submit(fit_group, job)
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
                self._mark(self._key, self._how)
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


def _check_names(keys: Iterable[GroupKey]) -> None:
    for key in keys:
        if not all(isinstance(name, str) for name in key.to_dict().values()):
            msg = f"names of a group must be strings, got {key!r}"
            raise TypeError(msg)
