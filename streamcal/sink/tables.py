"""What the journal keeps of the result tables: segments, batches and schemas (plain SQL; imports no Arrow)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

RESULT_TABLES = ("measurements", "exposures", "ptc")  # by their folders in an output

TABLES: tuple[str, ...] = (
    # a schema that rows were written with: a column must never change its type, whatever became of its segment
    """
    CREATE TABLE arrow_schema (
        table_name TEXT NOT NULL,
        schema_id TEXT NOT NULL,
        ipc BLOB NOT NULL,               -- the schema as an Arrow IPC message
        PRIMARY KEY (table_name, schema_id)
    )
    """,
    """
    CREATE TABLE segment (
        table_name TEXT NOT NULL,
        number INTEGER NOT NULL,         -- from 1, without gaps
        state TEXT NOT NULL CHECK (state IN ('live', 'sealed')),
        schema_id TEXT NOT NULL,
        first_row INTEGER NOT NULL,      -- number of rows in all earlier segments
        row_count INTEGER NOT NULL,
        committed INTEGER NOT NULL,      -- bytes of the live file that hold committed rows
        opened_at REAL NOT NULL,         -- s since 1970, UTC
        sealed_size INTEGER,             -- bytes of the sealed file
        sealed_crc32c INTEGER,           -- of the whole sealed file
        PRIMARY KEY (table_name, number)
    )
    """,
    "CREATE UNIQUE INDEX one_live_segment ON segment (table_name) WHERE state = 'live'",
    """
    CREATE TABLE batch (
        table_name TEXT NOT NULL,
        seq INTEGER NOT NULL,            -- from 1, without gaps
        key TEXT NOT NULL,               -- pair_id, or what else must be appended only once
        segment INTEGER NOT NULL,
        offset INTEGER NOT NULL,         -- of the message in the live file
        length INTEGER NOT NULL,
        row_count INTEGER NOT NULL,
        crc32c INTEGER NOT NULL,         -- of the whole message as it lies in the live file
        PRIMARY KEY (table_name, seq),
        UNIQUE (table_name, key)
    )
    """,
)


class Transactions(Protocol):
    """What the sink needs of the journal."""

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Run a block in one write transaction: committed at its end, rolled back when it raises.

        Raises
        ------
        RetryLater
            If the journal's disk is full or another process holds the journal; nothing was written.
        StateError
            If the journal cannot be read or written; what was written is known only after a restart.
        """

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Return the rows of a SELECT as tuples; raises as `transaction`."""
