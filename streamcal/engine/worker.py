"""The worker process: takes a job from one pipe, puts its outcome into another, until the first one closes.

Started by `streamcal.engine.process` as ``python -m streamcal.engine.worker NAME PARENT MEMORY JOBS RESULTS PROGRESS``:
a name for people, process id of the parent, the limit of address space in MiB, and three file descriptors. Nothing
heavy is imported here: limits are set first.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import resource
import signal
import sys
from pathlib import Path

from streamcal.engine import progress
from streamcal.engine.frames import HEADER_SIZE, FrameKind, pack_frame, unpack_header
from streamcal.engine.outcome import execute

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_OOM_SCORE = "500"  # rather this process than the daemon


def main(name: str, parent: str, memory: str, *descriptors: str) -> None:
    """Serve jobs until the pipe of jobs closes."""
    jobs_fd, results_fd, board = map(int, descriptors)
    progress.attach(board)
    die_with(int(parent))
    call_prctl(_PR_SET_NAME, name.encode())
    restore_signals()
    limit_resources(int(memory) << 20)
    keep_memory()
    prepare_forks(jobs_fd, results_fd)
    while (frame := read_frame(jobs_fd)) is not None:
        number, function, job = frame
        outcome = execute(function, job)
        kind = FrameKind.RESULT if outcome.ok else FrameKind.ERROR
        write_all(results_fd, pack_frame(kind, number, outcome.payload))


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however that ends."""
    call_prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def call_prctl(option: int, argument: int | bytes) -> None:
    """Call prctl(2).

    Raises
    ------
    OSError
        If the kernel refuses.
    """
    value = argument if isinstance(argument, bytes) else ctypes.c_ulong(argument)
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option} failed")


def restore_signals() -> None:
    """Undo what was inherited: ignored and blocked signals; SIGTERM says where the job was, then ends the process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    faulthandler.enable()
    faulthandler.register(signal.SIGTERM, chain=True)


def limit_resources(memory: int) -> None:
    """Limit the address space to so many bytes (0: no limit), write no core, be the first that a full machine kills."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")


def keep_memory() -> None:
    """Have freed memory kept for the next pair, which is as large as the last one.

    Otherwise each array of some megabytes is returned to the kernel when it is freed, and the next one is handed out
    page by page: a third of the time of a pair.
    """
    with contextlib.suppress(AttributeError):  # a C library other than GNU's
        mallopt = ctypes.CDLL(None).mallopt
        for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(parameter, 2**31 - 1)


def prepare_forks(*descriptors: int) -> None:
    """Have a process that a job forks keep away from the pipes, and end with the one that forked it."""
    parent = 0

    def note_parent() -> None:
        nonlocal parent
        parent = os.getpid()

    def enter_child() -> None:
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        die_with(parent)

    os.register_at_fork(before=note_parent, after_in_child=enter_child)


def read_frame(descriptor: int) -> tuple[int, str, bytes] | None:
    """Read the next job: its number, function and argument; None when the pipe has closed."""
    head = read_exactly(descriptor, HEADER_SIZE)
    if head is None:
        return None
    header = unpack_header(head)
    payload = read_exactly(descriptor, header.length)
    if payload is None:
        return None
    function, _, job = payload.partition(b"\0")
    return header.number, function.decode(), job


def read_exactly(descriptor: int, size: int) -> bytes | None:
    """Read so many bytes; None if the pipe closes before."""
    data = bytearray()
    while len(data) < size:
        piece = os.read(descriptor, size - len(data))
        if not piece:
            return None
        data += piece
    return bytes(data)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


if __name__ == "__main__":
    main(*sys.argv[1:])
