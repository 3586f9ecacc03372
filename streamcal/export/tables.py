"""A table as one file: Parquet, Feather or CSV."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamcal.export.files import write_whole

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = {"parquet": ".parquet", "feather": ".feather", "csv": ".csv"}


def write_table(table: pa.Table, path: Path, kind: str) -> None:
    """Write a table; the file appears at once, whole, and replaces one of this name.

    Parameters
    ----------
    table : pyarrow.Table
        Units and descriptions in the fields' metadata are kept by Parquet and Feather.
    path : Path
        The file; its folder is made if needed.
    kind : {"parquet", "feather", "csv"}
        Form. CSV holds lists and maps as JSON, NaN in them as null, and the units in a first line behind ``#``.

    Raises
    ------
    ValueError
        If there is no such form.
    ConfigError
        If the file cannot be written.
    """
    if kind not in SUFFIXES:
        msg = f"kind must be one of {', '.join(SUFFIXES)}, got {kind!r}"
        raise ValueError(msg)
    with write_whole(path) as hidden:
        {"parquet": _write_parquet, "feather": _write_feather, "csv": _write_csv}[kind](table, hidden)


def _write_parquet(table: pa.Table, path: Path) -> None:
    from pyarrow import parquet

    parquet.write_table(table, path, compression="zstd")


def _write_feather(table: pa.Table, path: Path) -> None:
    from pyarrow import feather

    feather.write_feather(table, path, compression="zstd")


def _write_csv(table: pa.Table, path: Path) -> None:
    from pyarrow import csv

    with path.open("wb") as file:
        file.write(f"# units: {json.dumps(_units(table), ensure_ascii=False)}\n".encode())
        csv.write_csv(flatten(table), file)


def _units(table: pa.Table) -> dict[str, str]:
    units = {field.name: (field.metadata or {}).get(b"unit", b"").decode() for field in table.schema}
    return {name: unit for name, unit in units.items() if unit not in {"", "1"}}


def flatten(table: pa.Table) -> pa.Table:
    """Return a table whose lists and maps are JSON texts."""
    import pyarrow as pa

    for index, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            is_map = pa.types.is_map(field.type)
            texts = [_to_json(value, is_map=is_map) for value in table[field.name].to_pylist()]
            table = table.set_column(index, pa.field(field.name, pa.string()), pa.array(texts, pa.string()))
    return table


def _to_json(value: Any, *, is_map: bool) -> str | None:
    if value is None:
        return None
    return json.dumps(_plain(dict(value) if is_map else value))


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
