"""What durability costs: rows per second with and without fsync, long histories, large backlogs.

``python benchmarks/durability.py [--small]``. Ratios within one run count, not the numbers of one machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from streamcal.config import PairingConfig, SourceConfig
from streamcal.faults.daemons import daemon, memory_megabytes, run_to_end
from streamcal.faults.site import add_pairs, make_site
from streamcal.journal import Journal
from streamcal.pairing import form_pair, judge
from streamcal.records import Disposition, ExposureInfo, FileStat
from streamcal.sink.arrow import ArrowSink
from streamcal.sink.files import SystemFiles
from streamcal.source.directory import DirectorySource
from streamcal.status import read_status

LAZY = "PRAGMA synchronous = OFF"


class LazyFiles(SystemFiles):
    """Files without a sync: what would be possible if power never failed."""

    def sync(self, descriptor: int) -> None:
        """Do nothing."""


def main() -> None:
    """Measure all of it and print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="disk to measure; temporary folder by default")
    parser.add_argument("--small", action="store_true", help="a hundredth of the history and backlog")
    options = parser.parse_args()
    share = 100 if options.small else 1
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        rates = {durable: commit_rate(folder / f"rate{durable}", durable=durable) for durable in (True, False)}
        show(
            "commits of four rows per second",
            synced=rates[True],
            unsynced=rates[False],
            cost=rates[False] / rates[True],
        )
        for past in (1000, 1_000_000 // share):
            show("journal with past files", **history(folder / f"history{past}", past))
            show("start of the daemon", **startup(folder / f"start{past}", past))
        show("backlog", **backlog(folder / "backlog", 100_000 // share))


def show(what: str, **numbers: float) -> None:
    """Print a result."""
    print(json.dumps({"what": what} | {name: round(value, 6) for name, value in numbers.items()}), flush=True)


def commit_rate(folder: Path, *, durable: bool, commits: int = 400) -> float:
    """Return commits per second of the sink, four rows each."""
    folder.mkdir()
    journal = Journal(folder / "journal.db")
    if not durable:
        journal.query(LAZY)
    files = SystemFiles() if durable else LazyFiles()
    sink = ArrowSink(folder / "table", "measurements", journal, roll_bytes=1 << 26, roll_seconds=1e9, files=files)
    sink.recover()
    batch = pa.RecordBatch.from_pydict({"amplifier": ["C00", "C01", "C10", "C11"], "gain": [1.5, 1.6, 1.7, 1.8]})
    began = time.perf_counter()
    for number in range(commits):
        sink.append(batch, key=str(number), record=lambda _db, _seq: None)
    rate = commits / (time.perf_counter() - began)
    sink.close()
    journal.close()
    return rate


def make_info(number: int) -> ExposureInfo:
    """Return what the header of a flat says; two successive ones make a pair."""
    return ExposureInfo(
        path=f"/data/{number // 1000:04d}/{number:07d}.fits",
        stat=FileStat(size=2880, mtime_ns=number, inode=number, device=1),
        digest=f"{number:032x}",
        instrument="simulated",
        detector="S00",
        exposure_id=str(number),
        is_flat=True,
        group=f"night={number // 1000}",
        exposure_time=1.0 + number // 2 % 500,
        mjd_start=60000.0,
    )


def take_pairs(journal: Journal, numbers: range) -> None:
    """Enter exposures two by two, as the daemon does with each: taken, paired, measured."""
    for number in numbers[::2]:
        journal.end_pair(enter_pair(journal, number))
        journal.drop_changes(1 << 60)


def enter_pair(journal: Journal, number: int) -> str:
    """Enter two exposures and the pair they make, as the daemon does; return its id when it is ready to be measured."""
    infos = make_info(number), make_info(number + 1)
    entered = []
    for info in infos:
        with journal.transaction():
            journal.exposures_of_file(info.path)
            entered.append(journal.add_exposure(info, info.exposure_time))
            journal.take_file(info.path, info.stat)
        (waiting,) = journal.new_exposures(1)
        judge(waiting, PairingConfig(), journal)
        if len(entered) == 1:
            journal.set_disposition(waiting.number, Disposition.WAITING)
    journal.add_pair(form_pair(*infos), entered[0], entered[1])
    (pair,) = journal.ready_pairs(1)
    return pair.record.pair_id


def make_past(journal: Journal, count: int) -> None:
    """Enter so many files, all paired and measured, as `take_pairs` does one by one."""
    info = json.dumps(make_info(0).to_dict())  # of the length that they have; nobody reads those of the past
    series = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)"
    path = "CAST(printf('/data/%04d/%07d.fits', i / 1000, i) AS BLOB)"
    with journal.transaction() as db:
        db.execute(
            f"{series} INSERT INTO file SELECT CAST(printf('/data/%04d', i / 1000) AS BLOB),"
            " CAST(printf('%07d.fits', i) AS BLOB), 2880, i, i, 1 FROM n",
            (count,),
        )
        db.execute(
            f"{series} INSERT INTO exposure (number, path, digest, instrument, detector, grp, exposure_id, id_number,"
            " level, mjd_start, info, disposition, pair_id, arrived_at, changed_at)"
            f" SELECT i + 1, {path}, printf('%032x', i), 'simulated', 'S00', printf('night=%d', i / 1000), i, i,"
            " 1.0 + i / 2 % 500, 60000.0, ?, 'paired', printf('%032x', i / 2), 0, 0 FROM n",
            (count, info),
        )
        db.execute(
            f"{series} INSERT INTO pair (number, pair_id, first, second, state, formed_at, ended_at)"
            " SELECT i + 1, printf('%032x', i), 2 * i + 1, 2 * i + 2, 'done', 0, 0 FROM n",
            (count // 2,),
        )
        db.executemany("INSERT INTO tally VALUES (?, ?)", [("disposition:paired", count), ("pair:done", count // 2)])


def history(folder: Path, past: int, new: int = 200) -> dict[str, float]:
    """Return what it costs to open a journal of so many past files, to take new ones, and to list a known folder."""
    folder.mkdir()
    journal = Journal(folder / "journal.db")
    journal.query(LAZY)  # only the past is made like this
    make_past(journal, past)
    journal.close()
    began = time.perf_counter()
    journal = Journal(folder / "journal.db")
    sink = ArrowSink(folder / "table", "measurements", journal, roll_bytes=1 << 26, roll_seconds=1e9)
    sink.recover()
    opened = time.perf_counter()
    take_pairs(journal, range(past, past + new))
    taken = time.perf_counter()
    for number in range(min(past // 1000, 200)):
        journal.known_files(f"/data/{number:04d}", [f"{1000 * number + n:07d}.fits" for n in range(1000)])
    listed = time.perf_counter()
    journal.tallies()
    journal.close()
    return {
        "files": past,
        "open_seconds": opened - began,
        "milliseconds_per_file": 1000 * (taken - opened) / new,
        "milliseconds_per_listed_folder_of_1000": 1000 * (listed - taken) / min(max(past // 1000, 1), 200),
        "journal_megabytes": (folder / "journal.db").stat().st_size / 1e6,
    }


def startup(folder: Path, past: int) -> dict[str, float]:
    """Return how long the daemon takes to watch, and status to answer, on a journal of so many past files."""
    site = make_site(folder / "incoming", folder / "run")
    add_pairs(site.incoming, 1, first_id=10_000_001, run_id="NEW")
    run_to_end(site, starts=1)  # what a first start makes
    journal = Journal(site.state / "journal.db")
    journal.query(LAZY)
    with journal.transaction() as db:
        for table in ("tally", "change", "pair", "exposure", "file"):
            db.execute(f"DELETE FROM {table}")
    make_past(journal, past)
    journal.close()
    began = time.perf_counter()
    with daemon(site) as process:
        process.wait_for_event("watching")
        watching = time.perf_counter()
        read_status(site.output)
        answered = time.perf_counter()
        held = memory_megabytes(process.pid)
        process.stop()
    return {
        "files": past,
        "seconds_to_watching": watching - began,
        "status_seconds": answered - watching,
        "daemon_megabytes": held,
    }


def backlog(folder: Path, count: int) -> dict[str, float]:
    """Return how long a source takes to hand out so many files that were there before, and what it holds meanwhile."""
    incoming = folder / "incoming"
    for number in range(count):
        if number % 1000 == 0:
            (incoming / f"{number // 1000:04d}").mkdir(parents=True)
        (incoming / f"{number // 1000:04d}" / f"{number:06d}.fits").touch()
    journal = Journal(folder / "journal.db")
    source = DirectorySource(SourceConfig(folders=(incoming,), settle_seconds=0.0, watch="poll"), journal)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    seen, most = 0, 0
    source.start()
    while seen < count:
        candidates = source.poll(1000)
        most = max(most, source.status().n_settling)
        with journal.transaction():
            for candidate in candidates:
                journal.take_file(candidate.path, candidate.stat)
        for candidate in candidates:
            source.forget(candidate.path)
        seen += len(candidates)
    seconds = time.perf_counter() - began
    source.stop()
    journal.close()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"files": count, "seconds": seconds, "most_held_at_once": most, "memory_megabytes": grown / 1024}


if __name__ == "__main__":
    main()
