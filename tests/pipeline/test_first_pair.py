"""The first pair of a worker finds everything loaded and compiled."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from streamcal.config import LogConfig, parse_config
from streamcal.instruments import inspect_file, load_instrument
from streamcal.jobs import Recipe, inspect_job, pair_job, start_job
from streamcal.pairing import form_pair
from streamcal.records import Candidate, ExposureInfo, FileStat
from streamcal.simulate import DEFAULT_CAMERA, simulate_run

# large enough for the scan of large samples
CAMERA = replace(DEFAULT_CAMERA, shape=(400, 256), prescan=4, overscan=16)
STAGES = {"crosstalk": {"matrix": [[0.0, 1e-4, 0.0, 0.0]] * 4}, "gain": {"correction": "FULL"}}

SCRIPT = """
import sys
from pathlib import Path

from numba.core.dispatcher import Dispatcher
from streamcal.jobs import measure_pair, warm_worker

start, pair = (Path(name).read_bytes() for name in sys.argv[1:])


def look():
    named = {name: module for name, module in sys.modules.items() if name.startswith("streamcal")}
    kernels = {
        (name, key, str(signature))
        for name, module in named.items()
        for key, value in vars(module).items()
        if isinstance(value, Dispatcher)
        for signature in value.signatures
    }
    return set(sys.modules), kernels


warm_worker(start)
before = look()
measure_pair(pair)
after = look()
assert len(before[1]) > 5
print([sorted(late - early, key=str) for early, late in zip(before, after)])
"""


@pytest.mark.parametrize("suffix", [".fits", ".fits.fz"])
def test_nothing_is_loaded_or_compiled_for_the_first_pair(tmp_path, suffix):
    """Overscan, crosstalk, covariances and gain of plain and compressed files, in a process of its own."""
    simulate_run(tmp_path, CAMERA, [5000.0], suffix=suffix)
    config = parse_config({"instrument": "simulated", "output": {"folder": str(tmp_path)}, "stages": STAGES})
    recipe = Recipe.of(config, load_instrument("simulated", base=tmp_path))
    infos = []
    for path in sorted(tmp_path.glob(f"*{suffix}")):
        job = inspect_job(Candidate(path=str(path), stat=FileStat.of(path.stat())), recipe)
        infos.append(ExposureInfo.from_dict(json.loads(inspect_file(job))["exposures"][0]))
    jobs = {"start": start_job(recipe, LogConfig()), "pair": pair_job(form_pair(*infos), recipe.to_json())}
    for name, job in jobs.items():
        (tmp_path / name).write_bytes(job)
    names = [str(tmp_path / name) for name in jobs]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "[[], []]\n"
