"""A process killed before, or a call failing at, every single system call: afterwards each row is there once."""

import errno
from itertools import count

import pyarrow as pa
import pytest

from streamcal import results
from streamcal.errors import RetryLater, StateError

LATER = {"value": pa.float64(), "name": pa.string(), "more": pa.int64()}
NUMBERS = range(1, 8)


def run(bench, files):
    """Two seals by size and one by a new column; the first sink ends in the middle."""
    sink = bench.open(files=files, roll_bytes=1500)
    for number in NUMBERS[:3]:
        bench.append(sink, number)
    sink.close()
    sink = bench.open(files=files, roll_bytes=1500)
    for number in NUMBERS[3:]:
        bench.append(sink, number, LATER if number > 5 else None)


def values_of(bench):
    """Return the numbers that a reader sees, in order: of each pair of rows the first."""
    return [int(value - 0.5) for value in results.read(bench.output)["value"].to_pylist()[::2]]


def check(bench):
    """Hold table and record against an undisturbed run."""
    table = results.read(bench.output)
    assert table["value"].to_pylist() == [v for number in NUMBERS for v in (number + 0.5, None)]
    assert table["name"].to_pylist() == [v for number in NUMBERS for v in (f"n{number}", "")]
    assert table["seq"].to_pylist() == [number for number in NUMBERS for _ in range(2)]
    assert bench.done() == [f"pair{number}" for number in NUMBERS]
    assert sorted(path.name for path in (bench.table / "sealed").iterdir()) == ["000001.arrow", "000002.arrow"]
    assert [path.name for path in (bench.table / "live").iterdir()] == ["000003.arrows"]


def sweep(bench_class, tmp_path, attempt):
    """Run ``attempt(bench, n)`` for n = 1, 2, ... until it says that nothing failed any more."""
    for n in count(1):
        bench = bench_class(tmp_path / str(n))
        failed = attempt(bench, n)
        check(bench)
        bench.close()
        if not failed:
            return n
    raise AssertionError


def test_an_undisturbed_run_passes_the_check(bench):
    """The check holds for a run without faults."""
    run(bench, None)
    check(bench)


def test_killed_before_every_call(bench_class, tmp_path):
    """A reader sees a prefix of the rows after the kill, and a restart completes them."""

    def attempt(bench, n):
        failed = False
        try:
            run(bench, bench.FailingFiles(at=n))
        except bench.Killed:
            failed = True
        if (bench.table / "CURRENT").exists():
            seen = values_of(bench)
            assert seen == list(NUMBERS[: len(seen)])
        run(bench, None)
        return failed

    assert sweep(bench_class, tmp_path, attempt) > 80


@pytest.mark.parametrize("first", ["torn tail", "sealed file renamed", "sealing journaled"])
def test_killed_in_every_call_of_the_recovery(bench_class, tmp_path, first):
    """A recovery that is killed is completed by the next one."""

    def attempt(bench, n):
        files = bench.FailingFiles()
        with pytest.raises(bench.Killed):
            run(bench, kill_at(files, first))
        try:
            bench.open(files=bench.FailingFiles(at=n))
            failed = False
        except bench.Killed:
            failed = True
        run(bench, None)
        return failed

    assert sweep(bench_class, tmp_path, attempt) > 3


def kill_at(files, what):
    """Kill the process in the middle of a batch, or at a step of the first sealing."""
    if what == "torn tail":
        files.at = 27
    else:
        unlink, rename = files.unlink, files.rename

        def die_after_rename(source, target):
            rename(source, target)
            files.at = files.count + 1 if target.suffix == ".arrow" else None

        def die_before_unlink(path):
            files.at = files.count + 1
            unlink(path)

        files.rename, files.unlink = {
            "sealed file renamed": (die_after_rename, unlink),
            "sealing journaled": (rename, die_before_unlink),
        }[what]
    return files


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_every_call_fails_once(bench_class, tmp_path, number):
    """A call that fails asks for another try or for a restart; both complete the rows."""

    def attempt(bench, n):
        files = bench.FailingFiles(at=n, error=number)
        for _ in range(3):
            try:
                run(bench, files)
                break
            except (RetryLater, StateError):
                continue
        bench.open()  # removes what could not be removed
        return files.count >= n

    assert sweep(bench_class, tmp_path, attempt) > 80


def test_append_goes_on_by_itself_after_a_failing_call(bench_class, tmp_path):
    """Without a restart: the same sink takes the same batch again after `RetryLater`."""
    changing = {"open", "pwrite", "rename", "truncate"}

    def attempt(bench, n):
        files = bench.FailingFiles(calls=changing)
        sink = bench.open(files=files, roll_bytes=1500)
        files.count, files.at, files.error = 0, n, errno.ENOSPC
        for number in NUMBERS:
            columns = LATER if number > 5 else None
            try:
                bench.append(sink, number, columns)
            except RetryLater:
                bench.append(sink, number, columns)
        bench.open()  # removes what could not be removed
        return files.count >= n

    assert sweep(bench_class, tmp_path, attempt) > 40


def test_short_writes(bench):
    """A disk that takes seven bytes at a time gets all of them."""
    run(bench, bench.FailingFiles(part=7))
    check(bench)
