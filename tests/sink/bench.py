"""A small journal, a small table, and a disk that fails on demand."""

import os
import sqlite3
from contextlib import contextmanager

import pyarrow as pa

from streamcal.sink.arrow import ArrowSink
from streamcal.sink.files import SystemFiles
from streamcal.sink.schema import schema_id
from streamcal.sink.tables import TABLES


class SmallJournal:
    """`Transactions` over a file, with one table of its own for what a sink's caller records."""

    def __init__(self, path):
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = OFF")  # no test here pulls the plug
        if not self.query("SELECT 1 FROM sqlite_master WHERE name = 'done'"):
            for statement in (*TABLES, "CREATE TABLE done (key TEXT, seq INTEGER)"):
                self.connection.execute(statement)

    @contextmanager
    def transaction(self):
        """See `Transactions`."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

    def query(self, sql, parameters=()):
        """See `Transactions`."""
        return self.connection.execute(sql, parameters).fetchall()


class Killed(BaseException):
    """The process is dead: nothing catches it, nothing works afterwards."""


class FailingFiles(SystemFiles):
    """The system's files; from call number ``at`` on it fails, or once, or writes only parts."""

    def __init__(self, at=None, error=None, calls=None, part=None):
        self.at = at
        self.error = error  # an errno: that call alone fails; None: the process is killed before that call
        self.calls = calls  # only these are counted
        self.part = part  # most bytes that a write takes
        self.count = 0
        self.log = []

    def _step(self, name):
        if self.calls and name not in self.calls:
            return
        self.log.append(name)
        self.count += 1
        if self.at is None or self.count < self.at:
            return
        if self.error is None:
            raise Killed
        if self.count == self.at:
            raise OSError(self.error, os.strerror(self.error))

    def open(self, path, flags):
        """See `Files.open`."""
        self._step("open")
        return super().open(path, flags)

    def pwrite(self, descriptor, data, offset):
        """See `Files.pwrite`."""
        if self.at is not None and self.error is None and self.count + 1 == self.at:
            super().pwrite(descriptor, data[: len(data) // 2], offset)  # killed in the middle of it
        self._step("pwrite")
        return super().pwrite(descriptor, data[: self.part], offset)

    def truncate(self, descriptor, size):
        """See `Files.truncate`."""
        self._step("truncate")
        super().truncate(descriptor, size)

    def sync(self, descriptor):
        """See `Files.sync`."""
        self._step("sync")  # and no more: no test here pulls the plug

    def rename(self, source, target):
        """See `Files.rename`."""
        self._step("rename")
        super().rename(source, target)

    def unlink(self, path):
        """See `Files.unlink`."""
        self._step("unlink")
        super().unlink(path)

    def make_folder(self, path):
        """See `Files.make_folder`."""
        self._step("make_folder")
        super().make_folder(path)


class Bench:
    """Opens sinks on one output and appends numbered batches."""

    FailingFiles = FailingFiles
    Killed = Killed

    def __init__(self, folder):
        self.output = folder / "out"
        self.output.mkdir(parents=True, exist_ok=True)
        self.state = folder / "journal.db"
        self.journal = SmallJournal(self.state)
        self.now = 1000.0
        self.table = self.output / "measurements"

    def close(self):
        """Close the journal."""
        self.journal.connection.close()

    def open(self, *, files=None, roll_bytes=1 << 40, roll_seconds=1e9, recover=True, **options):
        """Open a sink as a process that has just started does."""
        self.close()
        self.journal = SmallJournal(self.state)
        sizes = {"roll_bytes": roll_bytes, "roll_seconds": roll_seconds}
        options = {"clock": lambda: self.now, "files": files, **sizes, **options}
        sink = ArrowSink(self.table, "measurements", self.journal, **options)
        if recover:
            sink.recover()
        return sink

    def append(self, sink, number, columns=None, record=None):
        """Append the batch of a number; the journal's table ``done`` notes it in the same transaction."""

        def note(connection, seq):
            connection.execute("INSERT INTO done VALUES (?, ?)", (f"pair{number}", seq))

        return sink.append(make_batch(number, sink.next_seq, columns), key=f"pair{number}", record=record or note)

    def done(self):
        """Return what the caller recorded, in order."""
        return [key for (key,) in self.journal.query("SELECT key FROM done ORDER BY seq")]

    def live(self, number=1):
        """Return the file of a live segment."""
        return self.table / "live" / f"{number:06d}.arrows"

    def sealed(self, number=1):
        """Return the file of a sealed segment."""
        return self.table / "sealed" / f"{number:06d}.arrow"


def make_batch(number, seq, columns=None):
    """Two rows; their values tell the number."""
    columns = {"value": pa.float64(), "name": pa.string()} if columns is None else columns
    fields = [pa.field("seq", pa.int64()), *(pa.field(name, kind) for name, kind in columns.items())]
    schema = pa.schema(fields, metadata={"note": "small"})
    schema = schema.with_metadata({**schema.metadata, b"schema_id": schema_id(schema).encode()})
    values = {pa.float64(): [number + 0.5, None], pa.string(): [f"n{number}", ""], pa.int64(): [number, -number]}
    arrays = [pa.array([seq, seq]), *(pa.array(values[kind], kind) for kind in columns.values())]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
