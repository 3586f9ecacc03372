"""Workers killed at random instants: each pair is tried again, none is lost, doubled or set aside."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from streamcal.faults.compare import Verdict, compare, read_outcome
from streamcal.faults.daemons import Daemon, daemon, list_workers, run_to_end, wait_until_done
from streamcal.faults.site import add_pairs, make_site

LONGEST_PAUSE = 1.0  # s, between two kills: a worker takes about as long to begin


@dataclass(kw_only=True, slots=True)
class Culling:
    """A run of pairs whose workers are killed again and again.

    Attributes
    ----------
    folder : Path
        Where it happens; empty.
    pairs, kills : int
        How many; pairs come in as many portions as there are kills.
    dice : random.Random
        Chooses moments and workers.
    report : callable
        Told of progress, in words.
    """

    folder: Path
    pairs: int
    kills: int
    dice: random.Random
    report: Callable[[str], object] = lambda _: None

    def run(self) -> Verdict:
        """Kill, let the run end, and compare; a daemon that does not replace its workers is `Hung`."""
        engine = {"kind": "local", "workers": 2, "attempts": self.kills + 1}
        site = make_site(self.folder / "incoming", self.folder / "run", engine=engine)
        with daemon(site) as process:
            process.wait_for_event("watching")
            for number in range(self.kills):
                first, last = (n * self.pairs // self.kills for n in (number, number + 1))
                if last > first:
                    add_pairs(site.incoming, last - first, first_id=1 + 2 * first, style="rename")
                self._kill_one(process)
                self.report(f"kill {number + 1} of {self.kills}")
            wait_until_done(process, self.pairs)
            process.stop()
        quiet = site.sibling("quiet")
        run_to_end(quiet, starts=1)
        return compare(read_outcome(quiet.output), read_outcome(site.output), site.incoming)

    def _kill_one(self, process: Daemon) -> None:
        time.sleep(self.dice.uniform(0.0, LONGEST_PAUSE))
        workers = process.wait_for(lambda: list_workers(process.pid))
        with suppress(ProcessLookupError):
            os.kill(self.dice.choice(workers), signal.SIGKILL)
