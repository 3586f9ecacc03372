"""One connection to a Dask scheduler: which workers can be used, and jobs on them."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from distributed import Client, KilledWorker, get_worker
from distributed.security import Security

from streamcal.engine.base import DO_NOTHING, EngineOptions
from streamcal.engine.outcome import Outcome
from streamcal.errors import RetryLater, StreamcalError, WorkerDied, WorkerDiffers

log = structlog.get_logger("streamcal.engine.cluster")

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0  # a scheduler that does not answer for so long is away
CLOSE_SECONDS = 5.0
ASK_AGAIN = 60.0  # s; then a refused worker is looked at again
LOST = (OSError, asyncio.TimeoutError, RuntimeError, ValueError)  # what distributed raises over a lost connection


def run_task(order: bytes, function: str, job: bytes) -> bytes:
    """Have a job done in a limited child of the Dask worker that this is called on; see `streamcal.engine.remote`."""
    from streamcal.engine.remote import serve

    return serve(order, get_worker().state.nthreads, function, job)


class Cluster:
    """A connected scheduler and its workers.

    Every worker is tried before it gets a job, and jobs are bound to those that were tried: one of other code, or one
    that cannot start its children, is left alone.

    Parameters
    ----------
    client : distributed.Client
        Connected, asynchronous.
    order : bytes
        What comes with each job, see `streamcal.engine.remote.Order`.
    tell : callable
        Called when a worker was tried.
    most : int
        Tasks that the scheduler may hold at once, trials included; further ones wait here. 0: no limit.
    """

    def __init__(self, client: Client, order: bytes, tell: Callable[[], None], most: int = 0) -> None:
        self._client: Any = client
        self._room = asyncio.Semaphore(most or sys.maxsize)
        self._order = order
        self._trials: dict[str, asyncio.Task[str]] = {}  # by worker: ends with why it cannot be used, or with nothing
        self._calls: dict[Any, frozenset[str]] = {}  # future of Dask: workers that may do it
        self._tell = tell

    @property
    def usable(self) -> frozenset[str]:
        """Addresses of workers that jobs may be given to."""
        return frozenset(address for address, trial in self._trials.items() if trial.done() and not trial.result())

    @property
    def refused(self) -> dict[str, str]:
        """Workers that were tried in vain, and why."""
        ended = {address: trial.result() for address, trial in self._trials.items() if trial.done()}
        return {address: reason for address, reason in ended.items() if reason}

    @property
    def undecided(self) -> int:
        """Number of workers that are being tried."""
        return sum(not trial.done() for trial in self._trials.values())

    async def review(self) -> None:
        """Ask the scheduler who is there, try those that are new, give up jobs of those that have gone.

        Raises
        ------
        OSError
            If the scheduler does not answer.
        """
        if self._client.status != "running":
            msg = "the connection was lost"
            raise ConnectionError(msg)
        present = set(await asyncio.wait_for(self._client.scheduler.ncores_running(), ANSWER_SECONDS))
        for address in self._trials.keys() - present:
            self._forget(address)
        for address in present - self._trials.keys():
            self._trials[address] = asyncio.create_task(self._try(address))
        if stranded := [future for future, allowed in self._calls.items() if allowed.isdisjoint(present)]:
            await asyncio.wait_for(self._client.cancel(stranded, force=True), ANSWER_SECONDS)

    async def call(self, function: str, job: bytes, workers: frozenset[str]) -> bytes:
        """Have a job done by one of these workers.

        Raises
        ------
        StreamcalError
            What the job raised; `WorkerDied` where it took several workers with it; `RetryLater` where none of the
            workers or no scheduler is left.
        """
        async with self._room:
            return await self._call(function, job, workers)

    async def _call(self, function: str, job: bytes, workers: frozenset[str]) -> bytes:
        # bound to workers, because Dask knows nothing of who was tried; it starts a job again when its worker goes
        future = self._client.submit(
            run_task,
            self._order,
            function,
            job,
            key=f"streamcal-{uuid.uuid4().hex}",
            pure=False,
            retries=0,
            workers=sorted(workers),
            allow_other_workers=False,
        )
        self._calls[future] = workers
        try:
            return Outcome.from_bytes(await future).get()
        except Exception as exc:
            raise _translate(exc) from exc
        finally:
            del self._calls[future]
            future.release()  # what nobody waits for any more, the scheduler forgets

    def distrust(self) -> None:
        """Have all workers tried again: one of them is not what it was."""
        for address in tuple(self._trials):
            self._forget(address)

    async def _try(self, address: str) -> str:
        """Have a worker start its children and compare them with ours; return why it cannot be used."""
        try:
            await self.call(DO_NOTHING, b"", frozenset({address}))
        except StreamcalError as exc:
            gone = isinstance(exc, RetryLater) and not isinstance(exc, WorkerDiffers)
            log.warning("worker refused", worker=address, reason=str(exc), detail=getattr(exc, "detail", ""))
            asyncio.get_running_loop().call_later(1.0 if gone else ASK_AGAIN, self._forget, address)
            return str(exc)
        finally:
            self._tell()
        return ""

    def _forget(self, address: str) -> None:
        if (trial := self._trials.pop(address, None)) is not None:
            trial.cancel()


def _translate(error: Exception) -> StreamcalError:
    if isinstance(error, StreamcalError):
        return error
    if isinstance(error, CancelledError | OSError):
        return RetryLater("the cluster has lost the job", after_seconds=1.0)
    if isinstance(error, KilledWorker):
        return WorkerDied(f"workers of the cluster ended in the middle of this job: {error}")
    return WorkerDied(f"worker of the cluster: {type(error).__name__}: {error}")


def make_security(options: EngineOptions) -> Security:
    """Return how to talk to the scheduler; `streamcal.engine.address.check_address` has passed the options."""
    if not options.address.startswith("tls://"):
        return Security(require_encryption=False)
    return Security(
        require_encryption=True,
        tls_ca_file=options.tls_ca,
        tls_client_cert=options.tls_certificate,
        tls_client_key=options.tls_key,
    )


@asynccontextmanager
async def connect(options: EngineOptions, order: bytes, tell: Callable[[], None]) -> AsyncIterator[Cluster]:
    """Connect to a scheduler; ``order`` and ``tell`` are those of `Cluster`.

    Raises
    ------
    OSError
        If it cannot be reached.
    """
    client = Client(
        options.address,
        security=make_security(options),
        timeout=CONNECT_SECONDS,
        asynchronous=True,
        set_as_default=False,
        direct_to_workers=False,
        name="streamcal",
    )
    try:
        await client
        cluster = Cluster(client, order, tell, options.queue_size)
        try:
            yield cluster
        finally:
            cluster.distrust()
    finally:
        with suppress(*LOST):
            await asyncio.wait_for(client._close(fast=True), CLOSE_SECONDS)  # noqa: SLF001 - close() waits for a reply
