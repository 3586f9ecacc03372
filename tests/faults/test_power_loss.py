"""The power fails: a state machine over a file system that loses what was not synced, of any history of two tables."""

from __future__ import annotations

import importlib.util
import os
import random
import sqlite3
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from streamcal import results
from streamcal.errors import StateError
from streamcal.sink.arrow import ArrowSink
from streamcal.sink.tables import TABLES

SHORT, LONG = 1000, 10_000  # histories
NAMES = ("measurements", "exposures")


def load_lossy():
    """Load the file system that forgets, which the tests of the sink have."""
    path = Path(__file__).parents[1] / "sink" / "lossy.py"
    spec = importlib.util.spec_from_file_location("faults_lossy", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lossy = load_lossy()


class Contract:
    """A journal by what SQLite promises: a transaction that has returned survives, one that has not is gone."""

    def __init__(self):
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        for statement in TABLES:
            self.db.execute(statement)
        self.db.execute("CREATE TABLE done (table_name TEXT, key TEXT PRIMARY KEY)")

    @contextmanager
    def transaction(self):
        """See `Transactions.transaction`."""
        self.db.execute("BEGIN")
        try:
            yield self.db
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def query(self, sql, parameters=()):
        """See `Transactions.query`."""
        return self.db.execute(sql, parameters).fetchall()


class PowerLoss(RuleBasedStateMachine):
    """Appends, seals, new columns, restarts, kills and losses of power in any order, two tables on one journal."""

    def __init__(self):
        super().__init__()
        self.folder = Path("/site/output")
        self.dice = random.Random(0)
        self.files = lossy.LossyFiles(self.dice, self.folder)
        self.journal = Contract()
        self.now = 1000.0
        self.expected = {name: [] for name in NAMES}
        self.number = 0
        self.wide = dict.fromkeys(NAMES, False)
        self.sinks = {}

    def sink(self, name):
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

    def attempt(self, action):
        """Do something; when the power fails on the way, start again from what the disk kept."""
        try:
            action()
        except lossy.PowerLost:
            self.lose_power(seed=self.dice.randrange(1 << 30))
            return False
        return True

    @rule(name=st.sampled_from(NAMES), fail_after=st.none() | st.integers(0, 120), seed=st.integers(0, 1 << 30))
    def append(self, name, fail_after, seed):
        """Append a batch, again and again until it is there, as the daemon does after a restart."""
        self.number += 1
        key, value, wide = f"pair{self.number}", float(self.number), self.wide[name]
        self.dice.seed(seed)
        self.files.calls_left = fail_after

        def act():
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
    def widen(self, name):
        """From now on there is one column more: a new segment."""
        self.wide[name] = True

    @rule(name=st.sampled_from(NAMES), seconds=st.sampled_from([1.0, 60.0, -1000.0]), fail_after=st.integers(0, 80))
    def pass_time(self, name, seconds, fail_after):
        """Let time pass, or the clock jump back: an old segment is sealed, the power may fail meanwhile."""
        self.now += seconds
        self.files.calls_left = fail_after
        self.attempt(lambda: self.sink(name).tick())
        self.files.calls_left = None

    @rule()
    def kill(self):
        """End the process: all that was written is seen by the next one."""
        self.sinks.clear()
        self.files.opened.clear()

    @rule(seed=st.integers(0, 1 << 30))
    def lose_power(self, seed):
        """Lose what was not synced, or parts of it in any order."""
        self.dice.seed(seed)
        self.sinks.clear()
        self.files.lose_power()

    @rule(fail_after=st.integers(0, 40), seed=st.integers(0, 1 << 30))
    def recover(self, fail_after, seed):
        """Recover, and lose the power during that as well."""
        self.dice.seed(seed)
        self.sinks.clear()
        self.files.calls_left = fail_after
        self.attempt(lambda: [self.sink(name) for name in NAMES])
        self.files.calls_left = None

    @invariant()
    def journal_knows_what_was_committed(self):
        """Find what was recorded together with the rows, each once."""
        for name in NAMES:
            done = self.journal.query("SELECT count(*) FROM done WHERE table_name = ?", (name,))
            assert done == [(len(self.expected[name]),)]

    def teardown(self):
        """Read it all as an analyst does: each row once, in order, numbered without gaps."""
        for name in NAMES:
            while not self.attempt(lambda name=name: self.sink(name)):
                pass
        with tempfile.TemporaryDirectory() as real:
            self.files.dump(self.folder, Path(real))
            for name in NAMES:
                values = results.read(real, table=name).to_pydict() if self.expected[name] else {"value": [], "seq": []}
                assert values["value"] == self.expected[name]
                assert values["seq"] == list(range(1, len(self.expected[name]) + 1))
        self.journal.db.close()


@pytest.mark.parametrize(
    "histories",
    [
        pytest.param(SHORT, marks=pytest.mark.timeout(300)),
        pytest.param(LONG, marks=[pytest.mark.long, pytest.mark.timeout(4 * 3600)]),
    ],
)
def test_power_loss(histories):
    """Whatever happens in whatever order: 0 rows lost, 0 doubled, 0 wrong, no hand needed."""
    histories = int(os.environ.get("STREAMCAL_HISTORIES", histories))
    run_state_machine_as_test(PowerLoss, settings=history_settings(histories))


def history_settings(histories):
    """Return how many histories, of which length; the short form always takes the same ones."""
    return settings(
        max_examples=histories,
        stateful_step_count=25,
        deadline=None,
        derandomize=histories == SHORT,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("forgotten", ["file", "folder"])
def test_the_machine_notices_a_missing_sync(forgotten, monkeypatch):
    """With the syncs of files, or of folders, left out it finds a history that loses rows."""
    true_sync = lossy.LossyFiles.sync

    def sync(files, descriptor):
        if (files.opened[descriptor][1] is None) != (forgotten == "folder"):
            true_sync(files, descriptor)

    monkeypatch.setattr(lossy.LossyFiles, "sync", sync)
    with pytest.raises(StateError, match=r"missing data|damaged|not the journal"):
        run_state_machine_as_test(PowerLoss, settings=settings(history_settings(SHORT), phases=[Phase.generate]))
