"""What a file and a pair cost does not grow with the history: statements, steps and system calls are counted."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

from streamcal.config import SourceConfig
from streamcal.faults.calls import has_strace, list_calls
from streamcal.faults.site import add_pairs
from streamcal.journal import Journal
from streamcal.pairing import form_pair
from streamcal.records import Disposition
from streamcal.sink.arrow import ArrowSink
from streamcal.source.directory import LOOKS_PER_POLL, MAX_SETTLING, DirectorySource
from streamcal.state import announce, connect
from streamcal.status import read_status

NEW = 40  # exposures, 20 pairs


def load_benchmark():
    """Load ``benchmarks/durability.py``, which times what is counted here."""
    path = Path(__file__).parents[2] / "benchmarks" / "durability.py"
    spec = importlib.util.spec_from_file_location("durability", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


durability = load_benchmark()


class StepCounter:
    """Counts what one connection does."""

    def __init__(self, journal):
        self.statements = []
        self.steps = 0
        journal._db.set_trace_callback(self.statements.append)
        journal._db.set_progress_handler(self._step, 1)

    def _step(self):
        self.steps += 1
        return 0


def with_history(folder, past):
    """Return a journal that knows so many files, all paired and measured."""
    folder.mkdir()
    journal = Journal(folder / "journal.db")
    journal.query("PRAGMA synchronous = OFF")
    durability.make_past(journal, past)
    return journal


def cost_of_new_files(folder, past):
    """Return statements and steps of SQLite for `NEW` exposures after so many others."""
    journal = with_history(folder, past)
    counter = StepCounter(journal)
    durability.take_pairs(journal, range(past, past + NEW))
    journal.close()
    return len(counter.statements), counter.steps


def test_cost_of_a_file_is_flat(tmp_path):
    """Thirty times the history: the same statements, and steps that grow by the depth of a tree at most."""
    few, many = cost_of_new_files(tmp_path / "few", 1000), cost_of_new_files(tmp_path / "many", 30_000)
    assert many[0] == few[0]
    assert many[0] / NEW < 40  # statements for a file with its half of a pair
    assert many[1] < 1.2 * few[1]


def test_cost_of_a_file_that_changes_is_flat(tmp_path):
    """New content of a known file costs the same, however many pairs could refer to what it replaces."""
    steps = []
    for past in (1000, 30_000):
        journal = with_history(tmp_path / str(past), past)
        number = journal.add_exposure(durability.make_info(past), 5.0)
        journal.set_disposition(number, Disposition.WAITING)
        counter = StepCounter(journal)
        assert journal.add_exposure(durability.make_info(past + 1), 5.0, replaces=number) == number
        steps.append(counter.steps)
        renewed = journal.exposure(number)
        journal.close()
        assert (renewed.disposition, renewed.info.digest) == ("new", durability.make_info(past + 1).digest)
    assert steps[1] < 1.2 * steps[0]


def test_cost_of_an_append_is_flat(tmp_path):
    """A batch costs the same statements, however many there are."""
    journal = Journal(tmp_path / "journal.db")
    sink = ArrowSink(tmp_path / "table", "measurements", journal, roll_bytes=1 << 30, roll_seconds=1e9)
    sink.recover()
    batch = durability.pa.RecordBatch.from_pydict({"gain": [1.0]})
    costs = []
    for number in range(300):
        counter = StepCounter(journal)
        sink.append(batch, key=str(number), record=lambda _db, _seq: None)
        costs.append((len(counter.statements), counter.steps))
    sink.close()
    journal.close()
    assert len({statements for statements, _ in costs[1:]}) == 1
    assert costs[-1][0] <= 9
    assert costs[-1][1] < 1.2 * costs[1][1]


def cost_of_status(output, past, monkeypatch):
    """Return the steps of SQLite that status takes with some of each thing to tell, after so many files."""
    state = output / "state"
    output.mkdir()
    journal = with_history(state, past)
    announce(output, state, {})
    durability.take_pairs(journal, range(past, past + NEW))
    for number in range(past + NEW, past + NEW + 8, 2):
        infos = durability.make_info(number), durability.make_info(number + 1)
        journal.add_pair(form_pair(*infos), *(journal.add_exposure(info, 1.0) for info in infos))
    failed, *_ = journal.ready_pairs(1)
    journal.fail_pair(failed.record.pair_id, "no, thanks", stage="picky")
    for kind in (Disposition.REJECTED, Disposition.WAITING):
        journal.set_disposition(journal.add_exposure(durability.make_info(0), 1.0), kind)
    journal.add_exposure(durability.make_info(1), 1.0)
    steps = []
    with monkeypatch.context() as patch:
        patch.setattr("streamcal.state.connect", lambda state: count_steps(connect(state), steps))
        status = read_status(output)
    journal.close()
    assert (status.pairs_last_hour, status.exposures_last_hour) == (NEW // 2 + 1, NEW + 8 + 3)
    assert (set(status.backlog), len(status.failures), len(status.rejections)) == ({"pair", "measure"}, 1, 1)
    return len(steps)


def count_steps(connection, steps):
    """Have a connection note its steps."""
    connection.set_progress_handler(lambda: steps.append(1), 1)
    return connection


def test_status_is_instant_however_long_the_history(tmp_path, monkeypatch):
    """Status reads what there is to tell and not the history before: a hundred times that takes the same steps."""
    few, many = (cost_of_status(tmp_path / str(past), past, monkeypatch) for past in (1000, 100_000))
    assert 100 < few < 5000
    assert many < 1.2 * few


@pytest.mark.skipif(not has_strace(), reason="strace is not installed")
def test_system_calls_of_a_pair_are_flat(make, nursery):
    """The third six pairs cost the writes and syncs of the second six."""
    site = make(output={"roll_megabytes": 64.0, "snapshot": False})
    counts = []
    for number in range(3):
        add_pairs(site.incoming / str(number), 6, first_id=1 + 12 * number)
        calls = Counter()
        for (name, _), count in list_calls(nursery, site).items():
            calls[name] += count
        counts.append(calls)
    assert read_status(site.output).pairs == {"done": 18}
    for name in ("fdatasync", "rename", "openat"):
        assert counts[2][name] == pytest.approx(counts[1][name], abs=2), (name, counts)
    assert counts[2]["pwrite64"] < 1.15 * counts[1]["pwrite64"]
    assert counts[2]["fdatasync"] < 40 * 6  # per pair, its two exposures included


def test_backlog_is_not_held_in_memory(tmp_path):
    """A listing hands out what is asked for and waits with the rest: what is held does not grow with the folder."""
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    for number in range(15_000):
        (incoming / f"{number}.fits").touch()
    journal = Journal(tmp_path / "journal.db")
    source = DirectorySource(SourceConfig(folders=(incoming,), settle_seconds=0.0, watch="poll"), journal)
    source.start()
    held = []
    for _ in range(20):
        source.poll(10)
        status = source.status()
        held.append(status.n_settling + status.n_handed_out)
    source.stop()
    journal.close()
    assert 10 <= max(held) <= MAX_SETTLING + LOOKS_PER_POLL < 15_000
