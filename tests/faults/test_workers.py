"""Workers that die and plugins that misbehave: each costs the pair it had, with a reason, and nothing else."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from streamcal import results
from streamcal.faults.daemons import list_workers, memory_megabytes, wait_until_done
from streamcal.faults.site import ROWS_PER_PAIR, add_pairs

HERE = Path(__file__).parent
MEMORY = 1500  # MB of address space of a worker
REASONS = {
    1: ("worker was killed by signal 9 (SIGKILL)", "misbehave"),
    2: (f"worker exceeded memory of {MEMORY} MiB (engine.memory_megabytes), 2 times", "misbehave"),
    3: ("worker exceeded time of 8 s", "misbehave"),
    4: ("worker was killed by signal 11 (SIGSEGV)", "misbehave"),
    5: ("no such thing", "misbehave"),
    6: ("rubbish", "misbehave"),
    7: ("no mapping of column to value", "misbehave"),
    8: ("worker exited with code 0", "misbehave"),
    9: ("worker sent garbage", "misbehave"),
}


@pytest.fixture
def plugins(tmp_path):
    """Return the tables of a configuration that loads the misbehaving plugin."""
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o755)
    shutil.copy(HERE / "misbehaving.py", folder)
    (folder / "misbehaving.py").chmod(0o644)  # a clone may let the group write

    def tables(stage, **engine):
        return {
            "pipeline": {"stages": ["isr", stage], "plugin_folders": [str(folder)]},
            "engine": {"kind": "local", "workers": 2, "memory_megabytes": MEMORY} | engine,
        }

    return tables


def test_misbehaving_plugin(make, start, plugins):
    """Killed, out of memory, hanging, crashing, raising, rubbish of four kinds: a reason each; others are measured."""
    site = make(**plugins("misbehave", attempts=2, job_seconds=8))
    add_pairs(site.incoming, 12, first_id=2)
    process = start(site)
    wait_until_done(process, 12)
    status = process.wait_for_status(lambda status: status.pairs == {"done": 3, "failed": 9})
    assert process.stop() == 0
    assert status.pid == process.pid
    failures = {
        int(event["pair"].split("/")[2].split("+")[0]) // 2: (event["error"], event["stage"])
        for event in process.events("pair failed")
    }
    assert failures.keys() == REASONS.keys()
    for deed, (text, stage) in REASONS.items():
        assert text in failures[deed][0], deed
        assert failures[deed][1] == stage, deed
    assert results.read(site.output).num_rows == 3 * ROWS_PER_PAIR
    assert "Traceback" not in "".join(line for line in process.text().splitlines() if not line.startswith("{"))


def test_leaking_plugin(make, start, plugins):
    """A plugin that keeps 100 MB a pair meets its worker's limit; the pair is measured by a fresh worker."""
    site = make(**plugins("leak", workers=1))
    add_pairs(site.incoming, 14)
    process = start(site)
    largest = 0.0

    def look(status):
        nonlocal largest
        largest = max([largest, *map(memory_megabytes, list_workers(process.pid))])
        return status.pairs.get("done", 0) == 14

    process.wait_for_status(look)
    assert process.stop() == 0
    assert largest < MEMORY
    kept = results.read(site.output)["kept"].to_pylist()
    assert max(kept) > 3  # it did leak
    assert kept.count(1.0) > ROWS_PER_PAIR  # and was replaced


def test_killed_workers(make, start, check):
    """All workers killed again and again: each pair is tried again, none is lost or set aside."""
    site = make(engine={"kind": "local", "workers": 2, "attempts": 50})
    add_pairs(site.incoming, 12)
    process = start(site)
    done = 0

    def kill(status):
        nonlocal done
        if status.pairs.get("done", 0) > done:
            done = status.pairs["done"]
            for pid in list_workers(process.pid):
                os.kill(pid, signal.SIGKILL)
        return done == 12

    process.wait_for_status(kill)
    assert process.stop() == 0
    assert process.events("worker replaced")
    check(site)
