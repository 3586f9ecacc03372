"""The template works as it is; copy these tests together with it."""

import math
import shutil
from pathlib import Path

import pytest

from streamcal.chain import build_chain
from streamcal.plugins import load_plugins
from streamcal.testing import RecordingContext, make_pair

FILE = Path(__file__).parents[1] / "my_stage.py"


@pytest.fixture
def plugins(tmp_path):
    """Load the plugins, with this one file dropped into a folder."""
    shutil.copyfile(FILE, tmp_path / FILE.name)
    (tmp_path / FILE.name).chmod(0o644)
    return load_plugins([tmp_path])


def test_fraction_of_a_gaussian(plugins):
    """Of Gaussian light 4.55 % lie beyond two standard deviations, within four errors of 128 x 128 pixels."""
    stage = plugins.stages["outliers"]
    rows = stage.run(make_pair(electrons=20000), stage.settings(n_sigma=2.0), RecordingContext("outliers"))
    expected = math.erfc(2 / math.sqrt(2))
    error = math.sqrt(expected * (1 - expected)) / 128
    assert rows.keys() == {"C00", "C01", "C10", "C11"}
    assert all(row["outlier_fraction"] == pytest.approx(expected, abs=4 * error) for row in rows.values())


def test_a_hit_is_counted(plugins):
    """Pixels that only one flat has high are found, although the clipping leaves them out of the variance."""
    stage = plugins.stages["outliers"]
    pair = make_pair(electrons=20000)
    pair.first.amplifiers["C00"].data[5, 10:20] += 5000
    context = RecordingContext("outliers")
    rows = stage.run(pair, stage.settings(n_sigma=10.0), context)
    assert rows["C00"] == {"outlier_fraction": 10 / 128**2}
    assert context.metadata == {"outliers:worst": 10 / 128**2}
    assert "outliers:count" in context.timings


def test_it_runs_in_a_chain(plugins):
    """Behind the built-in stages, with settings as the configuration gives them."""
    chain = build_chain(["isr", "covariance", "outliers"], {"outliers": {"n_sigma": 3.0}}, plugins)
    rows = chain.run(make_pair(electrons=20000, corrected=False), RecordingContext())
    assert all(0.001 < row["outlier_fraction"] < 0.005 for row in rows.values())
