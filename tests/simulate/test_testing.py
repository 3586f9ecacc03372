"""What streamcal.testing offers to tests works as it says."""

import math
import sqlite3
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamcal.flags import MaskBit
from streamcal.records import Candidate, FileStat
from streamcal.testing import (
    SMALL_CAMERA,
    ListSink,
    ListSource,
    ManualClock,
    RecordingContext,
    make_flat_pair,
    make_pair,
)


def test_flat_pair_has_its_truth():
    """Level, level ratio, gain and read noise come out within four errors."""
    first, second = make_flat_pair(electrons=900.0, gain=2.0, read_noise=10.0, level_ratio=1.1)
    assert (first.dtype, first.shape) == (np.float32, (512, 512))
    assert first.mean(dtype=float) == pytest.approx(450.0, abs=4 * math.sqrt(1000) / 2 / 512)
    assert second.mean(dtype=float) == pytest.approx(495.0, abs=4 * math.sqrt(1090) / 2 / 512)
    assert first.var(dtype=float) == pytest.approx((900 + 100) / 4, rel=4 * math.sqrt(2) / 512)


def test_flat_pair_gradient_runs_from_first_to_last_column():
    """Ten times the light at the right edge, the mean level kept."""
    first, _ = make_flat_pair(electrons=100000.0, gain=1.0, gradient=10.0)
    assert first[:, -1].mean() / first[:, 0].mean() == pytest.approx(10.0, rel=0.01)
    assert first.mean(dtype=float) == pytest.approx(100000.0, rel=1e-4)


def test_flat_pairs_depend_on_their_seed():
    """Same seed, same pixels; and the two flats are never the same."""
    (first, second), (again, _), (other, _) = (make_flat_pair(shape=(4, 5), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()
    assert (first != other).any()


def test_corrected_pair_is_as_isr_leaves_it():
    """Level zero is dark, read noise is the truth in ADU, overscan is still there, the raw image is gone."""
    pair = make_pair(electrons=3000.0)
    truth = SMALL_CAMERA.amplifiers[1]
    amplifier = pair.first.amplifiers["C01"]
    assert amplifier.data.dtype == np.float32
    assert amplifier.data.mean() == pytest.approx(3000.0 / truth.gain, rel=0.03)
    assert amplifier.read_noise == truth.read_noise_adu
    assert amplifier.overscan["serial"].mean() == pytest.approx(truth.bias, abs=1)
    assert amplifier.raw is None
    assert not amplifier.mask.any()


def test_uncorrected_pair_is_as_read_from_a_file():
    """Data and overscan are cut from the raw image, nothing is taken off, no read noise is known."""
    amplifier = make_pair(corrected=False).second.amplifiers["C10"]
    np.testing.assert_array_equal(amplifier.sections["data"].cut(amplifier.raw), amplifier.data)
    np.testing.assert_array_equal(amplifier.sections["serial"].cut(amplifier.raw), amplifier.overscan["serial"])
    assert amplifier.data.mean() > SMALL_CAMERA.amplifiers[2].bias + 5000
    assert math.isnan(amplifier.read_noise)


def test_pair_masks_what_is_full():
    """A corrected pair beyond full well is saturated in every pixel."""
    amplifier = make_pair(electrons=150000.0).first.amplifiers["C00"]
    assert (amplifier.mask == MaskBit.SAT).all()


def test_pair_members_follow_each_other():
    """Ids, times and headers are of two exposures of one level; the times are TAI and UTC."""
    pair = make_pair(electrons=1000.0)
    first, second = pair.first.info, pair.second.info
    assert (first.exposure_id, second.exposure_id) == ("1", "2")
    assert first.exposure_time == second.exposure_time == 2.0
    assert (first.mjd_start - first.mjd_start_utc) * 86400 == pytest.approx(37.0, abs=1e-4)
    assert second.mjd_start > first.mjd_start
    assert pair.first.header["EXPID"] == 1
    assert pair.second.amplifiers["C11"].metadata["header"]["CORNER"] == "UR"


def test_pair_uses_the_given_camera():
    """Shape and amplifiers are the camera's."""
    camera = replace(SMALL_CAMERA, amplifiers=SMALL_CAMERA.amplifiers[:1], crosstalk=(), shape=(10, 12))
    pair = make_pair(camera=camera)
    assert list(pair.first.amplifiers) == list(pair.measured) == ["C00"]
    assert pair.first.amplifiers["C00"].data.shape == (10, 12)


def test_context_keeps_notes_times_and_events():
    """Everything goes under the stage's name; log events are kept as dictionaries."""
    context = RecordingContext(stage="skew")
    context.note("pixels", 12)
    with context.timer("sum"):
        pass
    context.log.bind(pair="p").warning("odd pixels", count=3)
    assert context.metadata == {"skew:pixels": 12}
    assert list(context.timings) == ["skew:sum"]
    assert context.events == [{"event": "odd pixels", "log_level": "warning", "pair": "p", "count": 3}]


def test_context_loads_the_exposures_it_was_given():
    """Any other path is a file that is not there."""
    exposure = make_pair().first
    context = RecordingContext(exposures={Path("bias.fits"): exposure})
    assert context.load_exposure(Path("bias.fits")) is exposure
    with pytest.raises(FileNotFoundError, match=r"dark\.fits: not among"):
        context.load_exposure(Path("dark.fits"))


def test_clock_moves_when_told():
    """It stands still otherwise and never goes back."""
    clock = ManualClock(10.0)
    clock.advance(2.5)
    assert clock() == clock() == 12.5
    with pytest.raises(ValueError, match="seconds must not be negative, got -1"):
        clock.advance(-1)


def candidate(name):
    """Return a candidate that needs no file."""
    return Candidate(path=name, stat=FileStat(size=1, mtime_ns=2, inode=3, device=4))


def test_source_gives_each_item_once_within_the_limit():
    """In order, at most `limit` at a time; due now while there are some, then never."""
    source = ListSource(map(candidate, "abc"))
    assert source.next_due() == 0.0
    assert [[item.path for item in source.poll(2)] for _ in range(3)] == [["a", "b"], ["c"], []]
    assert source.next_due() == math.inf


def test_source_looks_at_paths_when_their_turn_comes(tmp_path):
    """A file may be written by an earlier item of the list."""
    path = tmp_path / "late.fits"
    source = ListSource([lambda: path.write_bytes(b"abc"), path])
    assert source.poll(5) == [Candidate(path=str(path), stat=FileStat.of(path.stat()))]


def test_source_calls_functions_between_batches():
    """A function waits until what came before it has been given."""
    calls = []
    source = ListSource([candidate("a"), lambda: calls.append(1), lambda: calls.append(2), candidate("b")])
    assert [item.path for item in source.poll(9)] == ["a"]
    assert calls == []
    assert [item.path for item in source.poll(9)] == ["b"]
    assert calls == [1, 2]


def test_source_scans_all_that_is_left():
    """One by one, with functions called in between, nothing twice."""
    calls = []
    source = ListSource([candidate("a"), lambda: calls.append(1), candidate("b"), lambda: calls.append(2)])
    scan = source.scan_once()
    assert next(scan).path == "a"
    assert calls == []
    assert [item.path for item in scan] == ["b"]
    assert calls == [1, 2]
    assert list(source.scan_once()) == []


def test_source_notes_what_the_pipeline_asked():
    """Forgotten paths, start and stop can be asserted."""
    source = ListSource([])
    source.start()
    source.forget("a")
    source.stop()
    assert (source.started, source.forgotten, source.stopped) == (True, ["a"], True)


class Database:
    """A journal of one table."""

    def __init__(self):
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.execute("CREATE TABLE done (seq INTEGER)")

    @contextmanager
    def transaction(self):
        """Commit, or roll back on an error."""
        self.connection.execute("BEGIN")
        try:
            yield self.connection
        except Exception:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def rows(self):
        """Return what was committed."""
        return self.connection.execute("SELECT seq FROM done").fetchall()


@pytest.fixture
def database():
    """Give a database and close it."""
    database = Database()
    yield database
    database.connection.close()


def insert(connection, seq):
    """Record a batch."""
    connection.execute("INSERT INTO done VALUES (?)", (seq,))


def test_sink_keeps_batches_with_their_record(database):
    """Numbers ascend from one, and the record of each is committed."""
    sink = ListSink(database)
    assert [sink.append(batch, key=key, record=insert) for key, batch in (("p", "one"), ("q", "two"))] == [1, 2]
    assert sink.batches == [("p", "one"), ("q", "two")]
    assert database.rows() == [(1,), (2,)]
    assert sink.next_seq == 3


def test_sink_keeps_a_key_once(database):
    """The same key again changes nothing and gives the number that it has."""
    sink = ListSink(database)
    assert [sink.append(batch, key=key, record=insert) for key, batch in (("p", 1), ("q", 2), ("p", 3))] == [1, 2, 1]
    assert sink.batches == [("p", 1), ("q", 2)]
    assert database.rows() == [(1,), (2,)]


def test_sink_keeps_nothing_when_the_record_fails(database):
    """Batch and record are one."""
    sink = ListSink(database)

    def fail(connection, seq):
        insert(connection, seq)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        sink.append("one", key="p", record=fail)
    assert (sink.batches, sink.next_seq, database.rows()) == ([], 1, [])


def test_sink_fails_as_often_as_told(database):
    """Each given error is raised once, before anything is recorded."""
    sink = ListSink(database, failures=[OSError("disk full")])
    with pytest.raises(OSError, match="disk full"):
        sink.append("one", key="p", record=insert)
    assert database.rows() == []
    assert sink.append("one", key="p", record=insert) == 1
