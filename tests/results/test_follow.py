"""Following rows as they are committed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from streamcal import results
from streamcal.errors import StateError
from streamcal.sink import reader as reader_module

WRITER = Path(__file__).with_name("writer.py")


def simplify(items):
    """Return row numbers and the first value of each batch."""
    return [(row, batch["value"][0].as_py()) for row, batch in items]


def drain(bench, start):
    """Return all that is there now."""
    return simplify(results.follow(bench.output, start, timeout=0))


def take(following):
    """Return the next batch."""
    return simplify([next(following)])[0]


@pytest.fixture
def sink(bench):
    """Open a sink and commit two batches, in one segment."""
    sink = bench.open()
    bench.append(sink, 1)
    bench.append(sink, 2)
    return sink


def seal(bench, sink):
    """Seal the live segment."""
    sink._roll_bytes = 1
    sink.tick()
    sink._roll_bytes = 1 << 40


def test_from_the_beginning(bench, sink):
    """All committed rows come with their numbers, then the end."""
    assert drain(bench, "begin") == [(0, 1.5), (2, 2.5)]


def test_from_the_end(bench, sink):
    """Only rows committed after the call come, even if nobody asked for the first one yet."""
    following = results.follow(bench.output)
    bench.append(sink, 3)
    assert take(following) == (4, 3.5)
    bench.append(sink, 4)
    assert take(following) == (6, 4.5)


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(("start", "rows"), [(0, 4), (1, 3), (2, 2), (3, 1), (4, 0), (9, 0)])
def test_from_a_row(bench, sink, sealed, start, rows):
    """A row number may lie anywhere, in the middle of a batch too; live or sealed makes no difference."""
    if sealed:
        seal(bench, sink)
    batches = [batch for _, batch in results.follow(bench.output, start, timeout=0)]
    values = [value for batch in batches for value in batch["value"].to_pylist()]
    assert values == [1.5, None, 2.5, None][4 - rows :]


def test_row_in_an_old_segment(bench, sink):
    """The segment that holds a row is found among many."""
    for number in range(3, 8):
        seal(bench, sink)
        bench.append(sink, number)
    assert drain(bench, 6) == [(6, 4.5), (8, 5.5), (10, 6.5), (12, 7.5)]


def test_over_sealing(bench, sink):
    """Rows read from a live file do not come again when it is sealed, nor do later ones get lost."""
    following = results.follow(bench.output, "begin")
    assert take(following) == (0, 1.5)
    assert take(following) == (2, 2.5)
    bench.append(sink, 3)
    seal(bench, sink)
    bench.append(sink, 4)
    seal(bench, sink)
    assert take(following) == (4, 3.5)
    assert take(following) == (6, 4.5)
    bench.append(sink, 5, {"value": pa.float64(), "more": pa.int64()})
    row, batch = next(following)
    assert (row, batch.column_names) == (8, ["seq", "value", "more"])


def test_sealed_between_two_batches_of_one_look(bench, sink):
    """It may be sealed while its batches are being handed out."""
    following = results.follow(bench.output, "begin")
    assert take(following) == (0, 1.5)
    seal(bench, sink)
    bench.append(sink, 3)
    assert take(following) == (2, 2.5)
    assert take(following) == (4, 3.5)


def test_over_a_restart_with_a_torn_tail(bench, sink):
    """A batch of which only a part was written is not seen; after the restart it comes, once."""
    following = results.follow(bench.output, "begin")
    assert [take(following), take(following)] == [(0, 1.5), (2, 2.5)]
    with bench.live().open("ab") as file:
        file.write(bench.live().read_bytes()[-200:])
    assert drain(bench, 4) == []
    bench.append(bench.open(), 3)
    assert take(following) == (4, 3.5)


def test_output_that_is_not_there_yet(bench):
    """Following may begin before the daemon does; then even the first row is new."""
    bench.output.rmdir()
    following = results.follow(bench.output, "end")
    assert drain(bench, "begin") == []
    bench.output.mkdir()
    bench.append(bench.open(), 1)
    assert take(following) == (0, 1.5)


def test_metadata_are_those_of_the_table(bench, sink):
    """A batch does not speak of the segment it came from."""
    _, batch = next(results.follow(bench.output, "begin"))
    assert batch.schema.metadata == {b"note": b"small"}


def test_timeout_counts_from_the_last_row(bench, sink, monkeypatch):
    """It ends when no row came for so long; the time that the caller takes between two rows does not count."""
    now = [0.0]
    monkeypatch.setattr(results.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(results.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    following = results.follow(bench.output, "begin", timeout=5.0, poll_seconds=2.0)
    next(following)
    now[0] += 1000
    next(following)
    now[0] += 1000
    assert list(following) == []
    assert now[0] == 2005.0


@pytest.mark.parametrize("start", ["middle", -1, 1.5, None])
def test_unknown_start(bench, start):
    """A start that is none of the choices is refused at the call."""
    with pytest.raises(ValueError, match="start must be 'begin', 'end' or a row number"):
        results.follow(bench.output, start)


def test_damage(bench, sink):
    """A batch that is not what was committed stops it, naming file and offset; those before it have come."""
    following = results.follow(bench.output, "begin")
    assert [take(following), take(following)] == [(0, 1.5), (2, 2.5)]
    offset = bench.live().stat().st_size
    bench.append(sink, 3)
    data = bytearray(bench.live().read_bytes())
    data[-20] ^= 4
    bench.live().write_bytes(data)
    with pytest.raises(StateError, match=rf"000001\.arrows: damaged at byte {offset}: checksum"):
        next(following)


def test_zeros_are_no_end(bench, sink):
    """Committed bytes that read as zeros are damage, not the end of the segment."""
    following = results.follow(bench.output, "begin")
    assert [take(following), take(following)] == [(0, 1.5), (2, 2.5)]
    offset = bench.live().stat().st_size
    bench.append(sink, 3)
    data = bench.live().read_bytes()
    bench.live().write_bytes(data[:offset] + bytes(len(data) - offset))
    with pytest.raises(StateError, match=rf"damaged at byte {offset}: an end marker"):
        next(following)


def test_bytes_that_are_not_visible_yet(bench, sink):
    """A network disk may show CURRENT first; the rows come when the bytes do."""
    following = results.follow(bench.output, 2, timeout=0)
    data = bench.live().read_bytes()
    bench.live().write_bytes(data[:-1])
    assert list(following) == []
    bench.live().write_bytes(data)
    assert drain(bench, 2) == [(2, 2.5)]


def test_bytes_that_never_come(bench, sink, monkeypatch):
    """What stays away is missing data."""
    monkeypatch.setattr(reader_module, "PATIENCE", 0.0)
    bench.live().unlink()
    with pytest.raises(StateError, match=r"missing data: .*live/000001\.arrows"):
        drain(bench, "begin")


def start_writer(bench, last):
    """Start a process that appends all numbers up to ``last``."""
    return subprocess.Popen([sys.executable, WRITER, bench.output.parent, str(last)])


def test_another_process_writes_and_is_killed(bench):
    """Rows of a process that writes, rolls, seals, is killed and restarted come once each and in order."""
    last, seen = 150, []
    bench.output.rmdir()
    following = results.follow(bench.output, "begin", timeout=60, poll_seconds=0.001)
    writer = start_writer(bench, last)
    try:
        for row, batch in following:
            values = batch["value"].to_pylist()[::2]
            assert row == 2 * len(seen)
            seen += values
            if len(seen) // 40 > (len(seen) - len(values)) // 40 and writer.poll() is None:
                os.kill(writer.pid, signal.SIGKILL)
                writer.wait()
                writer = start_writer(bench, last)
            if len(seen) >= last:
                break
        assert writer.wait() == 0
    finally:
        writer.kill()
        writer.wait()
    assert seen == [number + 0.5 for number in range(last)]
    assert results.read(bench.output)["value"].to_pylist()[::2] == seen
    assert bench.sealed(3).exists()


def test_reading_while_another_process_writes(bench):
    """Whatever moment it is read in, a table that grows, rolls and seals is a whole number of commits, in order."""
    last, counts = 100, []
    bench.open()
    writer = start_writer(bench, last)
    try:
        while writer.poll() is None or not counts or counts[-1] < last:
            values = results.read(bench.output, ["value"])["value"].to_pylist()[::2]
            assert values == [number + 0.5 for number in range(len(values))]
            counts.append(len(values))
            assert writer.poll() in (None, 0)
    finally:
        writer.kill()
        writer.wait()
    assert counts == sorted(counts)
    assert counts[-1] == last
