"""The loop, step by step: sources and sinks in memory, a clock that tests move, and an engine that answers as told."""

from __future__ import annotations

import json
import os
from concurrent.futures import Executor, Future
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pytest
from structlog.testing import capture_logs

from streamcal import requests
from streamcal.config import parse_config
from streamcal.errors import (
    ExposureError,
    FileChanged,
    NotWhole,
    ReadFailed,
    RetryLater,
    StageError,
    WorkerDied,
    WorkerFailed,
)
from streamcal.instruments.inspect import inspect_file
from streamcal.intake import Intake
from streamcal.jobs import Recipe
from streamcal.journal import Journal
from streamcal.ledger import Ledger
from streamcal.measuring import Measuring
from streamcal.pipeline import PUBLISH_SECONDS, Pipeline
from streamcal.ptc.settings import FitConfig
from streamcal.ptc.solutions import fit_group
from streamcal.records import Candidate, ExposureInfo, FileStat
from streamcal.refitting import Refitting
from streamcal.run import Run
from streamcal.sink.schema import build_batch, measurement_schema
from streamcal.testing import ListSink, ListSource, ManualClock
from streamcal.wake import Wake

SCHEMA = measurement_schema([], chain_digest="none")


class ScriptedEngine(Executor):
    """Answers inspections by what the file's text says, and measurements as told; all at once."""

    def __init__(self) -> None:
        self.troubles: list[Exception] = []
        self.measured: list[str] = []

    def submit(self, function, job, /):
        """Answer now."""
        future: Future[bytes] = Future()
        try:
            answer = self.inspect(json.loads(job)) if function is inspect_file else self.measure(json.loads(job))
            future.set_result(answer)
        except Exception as exc:  # noqa: BLE001 - it is the answer
            future.set_exception(exc)
        return future

    def inspect(self, job):
        """Return the exposure whose id, time and group are the file's words; other words are errors."""
        text = Path(job["path"]).read_text()
        if text in {"not whole", "rubbish", "changing", "away", "deadly", "strange"}:
            raise {
                "not whole": NotWhole("3 of 4 image HDUs"),
                "rubbish": ExposureError("not a FITS file"),
                "changing": FileChanged("changed"),
                "away": ReadFailed("Input/output error"),
                "deadly": WorkerDied("killed by signal 11"),
                "strange": WorkerFailed("ZeroDivisionError: division by zero"),
            }[text]
        exposure_id, time, group = text.split()[:3]
        info = ExposureInfo(
            path=job["path"], stat=FileStat(**job["stat"]), digest=f"digest of {text}", instrument="cam",
            detector="S00", exposure_id=exposure_id, is_flat=time != "bias", reason="not a flat",
            exposure_time=0.0 if time == "bias" else float(time), group=group, mjd_start=60000 + int(exposure_id),
        )  # fmt: skip
        return json.dumps({"exposures": [info.to_dict()], "digest": info.digest}).encode()

    def measure(self, job):
        """Return one row, or raise the next trouble."""
        self.measured.append(job["pair_id"])
        if self.troubles:
            raise self.troubles.pop(0)
        names = ("pair_id", "instrument", "detector", "amplifier", "group", "path_1", "path_2")
        row = dict.fromkeys(names, "x") | {"exposure_id_1": job["first"]["exposure_id"], "exposure_time": 1.0}
        row |= {"exposure_id_2": job["second"]["exposure_id"], "seq": 0, "flags": 0, "timings": {"read": 0.1}}
        row |= {"pair_id": job["pair_id"], "measured_at": None, "flux": 1.0, "mjd_start": 1.0, "mjd_start_utc": 1.0}
        from datetime import UTC, datetime

        batch = build_batch(SCHEMA, [row | {"measured_at": datetime.now(UTC)}])
        buffer = pa.BufferOutputStream()
        with pa.ipc.new_stream(buffer, batch.schema) as writer:
            writer.write_batch(batch)
        return buffer.getvalue().to_pybytes()


class Bench:
    """A pipeline on a bench: files are put down, the loop is turned by hand."""

    def __init__(self, folder: Path, **tables) -> None:
        self.folder = folder
        values = {"instrument": "simulated", "source": {"folders": [str(folder)]}, "output": {"folder": str(folder)}}
        (folder / "state").mkdir(exist_ok=True)
        config = parse_config(values | {"engine": {"queue_size": 4, "attempts": 3}} | tables, folder / "x.toml")
        self.clock, self.wall = ManualClock(1000.0), ManualClock(5000.0)
        self.engine, self.wake = ScriptedEngine(), Wake()
        self.journal = Journal(folder / "journal.db", clock=self.wall)
        recipe = Recipe(instrument={"name": "cam"}, stages=("isr",))
        run = Run(
            config=config, recipe=recipe, engine=self.engine, journal=self.journal, wake=self.wake,
            clock=self.clock, wall_clock=self.wall,
        )  # fmt: skip
        self.source = ListSource([])
        self.sink, self.exposures = ListSink(self.journal), ListSink(self.journal)
        self.intake = Intake(self.source, run)
        self.measuring = Measuring(self.sink, SCHEMA, run)
        self.pipeline = Pipeline(self.source, self.intake, self.measuring, Ledger(self.exposures, run), run)

    def put(self, name: str, text: str) -> Path:
        """Write a file and let it come to rest."""
        path = self.folder / name
        path.write_text(text)
        self.source._items.append(path)
        return path

    def pass_time(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.clock.advance(seconds)
        self.wall.advance(seconds)

    def turn(self, times: int = 4) -> None:
        """Turn the loop."""
        for _ in range(times):
            self.clock.advance(PUBLISH_SECONDS / 2)  # what may wait a moment comes every other turn
            self.pipeline._turn(self.pipeline._watch)

    def dispositions(self) -> dict[str, str]:
        """Return what became of each file, as the exposures table tells it."""
        rows = [row for _, batch in self.exposures.batches for row in batch.to_pylist()]
        newest = {row["number"]: row for row in sorted(rows, key=lambda row: row["seq"])}
        return {os.path.basename(row["path"]): row["disposition"] for row in newest.values()}  # noqa: PTH119

    def reason(self, name: str) -> str:
        """Return the recorded reason of a file."""
        return self.journal.exposures_of_file(str(self.folder / name))[-1].reason

    def pairs(self) -> list[str]:
        """Return the committed pairs by exposure ids."""
        rows = [batch.to_pylist()[0] for _, batch in self.sink.batches]
        return [f"{row['exposure_id_1']}+{row['exposure_id_2']}" for row in rows]

    def close(self) -> None:
        """Release journal and pipe."""
        self.journal.close()
        self.wake.close()


@pytest.fixture
def make_bench(tmp_path):
    """Make benches, and clear them away."""
    benches: list[Bench] = []

    def make(**tables) -> Bench:
        folder = tmp_path / str(len(benches))
        folder.mkdir()
        benches.append(Bench(folder, **tables))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture
def bench(make_bench):
    """Return a bench with default rules."""
    return make_bench()


def test_two_files_become_a_committed_pair(bench):
    """Files become exposures, exposures a pair, the pair a batch with its seq; dispositions are published."""
    bench.put("a", "1 2.0 g")
    bench.put("b", "2 2.0 g")
    bench.turn()
    assert bench.pairs() == ["1+2"]
    assert bench.sink.batches[0][1]["seq"].to_pylist() == [1]
    assert bench.dispositions() == {"a": "paired", "b": "paired"}
    assert bench.source.forgotten == [str(bench.folder / "a"), str(bench.folder / "b")]


def test_full_disk_pauses_and_loses_nothing(bench):
    """When rows cannot be written it waits, says why, and goes on by itself."""
    bench.sink._failures = [RetryLater("disk full", after_seconds=7.0)] * 2
    bench.put("a", "1 2.0 g")
    bench.put("b", "2 2.0 g")
    bench.turn()
    assert bench.pipeline.paused_because == "disk full"
    assert bench.pairs() == []
    bench.turn()
    assert bench.engine.measured == bench.engine.measured[:1]
    for _ in range(2):
        bench.clock.advance(8.0)
        bench.turn()
    assert bench.pairs() == ["1+2"]
    assert bench.pipeline.paused_because == ""
    assert len(bench.engine.measured) == 1


def test_a_flat_that_waits_too_long_is_an_orphan_and_still_pairs(bench):
    """The time limit makes it an orphan; its partner makes it a member of a pair after all."""
    bench.put("a", "1 2.0 g")
    bench.turn()
    bench.pass_time(3599)
    bench.turn()
    assert bench.dispositions() == {"a": "waiting"}
    bench.pass_time(2)
    bench.turn()
    assert bench.dispositions() == {"a": "orphan"}
    assert bench.reason("a") == "no partner came within 3600 s"
    bench.put("b", "2 2.0 g")
    bench.turn()
    assert bench.pairs() == ["1+2"]
    assert bench.dispositions() == {"a": "paired", "b": "paired"}


@pytest.mark.parametrize("jump", [-100000.0, 100000.0])
def test_clock_that_jumps_orphans_nobody(bench, jump):
    """A wall clock that is set makes waiting longer, never shorter."""
    bench.put("a", "1 2.0 g")
    bench.turn()
    bench.wall.set(bench.wall() + jump)
    bench.turn()
    assert bench.dispositions() == {"a": "waiting"}


def test_a_newer_group_closes_the_older(make_bench):
    """As configured, singles become orphans when the next run of the detector begins; a late file closes nothing."""
    bench = make_bench(pairing={"close_on_newer_group": True})
    bench.put("b", "5 2.0 run2")
    bench.turn()
    bench.put("a", "1 2.0 run1")
    bench.turn()
    assert bench.dispositions() == {"a": "waiting", "b": "waiting"}
    bench.put("c", "9 2.0 run3")
    bench.turn()
    assert bench.dispositions() == {"a": "orphan", "b": "orphan", "c": "waiting"}


def test_a_flat_without_a_group_key_is_told_of_once(make_bench):
    """Its key is misspelled, perhaps: runs that it would tell apart are one; what is no flat has no say."""
    bench = make_bench(pairing={"group": ["RUNID", "@filter"]})
    bench.put("b", "1 bias RUNID=;@filter=")
    for number, name in enumerate("cde", start=2):
        bench.put(name, f"{number} {number}.0 RUNID=;@filter=r")
    with capture_logs() as events:
        bench.turn()
    told = [event for event in events if event["event"] == "flat without group key"]
    assert [(event["key"], event["path"], event["log_level"]) for event in told] == [
        ("RUNID", str(bench.folder / "c"), "warning")
    ]


def test_a_request_closes_a_group(bench):
    """``close-group`` records the waiting flats of that group only; the request is served and gone."""
    bench.put("a", "1 2.0 run1")
    bench.put("b", "2 3.0 run2")
    bench.turn()
    path = requests.leave(bench.folder / "state" / "requests", {"command": "close-group", "group": "run1"})
    bench.turn()
    assert bench.dispositions() == {"a": "orphan", "b": "waiting"}
    assert not path.exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"command": "explode"}'])
def test_a_request_that_is_none_does_no_harm(bench, text):
    """Rubbish among the requests is taken away, and answered."""
    folder = bench.folder / "state" / "requests"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text(text)
    bench.turn()
    assert requests.take_answer(folder / "1.json").count == 0
    assert list(folder.iterdir()) == []


def test_a_stage_that_fails_costs_its_pair_only(bench):
    """The failure is on record with stage, plugin, error and traceback; the next pair is measured; a retry works."""
    bench.engine.troubles = [StageError("ValueError: no", stage="mine", plugin="my_plugin", detail="Traceback ...")]
    for name, text in {"a": "1 2.0 g", "b": "2 2.0 g", "c": "3 4.0 g", "d": "4 4.0 g"}.items():
        bench.put(name, text)
    bench.turn()
    assert bench.pairs() == ["3+4"]
    (failed,) = bench.journal.failed_pairs()
    assert (failed.stage, failed.plugin, failed.error) == ("mine", "my_plugin", "ValueError: no")
    assert failed.detail.startswith("Traceback")
    assert bench.dispositions()["a"] == "paired"
    requests.leave(bench.folder / "state" / "requests", {"command": "retry"})
    bench.turn()
    assert bench.pairs() == ["3+4", "1+2"]


def test_a_pair_whose_worker_dies_is_tried_again_then_set_aside(bench):
    """Two deaths are forgiven, the third sets the pair aside with its reason."""
    bench.engine.troubles = [WorkerDied("killed by signal 9")] * 3
    bench.put("a", "1 2.0 g")
    bench.put("b", "2 2.0 g")
    bench.turn(8)
    assert len(bench.engine.measured) == 3
    (failed,) = bench.journal.failed_pairs()
    assert failed.error == "killed by signal 9, 3 times"


def test_a_pair_whose_storage_fails_is_tried_again_after_a_while(bench):
    """Not at once: what keeps the bytes away may take a moment; the third failure sets the pair aside."""
    bench.engine.troubles = [ReadFailed("a cannot be read: Input/output error")] * 3
    bench.put("a", "1 2.0 g")
    bench.put("b", "2 2.0 g")
    tries = []
    for _ in range(4):
        bench.turn()
        tries.append(len(bench.engine.measured))
        bench.pass_time(RetryLater("").after_seconds)
    assert tries == [1, 2, 3, 3]
    (failed,) = bench.journal.failed_pairs()
    assert (failed.stage, failed.error) == ("read", "a cannot be read: Input/output error, 3 times")


def test_unfinished_files_are_rejected_in_time_and_taken_up_when_whole(bench):
    """Not whole is no error until the limit; when it becomes whole after that it is measured, in the same entry."""
    bench.put("a", "not whole")
    bench.turn()
    assert bench.dispositions() == {}
    bench.clock.advance(601)
    bench.turn()
    assert bench.dispositions() == {"a": "rejected"}
    assert bench.reason("a") == "incomplete: 3 of 4 image HDUs"
    bench.put("a", "1 2.0 g")
    bench.put("b", "2 2.0 g")
    bench.turn()
    assert bench.dispositions() == {"a": "paired", "b": "paired"}


def test_a_file_that_grows_is_not_overdue(bench):
    """The limit counts from the last change."""
    path = bench.put("a", "not whole")
    bench.turn()
    bench.clock.advance(500)
    path.write_text("1 2.0 g")
    path.write_text("not whole")
    os.utime(path, ns=(1, 1))
    bench.source._items.append(path)
    bench.turn()
    bench.clock.advance(500)
    bench.turn()
    assert bench.dispositions() == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("rubbish", "not a FITS file"),
        ("strange", "ZeroDivisionError: division by zero"),
    ],
)
def test_unusable_files_are_rejected_with_their_reason(bench, text, reason):
    """The reason is what the inspection said, also where it met a bug."""
    bench.put("a", text)
    bench.turn()
    assert bench.dispositions() == {"a": "rejected"}
    assert bench.reason("a") == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("deadly", "killed by signal 11, 3 times"),
        ("changing", "changed, 3 times"),
        ("away", "Input/output error, 3 times"),
    ],
)
def test_a_file_is_looked_at_some_times_before_it_is_refused(bench, text, reason):
    """A dead worker, a changing file or storage that fails is not held against it at once."""
    path = bench.put("a", text)
    bench.turn()
    assert bench.dispositions() == {}
    assert bench.intake.unsettled
    for _ in range(2):
        bench.source._items.append(path)
        bench.turn()
    assert bench.reason("a") == reason


def test_what_was_rolled_back_is_neither_counted_nor_told(bench):
    """However often a commit meets a full disk, one death counts once, and one rejection is told once."""
    bench.put("a", "deadly")
    bench.put("b", "rubbish")
    bench.intake.take(2)

    def fill_disk():
        msg = "No space left on device"
        raise RetryLater(msg)

    with capture_logs() as logs:
        for _ in range(4):
            with pytest.raises(RetryLater):
                bench.intake.collect(then=fill_disk)
        assert (bench.intake.rejected, logs) == (0, [])
        bench.intake.collect()
    assert [(entry["event"], Path(entry["path"]).name) for entry in logs] == [("looking again", "a"), ("exposure", "b")]
    assert bench.intake.rejected == 1
    assert bench.journal.exposures_of_file(str(bench.folder / "a")) == []


def test_a_file_that_vanishes_before_it_is_read_is_recorded(bench):
    """It has its disposition, and is taken up again if it comes back."""
    path = bench.folder / "a"
    path.write_text("changing")
    stat = FileStat.of(path.stat())
    bench.source._items += [Candidate(path=str(path), stat=stat)]
    bench.intake.take(1)
    path.unlink()
    bench.turn()
    assert bench.reason("a") == "vanished before it could be read"
    assert bench.journal.known_file(str(path)) != stat


def test_newer_content_of_a_waiting_file_replaces_the_older(bench):
    """A flat rewritten before its partner came counts as it is now."""
    bench.put("a", "1 2.0 g")
    bench.turn()
    bench.put("a", "1 4.0 g")
    bench.put("b", "2 4.0 g")
    bench.turn()
    assert bench.pairs() == ["1+2"]
    assert bench.dispositions() == {"a": "paired", "b": "paired"}


def test_content_rewritten_after_pairing_is_rejected(bench):
    """A formed pair is never revised: the new content has an id that was seen before."""
    bench.put("a", "1 2.0 g")
    bench.put("b", "2 2.0 g")
    bench.turn()
    bench.put("a", "1 2.0 g again")
    bench.turn()
    assert bench.pairs() == ["1+2"]
    entries = bench.journal.exposures_of_file(str(bench.folder / "a"))
    assert [entry.disposition for entry in entries] == ["paired", "rejected"]


def test_a_touched_file_changes_nothing(bench):
    """Same content, new time stamp: no new entry, no new pair."""
    path = bench.put("a", "1 2.0 g")
    bench.put("b", "2 2.0 g")
    bench.turn()
    os.utime(path, ns=(7, 7))
    bench.source._items.append(path)
    bench.turn()
    assert bench.pairs() == ["1+2"]
    (entry,) = bench.journal.exposures_of_file(str(path))
    assert entry.info.stat.mtime_ns == 7


def test_no_more_pairs_in_flight_than_configured(bench):
    """The queue is bounded, whatever the backlog."""

    class SlowEngine(ScriptedEngine):
        def submit(self, function, job, /):
            return super().submit(function, job) if function is inspect_file else Future()

    bench.engine = SlowEngine()
    object.__setattr__(bench.measuring._run, "engine", bench.engine)
    for n in range(1, 21):
        bench.put(str(n), f"{n} {(n + 1) // 2}.0 g")
    bench.turn(12)
    assert bench.measuring.in_flight == 4
    assert len(bench.journal.ready_pairs(100)) == 10


@pytest.mark.parametrize(("order", "first"), [("oldest", "1+2"), ("newest", "7+8")])
def test_oldest_or_newest_first(make_bench, order, first):
    """A live view during a catch-up wants the newest pair first."""
    bench = make_bench(engine={"order": order, "queue_size": 1})
    for n in range(1, 9):
        bench.put(str(n), f"{n} {(n + 1) // 2}.0 g")
        bench.pipeline._intake.take(10)
    for _ in range(20):
        bench.intake.collect()
        bench.intake.take(10)
    bench.pipeline._offer_exposures()
    bench.turn(10)
    assert bench.pairs()[0] == first
    assert len(bench.pairs()) == 4


def test_rows_of_other_stages_are_refused(bench):
    """A worker whose plugins changed since the start cannot put rows under a wrong schema."""
    bench.measuring._schema = measurement_schema([], chain_digest="another")
    bench.put("a", "1 2.0 g")
    bench.put("b", "2 2.0 g")
    bench.turn()
    assert bench.pairs() == []
    assert "a plugin has changed" in bench.journal.failed_pairs()[0].error


def test_a_stop_finishes_what_is_in_flight(bench):
    """After a stop the rows of running jobs are committed, and the loop ends."""
    bench.put("a", "1 2.0 g")
    bench.put("b", "2 2.0 g")
    bench.pipeline.on_turn = lambda: bench.pipeline.stop() if bench.measuring.in_flight else None
    bench.pipeline.run()
    assert bench.pairs() == ["1+2"]
    assert bench.dispositions() == {"a": "paired", "b": "paired"}
    assert bench.source.stopped


def test_a_stop_while_the_disk_is_full_ends_too(bench):
    """It does not wait for space when it is told to go; the pair stays to be measured."""
    bench.sink._failures = [RetryLater("disk full", after_seconds=1000.0)] * 3
    bench.put("a", "1 2.0 g")
    bench.put("b", "2 2.0 g")
    bench.pipeline.on_turn = lambda: bench.pipeline.stop() if bench.pipeline.paused_because else None
    bench.pipeline.run()
    assert bench.pairs() == []
    assert len(bench.journal.ready_pairs(10)) == 1


def test_recipe_survives_the_way_to_a_worker():
    """A recipe as text is the same recipe, and its text is the same for the same recipe."""
    recipe = Recipe(instrument={"name": "cam"}, stages=("isr",), settings={"isr": {"order": 2}}, folders=("/a",))
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert asdict(Recipe.from_json(recipe.to_json())) == asdict(recipe)


def test_measuring_goes_on_while_a_fit_never_ends(bench):
    """One job of the engine is held, and no more: every pair that comes is measured and committed."""

    class StuckEngine(ScriptedEngine):
        fits = 0

        def submit(self, function, job, /):
            if function is not fit_group:
                return super().submit(function, job)
            self.fits += 1
            return Future()

    bench.engine = StuckEngine()
    run = replace(bench.measuring._run, engine=bench.engine)
    bench.measuring._run = run
    bench.pipeline.refitting = Refitting(ListSink(bench.journal), run, bench.folder, FitConfig(interval_seconds=0))
    bench.measuring.on_commit = bench.pipeline.refitting.note
    for n in range(1, 9):
        bench.put(str(n), f"{n} {(n + 1) // 2}.0 g")
        bench.turn()
    assert bench.pairs() == ["1+2", "3+4", "5+6", "7+8"]
    assert bench.engine.fits == 1
    assert not bench.pipeline.refitting.idle
