"""Rows of measurements for people and for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from streamcal.flags import decode_flags

NATURAL_WIDTH = 1000  # characters; wider than any table
SHOWN = ("detector", "amplifier", "exposure_id_1", "exposure_id_2", "exposure_time", "mean", "variance")
SHOWN_LAST = ("gain", "gain_error", "read_noise", "flags")


def make_table(columns: Sequence[str] = ()) -> Table:
    """Return an empty table with a heading for each column (none: the usual ones)."""
    table = Table(box=None, pad_edge=False)
    for name in columns or (*SHOWN, *SHOWN_LAST):
        justify: Literal["left", "right"] = "left" if name in {"flags", "detector", "amplifier"} else "right"
        table.add_column(name, justify=justify, no_wrap=True, min_width=max(len(name), 9))
    return table


def print_table(table: Table) -> None:
    """Print a table at its natural width: a narrow terminal wraps lines, but no number is ever cut short."""
    Console(width=NATURAL_WIDTH, markup=False).print(table)


def format_row(row: Mapping[str, Any], columns: Sequence[str] = ()) -> list[str]:
    """Return a row's cells as text."""
    return [format_value(name, row.get(name)) for name in columns or (*SHOWN, *SHOWN_LAST)]


def format_value(name: str, value: Any) -> str:
    """Return one value as a person wants to read it."""
    if value is None:
        return ""
    if name == "flags":
        return " ".join(decode_flags(value))
    if isinstance(value, float):
        return "nan" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def format_json(row: Mapping[str, Any]) -> str:
    """Return a row as one line of JSON; flags by name as well, NaN as null, maps as objects."""
    values = {name: _plain(value) for name, value in row.items()}
    if "timings" in row:
        values["timings"] = dict(row["timings"] or ())
    if "flags" in row:
        values["flag_names"] = decode_flags(row["flags"])
    return json.dumps(values)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy's scalars and arrays, which a stage may return
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    return [_plain(item) for item in value] if isinstance(value, list) else value
