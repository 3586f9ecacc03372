"""A sweep over system calls: many faults, several daemons at a time, one verdict for each."""

from __future__ import annotations

import itertools
import queue
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamcal.faults.calls import Fault, Kind, check_readable, list_calls, strike, takes
from streamcal.faults.compare import Outcome, Verdict, compare, read_outcome
from streamcal.faults.daemons import Hung
from streamcal.faults.nursery import Nursery
from streamcal.faults.site import Site, add_pairs, make_site

PAIRS = 12
TRIES = 4  # runs in which a fault may hit, before it counts as missed
SLACK = 3  # so many snapshots and heartbeats may a run have less than those that were counted
IN_RECOVERY = {"pwrite64": 40, "fdatasync": 12, "rename": 4, "ftruncate": 2}
"""A second fault falls into the first so many calls of a kind after the restart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mode:
    """How the daemon runs that is broken.

    Attributes
    ----------
    watch : bool
        It watches its folder, and is stopped when all is done; else ``--once``.
    engine : str
        Kind of its engine; a ``local`` one has one worker.
    """

    watch: bool = False
    engine: str = "inline"

    @property
    def pairs(self) -> int:
        """What `Nursery.run` is told."""
        return PAIRS if self.watch else 0

    @property
    def table(self) -> dict[str, Any]:
        """Table ``[engine]`` of its configuration."""
        return {"kind": self.engine} | ({"workers": 1} if self.engine == "local" else {})

    def least(self, count: int) -> int:
        """Return how many calls any run has of which one had ``count``: time decides on snapshots and commits."""
        steady = self == Mode()
        return count - (min(SLACK, count // 5) if steady else count // 3)


@dataclass(frozen=True, kw_only=True, slots=True)
class Break:
    """What became of one fault.

    Attributes
    ----------
    fault : Fault
        What was to happen.
    verdict : Verdict or None
        Of the end; None if the fault never happened.
    again : bool or None
        Whether the recovery met its fault; None if it was left in peace.
    """

    fault: Fault
    verdict: Verdict | None = None
    again: bool | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """What became of the faults of a sweep.

    Attributes
    ----------
    breaks : list of Break
        One for each fault.
    """

    breaks: list[Break]

    @property
    def hits(self) -> int:
        """Number of faults that happened."""
        return sum(each.verdict is not None for each in self.breaks)

    @property
    def failures(self) -> list[str]:
        """All that may not be, in words: faults that never happened, and runs that do not give what they should."""
        return [
            f"{each.fault}: {'never happened' if each.verdict is None else each.verdict}"
            for each in self.breaks
            if not each.verdict
        ]

    def __str__(self) -> str:
        """Count."""
        again = [each.again for each in self.breaks if each.again is not None]
        return (
            f"{self.hits} of {len(self.breaks)} faults happened, {sum(again)} of {len(again)} in the recovery from one;"
            f" {len(self.failures)} failures"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """A run of twelve pairs that is broken again and again, each time from the beginning.

    Attributes
    ----------
    quiet : Site
        The undisturbed run, ``--once`` and inline.
    expected : Outcome
        What came out of it.
    calls : dict
        How many writing calls of each kind a run has, see `list_calls`.
    nurseries : Queue
        Those that are free.
    mode : Mode
        How broken runs run.
    """

    quiet: Site
    expected: Outcome
    calls: dict[Kind, int]
    nurseries: queue.SimpleQueue[Nursery]
    mode: Mode

    def run(self, faults: Sequence[Fault], seed: int, report: Callable[[Fault], object] = lambda _: None) -> Findings:
        """Break one run for each fault."""

        def judge(fault: Fault) -> Break:
            found = self._judge(fault, seed, TRIES)
            report(fault)
            return found

        with ThreadPoolExecutor(max_workers=self.nurseries.qsize()) as pool:
            breaks = list(pool.map(judge, faults))
        return Findings([each for each in breaks if each.verdict is not None or not self._may_miss(each.fault)])

    def run_beyond(self, effect: str, seed: int, calls: Iterable[str] = ()) -> Findings:
        """Go on behind the counted calls of each kind until a run has none; break those that it has."""

        def go_on(kind: Kind) -> list[Break]:
            numbers = itertools.count(self.calls[kind] + 1)
            found = (self._judge(Fault(kind[0], number, effect, kind[1]), seed, tries=1) for number in numbers)
            return list(itertools.takewhile(lambda each: each.verdict is not None, found))

        kinds = [kind for kind in self.calls if takes(kind, effect) and kind[0] in (calls or (kind[0],))]
        with ThreadPoolExecutor(max_workers=self.nurseries.qsize()) as pool:
            return Findings([each for breaks in pool.map(go_on, kinds) for each in breaks])

    def _may_miss(self, fault: Fault) -> bool:
        """Tell whether it is among the last that were counted, which a quicker run does not have."""
        count = self.calls.get(fault.kind, 0)
        return self.mode.least(count) < fault.when <= count

    def _judge(self, fault: Fault, seed: int, tries: int) -> Break:
        """Break runs until the fault has happened in one."""
        dice = random.Random(f"{seed} {fault}")  # noqa: S311 - to be repeated
        found = Break(fault=fault)
        nursery = self.nurseries.get()
        try:
            for _ in range(tries):
                site = self.quiet.sibling(str(fault).replace("/", "+"), engine=self.mode.table)
                found = self._break_once(nursery, site, fault, dice)
                if found.verdict is not None:
                    break
        except Hung as exc:
            found = Break(fault=fault, verdict=Verdict(lost=(), doubled=(), wrong=(str(exc),)))
        finally:
            self.nurseries.put(nursery)
        if found.verdict is None or found.verdict:  # what is left of others is kept, to be looked at
            shutil.rmtree(site.home)
        return found

    def _break_once(self, nursery: Nursery, site: Site, fault: Fault, dice: random.Random) -> Break:
        """Break a run, in two of three times its recovery too, let it end, and compare."""
        if not strike(nursery, site, fault, self.mode.pairs):
            return Break(fault=fault)
        seen = check_readable(site.output, self.expected)
        again = None
        if dice.random() < 2 / 3:
            call = dice.choice(tuple(IN_RECOVERY))
            second = Fault(call, dice.randint(1, IN_RECOVERY[call]), fault.effect)
            again = strike(nursery, site, second, self.mode.pairs)
            seen += check_readable(site.output, self.expected)
        nursery.run_to_end(site, pairs=self.mode.pairs)
        verdict = compare(self.expected, read_outcome(site.output), site.incoming)
        verdict = Verdict(lost=verdict.lost, doubled=verdict.doubled, wrong=(*verdict.wrong, *seen))
        return Break(fault=fault, verdict=verdict, again=again)


@contextmanager
def prepare_sweep(folder: Path, parallel: int = 1, mode: Mode | None = None) -> Iterator[Sweep]:
    """Make exposures, run once undisturbed, and count calls.

    Parameters
    ----------
    folder : Path
        Where it happens; nothing may be in it.
    parallel : int
        How many daemons may run at a time.
    mode : Mode, optional
        How broken runs run; ``--once`` and inline by default.
    """
    mode = mode or Mode()
    with ExitStack() as stack:
        nurseries: queue.SimpleQueue[Nursery] = queue.SimpleQueue()
        for _ in range(parallel):
            nurseries.put(nursery := stack.enter_context(Nursery()))
        quiet = make_site(folder / "incoming", folder / "quiet")
        add_pairs(quiet.incoming, PAIRS)
        nursery.run_to_end(quiet, starts=1)
        counts = [list_calls(nursery, quiet.sibling("counted", engine=mode.table), mode.pairs) for _ in range(2)]
        calls = {kind: min(count.get(kind, 0) for count in counts) for kind in counts[0]}
        yield Sweep(quiet=quiet, expected=read_outcome(quiet.output), calls=calls, nurseries=nurseries, mode=mode)
