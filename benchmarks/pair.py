"""A pair of 16 amplifiers from files to committed rows, crosstalk on, against the textbook covariances of the 16.

Run: ``python -m benchmarks.pair [--plot FILE]``
"""

import argparse
import resource
from pathlib import Path

import pyarrow as pa

from benchmarks.common import (
    N_AMPLIFIERS,
    Finding,
    at_most,
    best_of,
    make_flats,
    make_job,
    report,
    scratch_folder,
    write_pairs,
)
from benchmarks.reading import decompress_all, load_tables
from benchmarks.sink import time_appends
from benchmarks.textbook import textbook_covariances
from streamcal.engine.worker import keep_memory
from streamcal.jobs import measure_pair

MEGABYTE = 1e6
FLOATS = 2 * N_AMPLIFIERS * 2002 * 512 * 4 / MEGABYTE  # the two images as float32, MB


def peak_megabytes():
    """Return the largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE


def draw_stages(timings, path):
    """Draw where a pair's time goes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    stages = {name: seconds for name, seconds in timings.items() if ":" not in name}
    figure, axes = plt.subplots(figsize=(8, 0.5 + 0.4 * len(stages)), layout="constrained")
    bars = axes.barh(list(stages), [1e3 * seconds for seconds in stages.values()], color="#4477aa")
    axes.bar_label(bars, fmt="%.0f ms", padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds of a pair of 16 amplifiers, plain files, crosstalk on, one thread")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main():
    """Measure, print, draw."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    plot = parser.parse_args().plot
    keep_memory()
    with scratch_folder() as folder:
        plain, rice = write_pairs(folder / "plain"), write_pairs(folder / "rice", suffix=".fits.fz")
        jobs = {"plain": make_job(*plain), "rice": make_job(*rice)}
        for _ in range(3):
            measure_pair(jobs["plain"])
        peak = peak_megabytes()
        flats = make_flats()[0]
        difference, weight = flats[0].astype(float) - flats[1], flats[0] * 0.0 + 1.0
        tables, rows = load_tables(rice), []
        seconds = best_of(
            {
                "textbook": lambda: textbook_covariances(difference, weight),
                "plain": lambda: rows.append(measure_pair(jobs["plain"])),
                "rice": lambda: measure_pair(jobs["rice"]),
                "tiles": lambda: decompress_all(tables),
            },
            repeats=3,
        )
        batches = [pa.ipc.open_stream(stream).read_next_batch() for stream in rows]
        (folder / "output").mkdir()
        append = time_appends(folder / "output", batches[0], 50)[1]
    timings = min((dict(batch["timings"][0].as_py()) for batch in batches), key=lambda stages: sum(stages.values()))
    timings["commit"] = append
    if plot:
        draw_stages(timings, plot)
    textbook, whole = N_AMPLIFIERS * seconds["textbook"], seconds["plain"] + append
    allowed = seconds["tiles"] + whole
    report(
        [
            at_most("whole pair / textbook covariances", whole / textbook, 0.25, f"{whole:.3f} s / {textbook:.2f} s"),
            at_most(
                "Rice-compressed pair / (decompression + plain pair)",
                (seconds["rice"] + append) / allowed,
                1.25,
                f"{seconds['rice'] + append:.3f} s / {allowed:.3f} s",
            ),
            at_most("peak memory (MB)", peak, 3 * FLOATS + 250, f"two images as float32: {FLOATS:.0f} MB"),
            *(
                Finding(what=f"of it: {name} (s of the clock)", value=value)
                for name, value in timings.items()
                if ":" not in name
            ),
        ]
    )


if __name__ == "__main__":
    main()
