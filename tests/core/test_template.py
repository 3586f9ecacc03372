"""Values are written as TOML that reads back as the same."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcal.template import write_value

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_round_trip(value) -> None:
    """Whatever the text, the nesting and the keys."""
    assert tomllib.loads(f"key = {write_value(value)}")["key"] == value


def test_patterns_keep_their_backslashes() -> None:
    """They stand in single quotes, and keys bare, as a person would write them."""
    assert write_value([{"key": "@name", "pattern": r"_(\d+)\."}]) == r"""[{ key = "@name", pattern = '_(\d+)\.' }]"""
    assert write_value({"ESO DPR TYPE": "it's \\"}) == r'{ "ESO DPR TYPE" = "it' + r"""'s \\" }"""


def test_nothing_is_no_toml() -> None:
    """There is no word for it."""
    with pytest.raises(TypeError, match="value must be one that TOML has, got None"):
        write_value({"a": None})
