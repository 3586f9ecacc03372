"""A pair that has to wait: tried again when it is due and not before, while others go on; what it is told meanwhile."""

from __future__ import annotations

import json
import math
from concurrent.futures import Executor, Future
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from streamcal import measuring
from streamcal.config import parse_config
from streamcal.errors import CompanionsWanted, RetryLater
from streamcal.jobs import Recipe
from streamcal.journal import Journal
from streamcal.measuring import Measuring
from streamcal.pairing import form_pair
from streamcal.records import Disposition
from streamcal.run import Run
from streamcal.sink.schema import build_batch, measurement_schema
from streamcal.testing import ListSink, ManualClock
from streamcal.wake import Wake

SCHEMA = measurement_schema([], chain_digest="none")


def make_row(pair_id):
    """Return a row in which only what stands for its pair is true."""
    empty = {"string": "x", "double": 1.0, "int64": 0, "uint64": 0}
    row = {field.name: empty.get(str(field.type)) for field in SCHEMA}
    return row | {"pair_id": pair_id, "measured_at": datetime.now(UTC), "timings": {}}


class WaitingEngine(Executor):
    """Raises for pairs of named detectors, and returns a row for all others; keeps the jobs."""

    def __init__(self):
        self.jobs = []
        self.waiting = {}

    def submit(self, _function, job, /):
        """Answer now."""
        values = json.loads(job)
        self.jobs.append(values)
        future = Future()
        reason = self.waiting.get(values["first"]["detector"])
        if reason is not None:
            future.set_exception(reason)
            return future
        buffer = pa.BufferOutputStream()
        with pa.ipc.new_stream(buffer, SCHEMA) as writer:
            writer.write_batch(build_batch(SCHEMA, [make_row(values["pair_id"])]))
        future.set_result(buffer.getvalue().to_pybytes())
        return future

    @property
    def detectors(self):
        """Detectors of the jobs, in order; forget the jobs."""
        jobs, self.jobs = self.jobs, []
        return [job["first"]["detector"] for job in jobs]


class Bench:
    """Measuring with a journal, on a clock that tests move."""

    def __init__(self, folder, make_info, *, in_order=False):
        config = parse_config({"instrument": "simulated", "output": {"folder": str(folder)}})
        self.engine, self.clock, self.wake, self._make_info = WaitingEngine(), ManualClock(100.0), Wake(), make_info
        self.journal = Journal(folder / "journal.db")
        recipe = Recipe(instrument={"name": "cam"}, stages=("isr",))
        run = Run(
            config=config, recipe=recipe, engine=self.engine, journal=self.journal, wake=self.wake, clock=self.clock
        )
        self.sink = ListSink(self.journal)
        self.measuring = Measuring(self.sink, SCHEMA, run, in_order=in_order)

    def add_pair(self, detector, ids=("1", "2")):
        """Enter a pair that is ready."""
        infos = [self._make_info(exposure_id, detector=detector, digest=exposure_id) for exposure_id in ids]
        numbers = [self.journal.add_exposure(info, 1.0) for info in infos]
        self.journal.add_pair(form_pair(*infos), *numbers)

    def turn(self, seconds=0.0):
        """Let time pass, dispatch and commit; return the detectors of the pairs that were sent."""
        self.clock.advance(seconds)
        self.measuring.dispatch()
        self.measuring.commit()
        return self.engine.detectors

    def close(self):
        """Release journal and pipe."""
        self.journal.close()
        self.wake.close()


@pytest.fixture
def make_bench(tmp_path, made):
    """Make a bench and clear it away."""
    benches = []

    def make(**options):
        benches.append(Bench(tmp_path, made.info, **options))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture
def bench(make_bench):
    """Return a bench on which detector D1 has to wait 5 s."""
    bench = make_bench()
    bench.engine.waiting["D1"] = RetryLater("its neighbour has not come", after_seconds=5.0)
    return bench


def test_others_go_on_while_a_pair_waits(bench):
    """A pair that was told to wait is not sent again before its time, and takes nobody's place."""
    bench.add_pair("D1")
    bench.add_pair("D2")
    assert bench.turn() == ["D1", "D2"]
    bench.add_pair("D3")
    assert bench.turn() == ["D3"]
    assert bench.turn(4.9) == []
    assert bench.turn(0.2) == ["D1"]
    assert (bench.measuring.committed, bench.measuring.failed, bench.measuring.postponed) == (2, 0, 1)


def test_a_pair_that_waited_is_measured_once(bench):
    """When what it needs has come, it is committed as any other."""
    bench.add_pair("D1")
    bench.turn()
    bench.engine.waiting.clear()
    assert bench.turn(5.0) == ["D1"]
    assert bench.turn(5.0) == []
    assert (bench.measuring.committed, bench.measuring.postponed, len(bench.sink.batches)) == (1, 0, 1)


def test_a_pair_is_told_how_long_it_has_been_waiting(bench):
    """The time counts from the first try."""
    bench.add_pair("D1")
    told = []
    for seconds in (0.0, 5.0, 8.0):
        bench.clock.advance(seconds)
        bench.measuring.dispatch()
        bench.measuring.commit()
        told.append(bench.engine.jobs[-1]["waited_seconds"])
    assert told == [0.0, 5.0, 13.0]


def test_nobody_waits_when_all_files_are_known(make_bench):
    """In a run over what is there, what is missing is missing."""
    bench = make_bench(in_order=True)
    bench.add_pair("D1")
    bench.measuring.dispatch()
    assert math.isinf(bench.engine.jobs[0]["waited_seconds"])


def test_the_job_holds_the_same_exposures_of_other_detectors(bench, made):
    """Of each member of the pair: what the journal knows, unless it was rejected or is a duplicate; once it asks."""
    bench.engine.waiting["D1"] = CompanionsWanted("crosstalk asks", after_seconds=0.0)
    bench.add_pair("D1")
    for detector, exposure_id in (("D2", "1"), ("D2", "9"), ("D3", "2"), ("D4", "2")):
        number = bench.journal.add_exposure(made.info(exposure_id, detector=detector), 1.0)
        if detector == "D4":
            bench.journal.set_disposition(number, Disposition.REJECTED, "unreadable")
    bench.journal.add_exposure(replace(made.info("1", detector="D5"), instrument="other"), 1.0)
    assert bench.turn() == ["D1"]
    bench.measuring.dispatch()
    (job,) = bench.engine.jobs
    assert {key: list(infos) for key, infos in job["companions"].items()} == {"1": ["D2"], "2": ["D3"]}
    assert json.loads(job["companions"]["1"]["D2"])["detector"] == "D2"


def test_jobs_do_not_carry_what_nobody_asks_for(bench, made):
    """A focal plane of other detectors makes a job no larger, also after another detector has asked."""
    bench.engine.waiting["D1"] = CompanionsWanted("crosstalk asks", after_seconds=0.0)
    for number in range(189):
        bench.journal.add_exposure(made.info("1", detector=f"E{number}"), 1.0)
    for detector in ("D1", "D2"):
        bench.add_pair(detector)
        bench.turn()
    bench.add_pair("D2", ids=("3", "4"))
    bench.measuring.dispatch()
    jobs = {job["first"]["detector"]: job for job in bench.engine.jobs}
    assert len(jobs["D1"]["companions"]["1"]) == 189 + 1
    assert jobs["D2"]["companions"] is None
    assert len(json.dumps(jobs["D2"])) < 2000


def test_in_order_they_come_unasked(make_bench, made):
    """A pair that had to be sent again would lose its place."""
    bench = make_bench(in_order=True)
    bench.add_pair("D1")
    bench.journal.add_exposure(made.info("1", detector="D2"), 1.0)
    bench.measuring.dispatch()
    assert [list(infos) for infos in bench.engine.jobs[0]["companions"].values()] == [["D2"], []]


def test_memory_does_not_depend_on_how_many_wait(bench, monkeypatch):
    """When very many wait, no more are sent until one of them is due."""
    monkeypatch.setattr(measuring, "MOST_POSTPONED", 1)
    bench.add_pair("D1")
    bench.turn()
    bench.add_pair("D2")
    assert bench.turn() == []
    assert bench.turn(5.0) == ["D1", "D2"]


def test_look_up_of_companions_uses_an_index(bench):
    """However long the history: the same exposure is found by its id."""
    (plan,) = bench.journal.query("EXPLAIN QUERY PLAN SELECT info FROM exposure WHERE exposure_id = '1'")
    assert "exposure_shot" in plan[3]
