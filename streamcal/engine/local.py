"""The engine of one machine: worker processes, each with a thread of ours that owns it."""

from __future__ import annotations

import select
import threading
from concurrent.futures import CancelledError, Future

import structlog

from streamcal.engine.base import Engine, EngineOptions, JobFunction, name_function
from streamcal.engine.jobs import Job, JobQueue
from streamcal.engine.process import WorkerProcess
from streamcal.errors import StreamcalError, WorkerDied

log = structlog.get_logger(__name__)

START_ATTEMPTS = 3  # failed starts in a row before a waiting job is told
FIRST_PAUSE = 0.1  # s; after a failed start, doubled each time
LONGEST_PAUSE = 30.0  # s


class LocalEngine(Engine):
    """Runs jobs in worker processes of this machine; whatever a job does costs that job only.

    Workers start at once, in the background. One that dies, hangs, or breaks a limit is replaced; its job fails with
    `WorkerDied`.

    Parameters
    ----------
    options : EngineOptions
        Number of workers and their limits.
    """

    def __init__(self, options: EngineOptions) -> None:
        self._queue = JobQueue(options.workers)
        self._slots = [WorkerSlot(index, options, self._queue) for index in range(options.workers)]
        for slot in self._slots:
            slot.start()

    @property
    def alive(self) -> int:
        """Number of worker processes, starting ones included."""
        return len(self.pids())

    @property
    def busy(self) -> int:
        """Number of jobs that are running."""
        return sum(slot.busy for slot in self._slots)

    @property
    def queued(self) -> int:
        """Number of jobs that wait for a worker."""
        return len(self._queue)

    @property
    def restarts(self) -> int:
        """Number of worker processes that took the place of another one."""
        return sum(max(slot.starts - 1, 0) for slot in self._slots)

    def pids(self) -> list[int]:
        """Return the process ids of the workers."""
        workers = [slot.worker for slot in self._slots]
        return [worker.pid for worker in workers if worker is not None]

    def submit(self, function: JobFunction | str, job: bytes, /) -> Future[bytes]:  # type: ignore[override]
        """Have ``function(job)`` called in a worker; see `Engine.submit`."""
        entry = Job(name_function(function), job)
        self._queue.put(entry)
        return entry.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more jobs and end the workers.

        Parameters
        ----------
        wait : bool
            Return when all workers have ended.
        cancel_futures : bool
            Cancel the jobs that wait, and kill those that run: their futures raise `CancelledError`. Without it, all
            jobs are done first.
        """
        if cancel_futures:
            self._queue.abort()
        else:
            self._queue.close()
        if wait:
            for slot in self._slots:
                slot.join()


class WorkerSlot(threading.Thread):
    """A thread that keeps one worker process alive and gives it jobs, one at a time.

    Parameters
    ----------
    index : int
        Number of the slot.
    options : EngineOptions
        Limits of the worker.
    queue : JobQueue
        Where the jobs come from, shared with the other slots.

    Attributes
    ----------
    worker : WorkerProcess or None
        The process, while there is one.
    busy : bool
        Whether a job is running.
    starts : int
        Number of processes that were started.
    """

    def __init__(self, index: int, options: EngineOptions, queue: JobQueue) -> None:
        # a daemon thread: a program that forgets the shutdown still ends, and the workers with it
        super().__init__(name=f"streamcal-w{index}", daemon=True)
        self.worker: WorkerProcess | None = None
        self.busy = False
        self.starts = 0
        self._failures = 0  # starts that failed in a row
        self._options = options
        self._queue = queue

    def run(self) -> None:
        """Keep a worker and serve jobs until the queue has ended."""
        try:
            while not self._queue.is_ended:
                if self.worker is None:
                    self._start_worker()
                else:
                    self._serve(self.worker)
            if self.worker is not None:
                self.worker.stop()
        except BaseException:  # a bug of ours: end the engine rather than leave futures waiting for ever
            self._queue.abort()
            raise
        finally:
            self._drop_worker()
            self._queue.leave()

    def _start_worker(self) -> None:
        options = self._options
        try:
            self.worker = WorkerProcess(self.name, options)
            self.starts += 1
            self.worker.run(options.start, options.start_payload, options.start_seconds, self._queue.ended).get()
        except CancelledError:
            self._drop_worker()
        except Exception as error:  # noqa: BLE001 - no process, no memory, a broken plugin: all may pass
            self._drop_worker()
            self._fail_start(error)
        else:
            self._failures = 0

    def _fail_start(self, error: Exception) -> None:
        """Pause, longer each time; from the third failure in a row on a waiting job learns of it."""
        self._failures += 1
        detail = getattr(error, "detail", "")
        log.warning("worker did not start", worker=self.name, error=str(error), detail=detail, failures=self._failures)
        if self._failures >= START_ATTEMPTS:
            self._fail_waiting(WorkerDied(f"worker did not start: {error}", detail=detail))
        poll = select.poll()
        poll.register(self._queue.ended, select.POLLIN)
        poll.poll(1000 * min(FIRST_PAUSE * 2 ** (self._failures - 1), LONGEST_PAUSE))

    def _fail_waiting(self, error: WorkerDied) -> None:
        """Fail one job, as the cause may pass before the next start; all of them when the engine is shutting down."""
        while (job := self._queue.take()) is not None:
            job.future.set_exception(error)
            if not self._queue.is_closed:
                return

    def _serve(self, worker: WorkerProcess) -> None:
        """Wait for a job and run it; return earlier when the worker dies or the queue ends."""
        try:
            worker.wait_idle(self._queue.waiting, self._queue.ended)
        except WorkerDied as error:
            log.warning("worker replaced", worker=self.name, error=str(error), detail=error.detail)
            self.worker = None
            return
        if (job := self._queue.take()) is not None:
            self._run_job(worker, job)
            if self.worker is not None and self._is_spent(worker):
                worker.stop()
                self.worker = None

    def _run_job(self, worker: WorkerProcess, job: Job) -> None:
        self.busy = True
        try:
            result = worker.run(job.function, job.argument, self._options.job_seconds, self._queue.aborted).get()
        except Exception as error:  # noqa: BLE001 - this thread outlives whatever it is, and the caller learns of it
            if isinstance(error, WorkerDied) or not isinstance(error, StreamcalError):
                log.warning("worker replaced", worker=self.name, error=str(error))
                self._drop_worker()
            self.busy = False
            job.future.set_exception(error)
        else:
            self.busy = False
            job.future.set_result(result)

    def _drop_worker(self) -> None:
        if self.worker is not None:
            self.worker.bury()
            self.worker = None

    def _is_spent(self, worker: WorkerProcess) -> bool:
        """Whether the worker has done its number of jobs (its first run was the warm-up) or has grown too large."""
        most_jobs, most_memory = self._options.jobs_per_worker, self._options.recycle_megabytes
        return 0 < most_jobs < worker.runs or 0 < most_memory < worker.resident_megabytes()
