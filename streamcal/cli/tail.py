"""`streamcal tail`: the latest rows, and those that come."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from streamcal.cli.tables import format_json, format_row, make_table
from streamcal.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa


def show_rows(
    output: Path, *, follow: bool, n_rows: int, columns: Sequence[str], timeout: float | None, as_json: bool
) -> None:
    """Print the latest rows and, with ``follow``, those that come.

    Raises
    ------
    ConfigError
        If a column does not exist.
    """
    from streamcal import results

    latest = _latest(output, n_rows)
    _check_columns(columns, latest)
    begin = results.count_rows(output)
    _print_rows(latest.to_pylist(), columns, as_json=as_json)
    if not follow:
        return
    try:
        for _, batch in results.follow(output, start=begin, timeout=timeout):
            _print_rows(batch.to_pylist(), columns, as_json=as_json, headings=False)
    except KeyboardInterrupt:
        return


def _latest(output: Path, n_rows: int) -> pa.Table:
    from streamcal import results

    table = results.read(output)
    return table.slice(max(table.num_rows - n_rows, 0))


def _check_columns(columns: Iterable[str], table: pa.Table) -> None:
    for name in columns:
        if table.num_columns and name not in table.column_names:
            msg = f"--column {name!r} does not exist, known: {', '.join(table.column_names)}"
            raise ConfigError(msg)


def _print_rows(
    rows: Sequence[dict[str, Any]], columns: Sequence[str], *, as_json: bool, headings: bool = True
) -> None:
    if as_json:
        for row in rows:
            typer.echo(format_json({name: row[name] for name in columns} if columns else row))
    else:
        _print_table(rows, columns, headings=headings)
    sys.stdout.flush()


def _print_table(rows: Sequence[dict[str, Any]], columns: Sequence[str], *, headings: bool) -> None:
    from rich.console import Console

    table = make_table(columns)
    table.show_header = headings
    for row in rows:
        table.add_row(*format_row(row, columns))
    Console(soft_wrap=not sys.stdout.isatty()).print(table)
