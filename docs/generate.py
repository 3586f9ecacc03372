"""Write what follows from the code: docs/configuration.md and config/streamcal.toml (tests compare them with it).

python docs/generate.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from streamcal.config import DEFAULT_STAGES, Config
from streamcal.instruments import load_instrument
from streamcal.plugins import load_plugins
from streamcal.template import find_tables, write_template, write_value

ROOT = Path(__file__).parent.parent

INTRODUCTION = """\
# Configuration

One TOML file, validated as a whole before the first exposure: an unknown key (the nearest known one is named) or a
wrong type is an error that names file and key. `streamcal init` writes one to start from, `config/streamcal.toml` shows
every key, `streamcal check` finds what else can be wrong. Relative paths are relative to the file. `--input` and
`--output` of `streamcal run` replace `source.folders` and `output.folder`, so that one file serves many folders.

`instrument` is the name of an instrument, the path of an instrument file, or a table, see
[instruments.md](instruments.md). Header keys in `pairing.group` and `pipeline.auxiliary_keys` may be `@run` and
`@filter`, whatever the instrument calls them. The settings of each stage stand in `[stages.NAME]`, see
[stages.md](stages.md).
"""


def write_documents() -> dict[Path, str]:
    """Return the content of each generated file."""
    return {
        ROOT / "docs" / "configuration.md": "\n".join([INTRODUCTION, *_describe_tables()]),
        ROOT / "config" / "streamcal.toml": _write_example(),
    }


def _describe_tables() -> Iterator[str]:
    for name, table in find_tables(Config).items():
        yield from _describe_table(name, table)


def _describe_table(name: str, model: type[BaseModel]) -> Iterator[str]:
    yield f"## [{name}]\n"
    yield f"{(model.__doc__ or '').strip().splitlines()[0]}\n"
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    tables = find_tables(model)
    for key, field in model.model_fields.items():
        if key in tables:
            continue
        default = field.get_default(call_default_factory=True)
        shown = "" if default is None else f"`{write_value(default)}`"
        yield f"| `{key}` | {shown} | {field.description} |"
    yield ""
    for key, table in tables.items():
        yield from _describe_table(f"{name}.{key}", table)


def _write_example() -> str:
    plugins = load_plugins()
    values = {
        "instrument": "simple",
        "source": {"folders": ["incoming"]},
        "output": {"folder": "output"},
        "pairing": {"group": ["FILTER"]},
        "stages": load_instrument("simple", base=ROOT).init,
    }
    stages = {name: plugins.stages[name].settings for name in DEFAULT_STAGES}
    return write_template(values, stages, "streamcal.toml")


if __name__ == "__main__":
    for path, text in write_documents().items():
        path.write_text(text)
