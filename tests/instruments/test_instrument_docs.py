"""The documentation of instruments holds every key, as the model describes it, and examples that load."""

import re
import textwrap
import tomllib
from pathlib import Path

import pytest

from streamcal.instruments import Instrument, instrument_names
from streamcal.instruments.model import AmplifierTable, GeometryTable, IdentifyTable, Lookup, Rule

DOCS = (Path(__file__).parents[2] / "docs" / "instruments.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("model", [Instrument, IdentifyTable, Rule, Lookup, GeometryTable, AmplifierTable])
def test_every_key_is_documented(model) -> None:
    """The table under the model's heading lists its keys, in its words, and says which are required."""
    text = DOCS.split(f"### {model.__name__}\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", text, re.MULTILINE)
    assert {key: (default == "required", meaning) for key, default, meaning in rows} == {
        key: (field.is_required(), field.description) for key, field in model.model_fields.items()
    }


def test_every_shipped_instrument_is_documented() -> None:
    """The list of cameras is that of the package."""
    text = DOCS.split("With streamcal come:")[1].split("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == instrument_names()


def test_the_whole_example_loads() -> None:
    """A reader can copy it."""
    example = re.search(r'\n((?:    .*\n|\n)*    name = "teststand"\n(?:    .*\n|\n)*)', DOCS)[1]
    assert Instrument.from_dict(tomllib.loads(textwrap.dedent(example))).geometry.images == 16
