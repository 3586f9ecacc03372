"""Real light, by the shipped configurations, as a user runs them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from streamcal import results
from streamcal.config import load_config
from streamcal.daemon import EXIT_DONE, run_daemon

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture
def run(reference, tmp_path):
    """Run a shipped configuration once on the folder of its camera; return the output."""

    def run(name, change=None):
        config = load_config(CONFIG / f"{name}.toml", inputs=(reference / name,), output=tmp_path / name)
        assert run_daemon(change(config) if change else config, once=True) == EXIT_DONE
        return tmp_path / name

    return run


def test_esis(run):
    """The four taps of ESIS have the gains that its makers find, within 1 %; its darks are ignored."""
    output = run("esis")
    rows = results.read(output).to_pylist()
    expected = {"00": 2.529, "01": 2.508, "10": 2.530, "11": 2.512}
    assert {row["amplifier"]: row["gain"] for row in rows} == pytest.approx(expected, rel=0.01)
    noise = {row["amplifier"]: row["read_noise"] for row in rows}
    assert noise == pytest.approx({"00": 4.03, "01": 3.87, "10": 4.17, "11": 4.24}, rel=0.01)
    assert {row["read_noise_source"] for row in rows} == {"frames"}
    assert Counter(results.exposures(output)["disposition"].to_pylist()) == {"paired": 2, "ignored": 2}


def test_efosc2(run):
    """Both lamp pairs of EFOSC2 give 1.21 e-/ADU within 2 %; every other frame has the disposition that is due."""
    output = run("efosc2")
    rows = results.read(output).to_pylist()
    assert [row["gain"] for row in rows] == pytest.approx([1.21, 1.21], rel=0.02)
    assert not any("SHAPE_DRIFT" in results.decode_flags(row["flags"]) for row in rows)
    dispositions = Counter(results.exposures(output)["disposition"].to_pylist())
    assert dispositions == {"paired": 4, "extra": 2, "orphan": 3, "ignored": 6}


def test_efosc2_over_the_whole_frame_carries_its_flag(run):
    """Slit spectra whose shape drifts within the pair cannot be measured as a whole: the rows say so."""

    def whole(config):
        stages = {name: dict(settings) for name, settings in config.stages.items()}
        del stages["covariance"]["blocks"]
        return config.model_copy(update={"stages": stages})

    rows = results.read(run("efosc2", whole)).to_pylist()
    assert ["SHAPE_DRIFT" in results.decode_flags(row["flags"]) for row in rows] == [True, True]
