"""From flats of 1 Mpx whose charge was displaced, through files, daemon and fit, back to the truth.

python -m benchmarks.ptc_images              40 levels from 100 e- to beyond full well: one minute
python -m benchmarks.ptc_images --runs 5     so often, each with other noise
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.common import Finding, at_most, report, scratch_folder
from streamcal.simulate import BrighterFatter, Camera, SimulatedAmplifier, simulate_run

FULL_WELL = 90_000.0  # e-
LEVELS = tuple(round(float(level), 1) for level in np.geomspace(100, 120_000, 40))  # e-
KERNEL = BrighterFatter(a10=2e-7, a01=6.4e-7, a11=2.2e-7, steps=4)
AMPLIFIER = SimulatedAmplifier(name="C00", gain=1.5, read_noise=5.5, full_well=FULL_WELL)
CAMERA = Camera(amplifiers=(AMPLIFIER,), shape=(1000, 1000), overscan=64, brighter_fatter=KERNEL, gradient=1.0)
LARGEST_PULL = 3.0
CONFIGURATION = """
instrument = {{ base = "simulated", geometry = {{ images = 1 }} }}
[source]
folders = ["{folder}/in"]
settle_seconds = 0.0
[pipeline]
stages = ["isr", "covariance", "gain"]
[stages.covariance]
max_lag = 8
[engine]
kind = "inline"
[output]
folder = "{folder}/out"
[log]
level = "error"
[fit]
live = false
"""


def call(*words: object) -> str:
    """Run a command of streamcal and return what it prints."""
    command = [sys.executable, "-m", "streamcal", *map(str, words)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def measure(folder: Path, seed: int) -> None:
    """Simulate the flats, write them and have the daemon measure them."""
    simulate_run(folder / "in", CAMERA, LEVELS, seed=seed)
    (folder / "run.toml").write_text(CONFIGURATION.format(folder=folder), encoding="utf-8")
    call("run", folder / "run.toml", "--once")


def judge(row: dict) -> list[Finding]:
    """Return what a solution is off by."""
    noise = math.hypot(AMPLIFIER.read_noise, AMPLIFIER.gain / math.sqrt(12))  # the converter's rounding is part of it
    kernel, error = np.array(row["a_matrix"])[:2, :2], np.array(row["a_matrix_error"])[:2, :2]
    pulls = (kernel - KERNEL.matrix) / error
    found = [
        ("gain (%)", 100 * (row["gain"] / AMPLIFIER.gain - 1), 0.2),
        ("noise (%)", 100 * (row["noise"] / noise - 1), 2.0),
        *((f"a{i}{j} (errors)", pull, LARGEST_PULL) for (i, j), pull in np.ndenumerate(pulls)),
        (
            "turnoff (levels)",
            math.log(row["turnoff"] * row["gain"] / FULL_WELL) / math.log(LEVELS[-1] / LEVELS[-2]),
            1.0,
        ),
    ]
    how = f"{row['n_used']} of {row['n_pairs']} pairs used, chi2/dof {row['chi2_dof']:.3f}"
    return [
        at_most(f"{row['model']}: {name} off by", float(abs(off)), limit, f"{off:+.3f}; {how}")
        for name, off, limit in found
    ]


def run(seed: int) -> list[Finding]:
    """Go the whole way once."""
    with scratch_folder() as folder:
        measure(folder, seed)
        models = ("FULLCOVARIANCE_NO_B", "FULLCOVARIANCE")
        answers = [call("fit", folder / "out", "--model", model, "--json", "--no-save") for model in models]
    return [finding for answer in answers for finding in judge(json.loads(answer))]


def main() -> None:
    """Run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    print(f"{len(LEVELS)} levels of {CAMERA.shape[0]} x {CAMERA.shape[1]} pixels")
    report([finding for seed in range(1, 1 + parser.parse_args().runs) for finding in run(seed)])


if __name__ == "__main__":
    main()
