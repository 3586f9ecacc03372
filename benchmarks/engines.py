"""What an engine costs a pair, and how one worker compares with two.

Run: ``python benchmarks/engines.py [pairs]``. A job of a pair's size that does nothing goes through each engine, eight
at a time, as in the daemon; the best of five rounds counts, and the inline engine's time is what the job itself takes.
Then detectors of sixteen amplifiers of 1k x 1k pixels are measured by one worker and by two, and jobs are run that only
wait: where two workers have less than a processor each, these tell what the engine itself does. On a machine that does
other work meanwhile the numbers say little: its load is printed beside them.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import deque
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from streamcal.engine import EngineOptions, make_engine
from streamcal.faults.clusters import LocalCluster

QUEUE = 8
ROUNDS = 5
AMPLIFIERS = 16
JOB_BYTES = 16 << 10  # as long as a pair's job with its recipe
GOALS = {"local": 2.0, "dask": 10.0}  # ms


def main() -> None:
    """Print overheads and scaling."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} before, best of {ROUNDS} rounds of {count}")
    with tempfile.TemporaryDirectory() as folder, LocalCluster(Path(folder)) as cluster:
        cluster.start_scheduler()
        cluster.start_worker()
        settings = {"inline": {"kind": "inline"}, "local": {"kind": "local"}, "dask": cluster.settings}
        overheads = {name: measure_overhead(options, count) for name, options in settings.items()}
        for name, milliseconds in overheads.items():
            goal = f", goal below {GOALS[name]:g}" if name in GOALS else ""
            print(f"overhead a pair, {name:6} {milliseconds:7.3f} ms{goal}")
        seconds = {}
        for workers in (1, 2):
            if workers == 2:
                cluster.start_worker()
            for name in GOALS:
                for work in ("compute", "wait"):
                    seconds[name, work, workers] = measure_work({**settings[name], "workers": workers}, work)
        for name in GOALS:
            for work in ("compute", "wait"):
                one, two = (seconds[name, work, workers] for workers in (1, 2))
                print(f"{work:7} {name:5} {one:5.0f} ms a job by one worker, two are {one / two:.2f} x as fast")
    print(f"load {os.getloadavg()[0]:.1f} after")


def measure_overhead(options: dict, count: int) -> float:
    """Return the milliseconds that a job which does nothing takes, some being under way at once."""
    job = os.urandom(JOB_BYTES)
    with make_engine(EngineOptions(**options)) as engine:
        wait_for_workers(engine, 1)
        return min(time_jobs(engine, "builtins:bytes", job, count) for _ in range(ROUNDS))


def measure_work(options: dict, work: str) -> float:
    """Return the milliseconds a job when numbers are computed, or when it only waits and needs no processor."""
    workers = options["workers"]
    options = replace(
        EngineOptions(**options), start="benchmarks.engines:compute", environment={"PYTHONPATH": str(Path.cwd())}
    )
    with make_engine(options) as engine:
        wait_for_workers(engine, workers)
        return min(time_jobs(engine, f"benchmarks.engines:{work}", b"", 8 * workers) for _ in range(3))


def wait_for_workers(engine, workers: int) -> None:
    """Wait until so many can be used and have run something."""
    while (engine_workers := getattr(engine, "state", None)) and engine_workers.workers not in (None, workers):
        time.sleep(0.1)
    for future in [engine.submit("builtins:bytes", b"") for _ in range(4 * workers)]:
        future.result()


def time_jobs(engine, function: str, job: bytes, count: int) -> float:
    """Return the milliseconds a job, with as many under way as the daemon has."""
    began, under_way = time.perf_counter(), deque()
    for _ in range(count):
        if len(under_way) == QUEUE:
            under_way.popleft().result()
        under_way.append(engine.submit(function, job))
    for future in under_way:
        future.result()
    return 1000 * (time.perf_counter() - began) / count


def compute(_job: bytes) -> bytes:
    """Measure sixteen amplifiers."""
    from streamcal.measure import measure_amplifier

    first, second = make_flats()
    return str([measure_amplifier(first, second, read_noise=5.0).gain for _ in range(AMPLIFIERS)]).encode()


@cache
def make_flats() -> tuple[np.ndarray, np.ndarray]:
    """Return two flats of 1k x 1k pixels."""
    rng = np.random.default_rng(1)
    first, second = (rng.normal(20000, 120, (1024, 1024)).astype(np.float32) for _ in range(2))
    return first, second


def wait(_job: bytes) -> bytes:
    """Take a twentieth of a second, and no processor."""
    time.sleep(0.05)
    return b""


if __name__ == "__main__":
    main()
