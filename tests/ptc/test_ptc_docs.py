"""The page on curves says what is so."""

from pathlib import Path

import pytest

from streamcal.flags import describe_flags
from streamcal.ptc import MODELS, FitConfig, LimitsConfig
from streamcal.ptc.flags import FitFlag

PAGE = (Path(__file__).parents[2] / "docs" / "ptc.md").read_text()


@pytest.mark.parametrize("entry", describe_flags(FitFlag), ids=lambda entry: entry[1])
def test_every_flag_is_on_the_page(entry):
    """Bit, name and meaning as in the registry."""
    bit, name, meaning = entry
    assert f"| {bit} | `{name}` | {meaning} |" in PAGE


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_on_the_page(model):
    """With its equation."""
    assert f"| `{model}` |" in PAGE


@pytest.mark.parametrize("table", [FitConfig, LimitsConfig])
def test_every_setting_explains_itself(table):
    """A sentence a key."""
    assert all(field.description or name == "limits" for name, field in table.model_fields.items())
