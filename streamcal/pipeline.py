"""Files become exposures, exposures pairs, pairs rows: source, pairing, engine and sink joined in one loop.

One thread owns the loop, the journal and the sinks. Whatever happens elsewhere (a hint that a file came, a job that
ended, a signal) only wakes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

import structlog

from streamcal import requests
from streamcal.errors import RetryLater
from streamcal.intake import Intake
from streamcal.journal import JournaledExposure
from streamcal.ledger import Ledger
from streamcal.measuring import Measuring
from streamcal.pairing import Verdict, form_pair, judge
from streamcal.paths import show_path
from streamcal.records import Candidate, Disposition
from streamcal.refitting import Refitting
from streamcal.run import Run

PORTION = 200  # exposures handled between two looks at everything else
LONGEST_WAIT = 1.0  # s; requests and time limits are looked at this often
PUBLISH_SECONDS = 3.0  # what became of exposures is published this often: a commit costs more than its rows
WARNED = {Disposition.REJECTED, Disposition.ORPHAN}


class Source(Protocol):
    """A stream of files that have come to rest."""

    def start(self) -> None:
        """Begin to watch."""

    def scan_once(self) -> Iterator[Candidate | None]:
        """Give all files that are there now; None while those that are left have not come to rest."""

    def next_due(self) -> float:
        """Return when there is something to do again, in seconds of the monotonic clock."""

    def stop(self) -> None:
        """End watching."""


class Pipeline:
    """The loop.

    Parameters
    ----------
    source : Source
        Files.
    intake : Intake
        Files become exposures.
    measuring : Measuring
        Pairs become rows.
    ledger : Ledger
        Dispositions become rows.
    run : Run
        What they share.

    Attributes
    ----------
    paused_because : str
        What is away, so that all waits; empty when nothing is.
    rejected : int
        Exposures that pairing rejected since the start.
    refitting : Refitting or None
        Pairs become solutions, where that is wanted.
    on_turn : callable
        Called on each turn of the loop, to show that it is alive.
    """

    def __init__(self, source: Source, intake: Intake, measuring: Measuring, ledger: Ledger, run: Run) -> None:
        self._source = source
        self._intake = intake
        self._measuring = measuring
        self._ledger = ledger
        self._run = run
        self._journal = run.journal
        self.on_turn: Callable[[], None] = lambda: None
        self.refitting: Refitting | None = None
        self._candidates: Iterator[Candidate | None] = iter(())
        self._stopping = False
        self._paused_until = float("-inf")
        self._chores_due = float("-inf")
        self._publish_due = float("-inf")
        self._left_new = True  # exposures that a restart, a request or a full portion left to be judged
        self._wall_at_zero = run.wall_clock() - run.clock()
        self.paused_because = ""
        self.rejected = 0
        self._log = structlog.get_logger("streamcal.pipeline")

    def stop(self) -> None:
        """End after what is in flight; may be called from a signal handler."""
        self._stopping = True
        self._run.wake.set()

    def run(self) -> bool:
        """Watch until stopped; return True, for there is no end to be reached."""
        self._source.start()
        try:
            while not self._stopping:
                self._turn(self._watch)
                self._wait()
            self._finish()
        finally:
            self._source.stop()
        return True

    def run_once(self) -> bool:
        """Process what is there, in order of exposure id; return whether it was done before a stop."""
        self._candidates = self._source.scan_once()
        for step in (self._inspect_all, self._pair_all, self._measure_all, self._fit_all, self._close_all):
            while not self._stopping and not self._turn(step):
                self._run.wake.wait(self._until_due())
        done = not self._stopping
        self._finish()
        return done

    def _turn(self, step: Callable[[], bool]) -> bool:
        """Do one step of the loop; when the output is away, wait and do it again later."""
        self.on_turn()
        if self._run.clock() < self._paused_until:
            return False
        try:
            done = step()
        except RetryLater as exc:
            self._pause(exc)
            return False
        if self.paused_because:
            self._log.info("resumed", after=self.paused_because)
            self.paused_because = ""
        return done

    def _pause(self, reason: RetryLater) -> None:
        self._paused_until = self._run.clock() + reason.after_seconds
        if self.paused_because != str(reason):
            self._log.error("paused", reason=str(reason), retry_seconds=reason.after_seconds)
        self.paused_because = str(reason)

    def _wait(self) -> None:
        """Sleep until there is news, or the source has something to do and there is room for it."""
        self._run.wake.wait(self._until_due())

    def _until_due(self) -> float:
        due = LONGEST_WAIT
        if self._intake.in_flight < self._run.room and not self.paused_because:
            due = min(self._source.next_due() - self._run.clock(), due)
        return max(due, 0.0)

    def _watch(self) -> bool:
        """Files, exposures, pairs, rows: one look at each; now and then also at what may wait a moment."""
        news = self._intake.collect(then=self._offer_exposures)
        self._intake.take(self._run.room)
        if self._left_new:
            news += self._offer_exposures()
        news += self._measuring.commit()
        if self._run.clock() >= self._chores_due:
            self._do_chores()
            self._chores_due = self._run.clock() + LONGEST_WAIT
            news += 1
        if news:
            self._measuring.dispatch()
            self._refit()
        return False

    def _do_chores(self) -> None:
        """Do what time asks for."""
        self._intake.reject_overdue()
        self._expire_exposures()
        self._measuring.tick()
        if self.refitting is not None:
            self.refitting.tick()
        if self._run.clock() >= self._publish_due:
            self._publish_all()
            self._publish_due = self._run.clock() + PUBLISH_SECONDS
        self._serve_requests()

    def _inspect_all(self) -> bool:
        intake = self._intake
        intake.collect()
        candidates, exhausted = self._next_candidates(self._run.room - intake.in_flight)
        intake.submit(candidates)
        if not exhausted or intake.in_flight:
            return False
        intake.reject_overdue(everything=True)
        if intake.unsettled:  # some changed while they were read: look again at what the journal does not know
            intake.unsettled = False
            self._candidates = self._source.scan_once()
            return False
        return True

    def _next_candidates(self, limit: int) -> tuple[list[Candidate], bool]:
        """Take candidates that are ready, at most so many; tell also whether there are no more to come."""
        candidates: list[Candidate] = []
        while len(candidates) < limit:
            try:
                candidate = next(self._candidates)
            except StopIteration:
                return candidates, True
            if candidate is None:
                break
            candidates.append(candidate)
        return candidates, False

    def _pair_all(self) -> bool:
        while self._offer_exposures():
            self.on_turn()
        return True

    def _measure_all(self) -> bool:
        self._measuring.commit()
        if self._measuring.dispatch() or self._measuring.in_flight or self._measuring.postponed:
            return False
        return self._run.room > 0  # an engine that is away was given nothing, whatever there is to do

    def _fit_all(self) -> bool:
        if self.refitting is None:
            return True
        self.refitting.commit()
        self.refitting.dispatch(now=True)
        return self.refitting.idle

    def _refit(self) -> None:
        """Bring solutions up to date where new pairs have come, behind everything else."""
        if self.refitting is None:
            return
        self.refitting.commit()
        self.refitting.dispatch(busy=self._measuring.in_flight > 0)

    def _close_all(self) -> bool:
        while self._orphan_before(math.inf, "no partner among the files of this run"):
            self.on_turn()
        return self._publish_all()

    def _finish(self) -> None:
        """Commit what is in flight and publish what became of everything, unless the output is away."""
        for step in (self._drain, self._publish_all):
            while not self._turn(step):
                if self.paused_because:  # nothing is lost: the journal knows what is still to be done
                    return
                self._run.wake.wait(LONGEST_WAIT)

    def _drain(self) -> bool:
        self._measuring.commit()
        return not self._measuring.in_flight

    def _publish_all(self) -> bool:
        while self._ledger.publish():
            self.on_turn()
        return True

    # pairing

    def _offer_exposures(self) -> int:
        """Let pairing judge the exposures that are new; return how many there were."""
        exposures = self._journal.new_exposures(PORTION)
        if exposures:
            with self._journal.transaction():
                for exposure in exposures:
                    self._offer(exposure)
        self._left_new = len(exposures) == PORTION
        if self._left_new:
            self._run.wake.set()
        return len(exposures)

    def _offer(self, exposure: JournaledExposure) -> None:
        journal = self._journal
        verdict = judge(exposure, self._run.config.pairing, journal)
        first_extra = verdict.disposition == Disposition.EXTRA and not journal.has_extra(exposure.info)
        if verdict.partner is None:
            journal.set_disposition(exposure.number, verdict.disposition, verdict.reason)
        else:
            record = form_pair(verdict.partner.info, exposure.info)
            numbers = {member.info.exposure_id: member.number for member in (verdict.partner, exposure)}
            journal.add_pair(record, numbers[record.first.exposure_id], numbers[record.second.exposure_id])
        older = journal.older_groups(exposure.info) if self._closes_groups(exposure) else []
        for other in older:
            self._orphan(other, "its group was closed by a newer one")
        self._journal.afterwards(partial(self._report, exposure, verdict, warn=first_extra))

    def _closes_groups(self, exposure: JournaledExposure) -> bool:
        return self._run.config.pairing.close_on_newer_group and exposure.info.is_flat

    def _expire_exposures(self) -> None:
        timeout = self._run.config.pairing.orphan_timeout
        # a wall clock that is set forward must not make anybody's waiting shorter
        now = min(self._run.wall_clock(), self._wall_at_zero + self._run.clock())
        self._orphan_before(now - timeout, f"no partner came within {timeout:g} s")

    def _orphan_before(self, arrived_before: float, reason: str) -> int:
        """Close a portion of the exposures that have waited since before a time; return how many there were."""
        exposures = self._journal.overdue_exposures(arrived_before, PORTION)
        if exposures:
            with self._journal.transaction():
                for exposure in exposures:
                    self._orphan(exposure, reason)
        return len(exposures)

    def _orphan(self, exposure: JournaledExposure, reason: str) -> None:
        verdict = Verdict(disposition=Disposition.ORPHAN, reason=reason)
        self._journal.set_disposition(exposure.number, verdict.disposition, reason)
        self._journal.afterwards(partial(self._report, exposure, verdict))

    def _report(self, exposure: JournaledExposure, verdict: Verdict, *, warn: bool = False) -> None:
        info = exposure.info
        values: dict[str, Any] = {"path": show_path(info.path), "disposition": verdict.disposition.value}
        values |= {"exposure_id": info.exposure_id, "detector": info.detector}
        if verdict.reason:
            values["reason"] = verdict.reason
        if verdict.partner is not None:
            values["partner"] = verdict.partner.info.exposure_id
        self.rejected += verdict.disposition == Disposition.REJECTED
        log = self._log.warning if warn or verdict.disposition in WARNED else self._log.info
        log("exposure", **values)

    def _serve_requests(self) -> None:
        for request in requests.pending(self._run.config.state_folder / "requests"):
            outcome = requests.apply(request, self._journal, self._orphan, self._fit)
            self._left_new = True
            self._log.info("request", request=request.values, outcome=outcome.text)
            request.close(outcome)

    def _fit(self, values: dict[str, Any]) -> requests.Outcome:
        if self.refitting is None:
            return requests.Outcome(text="nothing is fitted here", count=0)
        return self.refitting.ask(values)
