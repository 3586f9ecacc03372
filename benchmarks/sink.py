"""Rows become Arrow bytes and are committed: serialising, and appending with its journal transaction.

Run: ``python -m benchmarks.sink``
"""

import time
from pathlib import Path

import pyarrow as pa

from benchmarks.common import Finding, make_job, recipe, report, scratch_folder, write_pairs
from streamcal.jobs import measure_pair, open_workshop, serialize_rows
from streamcal.journal import Journal
from streamcal.sink.arrow import ArrowSink

N_APPENDS = 200


def record_nothing(_connection, _seq):
    """Stand in for what the daemon notes of a pair in the same transaction."""


def time_appends(folder: Path, batch, n_appends=N_APPENDS):
    """Append the same rows under different keys; return clock and CPU seconds of each append."""
    journal = Journal(folder / "journal.db")
    sink = ArrowSink(folder / "measurements", "measurements", journal, roll_bytes=1 << 40, roll_seconds=1e9)
    sink.recover()
    clock, cpu = time.perf_counter(), time.process_time()
    for number in range(n_appends):
        sink.append(batch, key=str(number), record=record_nothing)
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    sink.close()
    journal.close()
    return clock / n_appends, cpu / n_appends


def measured_batch(folder: Path):
    """Return the rows of one full-size pair as values, and as a batch."""
    batch = pa.ipc.open_stream(measure_pair(make_job(*write_pairs(folder)))).read_next_batch()
    return batch.to_pylist(maps_as_pydicts="strict"), batch


def main():
    """Measure, print."""
    workshop = open_workshop(recipe().to_json())
    with scratch_folder() as folder:
        rows, batch = measured_batch(folder / "incoming")
        serialising = []
        for _ in range(10):
            start = time.process_time()
            serialize_rows(rows, workshop)
            serialising.append(time.process_time() - start)
        (folder / "output").mkdir()
        clock, cpu = time_appends(folder / "output", batch)
    report(
        [
            Finding(what="serialise the 16 rows of a pair (ms CPU)", value=1e3 * min(serialising)),
            Finding(what="append a pair, journal and all (ms CPU)", value=1e3 * cpu),
            Finding(what="append a pair, the disk's waits included (ms)", value=1e3 * clock),
        ]
    )


if __name__ == "__main__":
    main()
