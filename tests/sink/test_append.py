"""Appending: keys, rolling, what a failure leaves behind."""

import errno
import json
import sqlite3
from contextlib import contextmanager
from pathlib import Path

import google_crc32c
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from pyarrow import ipc

from streamcal import results
from streamcal.errors import ConfigError, RetryLater, StateError
from streamcal.journal.database import explain


def rows(bench):
    """Return the first value of each batch."""
    return results.read(bench.output)["value"].to_pylist()[::2]


def current(bench):
    """Return what CURRENT says."""
    return json.loads((bench.table / "CURRENT").read_text())


def test_commits_are_numbered_from_one(bench):
    """Each append returns the next number, over restarts too."""
    sink = bench.open()
    assert [bench.append(sink, number) for number in (1, 2)] == [1, 2]
    assert bench.open().next_seq == 3


def test_known_key_is_not_appended_again(bench):
    """A key that is there keeps its number, and nothing is recorded a second time."""
    sink = bench.open()
    bench.append(sink, 1)
    bench.append(sink, 2)
    assert bench.append(sink, 1) == 1
    assert rows(bench) == [1.5, 2.5]
    assert bench.done() == ["pair1", "pair2"]


def test_live_segment_is_a_plain_stream(bench):
    """Any Arrow reader reads the live file; its schema tells the segment's first row."""
    sink = bench.open(roll_bytes=1)
    bench.append(sink, 1)
    bench.append(sink, 2)
    with ipc.open_stream(bench.live(2).read_bytes()) as reader:
        assert reader.schema.metadata[b"first_row"] == b"2"
        batch, notes = reader.read_next_batch_with_custom_metadata()
    assert batch["value"].to_pylist() == [2.5, None]
    assert (notes[b"seq"], notes[b"pair_id"]) == (b"2", b"pair2")


def test_current_says_how_far_to_read(bench):
    """CURRENT names segment, committed bytes, newest commit and rows."""
    sink = bench.open()
    bench.append(sink, 1)
    bench.append(sink, 2)
    size = bench.live().stat().st_size
    said = current(bench)
    assert said.pop("schema_id")
    assert said == {"segment": 1, "committed_offset": size, "seq": 2, "rows": 4}


def test_journal_knows_every_batch(bench):
    """Offset, length and checksum in the journal are those of the bytes in the live file."""
    sink = bench.open()
    bench.append(sink, 1)
    bench.append(sink, 2)
    data = bench.live().read_bytes()
    entries = bench.journal.query("SELECT offset, length, crc32c, row_count FROM batch ORDER BY seq")
    assert len(entries) == 2
    assert entries[1][0] + entries[1][1] == len(data)
    for offset, length, crc, count in entries:
        assert google_crc32c.value(data[offset : offset + length]) == crc
        assert count == 2


def test_roll_by_size(bench):
    """A segment that has reached the size is sealed before the next append."""
    sink = bench.open(roll_bytes=1)
    for number in (1, 2, 3):
        bench.append(sink, number)
    assert [path.name for path in sorted((bench.table / "sealed").iterdir())] == ["000001.arrow", "000002.arrow"]
    assert [path.name for path in (bench.table / "live").iterdir()] == ["000003.arrows"]
    assert rows(bench) == [1.5, 2.5, 3.5]


def test_roll_by_age(bench):
    """A segment that has reached the age is sealed by a tick; a clock that goes back does no harm."""
    sink = bench.open(roll_seconds=60)
    bench.append(sink, 1)
    bench.now -= 1e6
    sink.tick()
    bench.now += 1e6 + 59
    sink.tick()
    assert bench.live().exists()
    bench.now += 1
    sink.tick()
    assert not bench.live().exists()
    assert bench.sealed().exists()
    assert rows(bench) == [1.5]
    assert bench.append(sink, 2) == 2
    assert bench.live(2).exists()


def test_roll_by_schema(bench):
    """A new column is a new segment; a restart with the same columns goes on in the old one."""
    bench.append(bench.open(), 1)
    bench.append(bench.open(), 2)
    assert not bench.sealed().exists()
    bench.append(bench.open(), 3, {"value": pa.float64(), "more": pa.int64()})
    assert bench.sealed().exists()
    assert results.read(bench.output)["more"].to_pylist() == [None] * 4 + [3, -3]


@pytest.mark.parametrize("sealed_long_ago", [False, True])
def test_column_that_changes_its_type(bench, sealed_long_ago):
    """A column never changes its type, not even after segments without it; the message says what to do."""
    sink = bench.open()
    bench.append(sink, 1)
    if sealed_long_ago:
        bench.append(sink, 2, {"name": pa.string()})
    changed = pa.schema([("value", pa.int64())])
    with pytest.raises(ConfigError, match=r"column 'value' is int64 now and was float64 .*; rename it, or choose"):
        sink.check_schema(changed)
    with pytest.raises(ConfigError, match="column 'value'"):
        bench.append(sink, 3, {"value": pa.int64()})
    assert bench.append(sink, 4) == 2 + sealed_long_ago


def test_sealed_segment(bench):
    """Batches are merged, plain tools read the folder, the journal knows size and checksum."""
    sink = bench.open(roll_seconds=1)
    bench.append(sink, 1)
    bench.append(sink, 2)
    bench.now += 2
    sink.tick()
    data = bench.sealed().read_bytes()
    assert ipc.open_file(data).num_record_batches == 1
    assert ds.dataset(bench.table / "sealed", format="arrow").to_table()["value"].to_pylist() == [1.5, None, 2.5, None]
    entry = bench.journal.query("SELECT state, sealed_size, sealed_crc32c FROM segment")
    assert entry == [("sealed", len(data), google_crc32c.value(data))]


def test_record_that_raises(bench):
    """Nothing is appended, the file is cut back, and the next append goes on."""
    sink = bench.open()

    def record(connection, seq):
        raise KeyError(seq)

    with pytest.raises(KeyError):
        bench.append(sink, 1, record=record)
    assert not bench.live().exists()
    bench.append(sink, 2)
    size = bench.live().stat().st_size
    with pytest.raises(KeyError):
        bench.append(sink, 3, record=record)
    assert bench.live().stat().st_size == size
    bench.append(sink, 4)
    assert rows(bench) == [2.5, 4.5]
    assert bench.done() == ["pair2", "pair4"]


def test_append_before_recovery(bench):
    """A sink that has not compared files and journal does not write."""
    sink = bench.open(recover=False)
    with pytest.raises(StateError, match="needs a recovery"):
        bench.append(sink, 1)


def test_full_disk_passes(bench):
    """While the disk is full every try says so and leaves nothing; then the same batch goes in."""
    files = bench.FailingFiles()
    sink = bench.open(files=files)
    bench.append(sink, 1)
    size = bench.live().stat().st_size
    real, files.pwrite = files.pwrite, partly_full(files)
    for _ in range(3):
        with pytest.raises(RetryLater, match=r"000001\.arrows: No space left on device; nothing is lost"):
            bench.append(sink, 2)
        assert bench.live().stat().st_size == size
    files.pwrite = real
    assert bench.append(sink, 2) == 2
    assert rows(bench) == [1.5, 2.5]


def partly_full(files):
    """Return a write that takes a hundred bytes and then nothing."""

    def pwrite(descriptor, data, offset):
        if len(data) < 300:
            raise OSError(errno.ENOSPC, "No space left on device")
        return type(files).pwrite(files, descriptor, data[:100], offset)

    return pwrite


def test_output_gone_and_back(bench):
    """A folder that is moved away is waited for; nothing is made in its place."""
    sink = bench.open()
    bench.append(sink, 1)
    away = bench.output.rename(bench.output.with_name("away"))
    with pytest.raises(RetryLater, match="No such file"):
        bench.append(sink, 2)
    assert not bench.output.exists()
    away.rename(bench.output)
    assert bench.append(sink, 2) == 2
    assert rows(bench) == [1.5, 2.5]


def test_committed_but_not_published(bench):
    """When only CURRENT could not be written, the next try publishes and does not append again."""
    files = bench.FailingFiles(calls={"rename"})
    sink = bench.open(files=files)
    bench.append(sink, 1)
    files.at, files.error = files.count + 1, errno.ENOSPC
    with pytest.raises(RetryLater):
        bench.append(sink, 2)
    assert rows(bench) == [1.5]
    assert bench.append(sink, 2) == 2
    assert rows(bench) == [1.5, 2.5]
    assert bench.done() == ["pair1", "pair2"]


def test_failing_fdatasync_is_never_retried(bench):
    """After it nobody knows what is on the disk: the sink refuses to go on, a restart recovers."""
    files = bench.FailingFiles(calls={"sync"})
    sink = bench.open(files=files)
    bench.append(sink, 1)
    files.at, files.error = files.count + 1, errno.EIO
    with pytest.raises(StateError, match=r"fdatasync failed .* stop, a restart recovers"):
        bench.append(sink, 2)
    with pytest.raises(StateError, match="restart"):
        bench.append(sink, 2)
    sink = bench.open()
    assert bench.append(sink, 2) == 2
    assert rows(bench) == [1.5, 2.5]


def test_segment_shortened_under_the_daemon(bench):
    """Committed bytes that vanish while it runs stop it before anything is written behind the gap."""
    sink = bench.open()
    bench.append(sink, 1)
    with bench.live().open("r+b") as file:
        file.truncate(100)
    with pytest.raises(StateError, match=r"missing data: .*000001\.arrows has 100 bytes, the journal committed"):
        bench.append(sink, 2)
    assert bench.live().stat().st_size == 100


def test_segment_gone_under_the_daemon(bench):
    """A live file that was removed from its folder is missing data, be it to append or to seal."""
    for seconds in (1e9, 0):
        sink = bench.open(roll_seconds=1e9)
        bench.append(sink, 1)
        away = bench.live().rename(bench.table / "away")
        sink._roll_seconds = seconds
        with pytest.raises(StateError, match=r"missing data: .*000001\.arrows is gone"):
            bench.append(sink, 2)
        away.rename(bench.live())


def test_folders_that_cannot_be_synced(bench):
    """A disk that knows no sync of folders is used all the same."""
    files = bench.FailingFiles()
    folders = set()

    def open_(path, flags):
        descriptor = type(files).open(files, path, flags)
        (folders.add if path.is_dir() else folders.discard)(descriptor)
        return descriptor

    def sync(descriptor):
        if descriptor in folders:
            raise OSError(errno.EINVAL, "Invalid argument")

    files.open, files.sync = open_, sync
    assert bench.append(bench.open(files=files), 1) == 1


def test_bug_in_a_call_is_no_full_disk(bench):
    """An error that waiting cannot mend is raised as it is."""
    files = bench.FailingFiles(calls={"pwrite"}, at=2, error=errno.EBADF)
    sink = bench.open(files=files)
    with pytest.raises(OSError, match="Bad file descriptor"):
        bench.append(sink, 1)


class FailingJournal:
    """Passes on to a journal, until its next commit fails."""

    def __init__(self, journal, code, *, committed):
        self.journal = journal
        self.code = code
        self.committed = committed

    def query(self, sql, parameters=()):
        """See `Transactions`."""
        return self.journal.query(sql, parameters)

    @contextmanager
    def transaction(self):
        """See `Transactions`."""
        error, self.code = self.code, None
        with self.journal.transaction() as connection:
            yield connection
            if error and not self.committed:
                raise make_error(error)
        if error:
            raise make_error(error)


def make_error(code):
    """Return what the journal makes of SQLite's error of a code."""
    error = sqlite3.OperationalError("the disk")
    error.sqlite_errorcode = code
    return explain(error, Path("journal.db"))


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY])
@pytest.mark.parametrize("committed", [False, True])
def test_journal_full_or_locked(bench, code, committed):
    """Nothing is half done: the batch goes in at the next try, even where the commit had happened after all."""
    sink = bench.open()
    sink._store.register._transactions = FailingJournal(bench.journal, code, committed=committed)
    with pytest.raises(RetryLater, match=r"journal journal\.db: the disk"):
        bench.append(sink, 1)
    assert bench.live().exists() == committed
    assert bench.append(sink, 1) == 1
    assert bench.append(sink, 2) == 2
    assert rows(bench) == [1.5, 2.5]
    assert bench.done() == ["pair1", "pair2"]


def test_journal_broken(bench):
    """An input/output error of the journal stops the sink and cuts nothing: the commit may have happened."""
    sink = bench.open()
    sink._store.register._transactions = FailingJournal(bench.journal, sqlite3.SQLITE_IOERR_FSYNC, committed=True)
    with pytest.raises(StateError, match=r"journal journal\.db: the disk"):
        bench.append(sink, 1)
    with pytest.raises(StateError, match="restart"):
        sink.tick()
    bench.open()
    assert rows(bench) == [1.5]


def test_two_tables_in_one_journal(bench):
    """Tables of one output are numbered and keyed apart."""
    sink = bench.open()
    bench.append(sink, 1)
    other = type(sink)(
        bench.output / "exposures", "exposures", bench.journal, roll_bytes=1, roll_seconds=1e9, key_name="key"
    )
    other.recover()
    assert bench.append(other, 1) == 1
    assert bench.append(other, 2) == 2
    assert results.read(bench.output, table="exposures").num_rows == 4
    assert rows(bench) == [1.5]


def test_snapshot(bench):
    """latest.arrow holds the newest segment's rows, at most once a second, and at the end all of them."""
    sink = bench.open(snapshot=True)
    latest = bench.table / "latest.arrow"
    bench.append(sink, 1)
    assert ipc.open_file(latest).read_all()["value"].to_pylist() == [1.5, None]
    sink._snapshot._interval = 1.0  # however slow this machine is
    bench.append(sink, 2)
    assert ipc.open_file(latest).read_all().num_rows == 2
    bench.now += 1
    sink.tick()
    assert ipc.open_file(latest).read_all().num_rows == 4
    sink._snapshot._interval = 1.0
    bench.append(sink, 3)
    sink.close()
    assert ipc.open_file(latest).read_all().num_rows == 6


def test_snapshot_on_a_full_disk(bench):
    """The snapshot is no reason to wait: commits go on without it."""
    files = bench.FailingFiles()
    real = files.rename

    def rename(source, target):
        if target.name == "latest.arrow":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    files.rename = rename
    sink = bench.open(files=files, snapshot=True)
    assert bench.append(sink, 1) == 1
    assert not (bench.table / "latest.arrow").exists()
    files.rename = real
    bench.now += 60
    sink.tick()
    assert (bench.table / "latest.arrow").exists()
