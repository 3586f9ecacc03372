"""What an engine costs a pair, and how one worker compares with two.

Run: ``python -m benchmarks.engines [pairs]``. A job of a pair's size that does nothing goes through each engine, eight
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
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.common import Finding, at_most, report
from streamcal.engine import EngineOptions, make_engine
from streamcal.faults.clusters import LocalCluster

QUEUE = 8
ROUNDS = 5
AMPLIFIERS = 16
JOB_BYTES = 4 << 10  # as long as a pair's job with its recipe
GOALS = {"local": 2.0, "dask": 10.0}  # ms
WORK = {"compute": "jobs that compute", "wait": "jobs that wait"}


def main() -> None:
    """Measure, print."""
    counts = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    count = counts[0] if counts else 200
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} before, best of {ROUNDS} rounds of {count}")
    with tempfile.TemporaryDirectory() as folder, LocalCluster(Path(folder)) as cluster:
        cluster.start_scheduler()
        cluster.start_worker()
        settings = {"inline": {"kind": "inline"}, "local": {"kind": "local"}, "dask": cluster.settings}
        overheads = {name: measure_overhead(options, count) for name, options in settings.items()}
        one = {key: measure_work(settings[key[0]], 1, key[1]) for key in product(GOALS, WORK)}
        cluster.start_worker()
        two = {key: measure_work(settings[key[0]], 2, key[1]) for key in one}
    print(f"load {os.getloadavg()[0]:.1f} after")
    report([*judge_overheads(overheads), *(describe_scaling(*key, one[key], two[key]) for key in one)])


def judge_overheads(overheads: dict) -> Iterator[Finding]:
    """Hold what each engine costs a pair against its goal."""
    for name, milliseconds in overheads.items():
        what = f"overhead of a pair, {name} (ms of the clock)"
        yield at_most(what, milliseconds, GOALS[name]) if name in GOALS else Finding(what=what, value=milliseconds)


def describe_scaling(name: str, work: str, one: float, two: float) -> Finding:
    """Say how much faster two workers are than one."""
    return Finding(
        what=f"one worker / two, {name}, {WORK[work]}", value=one / two, detail=f"{one:.0f} ms / {two:.0f} ms"
    )


def measure_overhead(options: dict, count: int) -> float:
    """Return the milliseconds that a job which does nothing takes, some being under way at once."""
    job = os.urandom(JOB_BYTES)
    with make_engine(EngineOptions(**options)) as engine:
        wait_for_workers(engine, 1)
        return min(time_jobs(engine, "builtins:bytes", job, count) for _ in range(ROUNDS))


def measure_work(options: dict, workers: int, work: str) -> float:
    """Return the milliseconds a job when numbers are computed, or when it only waits and needs no processor."""
    options = replace(
        EngineOptions(**options, workers=workers),
        start="benchmarks.engines:compute",
        environment={"PYTHONPATH": str(Path.cwd())},
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
