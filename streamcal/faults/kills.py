"""SIGKILL and other signals at random instants, while exposures keep coming."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamcal.errors import ConfigError, StateError
from streamcal.faults.compare import Outcome, Verdict, compare, read_outcome
from streamcal.faults.daemons import Daemon, daemon, run_to_end, wait_until_done
from streamcal.faults.site import Site, add_pairs, make_site, move_in, write_configuration
from streamcal.status import read_status

ENGINES: dict[str, dict[str, Any]] = {"inline": {"kind": "inline"}, "local": {"kind": "local", "workers": 2}}
LONGEST_START = 1.5  # s; a life that is not waited for ends within it
LONGEST_LIFE = 0.8  # s, of one that watches
PATIENCE = 2.0  # s, for a pair to be formed
EXTENSION = 2  # times the kills that were asked for, where those hit too little
MEASURING = 0.02  # s, within which such a pair is measured and committed
DISORDER = 6.0  # exposures that may come between two of a pair
# small amplifiers do not determine 8 x 8 lags
FIT = {"live": True, "interval_seconds": 0.2, "model": "EXPAPPROXIMATION"}


@dataclass(kw_only=True, slots=True)
class Lives:
    """What daemons were at when they were killed.

    Attributes
    ----------
    killed, watching, working, local : int
        All; those that had begun to watch; that left pairs which were formed and not yet committed; whose engine was
        ``local``.
    """

    killed: int = 0
    watching: int = 0
    working: int = 0
    local: int = 0

    @property
    def problem(self) -> str:
        """What makes the kills a poor test; empty if nothing does."""
        least = {"watching": self.killed // 2, "working": self.killed // 6, "local": self.killed // 6}
        few = [
            f"{name} {getattr(self, name)} < {count}" for name, count in least.items() if getattr(self, name) < count
        ]
        return f"too few of {self.killed} kills hit what they should: {', '.join(few)}" if few else ""

    def __str__(self) -> str:
        """Count."""
        return f"{self.killed} kills: {self.watching} while watching, {self.working} with pairs, {self.local} on local"


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
    lives : Lives
        What was killed.
    """

    folder: Path
    pairs: int
    kills: int
    dice: random.Random
    flats_per_level: int = 2
    fit: bool = False
    report: Callable[[str], object] = lambda _: None
    lives: Lives = field(default_factory=Lives, init=False)

    def run(self) -> Verdict:
        """Disturb a run of two exposures a level, and compare."""
        site = self.disturb()
        return compare(undisturbed(site), read_outcome(site.output), site.incoming)

    def disturb(self) -> Site:
        """Kill the daemon again and again while exposures come, and let the last one end."""
        waiting = self.folder / "camera"
        add_pairs(waiting, self.pairs, flats_per_level=self.flats_per_level)
        order = {path: n + self.dice.uniform(0.0, DISORDER) for n, path in enumerate(sorted(waiting.glob("*.fits")))}
        exposures = sorted(order, key=order.__getitem__)
        tables = {"fit": FIT} if self.fit else {}
        site = make_site(self.folder / "incoming", self.folder / "run", **tables)
        for name, table in ENGINES.items():
            _config_of(site, name).write_text(write_configuration(site, {**tables, "engine": table}))
        most = EXTENSION * self.kills
        while self.lives.killed < self.kills or (self.lives.problem and self.lives.killed < most):
            share = min(self.dice.randint(0, 2 * len(exposures) // (most - self.lives.killed)), len(exposures))
            self._live_and_die(site, [exposures.pop() for _ in range(share)])
            self.report(f"kill {self.lives.killed} of {self.kills}")
        move_in(exposures, site.incoming)
        with daemon(site) as process:
            wait_until_done(process, self.pairs)
            process.stop()
        return site

    def _live_and_die(self, site: Site, exposures: list[Path]) -> None:
        engine = self.dice.choice(tuple(ENGINES))
        process = Daemon(site, config=_config_of(site, engine))
        moment = self.dice.choices((self._starting, self._watching, self._working), (2, 9, 9))[0]
        try:
            moment(process, exposures)
            if self.dice.random() < 0.1:  # stopped for a while first, as a debugger or a suspended machine does it
                process.process.send_signal(signal.SIGSTOP)
        finally:
            process.kill()
        self.lives.killed += 1
        self.lives.watching += bool(process.events("watching"))
        self.lives.working += _has_pairs(site)
        self.lives.local += engine == "local"

    def _starting(self, _: Daemon, exposures: list[Path]) -> None:
        """Return at any instant of the start, the recovery included."""
        self._come(exposures, self.dice.uniform(0.0, LONGEST_START))

    def _watching(self, process: Daemon, exposures: list[Path]) -> None:
        """Return at any instant after the start."""
        process.wait_for_event("watching")
        self._come(exposures, self.dice.uniform(0.0, LONGEST_LIFE))

    def _working(self, process: Daemon, exposures: list[Path]) -> None:
        """Return soon after a pair was formed, if any can be."""
        process.wait_for_event("watching")
        self._come(exposures, 0.0)
        end = time.monotonic() + PATIENCE
        while not _has_pairs(process.site) and time.monotonic() < end:
            time.sleep(0.002)
        time.sleep(self.dice.uniform(0.0, MEASURING))

    def _come(self, exposures: list[Path], seconds: float) -> None:
        """Move exposures in one after the other, for as long as this."""
        end = time.monotonic() + seconds
        for path in exposures:
            move_in([path], path.parents[1] / "incoming")
            time.sleep(max(0.0, min(0.05, end - time.monotonic())))
        time.sleep(max(0.0, end - time.monotonic()))


def _config_of(site: Site, engine: str) -> Path:
    return site.home / f"{engine}.toml"


def _has_pairs(site: Site) -> bool:
    """Tell whether pairs wait, or are measured, that are not committed."""
    try:
        return read_status(site.output).pairs.get("ready", 0) > 0
    except (ConfigError, StateError):  # not announced yet, or held at this instant
        return False


def undisturbed(site: Site) -> Outcome:
    """Return what a run that nobody disturbs gives on the exposures of a site."""
    quiet = site.sibling("quiet", fit={"live": False})
    run_to_end(quiet, starts=1)
    return read_outcome(quiet.output)
