"""Columns of the result tables: names, types, units and descriptions, and the schemas made of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

import pyarrow as pa

import streamcal
from streamcal.errors import ConfigError
from streamcal.hookspecs import Column
from streamcal.sink.batches import build_batch, type_text
from streamcal.sink.columns import AUXILIARY_PREFIX, CONTRACT_ORDER, CORE_COLUMNS, EXPOSURE_COLUMNS

SCHEMA_VERSION = "1"

__all__ = [
    "SCHEMA_VERSION",
    "arrow_type",
    "auxiliary_column",
    "build_batch",
    "change_of_type",
    "check_columns",
    "exposures_schema",
    "measurement_schema",
    "schema_id",
    "without_segment",
]

_SCALARS = {
    "float64": pa.float64(),
    "float32": pa.float32(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "timestamp[us, UTC]": pa.timestamp("us", tz="UTC"),
}
_LIST = re.compile(r"list<(.+)>")
_MAP = re.compile(r"map<string, ?(.+)>")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SEGMENT_METADATA = frozenset({b"schema_id", b"segment", b"first_row", b"rows", b"crc32c"})


def arrow_type(text: str) -> pa.DataType:
    """Return the Arrow type that a column's type text means.

    Parameters
    ----------
    text : str
        One of the scalar types (``float64``, ``string``, ``timestamp[us, UTC]``, ...), ``list<T>`` or
        ``map<string, T>``, nested at will.

    Raises
    ------
    ValueError
        If the text means no type.
    """
    if text in _SCALARS:
        return _SCALARS[text]
    if match := _LIST.fullmatch(text):
        return pa.list_(arrow_type(match[1]))
    if match := _MAP.fullmatch(text):
        return pa.map_(pa.string(), arrow_type(match[1]))
    msg = f"type must be list<...>, map<string, ...> or one of {', '.join(_SCALARS)}, got {text!r}"
    raise ValueError(msg)


def auxiliary_column(key: str) -> str:
    """Return the column name of a header key: ``DATE-OBS`` becomes ``aux_date_obs``."""
    return AUXILIARY_PREFIX + re.sub(r"[^a-z0-9]+", "_", key.lower())


def check_columns(columns: Sequence[Column]) -> None:
    """Check the columns that one stage declares.

    Raises
    ------
    ValueError
        If a name is not lower case with underscores, is declared twice, belongs to the core or begins like an
        auxiliary column; if a type is unknown; if the unit of a number or a description is missing.
    """
    taken = {column.name for column in CORE_COLUMNS}
    for column in columns:
        if not _NAME.fullmatch(column.name):
            msg = f"column name must be lower case letters, digits and underscores, got {column.name!r}"
            raise ValueError(msg)
        if column.name in taken or column.name.startswith(AUXILIARY_PREFIX):
            msg = f"column {column.name!r} exists already: it is one of the core's or declared twice"
            raise ValueError(msg)
        _check_description(column)
        taken.add(column.name)


def _check_description(column: Column) -> None:
    try:
        kind = arrow_type(column.type)
    except ValueError as exc:
        msg = f"column {column.name!r}: {exc}"
        raise ValueError(msg) from exc
    if not column.unit and not _is_text(kind):
        msg = f"column {column.name!r}: unit must be given ('1' for a pure number), got {column.unit!r}"
        raise ValueError(msg)
    if not column.description.strip():
        msg = f"column {column.name!r}: description must be given, got {column.description!r}"
        raise ValueError(msg)


def _is_text(kind: pa.DataType) -> bool:
    while pa.types.is_list(kind) or pa.types.is_map(kind):
        kind = kind.value_type if pa.types.is_list(kind) else kind.item_type
    return kind in (pa.string(), pa.bool_())


def measurement_schema(
    stage_columns: Sequence[tuple[str, Sequence[Column]]],
    auxiliary_keys: Sequence[str] = (),
    *,
    chain_digest: str,
    version: str = streamcal.__version__,
) -> pa.Schema:
    """Return the schema of the ``measurements`` table.

    Parameters
    ----------
    stage_columns : sequence of (str, sequence of Column)
        Columns by stage, in order of the chain, checked by `check_columns`.
    auxiliary_keys : sequence of str
        Header keys that become text columns ``aux_<key>``.
    chain_digest : str
        Digest of the stages, their settings, plugins and versions.
    version : str
        Version of streamcal.

    Returns
    -------
    pyarrow.Schema
        Contract columns in contract order, then those of other stages, then the auxiliary ones. Each field's metadata
        holds ``unit``, ``description`` and, for columns of a stage, ``stage``.

    Raises
    ------
    ConfigError
        If two auxiliary keys become the same column.
    """
    fields = {column.name: _field(column) for column in CORE_COLUMNS}
    for stage, columns in stage_columns:
        fields.update({column.name: _field(column, stage) for column in columns})
    order = [name for name in CONTRACT_ORDER if name in fields]
    order += [name for name in fields if name not in CONTRACT_ORDER]
    stages = json.dumps([stage for stage, _ in stage_columns])
    metadata = {"streamcal_version": version, "stages": stages, "chain_digest": chain_digest}
    return _finish_schema([*(fields[name] for name in order), *_auxiliary_fields(auxiliary_keys)], metadata)


def exposures_schema(version: str = streamcal.__version__) -> pa.Schema:
    """Return the schema of the ``exposures`` table: a row each time it changes what becomes of an exposure."""
    return _finish_schema([_field(column) for column in EXPOSURE_COLUMNS], {"streamcal_version": version})


def _field(column: Column, stage: str = "") -> pa.Field:
    metadata = {"unit": column.unit, "description": column.description} | ({"stage": stage} if stage else {})
    return pa.field(column.name, arrow_type(column.type), metadata=metadata)


def _auxiliary_fields(keys: Sequence[str]) -> list[pa.Field]:
    fields: dict[str, pa.Field] = {}
    owners: dict[str, str] = {}
    for key in keys:
        name = auxiliary_column(key)
        if name in owners:
            msg = f"pipeline.auxiliary_keys: {owners[name]!r} and {key!r} both become the column {name!r}"
            raise ConfigError(msg)
        owners[name] = key
        text = f"Header value {key} of the first flat, as text; null where the header lacks it."
        fields[name] = pa.field(name, pa.string(), metadata={"unit": "", "description": text})
    return list(fields.values())


def _finish_schema(fields: list[pa.Field], metadata: dict[str, str]) -> pa.Schema:
    schema = pa.schema(fields, metadata={"schema_version": SCHEMA_VERSION, **metadata})
    return schema.with_metadata({**schema.metadata, b"schema_id": schema_id(schema)})


def schema_id(schema: pa.Schema) -> str:
    """Return a digest of names, types and all metadata but those of a segment: equal for schemas that mean the same."""
    content = [
        [[field.name, str(field.type), field.nullable, _sorted_items(field.metadata)] for field in schema],
        _sorted_items(schema.metadata),
    ]
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


def _sorted_items(metadata: dict[bytes, bytes] | None) -> list[tuple[str, str]]:
    items = ((key, value) for key, value in (metadata or {}).items() if key not in _SEGMENT_METADATA)
    return sorted((key.decode(), value.decode()) for key, value in items)


def without_segment(schema: pa.Schema) -> pa.Schema:
    """Return a schema without the metadata that belong to one segment, for a table of several."""
    metadata = {key: value for key, value in (schema.metadata or {}).items() if key not in _SEGMENT_METADATA}
    return schema.with_metadata(metadata)


def change_of_type(old: pa.Schema, new: pa.Schema) -> str:
    """Tell which column has another type in a new schema; empty if none has."""
    for field in new:
        index = old.get_field_index(field.name)
        if index >= 0 and (before := old.field(index).type) != field.type:
            return f"column {field.name!r} is {type_text(field.type)} now and was {type_text(before)} in earlier rows"
    return ""
