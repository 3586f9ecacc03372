"""From simulated images, with charge that is really displaced, through files and pipeline to the fit."""

import math
from dataclasses import replace

import numpy as np
import pytest

from streamcal.config import parse_config
from streamcal.daemon import run_daemon
from streamcal.ptc import FitConfig, FitFlag
from streamcal.ptc.observations import find_groups
from streamcal.ptc.solutions import fit_rows
from streamcal.simulate import DEFAULT_CAMERA, BrighterFatter, simulate_run

KERNEL = BrighterFatter(a10=2e-7, a01=6.4e-7, a11=2.2e-7, steps=4)
FULL_WELL = 80_000.0
CAMERA = replace(
    DEFAULT_CAMERA,
    amplifiers=tuple(replace(amplifier, full_well=FULL_WELL) for amplifier in DEFAULT_CAMERA.amplifiers),
    shape=(240, 240),
    overscan=32,
    gradient=1.0,
    crosstalk=(),
    brighter_fatter=KERNEL,
)
LEVELS = [round(level, 1) for level in np.geomspace(200.0, 1.25 * FULL_WELL, 18)]


def measure(folder, camera, levels, seed=1):
    """Write the run, measure it, and return the solutions by amplifier."""
    simulate_run(folder / "in", camera, levels, seed=seed)
    values = {
        "instrument": "simulated",
        "source": {"folders": [str(folder / "in")], "settle_seconds": 0.0},
        "pipeline": {"stages": ["isr", "covariance", "gain"]},
        "stages": {"isr": {"model": "MEDIAN"}, "covariance": {"max_lag": 4}},
        "engine": {"kind": "inline"},
        "output": {"folder": str(folder / "out")},
        "log": {"level": "error"},
    }
    assert run_daemon(parse_config(values), once=True) == 0
    (key,) = find_groups(folder / "out")
    config = FitConfig(model="FULLCOVARIANCE_NO_B", side=3)
    return {row["amplifier"]: row for row in fit_rows(folder / "out", key, config)}


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    """Measure eighteen levels to beyond full well."""
    return measure(tmp_path_factory.mktemp("images"), CAMERA, LEVELS)


@pytest.mark.parametrize("amplifier", CAMERA.amplifiers, ids=lambda amplifier: amplifier.name)
def test_gain_and_noise_of_the_camera_come_out(solved, amplifier):
    """Gain and noise, that of digitisation included, are the truth within four errors."""
    row = solved[amplifier.name]
    noise = math.hypot(amplifier.read_noise, amplifier.gain / math.sqrt(12))
    assert row["gain"] == pytest.approx(amplifier.gain, abs=4 * row["gain_error"])
    assert row["noise"] == pytest.approx(noise, abs=4 * row["noise_error"])
    assert row["gain_error"] < 0.005 * amplifier.gain


@pytest.mark.parametrize("name", [amplifier.name for amplifier in CAMERA.amplifiers])
def test_the_kernel_of_the_camera_comes_out(solved, name):
    """a00, a01, a10 and a11 are the truth within four errors, others are zero within four."""
    truth = np.zeros((3, 3))
    truth[:2, :2] = KERNEL.matrix
    pulls = (np.array(solved[name]["a_matrix"]) - truth) / np.array(solved[name]["a_matrix_error"])
    assert np.abs(pulls).max() < 4
    assert solved[name]["a_matrix"][0][1] > 10 * solved[name]["a_matrix_error"][0][1]


@pytest.mark.parametrize("amplifier", CAMERA.amplifiers, ids=lambda amplifier: amplifier.name)
def test_turnoff_is_found_within_a_level_of_full_well(solved, amplifier):
    """The highest level used is the last one below full well, or its neighbour."""
    row = solved[amplifier.name]
    below = max(index for index, level in enumerate(LEVELS) if level < FULL_WELL)
    assert LEVELS[below - 1] * 0.99 < row["turnoff"] * amplifier.gain < LEVELS[below + 1]
    assert not row["flags"] & FitFlag.TURNOFF_NOT_REACHED
    assert row["n_used"] >= below


def test_a_single_level_is_refused(tmp_path):
    """As few levels as a monitoring run takes give no curve, and the reason says how many there were."""
    small = replace(CAMERA, shape=(128, 128), brighter_fatter=replace(KERNEL, steps=1))
    row = measure(tmp_path, small, [20_000.0])["C00"]
    assert row["reason"] == "too few levels: 1 usable, 5 needed; of 1 pairs 1 usable"
    assert math.isnan(row["gain"])
    assert row["flags"] == FitFlag.TOO_FEW_LEVELS
