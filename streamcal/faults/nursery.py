"""Daemons by the thousand: a process that has imported everything once forks one daemon after the other.

Breaking every single system call takes thousands of starts. A forked daemon is the real one, the command line included,
in a process of its own, at work after hundredths of a second; what it leaves out is the interpreter's own start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from streamcal.faults.daemons import DEADLINE, Hung
from streamcal.faults.site import Site

TRACING = ("strace", "-q", "-y", "-s", "0")


class Nursery:
    """The process that forks; a context manager, for one daemon at a time."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "streamcal.faults.nursery"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._ask(None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, site: Site, trace: Sequence[str] = (), log: Path | None = None) -> int:
        """Run ``streamcal run CONFIG --once`` in a fork.

        Parameters
        ----------
        site : Site
            Where it works; it logs to the end of ``site.log``.
        trace : sequence of str
            Options of strace, such as ``("-e", "inject=fdatasync:signal=KILL:when=3")``; none: it is not traced.
        log : Path, optional
            Where strace writes; nowhere by default.

        Returns
        -------
        int
            Its exit code, or minus the number of the signal that ended it.

        Raises
        ------
        Hung
            If it does not end.
        """
        pid = self._ask({"site": str(site.home), "incoming": str(site.incoming), "traced": bool(trace)})
        tracer = None
        if trace:
            command = [*TRACING, *trace, "-o", str(log or os.devnull), "-p", str(pid)]
            tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return os.waitstatus_to_exitcode(self._answer(pid))
        finally:
            if tracer is not None:
                tracer.wait(DEADLINE)

    def run_to_end(self, site: Site, starts: int = 10) -> int:
        """Run it again and again until it ends by itself, as a supervisor would; return how many starts it took."""
        for count in range(1, starts + 1):
            if self.run(site) in {0, 3}:
                return count
        msg = f"still fails after {starts} starts: {site.log.read_text(errors='replace')[-3000:]}"
        raise Hung(msg)

    def _ask(self, request: dict[str, object] | None) -> int:
        pipe, answers = self._process.stdin, self._process.stdout
        assert pipe is not None  # noqa: S101 - for the type checker: both were asked for
        assert answers is not None  # noqa: S101
        if request is not None:
            pipe.write(json.dumps(request).encode() + b"\n")
            pipe.flush()
        return int(answers.readline())

    def _answer(self, pid: int) -> int:
        timer = threading.Timer(DEADLINE, os.kill, (pid, signal.SIGKILL))  # the death of one that hangs is an answer
        timer.start()
        try:
            return self._ask(None)
        finally:
            timer.cancel()
            timer.join()


def is_traced() -> bool:
    """Tell whether another process traces this one."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return status.partition("TracerPid:")[2].split(maxsplit=1)[0] != "0"


def _serve() -> None:
    """Fork a daemon per line of input: answer with its process id, and when it has ended with its wait status."""
    _import_all()
    print(0, flush=True)  # noqa: T201 - the protocol
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _live(Site(home=Path(request["site"]), incoming=Path(request["incoming"])), traced=request["traced"])
        print(pid, flush=True)  # noqa: T201
        print(os.waitpid(pid, 0)[1], flush=True)  # noqa: T201


def _import_all() -> None:
    from streamcal import batch, cli, daemon, logs  # noqa: F401 - so that forks need not
    from streamcal.instruments import inspect, read  # noqa: F401
    from streamcal.measure import median_variance_factor, warm_kernels
    from streamcal.sink import arrow  # noqa: F401

    warm_kernels()
    median_variance_factor(2)


def _live(site: Site, *, traced: bool) -> None:
    """Be the daemon; never return."""
    descriptor = os.open(site.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.close(descriptor)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    while traced and not is_traced():
        time.sleep(0.001)
    if traced:
        time.sleep(0.02)  # strace has written its number and now sets its stop
    sys.argv = ["streamcal", "run", str(site.config), "--once"]
    from streamcal.cli import main

    code = 1
    try:
        main()
        code = 0
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    except BaseException:  # noqa: BLE001 - a traceback, as the interpreter would have written it
        sys.excepthook(*sys.exc_info())
    with suppress(Exception):
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _serve()
