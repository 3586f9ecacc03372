"""A sweep over system calls: many faults, several daemons at a time, one verdict for each."""

from __future__ import annotations

import queue
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from streamcal.faults.calls import Fault, break_once, list_calls
from streamcal.faults.compare import Outcome, Verdict, read_outcome
from streamcal.faults.daemons import Hung
from streamcal.faults.nursery import Nursery
from streamcal.faults.site import Site, add_pairs, make_site

PAIRS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """A run of twelve pairs that is broken again and again, each time from the beginning.

    Attributes
    ----------
    folder : Path
        Where it happens.
    quiet : Site
        The undisturbed run.
    expected : Outcome
        What came out of it.
    calls : dict
        Its writing calls, see `list_calls`.
    nurseries : Queue
        Those that are free.
    """

    folder: Path
    quiet: Site
    expected: Outcome
    calls: dict[str, list[int]]
    nurseries: queue.SimpleQueue[Nursery]

    def run(
        self, faults: Sequence[Fault], seed: int, report: Callable[[Fault, Verdict], object]
    ) -> dict[Fault, Verdict]:
        """Break one run for each fault; return the verdicts that are not as they should be."""

        def judge(numbered: tuple[int, Fault]) -> tuple[Fault, Verdict]:
            number, fault = numbered
            verdict = self._judge(number, fault, seed)
            report(fault, verdict)
            return fault, verdict

        with ThreadPoolExecutor(max_workers=self.nurseries.qsize()) as pool:
            return {fault: verdict for fault, verdict in pool.map(judge, enumerate(faults)) if not verdict}

    def _judge(self, number: int, fault: Fault, seed: int) -> Verdict:
        nursery = self.nurseries.get()
        site = self.quiet.sibling(f"broken-{number}")
        try:
            verdict = break_once(nursery, site, fault, self.expected, random.Random(f"{seed} {fault}"))  # noqa: S311
        except Hung as exc:
            verdict = Verdict(lost=(), doubled=(), wrong=(str(exc),))
        finally:
            self.nurseries.put(nursery)
        if verdict:  # what is left of others is kept, to be looked at
            shutil.rmtree(site.home)
        return verdict


@contextmanager
def prepare_sweep(folder: Path, parallel: int = 1) -> Iterator[Sweep]:
    """Make exposures, run once undisturbed, and count calls.

    Parameters
    ----------
    folder : Path
        Where it happens; nothing may be in it.
    parallel : int
        How many daemons may run at a time.
    """
    with ExitStack() as stack:
        nurseries: queue.SimpleQueue[Nursery] = queue.SimpleQueue()
        for _ in range(parallel):
            nurseries.put(stack.enter_context(Nursery()))
        nursery = nurseries.get()
        quiet = make_site(folder / "incoming", folder / "quiet")
        add_pairs(quiet.incoming, PAIRS)
        nursery.run_to_end(quiet, starts=1)
        calls = list_calls(nursery, quiet.sibling("listed"))
        nurseries.put(nursery)
        yield Sweep(folder=folder, quiet=quiet, expected=read_outcome(quiet.output), calls=calls, nurseries=nurseries)
