"""What the parts of a running pipeline share."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from streamcal.config import Config
from streamcal.engine import state_of
from streamcal.jobs import Recipe
from streamcal.journal import Journal
from streamcal.wake import Wake


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run of the pipeline.

    Attributes
    ----------
    config : Config
        How the user wants it.
    recipe : Recipe
        The part of it that jobs carry.
    engine : Executor
        Where jobs run.
    journal : Journal
        What was seen and what became of it.
    wake : Wake
        Set by whatever has news for the main loop.
    clock, wall_clock : callable
        Monotonic seconds; Unix time in seconds.
    """

    config: Config
    recipe: Recipe
    engine: Executor
    journal: Journal
    wake: Wake
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time

    @property
    def room(self) -> int:
        """Number of jobs of one kind that the engine may be given; none while it is away."""
        return 0 if state_of(self.engine).away_since is not None else self.config.engine.queue_size
