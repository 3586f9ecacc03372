"""The power fails: a state machine over a disk that loses what was not synced, for any history of two tables.

Needs Hypothesis, which the tests bring.
"""

from __future__ import annotations

import random
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from streamcal import results
from streamcal.faults import lossy
from streamcal.sink.arrow import ArrowSink
from streamcal.sink.tables import TABLES

NAMES = ("measurements", "exposures")
STEPS = 25  # of a history


class RowsDiffer(Exception):  # noqa: N818 - it says what is wrong
    """What is there is not what was committed."""


class Contract:
    """A journal by what SQLite promises: a transaction that has returned survives, one that has not is gone."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        for statement in TABLES:
            self.db.execute(statement)
        self.db.execute("CREATE TABLE done (table_name TEXT, key TEXT PRIMARY KEY)")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """See `Transactions.transaction`."""
        self.db.execute("BEGIN")
        try:
            yield self.db
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """See `Transactions.query`."""
        return self.db.execute(sql, parameters).fetchall()


class PowerLoss(RuleBasedStateMachine):
    """Appends, seals, new columns, restarts, kills and losses of power in any order, two tables on one journal."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path("/site/output")
        self.dice = random.Random(0)  # noqa: S311 - each rule seeds it
        self.files = lossy.LossyFiles(self.dice, self.folder)
        self.journal = Contract()
        self.now = 1000.0
        self.expected: dict[str, list[float]] = {name: [] for name in NAMES}
        self.number = 0
        self.wide = dict.fromkeys(NAMES, False)
        self.sinks: dict[str, ArrowSink] = {}

    def sink(self, name: str) -> ArrowSink:
        """Return a sink that has recovered."""
        if name not in self.sinks:
            sink = ArrowSink(
                self.folder / name,
                name,
                self.journal,
                roll_bytes=3000,
                roll_seconds=50.0,
                clock=lambda: self.now,
                files=self.files,
            )
            sink.recover()
            self.sinks[name] = sink
        return self.sinks[name]

    def attempt(self, action: Callable[[], object]) -> bool:
        """Do something; when the power fails on the way, start again from what the disk kept."""
        try:
            action()
        except lossy.PowerLost:
            self.lose_power(seed=self.dice.randrange(1 << 30))
            return False
        return True

    @rule(name=st.sampled_from(NAMES), fail_after=st.none() | st.integers(0, 120), seed=st.integers(0, 1 << 30))
    def append(self, name: str, fail_after: int | None, seed: int) -> None:
        """Append a batch, again and again until it is there, as the daemon does after a restart."""
        self.number += 1
        key, value, wide = f"pair{self.number}", float(self.number), self.wide[name]
        self.dice.seed(seed)
        self.files.calls_left = fail_after

        def act() -> None:
            sink = self.sink(name)
            columns = {"seq": [sink.next_seq], "value": [value]} | ({"more": [1]} if wide else {})
            record = "INSERT INTO done VALUES (?, ?)"
            sink.append(
                pa.RecordBatch.from_pydict(columns), key=key, record=lambda db, _: db.execute(record, (name, key))
            )

        while not self.attempt(act):
            pass
        self.files.calls_left = None
        self.expected[name].append(value)

    @rule(name=st.sampled_from(NAMES))
    def widen(self, name: str) -> None:
        """From now on there is one column more: a new segment."""
        self.wide[name] = True

    @rule(name=st.sampled_from(NAMES), seconds=st.sampled_from([1.0, 60.0, -1000.0]), fail_after=st.integers(0, 80))
    def pass_time(self, name: str, seconds: float, fail_after: int) -> None:
        """Let time pass, or the clock jump back: an old segment is sealed, the power may fail meanwhile."""
        self.now += seconds
        self.files.calls_left = fail_after
        self.attempt(lambda: self.sink(name).tick())
        self.files.calls_left = None

    @rule()
    def kill(self) -> None:
        """End the process: all that was written is seen by the next one."""
        self.sinks.clear()
        self.files.opened.clear()

    @rule(seed=st.integers(0, 1 << 30))
    def lose_power(self, seed: int) -> None:
        """Lose what was not synced, or parts of it in any order."""
        self.dice.seed(seed)
        self.sinks.clear()
        self.files.lose_power()

    @rule(fail_after=st.integers(0, 40), seed=st.integers(0, 1 << 30))
    def recover(self, fail_after: int, seed: int) -> None:
        """Recover, and lose the power during that as well."""
        self.dice.seed(seed)
        self.sinks.clear()
        self.files.calls_left = fail_after
        self.attempt(lambda: [self.sink(name) for name in NAMES])
        self.files.calls_left = None

    @invariant()
    def journal_knows_what_was_committed(self) -> None:
        """Find what was recorded together with the rows, each once."""
        for name in NAMES:
            done = self.journal.query("SELECT count(*) FROM done WHERE table_name = ?", (name,))
            _hold(name, done, [(len(self.expected[name]),)])

    def teardown(self) -> None:
        """Read it all as an analyst does: each row once, in order, numbered without gaps."""
        for name in NAMES:
            while not self.attempt(partial(self.sink, name)):
                pass
        with tempfile.TemporaryDirectory() as real:
            self.files.dump(self.folder, Path(real))
            for name in NAMES:
                values = results.read(real, table=name).to_pydict() if self.expected[name] else {"value": [], "seq": []}
                _hold(name, values["value"], self.expected[name])
                _hold(name, values["seq"], list(range(1, len(self.expected[name]) + 1)))
        self.journal.db.close()


def _hold(name: str, found: list[Any], expected: list[Any]) -> None:
    if found != expected:
        msg = f"{name}: {found}, expected {expected}"
        raise RowsDiffer(msg)


def lose_power_often(histories: int, seed_of_all: int | None = None, *, shrink: bool = True) -> None:
    """Live through histories.

    Parameters
    ----------
    histories : int
        How many.
    seed_of_all : int, optional
        Another seed is other histories; by default they are always the same.
    shrink : bool
        Look for the shortest history that fails.

    Raises
    ------
    RowsDiffer, StateError
        If rows are lost, doubled or wrong, or an output does not recover; with the steps that lead to it.
    """
    options = settings(
        max_examples=histories,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=seed_of_all is None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
    )
    machine = type("Seeded", (PowerLoss,), {})  # `seed` leaves its mark on the class
    run_state_machine_as_test(machine if seed_of_all is None else seed(seed_of_all)(machine), settings=options)
