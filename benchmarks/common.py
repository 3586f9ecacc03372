"""What the benchmarks share: how they time, how they report, and full-size exposures to work on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.textbook import textbook_covariances
from streamcal.engine.worker import keep_memory
from streamcal.instruments import fits, inspect_file, load_instrument
from streamcal.instruments.index import IndexCache
from streamcal.jobs import Recipe, inspect_job, pair_job
from streamcal.pairing import form_pair
from streamcal.records import Candidate, ExposureInfo, FileStat
from streamcal.simulate import LSSTCAM
from streamcal.source.whole import Limits

N_AMPLIFIERS = len(LSSTCAM.amplifiers)
INSTRUMENT = {"base": "simulated", "geometry": {"images": N_AMPLIFIERS}}
STAGES = ("isr", "crosstalk", "covariance", "gain")
SETTINGS = {"crosstalk": {"matrix": [list(row) for row in LSSTCAM.crosstalk]}, "gain": {"correction": "UNBIASED"}}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One number of a benchmark, beside what it should be."""

    what: str
    value: float
    target: str = ""  # as the table shows it; empty: no promise
    holds: bool | None = None
    detail: str = ""

    def __str__(self) -> str:
        verdict = {None: "", True: "holds", False: "MISSED"}[self.holds]
        return f"{self.what:60s} {self.value:9.3f}  {self.target:10s} {verdict:7s} {self.detail}"


def at_least(what, value, limit, detail=""):
    """Return a finding that should not be below a limit."""
    return Finding(what=what, value=value, target=f">= {limit:g}", holds=value >= limit, detail=detail)


def at_most(what, value, limit, detail=""):
    """Return a finding that should not be above a limit."""
    return Finding(what=what, value=value, target=f"<= {limit:g}", holds=value <= limit, detail=detail)


def report(findings):
    """Print findings; a script's last line for `python -m benchmarks`, which reads them back."""
    for finding in findings:
        print(finding)
    if "--json" in sys.argv:
        print(json.dumps([asdict(finding) for finding in findings]))


def best_of(functions, repeats=5):
    """Time functions in turn, so that all meet the same neighbours; return the fewest CPU seconds of each.

    CPU seconds of this process, not of the clock: what others do on the machine counts less. Freed memory is kept, as
    in a worker, and each function is timed twice in a row: the second time it finds the cache as it left it.
    """
    keep_memory()
    seconds = dict.fromkeys(functions, np.inf)
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            for _ in range(2):
                start = time.process_time()
                function()
                seconds[name] = min(seconds[name], time.process_time() - start)
    return seconds


@contextmanager
def scratch_folder():
    """Return a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="streamcal-bench-") as name:
        yield Path(name)


def make_flats(shape=LSSTCAM.shape, level=30000.0, seed=1):
    """Return two flats of one amplifier, ADU, and a mask without and one with 1 % of bad pixels."""
    rng = np.random.default_rng(seed)
    flats = rng.normal(level, np.sqrt(level), (2, *shape)).astype(np.float32)
    return flats, np.zeros(shape, np.uint32), (rng.random(shape) < 0.01).astype(np.uint32)


def time_textbook(flats, repeats=3):
    """Return the CPU seconds of the textbook covariances of one amplifier."""
    difference, weight = flats[0].astype(np.float64) - flats[1], np.ones(flats[0].shape)
    return best_of({"textbook": lambda: textbook_covariances(difference, weight)}, repeats)["textbook"]


@cache
def recipe(**isr):
    """Return the recipe of a full-size pair, crosstalk on, with these settings of the stage isr."""
    return make_recipe(INSTRUMENT, SETTINGS | {"isr": isr})


def make_recipe(instrument, settings):
    """Return the recipe of pairs of another instrument."""
    values, limits = load_instrument(instrument, base=Path()).to_dict(), asdict(Limits())
    return Recipe(instrument=values, stages=STAGES, settings=settings, limits=limits)


def write_pairs(  # noqa: PLR0913 - options of the command
    folder, pairs=1, *, suffix=".fits", shape=LSSTCAM.shape, detectors=("S00",), biases=0, camera="lsstcam"
):
    """Write flats, in a process of its own that keeps its memory to itself; return their paths in order."""
    options = {"--camera": camera, "--pairs": pairs, "--lowest": 2000, "--suffix": suffix, "--biases": biases}
    options |= {"--rows": shape[0], "--columns": shape[1]}
    words = [str(word) for option in options.items() for word in option]
    words += [word for detector in detectors for word in ("--detector", detector)]
    command = [sys.executable, "-m", "streamcal", "simulate", str(folder), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return sorted(folder.glob(f"*{suffix}"))


def look_into(path, chosen=None):
    """Have a file inspected as a worker does, by the recipe of a full-size pair or this one; return its exposure."""
    job = inspect_job(Candidate(path=str(path), stat=FileStat.of(path.stat())), chosen or recipe())
    return ExposureInfo.from_dict(json.loads(inspect_file(job))["exposures"][0])


def make_job(first, second, **isr):
    """Return the job that measures two files, with these settings of the stage isr."""
    return pair_job(form_pair(look_into(first), look_into(second)), recipe(**isr).to_json())


def forget_headers():
    """Forget the headers of files that were read: those that come from a camera are new to a worker."""
    fits._CACHE = IndexCache(fits.MOST_INDICES)  # noqa: SLF001 - nobody else has a reason to


def write_run_config(folder, incoming, **tables):
    """Write a run configuration for full-size files; return its path and that of its output."""
    from streamcal.plugins import load_plugins
    from streamcal.template import write_template

    known = load_plugins().stages
    values = {
        "instrument": INSTRUMENT,
        "source": {"folders": [str(incoming)], "settle_seconds": 0.2},
        "output": {"folder": str(folder / "output")},
        "pairing": {"group": ["@run"]},
        "stages": SETTINGS,
    }
    values |= {name: {**values.get(name, {}), **table} for name, table in tables.items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "streamcal.toml"
    path.write_text(
        write_template(values, {name: known[name].settings for name in STAGES}, path.name), encoding="utf-8"
    )
    return path, folder / "output"


def start_daemon(config, *options):
    """Start a daemon as a process of its own; its log is dropped."""
    command = [sys.executable, "-m", "streamcal", "run", str(config), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def cpu_seconds(pid):
    """Return the CPU seconds that a process has used so far, its children left out."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
