"""Daemons by the thousand: a process that has imported everything once forks one daemon after the other.

Breaking every single system call takes thousands of starts. A forked daemon is the real one, the command line included,
in a process of its own, at work after hundredths of a second; what it leaves out is the interpreter's own start.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from streamcal.errors import ConfigError, StateError
from streamcal.faults.daemons import DEADLINE, Hung
from streamcal.faults.site import Site
from streamcal.status import read_status

TRACING = ("strace", "-qq", "-y", "-s", "0")
LOOK_SECONDS = 0.1  # between two looks at a daemon that runs


class Nursery:
    """The process that forks; a context manager, for one daemon at a time."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "streamcal.faults.nursery"]
        # unbuffered: `select` must see each answer
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, site: Site, *, pairs: int = 0, trace: Sequence[str] = (), log: Path | None = None) -> int:
        """Run ``streamcal run CONFIG`` in a fork, until it ends.

        Parameters
        ----------
        site : Site
            Where it works; it logs to the end of ``site.log``.
        pairs : int
            The daemon watches, and is stopped by SIGTERM when so many pairs have ended; 0: ``--once``.
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
            If it does not end, or cannot be traced.
        """
        has_ended = Watched(site, pairs).has_ended if pairs else lambda: False
        pid = self._fork(site, once=not pairs, traced=bool(trace))
        if not trace:
            return self._wait(pid, site, has_ended)
        command = [*TRACING, *trace, "-o", str(log or os.devnull), "-p", str(pid)]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as tracer:
            return self._wait(pid, site, has_ended, tracer)

    def run_to_end(self, site: Site, starts: int = 10, pairs: int = 0) -> int:
        """Run it again and again until it ends by itself, as a supervisor would; return how many starts it took."""
        for count in range(1, starts + 1):
            if self.run(site, pairs=pairs) in {0, 3}:
                return count
        msg = f"still fails after {starts} starts: {site.log.read_text(errors='replace')[-3000:]}"
        raise Hung(msg)

    def _fork(self, site: Site, *, once: bool, traced: bool) -> int:
        request = {"site": str(site.home), "incoming": str(site.incoming), "once": once, "traced": traced}
        assert self._process.stdin is not None  # noqa: S101 - for the type checker: it was asked for
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        return self._read()

    def _read(self, seconds: float | None = None) -> int:
        """Return the next answer; raises TimeoutError."""
        assert self._process.stdout is not None  # noqa: S101
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            raise TimeoutError
        return int(self._process.stdout.readline())

    def _wait(
        self, pid: int, site: Site, has_ended: Callable[[], bool], tracer: subprocess.Popen[bytes] | None = None
    ) -> int:
        deadline = time.monotonic() + DEADLINE
        stopped = False
        while True:
            try:
                return os.waitstatus_to_exitcode(self._read(LOOK_SECONDS))
            except TimeoutError:
                problem = _find_problem(tracer, deadline)
            if problem:
                os.kill(pid, signal.SIGKILL)
                self._read()
                msg = f"{problem}: {site.log.read_text(errors='replace')[-3000:]}"
                raise Hung(msg)
            if not stopped and has_ended():
                stopped = True
                os.kill(pid, signal.SIGTERM)


class Watched:
    """The work of a daemon that watches.

    Parameters
    ----------
    site : Site
        Where it will work: made before it starts.
    pairs : int
        How many there are.
    """

    def __init__(self, site: Site, pairs: int) -> None:
        self._site = site
        self._pairs = pairs
        self._began = site.log.stat().st_size if site.log.exists() else 0

    def has_ended(self) -> bool:
        """Tell whether it watches, and all pairs have ended, as the journal knows."""
        try:
            with self._site.log.open("rb") as log:
                log.seek(self._began)
                if b'"watching"' not in log.read():  # a signal would kill it
                    return False
            states = read_status(self._site.output).pairs
        except (FileNotFoundError, ConfigError, StateError):  # not announced yet, or held at this instant
            return False
        return states.get("done", 0) + states.get("failed", 0) >= self._pairs


def _find_problem(tracer: subprocess.Popen[bytes] | None, deadline: float) -> str:
    if tracer is not None and tracer.poll():
        _, said = tracer.communicate()
        return f"strace refuses: {said.decode(errors='replace')}"
    return "does not end" if time.monotonic() > deadline else ""


def wait_for_tracer() -> None:
    """Return when another process traces this one; opens nothing once it does, for strace counts such calls."""
    descriptor = os.open("/proc/self/status", os.O_RDONLY)
    while os.pread(descriptor, 4096, 0).partition(b"TracerPid:")[2].split(maxsplit=1)[0] == b"0":
        time.sleep(0.001)
    os.close(descriptor)
    time.sleep(0.02)  # strace has written its number and now sets its stop


def _serve() -> None:
    """Fork a daemon per line of input: answer with its process id, and when it has ended with its wait status."""
    _import_all()
    print(0, flush=True)  # noqa: T201 - the protocol
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            site = Site(home=Path(request["site"]), incoming=Path(request["incoming"]))
            _live(site, once=request["once"], traced=request["traced"])
        print(pid, flush=True)  # noqa: T201
        print(os.waitpid(pid, 0)[1], flush=True)  # noqa: T201


def _import_all() -> None:
    from streamcal import batch, cli, daemon, logs  # noqa: F401 - so that forks need not
    from streamcal.instruments import inspect  # noqa: F401
    from streamcal.jobs import load_late
    from streamcal.plugins import load_plugins
    from streamcal.sink import arrow  # noqa: F401

    load_plugins()
    load_late()


def _live(site: Site, *, once: bool, traced: bool) -> None:
    """Be the daemon; never return."""
    descriptor = os.open(site.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.close(descriptor)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    if traced:
        wait_for_tracer()
    sys.argv = ["streamcal", "run", str(site.config), *(["--once"] if once else [])]
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
