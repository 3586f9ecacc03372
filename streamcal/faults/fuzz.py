"""Mutants among whole pairs: each mutant has its disposition and reason, the whole pairs are measured as ever."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamcal import results
from streamcal.faults.compare import find_forgotten, read_outcome
from streamcal.faults.daemons import Daemon, memory_megabytes
from streamcal.faults.mutants import make_bases, write_mutants
from streamcal.faults.site import ROWS_PER_PAIR, Site, add_pairs, make_site

PORTION = 500  # mutants between two looks
FIRST_GOOD = 10_000_001  # exposure id; those of mutants count from 1
MEMORY_LIMIT = 500.0  # MB, of the daemon
WORKER_LIMIT = 2048  # MB of address space
JOB_SECONDS = 10.0  # a file that takes longer is one that hangs the library


@dataclass(kw_only=True, slots=True)
class Fuzz:
    """A run in which most files are damaged.

    Attributes
    ----------
    folder : Path
        Where it happens.
    mutants : int
        How many.
    seed : int
        Of the mutations.
    workers : int
        Worker processes.
    report : callable
        Told what became of them, in words.
    """

    folder: Path
    mutants: int
    seed: int
    workers: int
    report: Callable[[str], object] = lambda _: None

    def run(self) -> list[str]:
        """Write mutants and whole pairs in portions, run ``--once`` on each; return what went wrong."""
        engine: dict[str, Any] = {"kind": "local", "workers": self.workers, "memory_megabytes": WORKER_LIMIT}
        engine |= {"job_seconds": JOB_SECONDS, "attempts": 1}
        site = make_site(self.folder / "incoming", self.folder / "run", engine=engine)
        bases, dice = make_bases(), random.Random(self.seed)  # noqa: S311 - to be repeated
        problems: list[str] = []
        good = 0
        for start in range(0, self.mutants, PORTION):
            numbers = range(start, min(start + PORTION, self.mutants))
            write_mutants(site.incoming / "mutants", bases, numbers, dice)
            add_pairs(site.incoming / f"good{start}", 2, first_id=FIRST_GOOD + 4 * good, run_id="GOOD")
            good += 1
            problems += self._run_portion(site)
            problems += _check_portion(site)
            shutil.rmtree(site.incoming / "mutants")
        problems += _check_good(site, 2 * good)
        self._tell(site)
        return problems

    def _run_portion(self, site: Site) -> list[str]:
        process = Daemon(site, "--once")
        most = 0.0
        while process.running:
            most = max(most, _memory(process))
            time.sleep(0.05)
        problems = []
        if process.process.returncode not in {0, 3}:
            problems.append(f"daemon ended with {process.process.returncode}: {process.text()[-2000:]}")
        if most > MEMORY_LIMIT:
            problems.append(f"daemon held {most:.0f} MB")
        return problems

    def _tell(self, site: Site) -> None:
        rows = results.exposures(site.output).to_pylist()
        mutants = [row for row in rows if "mutant_" in row["path"]]
        self.report(f"{self.mutants} mutants: {dict(Counter(row['disposition'] for row in mutants).most_common())}")
        reasons = Counter(_kind(row["reason"]) for row in mutants if row["disposition"] == "rejected")
        for reason, count in reasons.most_common():
            self.report(f"{count:7d}  {reason}")


def _memory(process: Daemon) -> float:
    try:
        return memory_megabytes(process.pid)
    except (OSError, IndexError):  # it has ended
        return 0.0


def _kind(reason: str) -> str:
    return " ".join(word for word in reason.split() if not any(char.isdigit() for char in word))[:60]


def _check_portion(site: Site) -> list[str]:
    outcome = read_outcome(site.output)
    silent = [
        path for (path, _, _), (what, reason, _) in outcome.dispositions.items() if what == "rejected" and not reason
    ]
    forgotten = find_forgotten(outcome, site.incoming)
    return [*forgotten, *outcome.faults, *(f"{path} was rejected without a reason" for path in silent)]


def _check_good(site: Site, pairs: int) -> list[str]:
    outcome = read_outcome(site.output)
    table = results.read(site.output, columns=["group"])
    rows = sum(group.endswith("GOOD") for group in table["group"].to_pylist())
    left = [
        f"{path} is {what}: {reason}"
        for (path, _, _), (what, reason, _) in outcome.dispositions.items()
        if "/GOOD_" in path and what != "paired"
    ]
    expected = pairs * ROWS_PER_PAIR
    return left if rows == expected else [*left, f"the whole pairs have {rows} rows, expected {expected}"]
