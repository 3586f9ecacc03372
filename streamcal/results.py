"""Read and follow the results of a run: the analyst's interface.

A first look takes three lines::

    from streamcal import results

    table = results.read("out", columns=["amplifier", "mean_used", "gain"])

Nothing here needs the journal, takes a lock or writes. Only committed rows are read, each checked against its
checksum; a daemon may be writing, rolling and sealing at the same time, or be restarted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import ipc

from streamcal.flags import decode_flags
from streamcal.ptc.solutions import solutions
from streamcal.sink.reader import TableReader, Tail
from streamcal.sink.schema import exposures_schema, measurement_schema, without_segment
from streamcal.sink.segments import Current

__all__ = ["count_rows", "covariances", "decode_flags", "exposures", "follow", "read", "solutions"]

Output: TypeAlias = str | os.PathLike[str]


def read(
    output: Output | Sequence[Output],
    columns: Sequence[str] | None = None,
    filter: pc.Expression | None = None,  # noqa: A002 - the name that pyarrow uses
    *,
    table: str = "measurements",
) -> pa.Table:
    """Read all committed rows.

    Parameters
    ----------
    output : path or sequence of paths
        Output folders; their rows follow one another.
    columns : sequence of str, optional
        Columns to return, in this order; all by default.
    filter : pyarrow.compute.Expression, optional
        Which rows to return, such as ``pc.field("amplifier") == "C00"``; it may name any column.
    table : str
        Which table of the output.

    Returns
    -------
    pyarrow.Table
        Rows in order of commit. Columns that only some segments have are null elsewhere, numbers of different width
        become the wider one. Unit and description of a column stand in its field's metadata.

    Raises
    ------
    FileNotFoundError
        If a folder is no output of streamcal.
    StateError
        If results are missing or damaged; names file and offset.
    ValueError
        If a column is unknown, or has types in different outputs that cannot become one.
    """
    outputs = [output] if isinstance(output, str | os.PathLike) else output
    sources = [(reader, current) for reader, current in map(partial(_open_table, table), outputs) if current]
    if not sources:
        return _empty_table(table, columns)
    schema = _unify_schemas(sources)
    _check_names(columns, schema)
    parts = [
        _prepare(pa.Table.from_batches(content.batches, content.schema), schema, columns, filter)
        for reader, current in sources
        for content in reader.read_segments(current)
    ]
    return pa.concat_tables(parts)


def _open_table(table: str, output: Output) -> tuple[TableReader, Current | None]:
    folder = Path(output) / table
    if not folder.is_dir():
        msg = f"{output} is no output of streamcal, or none yet: it has no folder {table!r}"
        raise FileNotFoundError(msg)
    reader = TableReader(folder)
    return reader, reader.current()


def _empty_table(table: str, columns: Sequence[str] | None) -> pa.Table:
    """Return a table without rows: before the first commit nobody knows the columns of the stages."""
    known = {"measurements": measurement_schema((), chain_digest=""), "exposures": exposures_schema()}
    schema = without_segment(known.get(table, pa.schema([])))
    if columns is not None:
        schema = pa.schema([schema.field(name) if name in schema.names else (name, pa.null()) for name in columns])
    return schema.empty_table()


def _unify_schemas(sources: Sequence[tuple[TableReader, Current]]) -> pa.Schema:
    """Return one schema for all segments: order, units and metadata as in the newest that has a column."""
    schemas = [
        without_segment(reader.read_schema(number, current))
        for reader, current in reversed(sources)
        for number in range(current.segment, 0, -1)
    ]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowTypeError as exc:
        msg = f"the outputs do not fit together: {exc}"
        raise ValueError(msg) from exc


def _check_names(columns: Sequence[str] | None, schema: pa.Schema) -> None:
    for name in columns or ():
        if name not in schema.names:
            msg = f"columns must be among {', '.join(schema.names)}; got {name!r}"
            raise ValueError(msg)


def _prepare(
    table: pa.Table, schema: pa.Schema, columns: Sequence[str] | None, condition: pc.Expression | None
) -> pa.Table:
    table = pa.concat_tables([schema.empty_table(), table], promote_options="permissive")
    if condition is not None:
        table = table.filter(condition)
    return table if columns is None else _copy(table.select(columns))


def _copy(table: pa.Table) -> pa.Table:
    """Return a table that does not keep the bytes of the other columns in memory."""
    batches = [ipc.read_record_batch(batch.serialize(), table.schema) for batch in table.to_batches() if batch.num_rows]
    return pa.Table.from_batches(batches, table.schema)


def follow(
    output: Output,
    start: Literal["end", "begin"] | int = "end",
    timeout: float | None = None,
    *,
    poll_seconds: float = 0.2,
    table: str = "measurements",
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield rows as they are committed, each once and in order.

    It goes on over rolled and sealed segments, new columns and restarts of the daemon, and waits for an output that
    is not there yet.

    Parameters
    ----------
    output : path
        Output folder.
    start : {"end", "begin"} or int
        ``"end"``: only what is committed after this call; ``"begin"``: everything; a number: from this row on, such
        as the row after the last one that an earlier `follow` yielded.
    timeout : float, optional
        Seconds without a new row after which it ends; for ever by default.
    poll_seconds : float
        How long to sleep between two looks.
    table : str
        Which table of the output.

    Returns
    -------
    iterator of (int, pyarrow.RecordBatch)
        Number of the batch's first row in the whole table, and the batch. Usually a batch is one commit; rows that are
        sealed already come in larger ones.

    Raises
    ------
    StateError
        If results are missing or damaged; names file and offset.
    ValueError
        If ``start`` is none of these.
    """
    return _poll(Tail(Path(output) / table, _first_row(start)), timeout, poll_seconds)


def count_rows(output: Output, *, table: str = "measurements") -> int:
    """Return how many rows are committed, without reading them.

    Raises
    ------
    FileNotFoundError
        If the folder is no output of streamcal.
    """
    _, current = _open_table(table, output)
    return current.rows if current else 0


def _first_row(start: str | int) -> int | None:
    if isinstance(start, int) and start >= 0:
        return start
    if start not in ("begin", "end"):
        msg = f"start must be 'begin', 'end' or a row number from 0, got {start!r}"
        raise ValueError(msg)
    return 0 if start == "begin" else None


def _poll(tail: Tail, timeout: float | None, poll_seconds: float) -> Iterator[tuple[int, pa.RecordBatch]]:
    quiet_since = time.monotonic()
    while True:
        for row, batch in tail.poll():
            yield row, batch
            quiet_since = time.monotonic()
        left = float("inf") if timeout is None else quiet_since + timeout - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(poll_seconds, left))


def exposures(output: Output | Sequence[Output], *, history: bool = False) -> pa.Table:
    """Read what became of each exposure.

    Parameters
    ----------
    output : path or sequence of paths
        Output folders.
    history : bool
        Return every change, in order, and not only how things stand.

    Returns
    -------
    pyarrow.Table
        One row per exposure, that is per detector of a file's content: the newest. Order of the latest change.

    Raises
    ------
    FileNotFoundError, StateError, ValueError
        As `read`.
    """
    outputs = [output] if isinstance(output, str | os.PathLike) else output
    tables = [read(one, table="exposures") for one in outputs]
    if not history:
        tables = [table.take(_newest_rows(table)) for table in tables]
    return pa.concat_tables(tables, promote_options="permissive")


def _newest_rows(table: pa.Table) -> pa.Array:
    """Return the index of the last row about each exposure, ascending; rows are in order of commit."""
    newest = {number: index for index, number in enumerate(table["number"].to_pylist())}
    return pa.array(sorted(newest.values()), pa.int64())


def covariances(
    table: pa.Table, column: Literal["covariance", "covariance_error", "n_pixels"] = "covariance"
) -> NDArray[Any]:
    """Return the matrices of a column as one array.

    Parameters
    ----------
    table : pyarrow.Table
        What `read` gave; a record batch of `follow` will do.
    column : {"covariance", "covariance_error", "n_pixels"}
        Which matrices.

    Returns
    -------
    (rows, max_lag, max_lag) ndarray of float64, or of int64 for ``n_pixels``
        ``[row, i, j]``: lag i along x (serial), j along y (parallel); ADU^2, or pixel pairs. ``max_lag`` is the largest
        in the table; what a row does not have is NaN, or 0 pixel pairs.

    Raises
    ------
    ValueError
        If a matrix is not square.
    """
    cells = table[column]
    if isinstance(cells, pa.ChunkedArray):
        cells = cells.combine_chunks()
    lags = pc.fill_null(pc.list_value_length(cells), 0).to_numpy(zero_copy_only=False)
    counts = pa.types.is_integer(cells.type.value_type.value_type)
    size = int(lags.max(initial=0))
    stacked = np.full((len(lags), size, size), 0 if counts else np.nan, dtype=np.int64 if counts else np.float64)
    for lag in np.unique(lags[lags > 0]):
        rows = lags == lag
        matrix_rows = cells.filter(pa.array(rows)).flatten()
        if (pc.unique(pc.list_value_length(matrix_rows)).to_pylist()) != [lag]:
            msg = f"matrices of column {column!r} must be square, got one of {lag} rows that is not"
            raise ValueError(msg)
        stacked[rows, :lag, :lag] = matrix_rows.flatten().to_numpy(zero_copy_only=False).reshape(-1, lag, lag)
    return stacked
