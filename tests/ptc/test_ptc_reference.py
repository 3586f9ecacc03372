"""Real exposures of two cameras: too few levels for a curve, and the solution says so."""

import math
from pathlib import Path

import pytest

from streamcal.config import load_config
from streamcal.daemon import run_daemon
from streamcal.ptc import FitFlag
from streamcal.ptc.observations import find_groups
from streamcal.ptc.settings import FitConfig
from streamcal.ptc.solutions import fit_rows

CONFIG = Path(__file__).parents[2] / "config"


@pytest.mark.parametrize("name", ["esis", "efosc2"])
def test_real_runs_of_few_levels_are_refused(reference, tmp_path, name):
    """Every amplifier of every group gets NaN and the number of levels there were."""
    config = load_config(CONFIG / f"{name}.toml", inputs=(reference / name,), output=tmp_path / "out")
    inline = config.engine.model_copy(update={"kind": "inline"})
    run_daemon(config.model_copy(update={"engine": inline}), once=True)
    keys = find_groups(tmp_path / "out")
    rows = [row for key in keys for row in fit_rows(tmp_path / "out", key, FitConfig())]
    assert rows
    for row in rows:
        assert row["flags"] == FitFlag.TOO_FEW_LEVELS
        assert row["reason"].startswith("too few levels: ")
        assert " usable, 5 needed" in row["reason"]
        assert math.isnan(row["gain"])
