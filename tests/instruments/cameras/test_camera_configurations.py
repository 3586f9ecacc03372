"""The configurations of cameras in config/ can be used with folders given on the command line."""

from pathlib import Path

import pytest

from streamcal.check import find_problems
from streamcal.config import load_config

CONFIG = Path(__file__).parents[3] / "config"


@pytest.mark.parametrize("name", ["lsstcam", "decam"])
def test_nothing_is_wrong(tmp_path, name) -> None:
    """Every key is known and every value allowed; the instrument is there."""
    (tmp_path / "in").mkdir()
    config = load_config(CONFIG / f"{name}.toml", inputs=(tmp_path / "in",), output=tmp_path / "out")
    assert find_problems(config) == []
    assert config.instrument == name
