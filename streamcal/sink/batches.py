"""Rows as plain values become a record batch: exactly, or not at all."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from streamcal.sink.columns import AUXILIARY_PREFIX, OPTIONAL_COLUMNS


def build_batch(schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    """Make a record batch of rows.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the table.
    rows : sequence of mapping
        Value by column. numpy scalars and arrays count as the numbers and nested lists they hold; ``None`` is null;
        an int fills a float column. No other type is made into another. Columns of stages, auxiliary columns and
        `OPTIONAL_COLUMNS` may be missing (null).

    Raises
    ------
    ValueError
        If a value does not have its column's type, a column is missing or there is one that the schema lacks. Names
        column and amplifier.
    """
    unknown = [(name, row) for row in rows for name in row if schema.get_field_index(name) < 0]
    if unknown:
        name, row = unknown[0]
        msg = f"{_place(name, row)}: not declared"
        raise ValueError(msg)
    columns = [_build_column(field, rows) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def set_seq(batch: pa.RecordBatch, seq: int) -> pa.RecordBatch:
    """Return a batch with ``seq`` in all rows of its column of this name."""
    index = batch.schema.get_field_index("seq")
    values = pa.array([seq] * batch.num_rows, pa.int64())
    return batch.set_column(index, batch.schema.field(index), values)


def type_text(kind: pa.DataType) -> str:
    """Return an Arrow type the way a `Column` declares it."""
    text = str(kind).replace("item: ", "").replace("double", "float64").replace("tz=", "")
    return re.sub(r"\bfloat\b", "float32", text)


def _build_column(field: pa.Field, rows: Sequence[Mapping[str, Any]]) -> pa.Array:
    values = [_convert_cell(field, row) for row in rows]
    try:
        return pa.array(values, type=field.type)
    except (pa.ArrowException, OverflowError, ValueError) as exc:
        msg = f"column {field.name!r}: a value does not fit into {type_text(field.type)}: {exc}"
        raise ValueError(msg) from exc


def _convert_cell(field: pa.Field, row: Mapping[str, Any]) -> Any:
    if field.name not in row:
        if _may_be_missing(field):
            return None
        msg = f"{_place(field.name, row)}: missing"
        raise ValueError(msg)
    try:
        return _convert(row[field.name], field.type)
    except (TypeError, ValueError) as exc:
        msg = f"{_place(field.name, row)}: must be {type_text(field.type)}, got {exc}"
        raise ValueError(msg) from exc


def _may_be_missing(field: pa.Field) -> bool:
    from_stage = b"stage" in (field.metadata or {})
    return from_stage or field.name in OPTIONAL_COLUMNS or field.name.startswith(AUXILIARY_PREFIX)


def _place(name: str, row: Mapping[str, Any]) -> str:
    return f"column {name!r}" + (f", amplifier {row['amplifier']!r}" if "amplifier" in row else "")


def _convert(value: Any, kind: pa.DataType) -> Any:
    """Return what pyarrow takes for a value; raise `TypeError` with the value's description if the type is wrong."""
    if value is None:
        return None
    if isinstance(value, np.generic | np.ndarray):
        if np.ma.isMaskedArray(value):  # tolist would make None of masked elements, but keeps no dtype to check
            raise TypeError(_describe(value))
        value = value.item() if isinstance(value, np.generic) else value.tolist()
    if pa.types.is_list(kind):
        items = _expect(value, (list, tuple))
        if _plain_types(kind.value_type).issuperset(map(type, items)):  # most are rows of numbers: one look at each
            return items
        return [_convert(item, kind.value_type) for item in items]
    if pa.types.is_map(kind):
        items = _expect(value, (Mapping,)).items()
        return [(_convert(key, kind.key_type), _convert(item, kind.item_type)) for key, item in items]
    return _convert_scalar(value, kind)


def _convert_scalar(value: Any, kind: pa.DataType) -> Any:
    accepted = _accepted_types(kind)
    if isinstance(value, bool) and bool not in accepted:  # a bool is an int to Python
        raise TypeError(_describe(value))
    if isinstance(_expect(value, accepted), datetime) and value.tzinfo is None:
        raise TypeError(_describe(value) + " without a time zone")
    return value


@functools.cache
def _plain_types(kind: pa.DataType) -> frozenset[type]:
    """Return the types whose values need no further look; none of a list's or a time's."""
    nested = pa.types.is_list(kind) or pa.types.is_map(kind) or pa.types.is_timestamp(kind)
    return frozenset() if nested else frozenset({*_accepted_types(kind), type(None)})


@functools.cache
def _accepted_types(kind: pa.DataType) -> tuple[type, ...]:
    if pa.types.is_boolean(kind):
        return (bool,)
    if pa.types.is_integer(kind):
        return (int,)
    if pa.types.is_floating(kind):
        return (float, int)
    return (datetime,) if pa.types.is_timestamp(kind) else (str,)


def _expect(value: Any, accepted: tuple[type, ...]) -> Any:
    if isinstance(value, accepted):
        return value
    raise TypeError(_describe(value))


def _describe(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
