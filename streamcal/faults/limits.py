"""Writes that take a part: a limit of file size, met again and again while a daemon writes, and lifted each time."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from streamcal.faults.compare import Verdict, compare, read_outcome
from streamcal.faults.daemons import Daemon, Hung, run_to_end, wait_until_done
from streamcal.faults.site import Site, add_pairs, make_site, move_in

STEP = 9000  # bytes that the largest file may grow until the next limit: some pages of the journal, or a pair
PATIENCE = 5.0  # s, to meet it


@dataclass(kw_only=True, slots=True)
class Limits:
    """A run of pairs whose files may not grow beyond one random size after the other.

    The kernel writes as much as the limit lets it, says how much, and refuses what follows (EFBIG): true short writes,
    of segments and of the journal.

    Attributes
    ----------
    folder : Path
        Where it happens; empty.
    pairs : int
        How many; one limit for each.
    dice : random.Random
        Chooses the sizes.
    report : callable
        Told of progress, in words.
    met : int
        Limits that were met: the daemon paused, or ended.
    """

    folder: Path
    pairs: int
    dice: random.Random
    report: Callable[[str], object] = lambda _: None
    met: int = 0

    def run(self) -> Verdict:
        """Limit a run again and again, let it end, and compare."""
        waiting = self.folder / "camera"
        add_pairs(waiting, self.pairs)
        exposures = sorted(waiting.glob("*.fits"))
        site = make_site(self.folder / "incoming", self.folder / "run", output={"roll_megabytes": 64.0})
        process = Daemon(site)
        try:
            for number in range(self.pairs):
                process = self._limit(process, exposures[2 * number : 2 * number + 2])
                self.report(f"limit {number + 1} of {self.pairs}, {self.met} met")
            wait_until_done(process, self.pairs)
            process.stop()
        finally:
            process.kill()
        quiet = site.sibling("quiet")
        run_to_end(quiet, starts=1)
        return compare(read_outcome(quiet.output), read_outcome(site.output), site.incoming)

    def _limit(self, process: Daemon, exposures: list[Path]) -> Daemon:
        """Let exposures come under a limit until it is met, lift it; return the daemon that goes on."""
        process.wait_for_event("watching")
        met = len(process.events("paused"))
        _set_limit(process, _largest_file(process.site) + self.dice.randrange(STEP))
        move_in(exposures, exposures[0].parents[1] / "incoming")
        with suppress(Hung):
            process.wait_for(lambda: len(process.events("paused")) > met, PATIENCE)
        self.met += not process.running or len(process.events("paused")) > met
        if process.running:
            _set_limit(process, None)
            return process
        return Daemon(process.site)


def _set_limit(process: Daemon, size: int | None) -> None:
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def _largest_file(site: Site) -> int:
    return max(path.stat().st_size for path in site.output.rglob("*") if path.is_file())
