"""The sink: rows to Arrow files, each exactly once."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import google_crc32c
import pyarrow as pa

from streamcal.errors import ConfigError, RetryLater, StateError
from streamcal.sink.files import Files, SystemFiles, replace_file, retry_when_away
from streamcal.sink.messages import encode_batch, encode_schema
from streamcal.sink.recovery import Recovery, recover_table
from streamcal.sink.register import BatchEntry, Register, Segment
from streamcal.sink.schema import change_of_type, schema_id
from streamcal.sink.segments import Current, Layout, encode_file, segment_schema
from streamcal.sink.snapshot import Snapshot
from streamcal.sink.store import Store
from streamcal.sink.tables import Transactions

Record = Callable[[sqlite3.Connection, int], object]


class ArrowSink:
    """Appends batches to one table of an output.

    Promise: a batch for which `append` returned is in the table exactly once, whatever happens before or after; one
    for which it did not is there once or not at all, and giving it again makes it there once. Rows that anybody may
    read (``CURRENT``) are never changed or removed.

    One sink in one process may write a table: the caller holds the lock.

    Parameters
    ----------
    folder : Path
        Folder of the table, ``OUTPUT/<name>``.
    name : str
        What the journal calls the table: ``measurements``, ``exposures`` or another.
    transactions : Transactions
        The journal; its schema holds `streamcal.sink.tables.TABLES`.
    roll_bytes : int
        A live segment of at least this size is sealed before the next append.
    roll_seconds : float
        A live segment of at least this age is sealed before the next append, or by `tick`.
    snapshot : bool
        Keep ``latest.arrow``: all rows of the newest segment.
    key_name : str
        What a batch's key is called in its custom metadata.
    clock : callable
        Seconds since 1970.
    files : Files
        The system calls.
    """

    def __init__(  # noqa: PLR0913 - options with names
        self,
        folder: Path,
        name: str,
        transactions: Transactions,
        *,
        roll_bytes: int,
        roll_seconds: float,
        snapshot: bool = False,
        key_name: str = "pair_id",
        clock: Callable[[], float] = time.time,
        files: Files | None = None,
    ) -> None:
        files = files or SystemFiles()
        self._store = Store(files=files, layout=Layout(folder), register=Register(transactions, name))
        self._roll_bytes = roll_bytes
        self._roll_seconds = roll_seconds
        self._key_name = key_name
        self._clock = clock
        self._snapshot = Snapshot(files, self._store.layout.latest, clock) if snapshot else None
        self._segment: Segment | None = None  # the newest, as the journal knows it
        self._seq = 0  # of the newest commit
        self._published: Current | None = None
        self._usable = False  # recovered, and nothing happened since that only a restart can put right
        self._loaded = False  # _segment and _seq are what the journal says

    @property
    def next_seq(self) -> int:
        """Number that the next commit will get."""
        self._ensure_loaded()
        return self._seq + 1

    def recover(self) -> Recovery:
        """Bring table and journal into step; to be called once before the first `append`.

        Returns
        -------
        Recovery
            What was found and done.

        Raises
        ------
        StateError
            If committed data are missing or damaged, or the results belong to another journal.
        RetryLater
            If the disk is full or away; to be called again.
        """
        with retry_when_away(self._store.layout.folder):
            recovery = recover_table(self._store)
            self._published = self._store.read_current()  # where it is right, a full disk is no reason to wait
        self._usable = True
        self._load()
        self._publish()
        return recovery

    def check_schema(self, schema: pa.Schema) -> None:
        """Check a schema against all that the table was ever written with.

        Raises
        ------
        ConfigError
            If a column has another type than under the same name before.
        """
        for old in self._store.register.schemas():
            if change := change_of_type(old, schema):
                msg = f"{self._store.layout.folder}: {change}; rename it, or choose another output"
                raise ConfigError(msg)

    def append(self, batch: pa.RecordBatch, *, key: str, record: Record) -> int:
        """Append a batch, and record in the same transaction what this means elsewhere in the journal.

        Parameters
        ----------
        batch : pyarrow.RecordBatch
            Rows that carry the number of their commit hold `next_seq`.
        key : str
            What may be in the table only once. If it is there already, nothing is written, ``record`` is not called,
            and the number of the commit that brought it is returned.
        record : callable
            ``record(connection, seq)`` runs inside the transaction; when it raises, nothing is appended.

        Returns
        -------
        int
            Number of the commit.

        Raises
        ------
        RetryLater
            If the disk or the journal's disk is full or away: to be called again with the same key. (The batch may be
            committed already and only ``CURRENT`` not written.)
        StateError
            If committed data are missing, or if a failure makes it unknown what is on the disk.
        ConfigError
            If the schema is new and changes the type of a column.
        """
        self._ensure_loaded()
        seq = self._store.register.find_seq(key)
        if seq is None:
            self._seal_if_due(batch.schema)
            seq = self._commit(batch, key, record)
        self._publish()
        return seq

    def tick(self) -> None:
        """Do what time alone makes due: seal an old segment, publish, refresh the snapshot; raises as `append`."""
        self._ensure_loaded()
        self._seal_if_due(self._segment.schema if self._segment else None)
        self._publish()

    def close(self) -> None:
        """Bring the snapshot up to date; the live segment stays live, a later sink goes on in it."""
        if self._usable and self._loaded:
            self._refresh_snapshot(now=True)
        self._usable = False

    def _ensure_loaded(self) -> None:
        if not self._usable:
            msg = f"{self._store.layout.folder}: needs a recovery before anything is written: restart"
            raise StateError(msg)
        if not self._loaded:
            self._load()

    def _load(self) -> None:
        self._segment = self._store.register.last_segment()
        self._seq = self._store.register.last_seq()
        self._loaded = True

    def _seal_if_due(self, schema: pa.Schema | None) -> None:
        segment = self._segment
        if segment is None or not segment.live:
            return
        due = (
            segment.committed >= self._roll_bytes
            or self._clock() - segment.opened_at >= self._roll_seconds
            or not segment.schema.equals(schema, check_metadata=True)
            or self._store.is_sealing(segment)
        )
        if due:
            with self._reloading():
                self._store.seal(segment)

    def _commit(self, batch: pa.RecordBatch, key: str, record: Record) -> int:
        seq = self._seq + 1
        segment = self._open_segment(batch.schema)
        message = encode_batch(batch, {"seq": str(seq), self._key_name: key})
        head = b"" if segment.committed else _encode_head(segment)
        entry = BatchEntry(
            seq=seq,
            key=key,
            segment=segment.number,
            offset=segment.committed + len(head),
            length=len(message),
            rows=batch.num_rows,
            crc32c=google_crc32c.value(message),
        )
        grown = replace(segment, rows=segment.rows + entry.rows, committed=entry.offset + entry.length)
        with self._reloading():
            self._store.extend_live(segment, head + message)
            with self._store.register.transaction() as connection:
                self._store.register.add_batch(connection, entry, grown)
                record(connection, seq)
        return seq

    def _open_segment(self, schema: pa.Schema) -> Segment:
        newest = self._segment
        if newest and newest.live:
            return newest
        self.check_schema(schema)
        return Segment(
            number=newest.number + 1 if newest else 1,
            live=True,
            schema=schema,
            schema_id=schema_id(schema),
            first_row=newest.next_row if newest else 0,
            rows=0,
            committed=0,
            opened_at=self._clock(),
        )

    @contextmanager
    def _reloading(self) -> Iterator[None]:
        """Run a block that writes, and ask the journal afterwards what became of it: it alone knows."""
        self._loaded = False
        try:
            yield
        except StateError:
            self._usable = False
            raise
        except Exception:
            self._usable = False
            self._take_back()
            self._usable = True
            raise
        self._load()

    def _take_back(self) -> None:
        """Cut what a failed append may have left, so that no reader stumbles over it; recovery would, too."""
        with suppress(OSError, RetryLater):
            self._load()
            if self._segment and self._segment.live:
                self._store.cut_live(self._segment)
            else:
                self._store.remove_live(self._segment.number + 1 if self._segment else 1)

    def _publish(self) -> None:
        if self._segment is None:
            return
        current = Current(
            segment=self._segment.number,
            committed_offset=self._segment.committed,
            seq=self._seq,
            schema_id=self._segment.schema_id,
            rows=self._segment.next_row,
        )
        if current != self._published:
            path = self._store.layout.current
            with retry_when_away(path):
                replace_file(self._store.files, path, current.to_json(), durable=False)
            self._published = current
        self._refresh_snapshot()

    def _refresh_snapshot(self, *, now: bool = False) -> None:
        if self._snapshot and (segment := self._segment):
            self._snapshot.refresh(self._seq, lambda: _encode_newest(self._store, segment), now=now)


def _encode_head(segment: Segment) -> bytes:
    return encode_schema(segment_schema(segment.schema, number=segment.number, first_row=segment.first_row))


def _encode_newest(store: Store, segment: Segment) -> bytes:
    content = store.read_newest(segment)
    return encode_file(content.schema, content.batches)
