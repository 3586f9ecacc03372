"""The engine of many machines: jobs go to the workers of a Dask scheduler.

Dask brings jobs to machines and results back; nothing of it is trusted. Each job runs in a limited child of the Dask
worker (`streamcal.engine.remote`), workers are tried before they are used (`streamcal.engine.cluster`), and when the
scheduler goes all that it had is given back with `RetryLater`: the journal knows it, and it is sent again.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

import structlog

from streamcal.engine.base import (
    SAY_NOTHING,
    Engine,
    EngineOptions,
    EngineState,
    JobFunction,
    check_options,
    name_function,
)
from streamcal.engine.jobs import Job
from streamcal.engine.local import LocalEngine
from streamcal.engine.remote import Order
from streamcal.errors import RetryLater, StreamcalError, WorkerDiffers

if TYPE_CHECKING:
    from streamcal.engine.cluster import Cluster

log = structlog.get_logger("streamcal.engine.dask")

PERIOD = 1.0  # s; between two looks at the scheduler
FIRST_PAUSE = 0.5  # s; after a failed connection, doubled each time
LONGEST_PAUSE = 30.0  # s
AFTER_LOSS = 1.0  # s; callers are asked to wait so long


class DaskEngine(Engine):
    """Runs jobs on the workers of a Dask scheduler.

    It connects in the background, and again, with longer and longer pauses, whenever the scheduler is lost. Jobs wait
    until that has been tried; if there is no scheduler, or no worker that can be used, they fail with `RetryLater`.

    Parameters
    ----------
    options : EngineOptions
        Address, certificates, and what the workers' children may use.

    Raises
    ------
    ConfigError
        If the address cannot be used, see `streamcal.engine.address.check_address`; without the package
        ``distributed``.
    """

    def __init__(self, options: EngineOptions) -> None:
        check_options(options)
        self._options = options
        self._waiting: deque[Job] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._state = EngineState(workers=0)
        self._closed = False  # no more jobs are taken
        self._aborted = False  # jobs were cancelled
        self._ended = False  # the loop takes no more calls
        self._due = 0.0  # s, monotonic: when to look at the scheduler again
        self._main: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._news = asyncio.Event()
        # a daemon thread: a program that forgets the shutdown still ends
        self._thread = threading.Thread(target=self._run, name="streamcal-dask", daemon=True)
        self._thread.start()

    @property
    def state(self) -> EngineState:
        """Whether it can run jobs now."""
        return self._state

    def submit(self, function: JobFunction | str, job: bytes, /) -> Future[bytes]:  # type: ignore[override]
        """Have ``function(job)`` called on a worker; see `Engine.submit`."""
        entry = Job(name_function(function), job)
        with self._lock:
            if self._closed:
                msg = "engine was shut down, it takes no more jobs"
                raise RuntimeError(msg)
            self._waiting.append(entry)
            self._loop.call_soon_threadsafe(self._news.set)
        return entry.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more jobs and leave the cluster.

        Parameters
        ----------
        wait : bool
            Return when that is done.
        cancel_futures : bool
            Cancel all jobs: their futures raise `CancelledError`. One that runs on a worker is ended by its own limits
            at the latest; its result is dropped. Without it, all jobs are done first.
        """
        with self._lock:
            self._closed = True
            if not self._ended:
                self._loop.call_soon_threadsafe(self._abort if cancel_futures else self._news.set)
        if wait:
            self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner, suppress(asyncio.CancelledError):
            runner.run(self._live())

    # what follows runs in the thread of the loop

    @property
    def _is_over(self) -> bool:
        # the flag too: asyncio.wait_for may swallow a cancellation that comes together with what it waits for
        return self._aborted or (self._closed and not self._waiting and not self._running)

    async def _live(self) -> None:
        self._main = asyncio.current_task()
        try:
            await self._attend()
        finally:  # also after a bug of ours: rather than leave futures waiting for ever
            with self._lock:
                self._closed = self._ended = True
            self._cancel_waiting()

    def _abort(self) -> None:
        self._aborted = True
        self._cancel_waiting()
        if self._main is not None:
            self._main.cancel()

    def _cancel_waiting(self) -> None:
        while self._waiting:
            future = self._waiting.popleft().future
            # both calls: the first cancels, the second wakes those who wait for the future
            future.cancel()
            future.set_running_or_notify_cancel()

    async def _attend(self) -> None:
        """Connect again and again, until the engine is shut down."""
        from streamcal.engine.cluster import LOST, connect

        pause = FIRST_PAUSE
        order = b""
        while not self._is_over:
            try:
                order = order or await self._write_order()
                async with connect(self._options, order, self._news.set) as cluster:
                    pause = FIRST_PAUSE
                    await self._use(cluster)
            except (*LOST, StreamcalError) as exc:
                self._note_away(f"{self._options.address}: {exc or type(exc).__name__}")
                await self._wait_until_over(time.monotonic() + pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _write_order(self) -> bytes:
        """Find out what a worker of this machine is: those of others must be the same."""
        if self._options.identify == SAY_NOTHING:
            return Order(options=self._options, identity={}).to_bytes()
        engine = LocalEngine(replace(self._options, workers=1))
        try:
            identity: bytes = await asyncio.wrap_future(
                engine.submit(self._options.identify, self._options.start_payload)
            )
        finally:
            engine.shutdown(wait=False, cancel_futures=True)
        return Order(options=self._options, identity=json.loads(identity)).to_bytes()

    async def _use(self, cluster: Cluster) -> None:
        """Give jobs to the cluster until the engine is shut down or the scheduler is lost."""
        try:
            while not self._is_over:
                await cluster.review()
                self._due = time.monotonic() + PERIOD
                while not self._is_over and time.monotonic() < self._due:
                    self._note(cluster)
                    self._dispatch(cluster)
                    await self._wait(self._due)
        finally:
            running = tuple(self._running)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _dispatch(self, cluster: Cluster) -> None:
        """Send what waits to the workers that can be used."""
        workers = cluster.usable
        most = self._options.queue_size or math.inf
        while workers and self._waiting and len(self._running) < most:
            job = self._waiting.popleft()
            if job.future.set_running_or_notify_cancel():
                task = asyncio.create_task(self._serve(cluster, job, workers))
                self._running.add(task)
                task.add_done_callback(partial(self._end, job))

    async def _serve(self, cluster: Cluster, job: Job, workers: frozenset[str]) -> None:
        """Have one job done, and end its future."""
        try:
            result = await cluster.call(job.function, job.argument, workers)
        except Exception as exc:  # noqa: BLE001 - the caller learns of it, whatever it is
            self._due = 0.0
            if isinstance(exc, WorkerDiffers):
                cluster.distrust()
            job.future.set_exception(exc)
        else:
            job.future.set_result(result)

    def _end(self, job: Job, task: asyncio.Task[None]) -> None:
        """Let go of a job; one that was cancelled, maybe before it began, is given back."""
        self._running.discard(task)
        if task.cancelled():
            lost = RetryLater("the scheduler was lost", after_seconds=AFTER_LOSS)
            job.future.set_exception(CancelledError("engine was shut down") if self._aborted else lost)
        self._news.set()

    def _note(self, cluster: Cluster) -> None:
        """Find out whether there is anybody to work; if nobody is, jobs do not wait."""
        usable, refused = len(cluster.usable), cluster.refused
        if usable:
            if self._state.away_since is not None:
                log.info("engine back", seconds=round(time.time() - self._state.away_since, 1), workers=usable)
            self._state = EngineState(workers=usable, refused=refused)
        elif not cluster.undecided:
            reason = "no worker is there"
            if refused:
                reason = f"none of {len(refused)} workers can be used: {next(iter(refused.values()))}"
            self._note_away(f"{self._options.address}: {reason}", refused)

    def _note_away(self, reason: str, refused: Mapping[str, str] = MappingProxyType({})) -> None:
        """Tell that no job can be run, and give back those that wait."""
        if self._state.reason != reason:
            log.error("engine away", reason=reason)
        since = time.time() if self._state.away_since is None else self._state.away_since
        self._state = EngineState(away_since=since, reason=reason, workers=0, refused=dict(refused))
        while self._waiting:
            future = self._waiting.popleft().future
            if future.set_running_or_notify_cancel():
                future.set_exception(RetryLater(reason, after_seconds=AFTER_LOSS))

    async def _wait(self, due: float) -> None:
        """Wait for news, or until a time of the monotonic clock."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._news.wait(), max(due - time.monotonic(), 0.0))
        self._news.clear()

    async def _wait_until_over(self, due: float) -> None:
        while not self._is_over and time.monotonic() < due:
            await self._wait(due)
