"""The sink's side of the journal: every SQL statement about segments and batches of one table."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import ipc

from streamcal.sink.messages import encode_schema
from streamcal.sink.tables import Transactions


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A segment as the journal knows it."""

    number: int
    live: bool
    schema: pa.Schema
    schema_id: str
    first_row: int
    rows: int
    committed: int  # bytes of the live file
    opened_at: float  # s since 1970

    @property
    def next_row(self) -> int:
        """Number of rows up to the end of this segment."""
        return self.first_row + self.rows


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchEntry:
    """A batch as the journal knows it."""

    seq: int
    key: str
    segment: int
    offset: int
    length: int
    rows: int
    crc32c: int


class Register:
    """What the journal knows of one table.

    Parameters
    ----------
    transactions : Transactions
        The journal.
    table : str
        Name of the table.
    """

    def __init__(self, transactions: Transactions, table: str) -> None:
        self._transactions = transactions
        self._table = table

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Run a block in one transaction; see `Transactions.transaction`."""
        return self._transactions.transaction()

    def _query(self, sql: str, *parameters: Any) -> list[Any]:
        return self._transactions.query(sql, (self._table, *parameters))

    def last_segment(self) -> Segment | None:
        """Return the newest segment."""
        rows = self._query(
            "SELECT number, state, schema_id, first_row, row_count, committed, opened_at, ipc"
            " FROM segment JOIN arrow_schema USING (table_name, schema_id)"
            " WHERE table_name = ? ORDER BY number DESC LIMIT 1"
        )
        if not rows:
            return None
        number, state, schema_id, first_row, row_count, committed, opened_at, serialized = rows[0]
        return Segment(
            number=number,
            live=state == "live",
            schema=ipc.read_schema(pa.py_buffer(serialized)),
            schema_id=schema_id,
            first_row=first_row,
            rows=row_count,
            committed=committed,
            opened_at=opened_at,
        )

    def sealed_sizes(self) -> dict[int, int]:
        """Return the size in bytes of each sealed file, by segment."""
        sql = "SELECT number, sealed_size FROM segment WHERE table_name = ? AND state = 'sealed' ORDER BY number"
        return dict(self._query(sql))

    def schemas(self) -> list[pa.Schema]:
        """Return all schemas that rows were ever written with."""
        rows = self._query("SELECT ipc FROM arrow_schema WHERE table_name = ?")
        return [ipc.read_schema(pa.py_buffer(serialized)) for (serialized,) in rows]

    def last_seq(self) -> int:
        """Return the number of the newest commit; 0 before the first."""
        return int(self._query("SELECT coalesce(max(seq), 0) FROM batch WHERE table_name = ?")[0][0])

    def find_seq(self, key: str) -> int | None:
        """Return the number of the commit that appended this key; None if none did."""
        rows = self._query("SELECT seq FROM batch WHERE table_name = ? AND key = ?", key)
        return int(rows[0][0]) if rows else None

    def last_batch(self) -> BatchEntry | None:
        """Return the newest batch."""
        sql = "SELECT seq, key, segment, offset, length, row_count, crc32c FROM batch WHERE table_name = ?"
        rows = self._query(f"{sql} ORDER BY seq DESC LIMIT 1")
        names = BatchEntry.__slots__
        return BatchEntry(**dict(zip(names, rows[0], strict=True))) if rows else None

    def add_batch(self, connection: sqlite3.Connection, batch: BatchEntry, segment: Segment) -> None:
        """Enter a batch, and its segment as it is with this batch."""
        connection.execute(
            "INSERT OR IGNORE INTO arrow_schema (table_name, schema_id, ipc) VALUES (?, ?, ?)",
            (self._table, segment.schema_id, encode_schema(segment.schema)),
        )
        connection.execute(
            "INSERT INTO segment (table_name, number, state, schema_id, first_row, row_count, committed, opened_at)"
            " VALUES (?, ?, 'live', ?, ?, ?, ?, ?) ON CONFLICT (table_name, number)"
            " DO UPDATE SET row_count = excluded.row_count, committed = excluded.committed",
            (
                *(self._table, segment.number, segment.schema_id, segment.first_row),
                *(segment.rows, segment.committed, segment.opened_at),
            ),
        )
        connection.execute(
            "INSERT INTO batch (table_name, seq, key, segment, offset, length, row_count, crc32c)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(self._table, batch.seq, batch.key, batch.segment),
                *(batch.offset, batch.length, batch.rows, batch.crc32c),
            ),
        )

    def seal_segment(self, number: int, *, size: int, crc32c: int) -> None:
        """Enter that a segment's sealed file is complete and on the disk."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE segment SET state = 'sealed', sealed_size = ?, sealed_crc32c = ?"
                " WHERE table_name = ? AND number = ?",
                (size, crc32c, self._table, number),
            )
