"""Calibrations of crosstalk in the worker processes of a real run."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np

from streamcal import results
from streamcal.calibs import CrosstalkCalib
from streamcal.results import decode_flags
from streamcal.simulate import DEFAULT_CAMERA, simulate_run

CAMERA = replace(DEFAULT_CAMERA, shape=(128, 96), prescan=4, overscan=16)
CONFIG = """
instrument = "simulated"
[source]
folders = ["incoming"]
[output]
folder = "output"
[engine]
kind = "local"
workers = 1
[log]
format = "json"
[pipeline]
stages = ["isr", "crosstalk"]
[stages.crosstalk]
file = "{detector}.fits"
"""


def test_a_worker_reads_a_file_once_for_all_its_pairs(tmp_path):
    """It warns when it reads: of six exposures in three pairs once, while the rows of all are flagged."""
    calib = CrosstalkCalib(n_amp=4)
    calib.has_crosstalk, calib.crosstalk_ratios_units, calib.coeffs[0, 1] = True, "electron", 1e-4
    calib.fit_gains = np.array([1.5, np.nan, 1.7, 1.8])
    calib.write_fits(tmp_path / "S00.fits")
    simulate_run(tmp_path / "incoming", CAMERA, [1000.0, 2000.0, 4000.0])
    (tmp_path / "run.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "streamcal", "run", "run.toml", "--once"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True, timeout=100)
    said = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert [entry["n_amplifiers"] for entry in said if entry["event"] == "crosstalk gains unknown"] == [1]
    rows = results.read(tmp_path / "output").to_pylist()
    assert len(rows) == 12
    assert all("CROSSTALK_GAIN_REPLACED" in decode_flags(row["flags"]) for row in rows)
