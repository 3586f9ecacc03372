"""The documentation of instruments holds every key, as the model describes it, and examples that load."""

import re
import textwrap
import tomllib
from pathlib import Path

import pytest

from streamcal.instruments import Instrument, instrument_names
from streamcal.instruments.detectors import split_detectors
from streamcal.instruments.layout import place_amplifiers
from streamcal.instruments.model import AmplifierTable, GeometryTable, IdentifyTable, ImageCount, Lookup, Rule
from streamcal.records import Section

DOCS = (Path(__file__).parents[2] / "docs" / "instruments.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("model", [Instrument, IdentifyTable, Rule, Lookup, GeometryTable, ImageCount, AmplifierTable])
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


def test_the_example_of_older_keck_cameras(shipped) -> None:
    """It reads a file of four amplifiers on two detectors: prescan before, overscan behind the light."""
    example = re.search(r'\n((?:    .*\n|\n)*    base = "keck"\n(?:    .*\n|\n)*)', DOCS)[1]
    instrument = shipped(tomllib.loads(textwrap.dedent(example)))
    image = {"NAXIS": 2, "NAXIS1": 1155, "NAXIS2": 4096, "DATASEC": "[52:1075,1:4096]"}
    images = [image | {"EXTNAME": f"VidInp{n}", "CCDLOC": 1 + (n > 2)} for n in range(1, 5)]
    headers = [{"NAXIS": 0, "INSTRUME": "LRISBLUE"}, *images]
    detectors = split_detectors(instrument, headers, "/data/b240101_0001.fits")
    assert [(detector.name, detector.hdus) for detector in detectors] == [("1", (1, 2)), ("2", (3, 4))]
    place = place_amplifiers(instrument, headers, detectors[1])["VidInp4"]
    assert place.overscan == {
        "serial": Section(x0=1075, x1=1155, y0=0, y1=4096),
        "prescan": Section(x0=0, x1=51, y0=0, y1=4096),
    }


def test_the_whole_example_loads() -> None:
    """A reader can copy it."""
    example = re.search(r'\n((?:    .*\n|\n)*    name = "teststand"\n(?:    .*\n|\n)*)', DOCS)[1]
    assert Instrument.from_dict(tomllib.loads(textwrap.dedent(example))).geometry.images == 16
