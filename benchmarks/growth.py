"""Does history cost? A segment of 10 to 10 000 pairs, a journal of 10^3 to 10^6 files, the memory of a worker; pixels.

Segment and journal are filled as the daemon fills them, call by call. The worker is a process of the local engine; each
pair that it is given has paths of its own (hard links), so that nothing it remembers by path can hide. CPU seconds
count, so nothing waits for the disk.

Run: ``python -m benchmarks.growth``
"""

import os
import re
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

from benchmarks.common import at_most, best_of, look_into, make_job, make_recipe, report, scratch_folder, write_pairs
from benchmarks.durability import LAZY, take_pairs
from benchmarks.sink import commit_pair, measured_batch, open_sink
from streamcal.config import LogConfig
from streamcal.engine import EngineOptions, make_engine
from streamcal.jobs import measure_pair, pair_job, start_job
from streamcal.journal import Journal
from streamcal.pairing import form_pair

N_PAIRS = (10, 100, 1000, 10_000)
N_FILES = (1000, 10_000, 100_000, 1_000_000)
N_ROWS = (1001, 2002, 4004)  # of each of 16 amplifiers
SMALL = (110, 100)  # each of the four amplifiers of the worker that measures so many pairs
N_TIMED = 10
AT_ONCE = 1000  # files that are entered in one transaction: a commit each would take hours
UNDER_WAY = 4  # pairs
MEGABYTE = 1e6


def time_fewest(function, numbers):
    """Return the fewest CPU seconds of calls with these numbers."""
    seconds = []
    for number in numbers:
        start = time.process_time()
        function(number)
        seconds.append(time.process_time() - start)
    return min(seconds)


def grow_segment(folder, batch):
    """Return the CPU seconds that committing a pair takes when the segment holds so many."""
    number, seconds = 0, {}
    with open_sink(folder, synced=False) as (journal, sink):
        for size in N_PAIRS:
            for other in range(number, size):
                commit_pair(journal, sink, batch, other)
            number = size + N_TIMED
            seconds[size] = time_fewest(lambda new: commit_pair(journal, sink, batch, new), range(size, number))
    return seconds


def grow_journal(folder):
    """Return the CPU seconds of a pair, from its first file to its end, when the journal knows so many files."""
    journal = Journal(folder / "files.db")
    journal.query(LAZY)
    number, seconds = 0, {}
    for size in N_FILES:
        for begin in range(number, size, AT_ONCE):
            with journal.transaction():
                take_pairs(journal, range(begin, min(size, begin + AT_ONCE)))
        number = size + 2 * N_TIMED
        seconds[size] = time_fewest(lambda new: take_pairs(journal, range(new, new + 2)), range(size, number, 2))
    journal.close()
    return seconds


def grow_pixels(folder):
    """Return the CPU seconds of measuring a pair of amplifiers of so many rows."""
    jobs = {rows: make_job(*write_pairs(folder / str(rows), shape=(rows, 512))) for rows in N_ROWS}
    return best_of({rows: lambda job=job: measure_pair(job) for rows, job in jobs.items()}, repeats=3)


def grow_worker(folder):
    """Return the peak memory (MB) of a worker that has measured so many pairs."""
    recipe = make_recipe("simulated", {})
    infos = [look_into(path, recipe) for path in write_pairs(folder, shape=SMALL, camera="simulated")]
    payload = start_job(recipe, LogConfig(level="error"))
    options = EngineOptions(kind="local", start="streamcal.jobs:warm_worker", start_payload=payload)
    megabytes, number = {}, 0
    with make_engine(options) as engine:
        for size in N_PAIRS:
            measure_links(engine, (infos, recipe.to_json()), range(number, size))
            number = size
            (pid,) = engine.pids()
            megabytes[size] = peak_megabytes(pid)
        if engine.restarts:
            msg = f"a worker ended and was replaced, {engine.restarts} times: its memory says nothing"
            raise RuntimeError(msg)
    return megabytes


def measure_links(engine, pair, numbers):
    """Have a pair measured once for each number, under paths of its own that are gone afterwards."""
    (infos, recipe_json), under_way = pair, deque()
    for number in numbers:
        links = [replace(info, path=f"{info.path.removesuffix('.fits')}_{number}.fits") for info in infos]
        for info, link in zip(infos, links, strict=True):
            os.link(info.path, link.path)
        under_way.append((engine.submit(measure_pair, pair_job(form_pair(*links), recipe_json)), links))
        if len(under_way) == UNDER_WAY:
            finish(*under_way.popleft())
    for future, links in under_way:
        finish(future, links)


def finish(future, links):
    """Wait for a pair, and remove its links."""
    future.result()
    for link in links:
        Path(link.path).unlink()


def peak_megabytes(pid):
    """Return the largest memory that a process has held, MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / MEGABYTE


def compare(what, values, limit, show):
    """Hold the ratio of the last of some numbers to the first against a limit."""
    (first, *_, last), detail = values, ", ".join(f"{size}: {show(value)}" for size, value in values.items())
    return at_most(what, values[last] / values[first], limit, detail)


def milliseconds(seconds):
    """Return seconds as text."""
    return f"{1e3 * seconds:.2f} ms"


def main():
    """Measure, print."""
    with scratch_folder() as folder:
        memory = grow_worker(folder / "small")
        _, batch = measured_batch(folder / "incoming")
        commits, journal = grow_segment(folder / "output", batch), grow_journal(folder)
        pixels = {rows: seconds / rows * N_ROWS[0] for rows, seconds in grow_pixels(folder).items()}
    report(
        [
            compare("commit at 10 000 pairs / at 10", commits, 1.5, milliseconds),
            compare("pair in the journal at 1 000 000 files / at 1000", journal, 2, milliseconds),
            compare("worker's peak memory after 10 000 pairs / after 10", memory, 1.1, lambda value: f"{value:.0f} MB"),
            compare("cost a pixel at 4004 rows / at 1001", pixels, 1.2, milliseconds),
        ]
    )


if __name__ == "__main__":
    main()
