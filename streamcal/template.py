"""A commented configuration to start from, written from the configuration's own description."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from streamcal.config import Config

WIDTH = 100
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

HEADER = """\
# A run of streamcal. Keys that are commented out show their defaults.
# Check it:  streamcal check {name}
# Run it:    streamcal run {name}
"""


def write_template(values: Mapping[str, Any], stages: Mapping[str, type[BaseModel]], name: str) -> str:
    """Return the text of a configuration in which every key is explained.

    Parameters
    ----------
    values : mapping
        Values that are set, nested as in the file; all other keys are commented out, with their defaults.
    stages : mapping of str to type
        Settings models of the stages to explain, in order.
    name : str
        File name for the heading.

    Returns
    -------
    str
        TOML text; `streamcal.config.parse_config` accepts it.
    """
    lines = [HEADER.format(name=name)]
    lines += _write_key("instrument", Config.model_fields["instrument"], values)
    tables = find_tables(Config)
    for key in Config.model_fields:
        if key in tables:
            lines += _write_table(key, tables[key], values.get(key, {}))
        elif key == "stages":
            for stage, model in stages.items():
                lines += _write_table(f"stages.{stage}", model, values.get("stages", {}).get(stage, {}))
    return "\n".join(lines)


def _write_table(name: str, model: type[BaseModel], values: Mapping[str, Any]) -> Iterator[str]:
    yield f"[{name}]"
    if model.__doc__:
        yield from _comment(model.__doc__.strip().splitlines()[0])
    yield ""
    tables = find_tables(model)
    for key, field in model.model_fields.items():
        if key not in tables:
            yield from _write_key(key, field, values)
    for key, table in tables.items():
        yield from _write_table(f"{name}.{key}", table, values.get(key, {}))


def find_tables(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Return the keys of a table that are tables themselves, with their models."""
    kinds = {key: field.annotation for key, field in model.model_fields.items()}
    return {key: kind for key, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}


def _write_key(key: str, field: FieldInfo, values: Mapping[str, Any]) -> Iterator[str]:
    yield from _comment(field.description or "")
    default = field.get_default(call_default_factory=True)
    if key in values:
        yield f"{key} = {write_value(values[key])}"
    elif default is None or default is PydanticUndefined:
        yield f"# {key} ="
    else:
        yield f"# {key} = {write_value(default)}"
    yield ""


def _comment(text: str) -> Iterator[str]:
    yield from textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def write_value(value: Any) -> str:
    """Return a value as TOML.

    Raises
    ------
    TypeError
        If TOML has no such value.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str | PurePath):
        return _write_text(str(value))
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        items = ", ".join(f"{_write_name(str(key))} = {write_value(item)}" for key, item in value.items())
        return f"{{ {items} }}" if items else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(write_value(item) for item in value) + "]"
    msg = f"value must be one that TOML has, got {value!r}"
    raise TypeError(msg)


def _write_text(text: str) -> str:
    """Return a TOML string, in single quotes where that spares backslashes, of which patterns are full."""
    return f"'{text}'" if "\\" in text and "'" not in text and text.isprintable() else _quote(text)


def _write_name(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else _quote(key)


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # which JSON allows as it is, TOML not
