"""The daemon as a process of its own, started, stopped and killed the way a supervisor and an accident do it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from streamcal.errors import ConfigError
from streamcal.faults.site import Site
from streamcal.status import Status, read_status

T = TypeVar("T")

DEADLINE = 120.0  # s; ends a run that hangs
STEP = 0.05  # s


class Hung(Exception):  # noqa: N818 - it says what the daemon did
    """Something that was to happen did not."""


class Daemon:
    """One process of ``streamcal run``.

    Parameters
    ----------
    site : Site
        Where it works; it logs to the end of ``site.log``.
    *options : str
        Further arguments of the command.
    prefix : tuple of str
        What runs it, such as ``strace`` with its options.
    config : Path, optional
        Its run configuration; that of the site by default.
    """

    def __init__(self, site: Site, *options: str, prefix: tuple[str, ...] = (), config: Path | None = None) -> None:
        self.site = site
        command = [*prefix, *self.command(site, config), *options]
        self._began = site.log.stat().st_size if site.log.exists() else 0
        with site.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @staticmethod
    def command(site: Site, config: Path | None = None) -> list[str]:
        """Return the command that runs a daemon on a site."""
        return [sys.executable, "-m", "streamcal", "run", str(config or site.config)]

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def text(self) -> str:
        """Return what it has written so far."""
        with self.site.log.open("rb") as log:
            log.seek(self._began)
            return log.read().decode(errors="backslashreplace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the events of one name that it has logged."""
        lines = (line for line in self.text().splitlines() if line.startswith("{") and line.endswith("}"))
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def wait_for(self, condition: Callable[[], T], seconds: float = DEADLINE) -> T:
        """Return what a condition gives as soon as that is true.

        Raises
        ------
        Hung
            If it does not become true in time, or the daemon ends before.
        """
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > deadline or not self.running:
                state = f"ended with {self.process.returncode}" if not self.running else "goes on"
                msg = f"waited in vain, the daemon {state}: {self.text()[-3000:]}"
                raise Hung(msg)
            time.sleep(STEP)
        return value

    def wait_for_event(self, name: str) -> dict[str, Any]:
        """Wait until it has logged an event."""
        return self.wait_for(lambda: self.events(name))[0]

    def wait_for_status(self, condition: Callable[[Status], Any], seconds: float = DEADLINE) -> Status:
        """Wait until its status is as wanted."""
        found: list[Status] = []

        def look() -> bool:
            try:
                found[:] = [read_status(self.site.output)]
            except ConfigError:  # not announced yet
                return False
            return bool(condition(found[0]))

        self.wait_for(look, seconds)
        return found[0]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """Kill it; workers die with it."""
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        """Return its exit code when it has ended."""
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            msg = f"does not end: {self.text()[-3000:]}"
            raise Hung(msg) from None


@contextmanager
def daemon(site: Site, *options: str) -> Iterator[Daemon]:
    """Run a daemon for a block; what is left of it at the end is killed."""
    process = Daemon(site, *options)
    try:
        yield process
    finally:
        process.kill()


def run_to_end(site: Site, starts: int = 10) -> int:
    """Run ``--once``, restarted as a supervisor would until it ends by itself; return how many starts it took.

    Raises
    ------
    Hung
        If it does not come to its end.
    """
    for count in range(1, starts + 1):
        process = Daemon(site, "--once")
        if process.wait() in {0, 3}:
            return count
    msg = f"still fails after {starts} starts: {process.text()[-3000:]}"
    raise Hung(msg)


def wait_until_done(process: Daemon, pairs: int, seconds: float = DEADLINE) -> Status:
    """Wait until so many pairs have ended and nothing is left to do, as this daemon tells, not the one before it."""
    process.wait_for_event("watching")
    return process.wait_for_status(
        lambda status: _ended(status) >= pairs and not status.pairs.get("ready") and not status.dispositions.get("new"),
        seconds,
    )


def _ended(status: Status) -> int:
    return sum(status.pairs.get(state, 0) for state in ("done", "failed"))


def memory_megabytes(pid: int) -> float:
    """Return the memory that a process holds (resident set), in MB."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - /proc is no tree of files
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_megabytes(pid: int) -> float:
    """Return the most memory that a process has held since it began (resident set), in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024 / 1e6


def list_workers(pid: int) -> list[int]:
    """Return the process ids of a daemon's workers."""
    return [
        int(child)
        for children in Path(f"/proc/{pid}/task").glob("*/children")
        for child in children.read_text().split()
    ]
