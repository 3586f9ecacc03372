"""Rows do not depend on how many workers or threads there are, bit for bit."""

import os
import subprocess
import sys
from dataclasses import replace

from streamcal.faults.compare import compare, read_outcome
from streamcal.simulate import DEFAULT_CAMERA, simulate_run

MATRIX = [[0.0, 1e-3, 2e-4, 1e-4], [7e-4, 0.0, 3e-4, 1e-4], [1e-4, 2e-4, 0.0, 9e-4], [3e-4, 1e-4, 8e-4, 0.0]]


RUNS = [("inline", 1, 1), ("inline", 1, 3), ("local", 1, 1), ("local", 2, 2)]  # engine, workers, threads
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def test_rows_do_not_depend_on_workers_or_threads(site):
    """Inline with one thread and with three, one worker and two, crosstalk and all."""
    large = replace(DEFAULT_CAMERA, shape=(300, 256), prescan=4, overscan=16)  # for the kernels of large samples
    simulate_run(site.incoming, large, [1000.0, 2000.0, 4000.0, 8000.0])
    outcomes = []
    for kind, workers, n_threads in RUNS:
        site.output = site.folder / f"{kind}-{workers}-{n_threads}"
        config = site.write_config(
            engine={"kind": kind, "workers": workers},
            output={"folder": str(site.output)},
            stages={"crosstalk": {"matrix": MATRIX}, "gain": {"correction": "FULL"}},
        )
        command = [sys.executable, "-m", "streamcal", "run", str(config), "--once"]
        environment = os.environ | dict.fromkeys(THREADS, str(n_threads))
        subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
        outcomes.append(read_outcome(site.output))
    assert len(outcomes[0].rows) == 16
    for other in outcomes[1:]:
        verdict = compare(outcomes[0], other)
        assert verdict, verdict
