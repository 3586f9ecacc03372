"""Every writing system call of a run in turn: killed at it, or the call failing, by strace; nothing sewn in.

strace changes what a write answers and leaves the write out: an answer of a part would tell of bytes that are nowhere.
So the only short write among `EFFECTS` is the one of nothing; those of a part are made by a limit of file size
(`streamcal.faults.limits`, and ``test_limit_of_file_size``) and by a disk in the sink's tests that takes seven bytes
at a time.
"""

from __future__ import annotations

import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from streamcal.errors import StateError
from streamcal.faults.compare import Outcome, read_outcome
from streamcal.faults.nursery import Nursery
from streamcal.faults.site import Site

WRITING = (
    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "copy_file_range", "fallocate"),
    *("ftruncate", "truncate", "fsync", "fdatasync", "sync_file_range", "msync"),
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"),
    *("mkdir", "mkdirat", "rmdir", "openat"),
)
"""All that can change a file or folder; ``openat`` on files that are made by it."""

KILL = "signal=KILL"
EFFECTS = {
    "kill": KILL,
    "EIO": "error=EIO",
    "ENOSPC": "error=ENOSPC",
    "nothing written": "retval=0",  # the shortest of short writes
}
_TAKES_PART = frozenset({"write", "pwrite64", "writev", "pwritev", "pwritev2"})  # may write less than asked for
_CALL = re.compile(r"^(?:\[pid +\d+\] )?(\w+)\(")
_MADE = re.compile(r'^openat\([^"]*"([^"]+)"')

Kind = tuple[str, str]
"""A system call, and below the site's home the one file on which it counts; empty: on whatever."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at one system call.

    Attributes
    ----------
    call : str
        Name of the system call.
    when : int
        The how-manieth of its kind, from 1.
    effect : str
        One of `EFFECTS`.
    path : str
        File below the site's home; only calls that name it count. Empty: all count.
    """

    call: str
    when: int
    effect: str = "kill"
    path: str = ""

    @property
    def kind(self) -> Kind:
        """The calls among which it is counted."""
        return self.call, self.path

    def options(self, site: Site) -> tuple[str, ...]:
        """Return options of strace that make it happen."""
        counted = ("-P", str(site.home / self.path)) if self.path else ()
        inject = f"inject={self.call}:{EFFECTS[self.effect]}:when={self.when}"
        return (*counted, "-e", f"trace={self.call}", "-e", inject)

    def __str__(self) -> str:
        """Name it shortly."""
        return f"{self.effect} at {self.call} {self.when}{' of ' + self.path if self.path else ''}"


def has_strace() -> bool:
    """Tell whether strace is installed."""
    return shutil.which("strace") is not None


def list_calls(nursery: Nursery, site: Site, pairs: int = 0) -> dict[Kind, int]:
    """Run once, undisturbed, and count what writes; ``pairs`` as in `Nursery.run`."""
    log = site.home / "strace"
    nursery.run(site, pairs=pairs, trace=("-e", f"trace={','.join(WRITING)}"), log=log)
    return count_calls(log.read_text(errors="replace").splitlines(), site.home)


def strike(nursery: Nursery, site: Site, fault: Fault, pairs: int = 0) -> bool:
    """Run with a fault; return whether it happened, as told by the death of the daemon, else by strace."""
    log = site.home / "strace"
    code = nursery.run(site, pairs=pairs, trace=fault.options(site), log=log)
    if fault.effect == "kill":
        return code == -signal.SIGKILL
    return "(INJECTED)" in log.read_text(errors="replace")


def count_calls(lines: Iterable[str], home: Path) -> dict[Kind, int]:
    """Count calls in a log of strace, kind by kind; opens by file, and only of files below ``home`` that are made."""
    seen: Counter[Kind] = Counter()
    made: set[Kind] = set()
    for line in lines:
        if opened := _MADE.match(line):
            if Path(opened[1]).is_relative_to(home):
                kind = ("openat", str(Path(opened[1]).relative_to(home)))
                seen[kind] += 1
                if "O_CREAT" in line:
                    made.add(kind)
        elif call := _CALL.match(line):
            seen[call[1], ""] += 1
    return {kind: count for kind, count in seen.items() if kind in made or kind[0] != "openat"}


def list_faults(calls: Mapping[Kind, int], effect: str) -> Iterator[Fault]:
    """Return one fault for each call, kind by kind."""
    for kind, count in calls.items():
        if takes(kind, effect):
            yield from (Fault(kind[0], number, effect, kind[1]) for number in range(1, count + 1))


def takes(kind: Kind, effect: str) -> bool:
    """Tell whether an effect can happen to a kind of calls."""
    return effect != "nothing written" or kind[0] in _TAKES_PART


def thin(faults: Iterable[Fault], stride: int, offset: int = 0) -> list[Fault]:
    """Return one in ``stride`` of the faults of each kind of call, at least one of each kind."""
    by_call: dict[str, list[Fault]] = {}
    for fault in faults:
        by_call.setdefault(fault.call, []).append(fault)
    return [fault for same in by_call.values() for fault in same[offset % min(stride, len(same)) :: stride]]


def check_readable(output: Path, expected: Outcome) -> list[str]:
    """Return what a reader meets in an interrupted output that is not in the undisturbed one."""
    try:
        outcome = read_outcome(output)
    except FileNotFoundError:  # no table yet
        return []
    except StateError as exc:
        return [f"cannot be read after the fault: {exc}"]
    rows = outcome.rows
    return [
        *(f"row of {key} is seen after the fault" for key in rows if rows[key] != expected.rows.get(key)),
        *(f"row of {key} is seen twice after the fault" for key in outcome.doubled),
    ]
