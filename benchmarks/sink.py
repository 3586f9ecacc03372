"""Rows become Arrow bytes and are committed: serialising, journal entries, and appending with its transaction.

Run: ``python -m benchmarks.sink``
"""

import time
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from benchmarks.common import Finding, make_job, recipe, report, scratch_folder, write_pairs
from benchmarks.durability import LAZY, LazyFiles, enter_pair
from streamcal.jobs import measure_pair, open_workshop, serialize_rows
from streamcal.journal import Journal
from streamcal.sink.arrow import ArrowSink
from streamcal.sink.files import SystemFiles

N_APPENDS = 200


@contextmanager
def open_sink(folder: Path, *, synced: bool = True):
    """Return a journal and the sink that it belongs to; its segment is never sealed."""
    folder.mkdir(parents=True)
    journal = Journal(folder / "journal.db")
    files = SystemFiles() if synced else LazyFiles()
    if not synced:
        journal.query(LAZY)
    sink = ArrowSink(
        folder / "measurements", "measurements", journal, roll_bytes=1 << 40, roll_seconds=1e9, files=files
    )
    sink.recover()
    yield journal, sink
    sink.close()
    journal.close()


def commit_pair(journal: Journal, sink: ArrowSink, batch: pa.RecordBatch, number: int) -> None:
    """Enter the files and the pair of this number, append rows, and end the pair with them, as the daemon does."""
    pair_id = enter_pair(journal, 2 * number)
    sink.append(batch, key=pair_id, record=lambda _db, _seq: journal.end_pair(pair_id))
    journal.drop_changes(1 << 60)  # as the table of exposures does when it has taken them


def time_commits(folder: Path, batch, count=N_APPENDS):
    """Commit the same rows for different pairs; return clock and CPU seconds of each."""
    with open_sink(folder) as (journal, sink):
        clock, cpu = time.perf_counter(), time.process_time()
        for number in range(count):
            commit_pair(journal, sink, batch, number)
        return (time.perf_counter() - clock) / count, (time.process_time() - cpu) / count


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
        clock, cpu = time_commits(folder / "output", batch)
    report(
        [
            Finding(what="serialise the 16 rows of a pair (ms CPU)", value=1e3 * min(serialising)),
            Finding(what="commit a pair: two files, pair and rows in journal and segment (ms CPU)", value=1e3 * cpu),
            Finding(what="the same, the disk's waits included (ms)", value=1e3 * clock),
        ]
    )


if __name__ == "__main__":
    main()
