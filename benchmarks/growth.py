"""Does history cost? A segment of 10 to 10 000 pairs, a journal of 10^3 to 10^6 files, the memory of a worker; pixels.

Run: ``python -m benchmarks.growth``
"""

import os
import time
from pathlib import Path

from benchmarks.common import at_most, best_of, make_job, report, scratch_folder, write_pairs
from benchmarks.sink import measured_batch, record_nothing
from streamcal.jobs import measure_pair
from streamcal.journal import Journal
from streamcal.records import FileStat
from streamcal.sink.arrow import ArrowSink

N_PAIRS = (10, 100, 1000, 10_000)
N_FILES = (1000, 10_000, 100_000, 1_000_000)
N_ROWS = (1001, 2002, 4004)  # of each of 16 amplifiers
SMALL = (200, 64)  # an amplifier of the worker that measures so many pairs
N_TIMED = 10
MEGABYTE = 1e6


def grow_segment(folder, batch):
    """Return the CPU seconds of an append when the segment holds so many pairs."""
    journal = Journal(folder / "journal.db")
    sink = ArrowSink(folder / "measurements", "measurements", journal, roll_bytes=1 << 40, roll_seconds=1e9)
    sink.recover()
    number, seconds = 0, {}
    for size in N_PAIRS:
        while number < size:
            sink.append(batch, key=str(number), record=record_nothing)
            number += 1
        taken = []
        for _ in range(N_TIMED):
            start = time.process_time()
            sink.append(batch, key=str(number), record=record_nothing)
            taken.append(time.process_time() - start)
            number += 1
        seconds[size] = min(taken)
    sink.close()
    journal.close()
    return seconds


def grow_journal(folder):
    """Return the CPU seconds of a look-up and an entry when the journal knows so many files."""
    journal = Journal(folder / "files.db")
    number, seconds = 0, {}
    for size in N_FILES:
        while number < size:
            with journal.transaction():
                for _ in range(min(10_000, size - number)):
                    journal.take_file(f"/data/night{number // 1000}/file{number}.fits", stat_of(number))
                    number += 1
        taken = []
        for _ in range(N_TIMED):
            start = time.process_time()
            for other in range(0, number, max(1, number // 100)):
                journal.known_file(f"/data/night{other // 1000}/file{other}.fits")
            with journal.transaction():
                journal.take_file(f"/data/new/file{number}.fits", stat_of(number))
            number += 1
            taken.append(time.process_time() - start)
        seconds[size] = min(taken)
    journal.close()
    return seconds


def grow_pixels(folder):
    """Return the CPU seconds of measuring a pair of amplifiers of so many rows."""
    jobs = {rows: make_job(*write_pairs(folder / str(rows), shape=(rows, 512))) for rows in N_ROWS}
    return best_of({rows: lambda job=job: measure_pair(job) for rows, job in jobs.items()}, repeats=3)


def grow_worker(folder):
    """Return the memory (MB) of a process that has measured so many pairs, as it is and not at its peak."""
    job, number, megabytes = make_job(*write_pairs(folder / "small", shape=SMALL)), 0, {}
    for size in N_PAIRS:
        while number < size:
            measure_pair(job)
            number += 1
        megabytes[size] = resident_megabytes()
    return megabytes


def resident_megabytes():
    """Return the memory that this process holds now, MB."""
    words = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


def stat_of(number):
    """Return some identity of a file."""
    return FileStat(size=1000, mtime_ns=number, inode=number, device=1)


def main():
    """Measure, print."""
    with scratch_folder() as folder:
        memory = grow_worker(folder)  # first: full-size pairs would leave memory in which small ones hide
        _, batch = measured_batch(folder / "incoming")
        (folder / "output").mkdir()
        appends, lookups = grow_segment(folder / "output", batch), grow_journal(folder)
        pixels = grow_pixels(folder)
    few, many = pixels[N_ROWS[0]] / N_ROWS[0], pixels[N_ROWS[-1]] / N_ROWS[-1]
    report(
        [
            at_most(
                f"append at {N_PAIRS[-1]} pairs / at {N_PAIRS[0]}",
                appends[N_PAIRS[-1]] / appends[N_PAIRS[0]],
                1.5,
                ", ".join(f"{size}: {1e3 * value:.2f} ms" for size, value in appends.items()),
            ),
            at_most(
                f"journal at {N_FILES[-1]} files / at {N_FILES[0]}",
                lookups[N_FILES[-1]] / lookups[N_FILES[0]],
                2,
                ", ".join(f"{size}: {1e3 * value:.2f} ms" for size, value in lookups.items()),
            ),
            at_most(
                f"worker's memory after {N_PAIRS[-1]} pairs / after {N_PAIRS[0]}",
                memory[N_PAIRS[-1]] / memory[N_PAIRS[0]],
                1.1,
                ", ".join(f"{size}: {value:.0f} MB" for size, value in memory.items()),
            ),
            at_most(
                f"cost a pixel at {N_ROWS[-1]} rows / at {N_ROWS[0]}",
                many / few,
                1.2,
                ", ".join(f"{rows}: {1e3 * value:.0f} ms" for rows, value in pixels.items()),
            ),
        ]
    )


if __name__ == "__main__":
    main()
