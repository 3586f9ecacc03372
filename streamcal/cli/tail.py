"""`streamcal tail`: the latest rows, and those that come."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from streamcal.cli.tables import format_json, format_row, make_table, print_table
from streamcal.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa


class RowPrinter:
    """Prints rows as they come, as a table or as lines of JSON.

    Parameters
    ----------
    columns : sequence of str
        Columns to show; none: the usual ones of a table, all in JSON.
    as_json : bool
        A line of JSON a row.
    """

    def __init__(self, columns: Sequence[str], *, as_json: bool) -> None:
        self._columns = columns
        self._as_json = as_json
        self._headed = False

    def show(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Print rows.

        Raises
        ------
        ConfigError
            If a column does not exist.
        """
        for batch in batches:
            self._check_columns(batch.schema.names)
        rows = [row for batch in batches for row in batch.to_pylist()]
        if self._as_json:
            for row in rows:
                typer.echo(format_json({name: row[name] for name in self._columns} if self._columns else row))
        else:
            self._show_table(rows)
        sys.stdout.flush()

    def _check_columns(self, known: Sequence[str]) -> None:
        unknown = [name for name in self._columns if name not in known]
        if unknown:
            msg = f"--column {unknown[0]!r} does not exist, known: {', '.join(known)}"
            raise ConfigError(msg)

    def _show_table(self, rows: Sequence[dict[str, Any]]) -> None:
        table = make_table(self._columns)
        table.show_header = not self._headed
        self._headed = True
        for row in rows:
            table.add_row(*format_row(row, self._columns))
        print_table(table)


def show_latest(output: Path, n_rows: int, printer: RowPrinter, *, wait: bool) -> int:
    """Print the latest rows; return the number of the row that comes next.

    With ``wait`` the output need not be there yet.

    Raises
    ------
    ConfigError
        If there is no output.
    """
    from streamcal import results

    try:
        first = max(results.count_rows(output) - n_rows, 0)
    except FileNotFoundError as exc:
        if wait:
            return 0
        raise ConfigError(str(exc)) from exc
    batches = [batch for _, batch in results.follow(output, start=first, timeout=0)]
    printer.show(batches)
    return int(first + sum(batch.num_rows for batch in batches))


def show_following(output: Path, start: int, timeout: float | None, printer: RowPrinter) -> None:
    """Print rows as they come, until interrupted or none has come for so many seconds."""
    from streamcal import results

    try:
        for _, batch in results.follow(output, start=start, timeout=timeout):
            printer.show([batch])
    except KeyboardInterrupt:
        return
