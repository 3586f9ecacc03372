"""From files to journaled exposures: each file that came to rest is looked into, and what it holds is entered."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from streamcal.errors import FileChanged, NotWhole, ReadFailed, RetryLater, StreamcalError, WorkerDied
from streamcal.instruments.inspect import inspect_file
from streamcal.jobs import inspect_job
from streamcal.journal import VANISHED, JournaledExposure
from streamcal.pairing import level
from streamcal.paths import show_path
from streamcal.records import Candidate, Disposition, ExposureInfo, FileStat
from streamcal.run import Run


class Source(Protocol):
    """Where candidates come from."""

    def poll(self, limit: int) -> list[Candidate]:
        """Return files that came to rest and that the journal does not know like this."""

    def forget(self, path: str, unless: FileStat | None = None) -> None:
        """Let a file out of the caller's hands: it comes again unless the journal knows it, or it is still as given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """A file that is being looked into."""

    candidate: Candidate
    future: Future[bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Incomplete:
    """A file that was not whole when it was last looked into."""

    stat: FileStat
    since: float  # s, own clock: when it last changed
    reason: str


class Intake:
    """Takes files from a source, has them inspected, and enters what they hold.

    Parameters
    ----------
    source : Source
        Gives candidates.
    run : Run
        Engine, journal and the rest.

    Attributes
    ----------
    unsettled : bool
        Whether files were left to be looked at again.
    rejected : int
        Files rejected since the start.
    """

    def __init__(self, source: Source, run: Run) -> None:
        self._source = source
        self._run = run
        self._journal = run.journal
        self._log = structlog.get_logger("streamcal.intake")
        self._inspections: dict[str, Inspection] = {}
        self._incomplete: dict[str, Incomplete] = {}
        self._failures: dict[str, int] = {}
        self._missing_keys: set[str] = set()  # group keys that were told of
        self.unsettled = False
        self.rejected = 0

    @property
    def in_flight(self) -> int:
        """Number of files that are being looked into."""
        return len(self._inspections)

    @property
    def incomplete(self) -> dict[str, Incomplete]:
        """Files that were not whole when last looked into."""
        return self._incomplete

    def take(self, limit: int) -> int:
        """Have further files looked into, at most ``limit`` at once; return how many were taken."""
        room = limit - len(self._inspections)
        return self.submit(self._source.poll(room)) if room > 0 else 0

    def submit(self, candidates: Iterable[Candidate]) -> int:
        """Have these files looked into; return how many."""
        count = 0
        for candidate in candidates:
            future = self._run.engine.submit(inspect_file, inspect_job(candidate, self._run.recipe))
            self._inspections[candidate.path] = Inspection(candidate=candidate, future=future)
            future.add_done_callback(lambda _: self._run.wake.set())
            count += 1
        return count

    def collect(self, then: Callable[[], object] = lambda: None) -> int:
        """Enter what ended inspections found; return how many.

        Parameters
        ----------
        then : callable
            Called inside the transaction that enters them: a commit costs more than what it commits.

        Raises
        ------
        RetryLater
            If the journal cannot be written now; nothing is lost, call again.
        """
        ended = [inspection for inspection in self._inspections.values() if inspection.future.done()]
        if ended:
            with self._journal.transaction():
                for inspection in ended:
                    self._settle(inspection)
                then()
        for inspection in ended:
            path = inspection.candidate.path
            del self._inspections[path]
            waiting = self._incomplete.get(path)
            self._source.forget(path, unless=waiting.stat if waiting else None)
        return len(ended)

    def reject_overdue(self, *, everything: bool = False) -> None:
        """Reject files that have not become whole in time (or all that are not whole now)."""
        now = self._run.clock()
        for path, waiting in list(self._incomplete.items()):
            if path in self._inspections:
                continue
            if everything or now - waiting.since >= self._run.config.source.incomplete_timeout:
                self._reject(Candidate(path=path, stat=waiting.stat), f"incomplete: {waiting.reason}")

    def _settle(self, inspection: Inspection) -> None:
        candidate = inspection.candidate
        try:
            found = json.loads(inspection.future.result())
        except NotWhole as exc:
            self._wait_until_whole(candidate, str(exc))
        except (FileChanged, ReadFailed, WorkerDied) as exc:
            self._look_again(candidate, str(exc))
        except (CancelledError, RetryLater):
            self.unsettled = True
        except StreamcalError as exc:
            self._reject(candidate, str(exc))
        else:
            self._enter(candidate, [ExposureInfo.from_dict(values) for values in found["exposures"]])

    def _wait_until_whole(self, candidate: Candidate, reason: str) -> None:
        before = self._incomplete.get(candidate.path)
        if before is None or before.stat != candidate.stat:
            self._incomplete[candidate.path] = Incomplete(stat=candidate.stat, since=self._run.clock(), reason=reason)
            self._log.info("not whole yet", path=show_path(candidate.path), reason=reason)

    def _look_again(self, candidate: Candidate, reason: str) -> None:
        """Look again, some times, at a file that changed under our eyes, or whose storage or worker failed."""
        failures = self._failures.get(candidate.path, 0) + 1
        if not os.path.lexists(candidate.path):
            self._reject(Candidate(path=candidate.path, stat=VANISHED), "vanished before it could be read")
        elif failures >= self._run.config.engine.attempts:
            self._reject(candidate, f"{reason}, {failures} times")
        else:
            self._journal.afterwards(partial(self._note_failure, candidate.path, reason, failures))

    def _note_failure(self, path: str, reason: str, failures: int) -> None:
        self.unsettled = True
        self._failures[path] = failures
        self._log.warning("looking again", path=show_path(path), reason=reason, attempt=failures)

    def _enter(self, candidate: Candidate, infos: list[ExposureInfo]) -> None:
        with self._journal.transaction():
            earlier = self._journal.exposures_of_file(candidate.path)
            for info in infos:
                self._enter_exposure(info, earlier)
                self._warn_of_group(info)
            for left in earlier:
                if left.disposition in {Disposition.WAITING, Disposition.ORPHAN, Disposition.EXTRA}:
                    self._journal.set_disposition(left.number, Disposition.REJECTED, "its file has other content now")
            self._journal.take_file(candidate.path, candidate.stat)
            self._journal.afterwards(partial(self._drop, candidate.path))

    def _warn_of_group(self, info: ExposureInfo) -> None:
        """Tell once of each key of the group that a flat does not have: runs that it would tell apart are one."""
        keys = [key for key in self._run.config.pairing.group if f"{key}=" in info.group.split(";")]
        for key in keys if info.is_flat else ():
            if key not in self._missing_keys:
                self._missing_keys.add(key)
                self._log.warning("flat without group key", key=key, path=show_path(info.path))

    def _enter_exposure(self, info: ExposureInfo, earlier: list[JournaledExposure]) -> None:
        """Enter one exposure; what is found of it in ``earlier``, entries of the same file, is taken out of there."""
        same = next((entry for entry in earlier if _is_same(entry.info, info)), None)
        if same is not None and same.disposition == Disposition.PAIRED:
            earlier.remove(same)
            self._journal.refresh_exposure(same.number, info)
            return
        older = next((entry for entry in earlier if _can_be_replaced(entry, info)), None)
        if older is not None:
            earlier.remove(older)
        self._journal.add_exposure(
            info, level(info, self._run.config.pairing), replaces=older.number if older is not None else None
        )

    def _reject(self, candidate: Candidate, reason: str) -> None:
        with self._journal.transaction():
            earlier = [
                entry
                for entry in self._journal.exposures_of_file(candidate.path)
                if entry.disposition != Disposition.PAIRED
            ]
            numbers = [entry.number for entry in earlier] or [self._enter_unreadable(candidate)]
            for number in numbers:
                self._journal.set_disposition(number, Disposition.REJECTED, reason)
            self._journal.take_file(candidate.path, candidate.stat)
            self._journal.afterwards(partial(self._note_rejected, candidate.path, reason))

    def _note_rejected(self, path: str, reason: str) -> None:
        self._drop(path)
        self.rejected += 1
        self._log.warning("exposure", path=show_path(path), disposition="rejected", reason=reason)

    def _enter_unreadable(self, candidate: Candidate) -> int:
        info = ExposureInfo(
            path=candidate.path,
            stat=candidate.stat,
            digest="",
            instrument=str(self._run.recipe.instrument["name"]),
            detector="",
            exposure_id="",
            is_flat=False,
        )
        return self._journal.add_exposure(info, float("nan"))

    def _drop(self, path: str) -> None:
        self._incomplete.pop(path, None)
        self._failures.pop(path, None)


def _is_same(one: ExposureInfo, other: ExposureInfo) -> bool:
    return (one.detector, one.exposure_id, one.digest) == (other.detector, other.exposure_id, other.digest)


def _can_be_replaced(entry: JournaledExposure, info: ExposureInfo) -> bool:
    """Tell whether an entry is of content that is no more, or was never understood."""
    return entry.disposition != Disposition.PAIRED and entry.info.detector in {info.detector, ""}
