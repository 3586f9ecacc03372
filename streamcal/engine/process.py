"""One worker process, seen from the thread that owns it: start, one job at a time, end.

Nothing is shared between workers: each has its own pair of pipes, so that a kill at any moment costs one job and never
blocks another worker (pools that share a locked queue stop for ever when a worker dies with the lock).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from streamcal.engine import progress
from streamcal.engine.frames import AnswerReader, FrameError, FrameKind, pack_frame
from streamcal.engine.outcome import Outcome
from streamcal.errors import WorkerDied
from streamcal.logs import is_json

if TYPE_CHECKING:
    from streamcal.engine.base import EngineOptions

log = structlog.get_logger(__name__)

PIECE = 1 << 20  # bytes read at once
TAIL = 8 << 10  # bytes of stderr that are kept to explain an end
LINE_LIMIT = 64 << 10  # bytes; a longer line is passed on in parts
REAP_SECONDS = 10.0  # a killed process that is still there then hangs in the kernel (a dead NFS server)
LONGEST_WAIT = 86400.0  # s; poll counts milliseconds in 32 bits
PIPES_CLOSED = "worker closed its pipes"
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")

# a worker is one of many: each library that starts threads of its own may have one
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NUMBA_NUM_THREADS",
    ),
    "1",
)


class WorkerProcess:
    """A worker process and our ends of its pipes.

    It must be made, used and closed by one thread, and that thread must outlive it: the kernel sends the worker its
    death signal when the *thread* that started it ends.

    Parameters
    ----------
    name : str
        What ``ps`` and ``top`` show, at most 15 characters for the latter.
    options : EngineOptions
        Limits and environment.

    Raises
    ------
    OSError
        If there is no descriptor, memory or process left for it.
    """

    def __init__(self, name: str, options: EngineOptions) -> None:
        self.runs = 0
        self._grace = options.grace_seconds
        self._tail = b""  # the last that came from stderr
        self._line = b""  # the line of it that is not whole yet
        self._doing = progress.Doing()  # when it ended
        with contextlib.ExitStack() as stack:  # takes back what is done if a step fails
            jobs_read, self._jobs = _open_pipe(stack)
            self._results, results_write = _open_pipe(stack)
            self._stderr, stderr_write = _open_pipe(stack)
            self._board = progress.make_board()
            stack.callback(os.close, self._board)
            self._process = subprocess.Popen(
                _command(name, options.memory_megabytes, jobs_read, results_write, self._board),
                stdin=subprocess.DEVNULL,
                stdout=stderr_write,  # a plugin that prints must not break frames
                stderr=stderr_write,
                pass_fds=(jobs_read, results_write, self._board),
                env={**os.environ, **ONE_THREAD, **options.environment},
                start_new_session=True,  # a group of its own to kill, out of reach of Ctrl-C
            )
            stack.callback(self._end_group)
            self._pidfd = os.pidfd_open(self.pid)
            stack.pop_all()
        for descriptor in (jobs_read, results_write, stderr_write):
            os.close(descriptor)
        self._open = {self._jobs, self._results, self._stderr, self._pidfd, self._board}
        for descriptor in (self._jobs, self._results, self._stderr):
            os.set_blocking(descriptor, False)

    @property
    def pid(self) -> int:
        """Process id, and id of its process group."""
        return self._process.pid

    def resident_megabytes(self) -> float:
        """Return the memory it holds, in MiB; 0 if it has ended but is not closed."""
        fields = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * PAGE_SIZE / 2**20

    def wait_idle(self, *descriptors: int) -> None:
        """Wait until one of the descriptors can be read.

        Raises
        ------
        WorkerDied
            If the process ends meanwhile, or writes what nobody asked for; it is closed then.
        """
        ready: set[int] = set()
        while ready.isdisjoint(descriptors):
            ready = self._wait(math.inf, self._pidfd, self._results, *descriptors)
            if not ready.isdisjoint({self._pidfd, self._results}):
                msg = "worker used its pipe of results without a job"
                raise self._lose(msg)

    def run(self, function: str, job: bytes, seconds: float, stop: int) -> Outcome:
        """Send a job and wait for its outcome.

        Parameters
        ----------
        function : str
            ``module:qualname``.
        job : bytes
            Its argument.
        seconds : float
            Limit of time, in seconds; 0: none.
        stop : int
            File descriptor; the worker is killed when it can be read.

        Raises
        ------
        WorkerDied
            If the process ended or had to be ended; it is closed then.
        CancelledError
            If it was stopped; it is closed then.
        """
        self._tail = b""
        outgoing = memoryview(pack_frame(FrameKind.JOB, self.runs, f"{function}\0".encode() + job))
        answer = AnswerReader(self.runs)
        self.runs += 1
        deadline = time.monotonic() + seconds if seconds else math.inf
        while time.monotonic() < deadline:
            writable = self._jobs if outgoing else None
            ready = self._wait(deadline, self._pidfd, self._results, stop, writable=writable)
            if stop in ready:
                self.bury()
                msg = "engine was shut down"
                raise CancelledError(msg)
            if self._jobs in ready:
                outgoing = self._send(outgoing)
            if (outcome := self._receive(answer, ended=self._pidfd in ready)) is not None:
                return outcome
        self._signal_group(signal.SIGTERM)
        self._wait_exit()
        msg = f"worker exceeded time of {seconds:g} s"
        raise self.bury(msg)

    def stop(self) -> None:
        """Let the process end by itself, and close it."""
        self._close(self._jobs)
        self._wait_exit()
        self.bury()

    def bury(self, reason: str = "") -> WorkerDied:
        """Kill the process with all that it started, release everything, and return an error that says why.

        Once it is done, further calls change nothing.

        Parameters
        ----------
        reason : str
            What happened, where the exit code does not tell.
        """
        if self._open:
            self._end_group()
            self._pump()
            _pass_on(self._line + b"\n" if self._line else b"")
            self._doing = progress.read_board(self._board)
            for descriptor in tuple(self._open):
                self._close(descriptor)
        detail = self._tail.decode(errors="backslashreplace")
        text = reason or _describe_exit(self._process.returncode)
        return WorkerDied(text, stage=self._doing.stage, plugin=self._doing.plugin, detail=detail)

    def _signal_group(self, number: signal.Signals) -> None:
        # only before the process is reaped: until then its id belongs to nobody else
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _end_group(self) -> None:
        self._signal_group(signal.SIGKILL)
        try:
            self._process.wait(REAP_SECONDS)
        except subprocess.TimeoutExpired:
            log.warning("worker cannot be killed", pid=self.pid)

    def _close(self, descriptor: int) -> None:
        if descriptor in self._open:
            self._open.remove(descriptor)
            os.close(descriptor)

    def _wait(self, deadline: float, *readable: int, writable: int | None = None) -> set[int]:
        """Wait for any of the descriptors, or the deadline; take what comes from stderr meanwhile."""
        poll = select.poll()
        for descriptor in (*readable, *self._open.intersection({self._stderr})):
            poll.register(descriptor, select.POLLIN)
        if writable is not None:
            poll.register(writable, select.POLLOUT)
        remaining = deadline - time.monotonic()
        timeout = None if math.isinf(remaining) else math.ceil(1000 * min(max(remaining, 0), LONGEST_WAIT))
        ready = {descriptor for descriptor, _ in poll.poll(timeout)}
        if self._stderr in ready:
            self._pump()
        return ready

    def _wait_exit(self) -> bool:
        """Wait for the process to end, as long as the grace lasts; say whether it did."""
        deadline = time.monotonic() + self._grace
        while self._pidfd not in self._wait(deadline, self._pidfd):
            if time.monotonic() >= deadline:
                return False
        return True

    def _send(self, data: memoryview) -> memoryview:
        try:
            return data[os.write(self._jobs, data) :]
        except BlockingIOError:
            return data
        except BrokenPipeError as exc:
            raise self._lose(PIPES_CLOSED) from exc

    def _receive(self, answer: AnswerReader, *, ended: bool) -> Outcome | None:
        try:
            while piece := os.read(self._results, PIECE):
                if (frame := answer.feed(piece)) is not None:
                    kind, payload = frame
                    return Outcome(ok=kind is FrameKind.RESULT, payload=payload)
        except BlockingIOError:
            if not ended:
                return None
        except FrameError as exc:
            msg = f"worker sent garbage: {exc}"
            raise self.bury(msg) from exc
        raise self._lose(PIPES_CLOSED)

    def _lose(self, otherwise: str) -> WorkerDied:
        """Bury a process that is probably ending by itself, which says more than what else may have happened."""
        return self.bury("" if self._wait_exit() else otherwise)

    def _pump(self) -> None:
        """Take what has come from stderr: pass on whole lines, keep the tail."""
        if self._stderr not in self._open:
            return
        try:
            piece = os.read(self._stderr, PIECE)
        except BlockingIOError:
            return
        if not piece:  # or poll would return at once for ever
            self._close(self._stderr)
        self._tail = (self._tail + piece)[-TAIL:]
        lines, newline, self._line = (self._line + piece).rpartition(b"\n")
        if len(self._line) > LINE_LIMIT:
            newline, self._line = newline + self._line, b""
        _pass_on(lines + newline)


def _open_pipe(stack: contextlib.ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    stack.callback(os.close, read)
    stack.callback(os.close, write)
    return read, write


def _command(name: str, *numbers: int) -> list[str]:
    # -P: the folder in which the daemon was started is no place to import from; -u: prints are not lost by a kill
    command = [sys.executable, "-P", "-u", "-m", "streamcal.engine.worker"]
    return [*command, name, str(os.getpid()), *map(str, numbers)]


def _pass_on(text: bytes) -> None:
    """Pass on what a worker wrote; where logs are JSON, its lines that are none become events."""
    if not is_json():
        _write(text)
        return
    for line in filter(None, text.splitlines()):
        if _is_event(line):
            _write(line + b"\n")
        else:
            log.warning("worker output", line=line.decode(errors="backslashreplace"))


def _is_event(line: bytes) -> bool:
    with contextlib.suppress(ValueError, RecursionError):
        return line.startswith(b"{") and "event" in json.loads(line)
    return False


def _write(text: bytes) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # our own stderr may be gone or closed
        sys.stderr.write(text.decode(errors="backslashreplace"))
        sys.stderr.flush()


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "worker cannot be killed"
    if code >= 0:
        return f"worker exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = "unnamed"
    return f"worker was killed by signal {-code} ({name})"
