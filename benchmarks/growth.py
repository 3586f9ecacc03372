"""Does history cost? Appends to a segment of 10 to 10 000 pairs, look-ups in a journal of 10^3 to 10^6 files.

Run: ``python -m benchmarks.growth``
"""

import time

from benchmarks.common import at_most, report, scratch_folder
from benchmarks.sink import measured_batch, record_nothing
from streamcal.journal import Journal
from streamcal.records import FileStat
from streamcal.sink.arrow import ArrowSink

N_PAIRS = (10, 100, 1000, 10_000)
N_FILES = (1000, 10_000, 100_000, 1_000_000)
N_TIMED = 10


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


def stat_of(number):
    """Return some identity of a file."""
    return FileStat(size=1000, mtime_ns=number, inode=number, device=1)


def main():
    """Measure, print."""
    with scratch_folder() as folder:
        _, batch = measured_batch(folder / "incoming")
        (folder / "output").mkdir()
        appends, lookups = grow_segment(folder / "output", batch), grow_journal(folder)
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
        ]
    )


if __name__ == "__main__":
    main()
