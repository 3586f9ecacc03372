"""Every writing system call of a run in turn: killed at it, or the call failing, by strace; nothing sewn in."""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from streamcal.errors import StateError
from streamcal.faults.compare import Outcome, Verdict, compare, read_outcome
from streamcal.faults.nursery import Nursery
from streamcal.faults.site import Site

WRITING = (
    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "copy_file_range", "fallocate"),
    *("ftruncate", "truncate", "fsync", "fdatasync", "sync_file_range", "msync"),
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"),
    *("mkdir", "mkdirat", "rmdir", "openat"),
)
"""All that can change a file or folder; of ``openat`` those calls count that may create one."""

KILL = "signal=KILL"
EFFECTS = {
    "kill": KILL,
    "EIO": "error=EIO",
    "ENOSPC": "error=ENOSPC",
    "nothing written": "retval=0",  # the shortest of short writes
}
_TAKES_PART = frozenset({"write", "pwrite64", "writev", "pwritev", "pwritev2"})  # may write less than asked for
_CALL = re.compile(r"^(?:\[pid +\d+\] )?(\w+)\(")
RECOVERY_CALLS = 40  # a second fault falls into the first so many calls of its kind after the restart


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
    """

    call: str
    when: int
    effect: str = "kill"

    @property
    def trace(self) -> tuple[str, ...]:
        """Options of strace that make it happen."""
        return ("-e", f"trace={self.call}", "-e", f"inject={self.call}:{EFFECTS[self.effect]}:when={self.when}")

    def __str__(self) -> str:
        """Name it shortly."""
        return f"{self.effect} at {self.call} {self.when}"


def has_strace() -> bool:
    """Tell whether strace is installed."""
    return shutil.which("strace") is not None


def list_calls(nursery: Nursery, site: Site) -> dict[str, list[int]]:
    """Run once, undisturbed, and return which calls of each kind write, by their number from 1."""
    log = site.home / "strace"
    nursery.run(site, ("-e", f"trace={','.join(WRITING)}"), log)
    seen: Counter[str] = Counter()
    found: dict[str, list[int]] = {}
    with log.open(errors="replace") as lines:
        for line in lines:
            if match := _CALL.match(line):
                call = match[1]
                seen[call] += 1
                if call != "openat" or "O_CREAT" in line:
                    found.setdefault(call, []).append(seen[call])
    return found


def list_faults(calls: dict[str, list[int]], effect: str) -> Iterator[Fault]:
    """Return one fault for each call, kind by kind."""
    for call, numbers in calls.items():
        if effect != "nothing written" or call in _TAKES_PART:
            yield from (Fault(call, number, effect) for number in numbers)


def thin(faults: Iterable[Fault], stride: int, offset: int = 0) -> list[Fault]:
    """Return one in ``stride`` of the faults of each kind of call, at least one of each kind."""
    by_call: dict[str, list[Fault]] = {}
    for fault in faults:
        by_call.setdefault(fault.call, []).append(fault)
    return [fault for same in by_call.values() for fault in same[offset % min(stride, len(same)) :: stride]]


def break_once(nursery: Nursery, site: Site, fault: Fault, expected: Outcome, dice: random.Random) -> Verdict:
    """Break one run, break its recovery too, let it end, and compare.

    Parameters
    ----------
    nursery : Nursery
        Runs it.
    site : Site
        An empty one.
    fault : Fault
        What happens in the first run.
    expected : Outcome
        Of an undisturbed run.
    dice : random.Random
        Chooses where the recovery is broken, in two of three runs.

    Returns
    -------
    Verdict
        Of the end; what a reader saw right after the fault counts as wrong if it is not in ``expected``.
    """
    nursery.run(site, fault.trace)
    seen = check_readable(site.output, expected)
    if dice.random() < 2 / 3:
        call = dice.choice(("pwrite64", "fdatasync", "rename", "ftruncate"))
        nursery.run(site, Fault(call, dice.randint(1, RECOVERY_CALLS), fault.effect).trace)
        seen += check_readable(site.output, expected)
    nursery.run_to_end(site)
    verdict = compare(expected, read_outcome(site.output))
    return Verdict(lost=verdict.lost, doubled=verdict.doubled, wrong=(*verdict.wrong, *seen))


def check_readable(output: Path, expected: Outcome) -> list[str]:
    """Return what a reader meets in an interrupted output that is not in the undisturbed one."""
    try:
        rows = read_outcome(output).rows
    except FileNotFoundError:  # no table yet
        return []
    except StateError as exc:
        return [f"cannot be read after the fault: {exc}"]
    return [f"row of {key} is seen after the fault" for key in rows if rows[key] != expected.rows.get(key)]
