"""The engine that runs each job at once, in this process: for debugging, and where processes are unwanted."""

from __future__ import annotations

from concurrent.futures import Future

from streamcal.engine.base import Engine, JobFunction, name_function
from streamcal.engine.outcome import execute
from streamcal.errors import StreamcalError


class InlineEngine(Engine):
    """Runs a job while it is being submitted; no limits, and no protection from what the job does to the process."""

    def __init__(self) -> None:
        self._closed = False

    def submit(self, function: JobFunction | str, job: bytes, /) -> Future[bytes]:  # type: ignore[override]
        """Call ``function(job)`` and return a future that has ended; see `Engine.submit`."""
        if self._closed:
            msg = "engine was shut down, it takes no more jobs"
            raise RuntimeError(msg)
        future: Future[bytes] = Future()
        future.set_running_or_notify_cancel()
        try:
            result = execute(name_function(function), job).get()
        except StreamcalError as error:
            future.set_exception(error)
        else:
            future.set_result(result)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - as Executor has it
        """Take no more jobs; none is running or waiting."""
        self._closed = True
