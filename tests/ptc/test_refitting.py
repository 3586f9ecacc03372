"""Live fits: debounced, one at a time, committed as versions, failures survived."""

from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest
from ptc_output import open_sink, write_pairs
from structlog.testing import capture_logs

from streamcal.engine.inline import InlineEngine
from streamcal.errors import RetryLater, WorkerFailed
from streamcal.ptc import FitConfig, FitFlag, LimitsConfig
from streamcal.ptc.solutions import solutions
from streamcal.refitting import Refitting
from streamcal.testing import ManualClock

CONFIG = FitConfig(side=4, interval_seconds=10, busy_interval_seconds=60)


class SlowEngine:
    """Keeps jobs until told to do them."""

    def __init__(self):
        self.jobs = []

    def submit(self, function, job):
        """Take a job."""
        future = Future()
        self.jobs.append((function, job, future))
        return future

    def work(self):
        """Do what was taken."""
        for function, job, future in self.jobs:
            future.set_result(function(job))
        self.jobs.clear()


class BrokenEngine:
    """Fails each job."""

    def __init__(self, error):
        self.error = error

    def submit(self, function, job):
        """Fail."""
        future = Future()
        future.set_exception(self.error)
        return future


def pair(group="RUNID=1"):
    """Return what the pipeline says of a committed pair."""
    return SimpleNamespace(first=SimpleNamespace(instrument="simulated", detector="S00", group=group))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Measurements of one group."""
    return write_pairs(tmp_path_factory.mktemp("live") / "out")


class Live:
    """A `Refitting` on an engine and a clock of its own, with a sink that keeps what it is given."""

    def __init__(self, output, engine, config=CONFIG):
        self.clock, self.wakes, self.batches, self.failures = ManualClock(), [], [], []
        wake = SimpleNamespace(set=lambda: self.wakes.append(True))
        self.run = SimpleNamespace(engine=engine, clock=self.clock, wake=wake, room=8)
        self.refitting = Refitting(self, self.run, Path(output), config)

    @property
    def next_seq(self):
        """See `Sink`."""
        return len(self.batches) + 1

    def append(self, batch, *, key, record):
        """See `Sink`."""
        if self.failures:
            raise self.failures.pop()
        self.batches.append((key, batch))
        return len(self.batches)


def test_new_pairs_are_collected_before_a_fit(measured):
    """A group is due so long after its first new pair; pairs that follow do not put it off."""
    live = Live(measured, SlowEngine())
    live.refitting.note(pair())
    live.clock.advance(9)
    live.refitting.note(pair())
    assert not live.refitting.dispatch()
    live.clock.advance(1)
    assert live.refitting.dispatch()
    assert not live.refitting.dispatch()


def test_while_pairs_wait_fits_wait_longer(measured):
    """Measuring goes first; after the longer time the fit is made all the same."""
    live = Live(measured, SlowEngine())
    live.refitting.note(pair())
    live.clock.advance(59)
    assert not live.refitting.dispatch(busy=True)
    live.clock.advance(1)
    assert live.refitting.dispatch(busy=True)


def test_one_group_at_a_time_the_longest_waiting_first(measured):
    """A second group waits until the first is committed."""
    live = Live(measured, engine := SlowEngine())
    for group in ("RUNID=1", "RUNID=2"):
        live.refitting.note(pair(group))
        live.clock.advance(1)
    assert live.refitting.dispatch(now=True)
    assert not live.refitting.dispatch(now=True)
    assert b"RUNID=1" in engine.jobs[0][1]
    engine.work()
    assert live.wakes
    assert live.refitting.commit() == 2
    assert live.refitting.dispatch(now=True)


def test_solutions_get_the_number_of_their_commit(measured):
    """Each fit is a new version; its rows carry the number of the commit."""
    live = Live(measured, InlineEngine())
    for _ in range(2):
        live.refitting.note(pair())
        live.refitting.dispatch(now=True)
        live.refitting.commit()
    assert [batch["seq"].to_pylist() for _, batch in live.batches] == [[1, 1], [2, 2]]
    assert live.batches[0][0] != live.batches[1][0]
    assert live.refitting.committed == 2
    assert live.refitting.idle


def test_a_full_disk_loses_nothing(measured):
    """The commit is tried again with the same key and a number that is right then."""
    live = Live(measured, InlineEngine())
    live.failures = [RetryLater("disk full")]
    live.refitting.note(pair())
    live.refitting.dispatch(now=True)
    with pytest.raises(RetryLater):
        live.refitting.commit()
    assert not live.refitting.idle
    assert live.refitting.commit() == 2
    assert live.refitting.idle


def test_an_engine_that_is_away_keeps_the_group(measured):
    """It is due again after the interval."""
    live = Live(measured, BrokenEngine(RetryLater("away")))
    live.refitting.note(pair())
    assert live.refitting.dispatch(now=True)
    assert live.refitting.commit() == 0
    assert live.refitting.dispatch(now=True)


def test_without_an_engine_nothing_is_sent(measured):
    """While the engine is away there is no room; afterwards the group is due as before."""
    live = Live(measured, InlineEngine())
    live.refitting.note(pair())
    live.run.room = 0
    assert not live.refitting.dispatch(now=True)
    live.run.room = 8
    assert live.refitting.dispatch(now=True)


def test_a_failed_fit_is_logged_and_gone(measured):
    """Nobody waits for it, and the next pair brings another try."""
    live = Live(measured, BrokenEngine(WorkerFailed("it broke", detail="here")))
    live.refitting.note(pair())
    with capture_logs() as logs:
        live.refitting.dispatch(now=True)
        assert live.refitting.commit() == 0
    assert [entry["event"] for entry in logs] == ["not fitted"]
    assert logs[0]["error"] == "it broke"
    assert live.refitting.idle


def test_groups_left_over_from_before_are_found_at_the_start(measured):
    """Pairs that no solution knows are fitted without any new pair."""
    live = Live(measured, InlineEngine())
    live.refitting.start()
    assert not live.refitting.idle
    assert live.refitting.dispatch()
    assert live.refitting.commit() == 0
    assert live.refitting.dispatch(now=True)
    assert live.refitting.commit() == 2
    assert live.refitting.idle


def test_not_live_means_never(measured):
    """With live = false neither new pairs nor old ones are fitted."""
    live = Live(measured, InlineEngine(), FitConfig(live=False))
    live.refitting.start()
    live.refitting.note(pair())
    assert not live.refitting.dispatch(now=True)
    assert live.refitting.idle


def wish(**values):
    """Return a request to fit the one group with a polynomial."""
    groups = [{"instrument": "simulated", "detector": "S00", "group": "RUNID=1"}]
    return {"command": "fit", "groups": groups, "fit": {"model": "POLYNOMIAL"}, **values}


def test_a_request_is_served_at_once_its_own_way(measured):
    """Live or not, and once: with the settings of the request; what comes later is fitted as configured."""
    live = Live(measured, InlineEngine(), FitConfig(side=4, live=False))
    assert live.refitting.ask(wish()).count == 1
    assert live.refitting.dispatch(busy=True)
    assert live.refitting.commit() == 2
    assert live.batches[0][1]["model"].to_pylist() == ["POLYNOMIAL"] * 2
    assert live.refitting.idle


def test_a_request_may_accept(measured):
    """Its solutions are those that later ones are compared with."""
    live = Live(measured, InlineEngine())
    live.refitting.ask(wish(accept=True))
    live.refitting.dispatch()
    live.refitting.commit()
    assert all(flags & FitFlag.ACCEPTED for flags in live.batches[0][1]["flags"].to_pylist())


def test_an_engine_that_is_away_keeps_the_wish(measured):
    """It is tried again with the settings of the request."""
    live = Live(measured, BrokenEngine(RetryLater("away")))
    live.refitting.ask(wish())
    live.refitting.dispatch()
    live.refitting.commit()
    live.run.engine = InlineEngine()
    live.refitting.dispatch(now=True)
    live.refitting.commit()
    assert live.batches[0][1]["model"].to_pylist() == ["POLYNOMIAL"] * 2


@pytest.mark.parametrize(
    "rubbish",
    [
        {"groups": 3},
        {"groups": [{"group": "RUNID=1"}]},
        {"groups": [{"instrument": 1, "detector": "S00", "group": ""}]},
        {"fit": {"model": "LINEAR"}},
        {"fit": None},
    ],
)
def test_a_request_that_is_none_does_nothing(measured, rubbish):
    """What is wrong with it is its answer."""
    live = Live(measured, InlineEngine())
    outcome = live.refitting.ask(wish(**rubbish))
    assert outcome.count == 0
    assert outcome.text.startswith("not a request for fits, nothing done")
    assert live.refitting.idle


def test_broken_limits_are_logged(measured):
    """One event a fit, and one for each amplifier that breaks a limit, with what and by how much."""
    live = Live(measured, InlineEngine(), CONFIG.model_copy(update={"limits": LimitsConfig(max_noise=4.0)}))
    live.refitting.note(pair())
    live.refitting.dispatch(now=True)
    with capture_logs() as logs:
        live.refitting.commit()
    assert [entry["event"] for entry in logs] == ["fitted", "limit broken", "limit broken"]
    assert (logs[0]["amplifiers"], logs[0]["without_solution"], logs[0]["pairs"]) == (2, 0, 20)
    assert logs[1]["flags"] == ["NOISE_HIGH"]
    assert "is above 4 e-" in logs[1]["reason"]


def test_the_real_sink_takes_what_it_is_given(tmp_path):
    """Through the real sink the solutions are in the table, with their numbers."""
    output = write_pairs(tmp_path / "out")
    with open_sink(output, "ptc") as sink:
        live = Live(output, InlineEngine())
        live.refitting._sink = sink
        live.refitting.note(pair())
        live.refitting.dispatch(now=True)
        live.refitting.commit()
    assert solutions(output)["seq"].to_pylist() == [1, 1]
