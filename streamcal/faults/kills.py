"""SIGKILL and other signals at random instants, while exposures keep coming."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from streamcal.faults.compare import Outcome, Verdict, compare, read_outcome
from streamcal.faults.daemons import Daemon, run_to_end, wait_until_done
from streamcal.faults.site import Site, add_pairs, make_site, move_in

LONGEST_LIFE = 2.5  # s; starts take about half of it
# small amplifiers do not determine 8 x 8 lags
FIT = {"live": True, "interval_seconds": 0.2, "model": "EXPAPPROXIMATION"}


@dataclass(kw_only=True, slots=True)
class Hunt:
    """A run of pairs through any number of kills.

    Attributes
    ----------
    folder : Path
        Where it happens; empty.
    pairs, kills : int
        How many.
    dice : random.Random
        Chooses the moments.
    flats_per_level : int
        With more than two, which of them make a pair depends on their arrival.
    fit : bool
        Whether photon transfer curves are fitted all the while.
    report : callable
        Told of progress, in words.
    """

    folder: Path
    pairs: int
    kills: int
    dice: random.Random
    flats_per_level: int = 2
    fit: bool = False
    report: Callable[[str], object] = lambda _: None

    def run(self) -> Verdict:
        """Disturb a run of two exposures a level, and compare."""
        site = self.disturb()
        return compare(undisturbed(site), read_outcome(site.output))

    def disturb(self) -> Site:
        """Kill the daemon again and again while exposures come, and let the last one end."""
        waiting = self.folder / "camera"
        add_pairs(waiting, self.pairs, flats_per_level=self.flats_per_level)
        exposures = sorted(waiting.glob("*.fits"))
        self.dice.shuffle(exposures)
        site = make_site(self.folder / "incoming", self.folder / "run", fit=FIT if self.fit else {})
        for number in range(self.kills):
            share = len(exposures) // (self.kills - number)
            self._live_and_die(site, [exposures.pop() for _ in range(share)])
            self.report(f"kill {number + 1} of {self.kills}")
        move_in(exposures, site.incoming)
        process = Daemon(site)
        wait_until_done(process, self.pairs)
        process.stop()
        return site

    def _live_and_die(self, site: Site, exposures: list[Path]) -> None:
        text = site.config.read_text()
        engine = self.dice.choice(("inline", "local"))
        site.config.write_text(text.replace('kind = "inline"', f'kind = "{engine}"'))
        process = Daemon(site)
        site.config.write_text(text)
        end = time.monotonic() + self.dice.uniform(0.0, LONGEST_LIFE)
        for path in exposures:
            move_in([path], site.incoming)
            time.sleep(max(0.0, min(0.05, end - time.monotonic())))
        time.sleep(max(0.0, end - time.monotonic()))
        if self.dice.random() < 0.1:  # stopped for a while first, as a debugger or a suspended machine does it
            process.process.send_signal(signal.SIGSTOP)
        process.kill()


def undisturbed(site: Site) -> Outcome:
    """Return what a run that nobody disturbs gives on the exposures of a site."""
    quiet = site.sibling("quiet", fit={"live": False})
    run_to_end(quiet, starts=1)
    return read_outcome(quiet.output)
