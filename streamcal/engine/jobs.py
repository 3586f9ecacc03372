"""Jobs that wait for a worker, and what the threads of an engine must wake up for."""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One call that was submitted, and the future that its caller holds."""

    function: str
    argument: bytes
    future: Future[bytes] = field(default_factory=Future)


class JobQueue:
    """A queue between threads whose states are file descriptors, so that a thread can wait for them and its worker.

    Each of the descriptors can be read (poll) as long as what it stands for holds. They are closed when as many threads
    have left as were announced.

    Parameters
    ----------
    threads : int
        Number of threads that will call `leave`.

    Attributes
    ----------
    waiting : int
        Descriptor: there is a job to take.
    ended : int
        Descriptor: no job will come any more.
    aborted : int
        Descriptor: running jobs are to be stopped too.
    """

    def __init__(self, threads: int) -> None:
        self.waiting, self.ended, self.aborted = (os.eventfd(0, os.EFD_NONBLOCK) for _ in range(3))
        self._threads = threads
        self._jobs: deque[Job] = deque()
        self._closed = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def is_closed(self) -> bool:
        """Whether no more jobs are taken in."""
        return self._closed

    @property
    def is_ended(self) -> bool:
        """Whether no job will come any more."""
        return self._closed and not self._jobs

    def put(self, job: Job) -> None:
        """Add a job.

        Raises
        ------
        RuntimeError
            If the queue is closed.
        """
        with self._lock:
            if self._closed:
                msg = "engine was shut down, it takes no more jobs"
                raise RuntimeError(msg)
            if not self._jobs:
                os.eventfd_write(self.waiting, 1)
            self._jobs.append(job)

    def take(self) -> Job | None:
        """Take the oldest job that its caller has not cancelled and mark it as running; None if there is none."""
        while (job := self._pop()) is not None:
            if job.future.set_running_or_notify_cancel():
                return job
        return None

    def close(self) -> None:
        """Take no more jobs in; those that wait will be done."""
        with self._lock:
            self._closed = True
            self._note_end()

    def abort(self) -> None:
        """Take no more jobs in, cancel those that wait, and have those that run stopped."""
        with self._lock:
            self._closed = True
            if self._threads:
                os.eventfd_write(self.aborted, 1)
        while (job := self._pop()) is not None:
            # both calls: the first cancels, the second wakes those who wait for the future
            job.future.cancel()
            job.future.set_running_or_notify_cancel()
        with self._lock:
            self._note_end()

    def leave(self) -> None:
        """Say that a thread will not use the queue again; the last one closes the descriptors."""
        with self._lock:
            self._threads -= 1
            if not self._threads:
                for descriptor in (self.waiting, self.ended, self.aborted):
                    os.close(descriptor)

    def _pop(self) -> Job | None:
        with self._lock:
            if not self._jobs:
                return None
            job = self._jobs.popleft()
            if not self._jobs:
                os.eventfd_read(self.waiting)
                self._note_end()
            return job

    def _note_end(self) -> None:
        if self.is_ended and self._threads:
            os.eventfd_write(self.ended, 1)
