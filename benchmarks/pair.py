"""A pair of 16 amplifiers from files to committed rows, crosstalk on, against the textbook covariances of the 16.

All that is done with a pair is in it: both files are inspected (walked, digested, headers parsed), read and measured,
two files and a pair are entered into the journal, and the rows are appended in a transaction that ends the pair. Files
are in the page cache; their headers are new. Only the waits for the disk are left out: CPU seconds count.

Run: ``python -m benchmarks.pair [--plot FILE]``
"""

import argparse
import resource
from pathlib import Path

import pyarrow as pa
from astropy.io import fits

from benchmarks.common import (
    N_AMPLIFIERS,
    Finding,
    at_most,
    best_of,
    forget_headers,
    look_into,
    make_flats,
    make_job,
    report,
    scratch_folder,
    write_pairs,
)
from benchmarks.reading import decompress_all, load_tables
from benchmarks.sink import time_commits
from benchmarks.textbook import textbook_covariances
from streamcal.engine.worker import keep_memory
from streamcal.jobs import measure_pair
from streamcal.simulate import LSSTCAM

MEGABYTE = 1e6
FLOATS = 2 * N_AMPLIFIERS * 2002 * 512 * 4 / MEGABYTE  # the two images as float32, MB
MOST_MEMORY = 3 * FLOATS + 250


def write_columns(folder):
    """Write a list of bad pixels, five columns or 1 % of each amplifier; return the setting that names it."""
    path = folder / "bad.txt"
    path.write_text("".join(f"{amplifier.name} [100:104,*]\n" for amplifier in LSSTCAM.amplifiers), encoding="utf-8")
    return {"bad_pixels": str(path)}


def write_frames(folder):
    """Write a bias frame, and another one that passes for a dark frame; return the settings that name them."""
    bias, dark, *_ = write_pairs(folder, biases=2)
    fits.setval(dark, "EXPTIME", value=1000.0)
    return {"bias": str(bias), "dark": str(dark)}


def peak_megabytes(job):
    """Measure a pair some times; return the largest memory of this process so far."""
    for _ in range(3):
        measure_pair(job)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE


def inspect_anew(paths):
    """Inspect files whose headers are not known."""
    forget_headers()
    for path in paths:
        look_into(path)


def time_pairs(files, jobs, rows):
    """Return the CPU seconds of the parts of a pair; append to ``rows`` what measuring gives."""
    (first, second), tables = make_flats()[0], load_tables(files["rice"])
    difference, weight = first.astype(float) - second, first * 0.0 + 1.0

    def process(name, kind):
        inspect_anew(files[kind])
        return measure_pair(jobs[name])

    def measure_elsewhere():
        forget_headers()
        measure_pair(jobs["plain"])

    return best_of(
        {
            "textbook": lambda: textbook_covariances(difference, weight),
            "inspect": lambda: inspect_anew(files["plain"]),
            "plain": lambda: rows.append(process("plain", "plain")),
            "columns": lambda: process("columns", "plain"),
            "elsewhere": measure_elsewhere,
            "rice": lambda: process("rice", "rice"),
            "tiles": lambda: decompress_all(tables),
        },
        repeats=3,
    )


def read_timings(streams):
    """Return the seconds of the clock that each stage took, of the quickest pair."""
    batches = [pa.ipc.open_stream(stream).read_next_batch() for stream in streams]
    timings = min((dict(batch["timings"][0].as_py()) for batch in batches), key=lambda stages: sum(stages.values()))
    return {name: seconds for name, seconds in timings.items() if ":" not in name}, batches[0]


def draw_stages(timings, path):
    """Draw where a pair's time goes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.5 + 0.4 * len(timings)), layout="constrained")
    bars = axes.barh(list(timings), [1e3 * seconds for seconds in timings.values()], color="#4477aa")
    axes.bar_label(bars, fmt="%.0f ms", padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds of a pair of 16 amplifiers, plain files, crosstalk on, one thread")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def judge(seconds, commit):
    """Hold a whole pair against the textbook's covariances, and a compressed one against its decompression."""
    textbook, whole = N_AMPLIFIERS * seconds["textbook"], seconds["plain"] + commit
    columns, rice, allowed = seconds["columns"] + commit, seconds["rice"] + commit, seconds["tiles"] + whole
    elsewhere = seconds["inspect"] + seconds["elsewhere"] + commit

    def show(value, reference):
        return f"{value:.3f} s / {reference:.3f} s"

    return [
        at_most("whole pair / textbook covariances", whole / textbook, 0.25, show(whole, textbook)),
        Finding(
            what="the same, inspected by another worker: headers parsed twice",
            value=elsewhere / textbook,
            detail=show(elsewhere, textbook),
        ),
        Finding(what="the same with 1 % of bad columns", value=columns / textbook, detail=show(columns, textbook)),
        at_most("Rice-compressed pair / (decompression + plain pair)", rice / allowed, 1.25, show(rice, allowed)),
    ]


def main():
    """Measure, print, draw."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    plot = parser.parse_args().plot
    keep_memory()
    rows = []
    with scratch_folder() as folder:
        files = {"plain": write_pairs(folder / "plain"), "rice": write_pairs(folder / "rice", suffix=".fits.fz")}
        jobs = {name: make_job(*paths) for name, paths in files.items()}
        columns, frames = write_columns(folder), write_frames(folder / "frames")
        jobs["columns"] = make_job(*files["plain"], **columns)
        with_frames = make_job(*files["plain"], **columns, **frames)
        peaks = [peak_megabytes(job) for job in (jobs["plain"], jobs["columns"], with_frames)]  # of one process: rising
        seconds = time_pairs(files, jobs, rows)
        timings, batch = read_timings(rows)
        clock, commit = time_commits(folder / "output", batch, 50)
    timings = {"inspect": seconds["inspect"], **timings, "commit": commit}
    if plot:
        draw_stages(timings, plot)
    detail = f"two images as float32: {FLOATS:.0f} MB"
    report(
        [
            *judge(seconds, commit),
            at_most("peak memory (MB)", peaks[0], MOST_MEMORY, detail),
            at_most("peak memory with 1 % of bad columns (MB)", peaks[1], MOST_MEMORY, detail),
            at_most(
                "peak memory with bias, dark and bad columns (MB)",
                peaks[2],
                MOST_MEMORY + 3 * FLOATS,
                "the frames are two further images",
            ),
            *(Finding(what=f"of it: {name} (s)", value=value) for name, value in timings.items()),
            Finding(what="commit, the disk's waits included (s of the clock)", value=clock),
        ]
    )


if __name__ == "__main__":
    main()
