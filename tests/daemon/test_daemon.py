"""The daemon as a real process: files land while it runs, signals stop it, kills lose nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from streamcal import results
from streamcal.lock import lock_owner
from streamcal.simulate import simulate_run
from streamcal.status import read_status

from .conftest import CAMERA

LEVELS = [1000.0, 2000.0, 4000.0]
LOCAL = {"kind": "local", "workers": 2}


def n_pairs(site):
    """Return how many pairs are committed; 0 before there is an output."""
    return len(site.pairs()) if (site.output / "measurements").exists() else 0


def test_flats_that_land_are_measured(site, start_daemon):
    """Files renamed into place after the start become rows; SIGTERM ends it with 0."""
    daemon = start_daemon(site.write_config(engine=LOCAL))
    daemon.wait_for_event("watching")
    site.simulate(LEVELS)
    daemon.wait_for(lambda: n_pairs(site) == 3)
    assert daemon.stop() == 0
    assert sorted(site.pairs()) == [("S00", "1", "2"), ("S00", "3", "4"), ("S00", "5", "6")]
    assert set(site.dispositions().values()) == {"paired"}


@pytest.mark.parametrize("watch", ["events", "poll"])
def test_slow_writers_in_nested_folders(site, start_daemon, watch):
    """Files written in place, slowly, in new folders are taken when they are whole, by events and by polling."""
    daemon = start_daemon(site.write_config(engine=LOCAL, source={"watch": watch, "poll_seconds": 0.1}))
    daemon.wait_for_event("watching")
    site.simulate([1000.0], folder=site.incoming / "2026" / "night", style="slow", slow_seconds=0.5)
    daemon.wait_for(lambda: n_pairs(site) == 1)
    assert daemon.stop() == 0
    assert set(site.dispositions().values()) == {"paired"}


def test_rows_can_be_followed_while_they_come(site, start_daemon):
    """A tail sees every row once, in order, while the daemon writes, rolls and seals."""
    output = {"roll_megabytes": 0.02}
    daemon = start_daemon(site.write_config(engine=LOCAL, output=output))
    site.simulate([1000.0 * n for n in range(1, 7)])
    seen = []
    for row, batch in results.follow(site.output, start="begin", timeout=60):
        assert row == len(seen)
        seen += zip(batch["exposure_id_1"].to_pylist(), batch["amplifier"].to_pylist(), strict=True)
        if len(seen) == 24:
            break
    assert len(set(seen)) == 24
    assert daemon.stop() == 0
    assert list((site.output / "measurements" / "sealed").iterdir())


def test_it_goes_on_where_it_was(site, start_daemon):
    """Files that land while it is down are found at the next start; half a pair waits over the restart."""
    config = site.write_config(engine=LOCAL)
    site.simulate(LEVELS)
    paths = sorted(site.incoming.glob("*.fits"))
    held = [path.rename(site.folder / path.name) for path in paths[3:]]
    daemon = start_daemon(config)
    daemon.wait_for(lambda: n_pairs(site) == 1 and read_status(site.output).dispositions.get("waiting") == 1)
    assert daemon.stop() == 0
    for path in held:
        path.rename(site.incoming / path.name)
    daemon = start_daemon(config)
    daemon.wait_for(lambda: n_pairs(site) == 3)
    assert daemon.stop(signal.SIGINT) == 0
    assert sorted(site.pairs()) == [("S00", "1", "2"), ("S00", "3", "4"), ("S00", "5", "6")]


def test_kills_lose_and_double_nothing(site, start_daemon):
    """Killed again and again, it ends with the rows of an undisturbed run, each once."""
    config = site.write_config(engine=LOCAL, output={"roll_megabytes": 0.02})
    site.simulate([1000.0 + 500 * n for n in range(12)])
    for pause in (0.6, 0.9, 1.1, 1.3, 1.5, 1.8):
        daemon = start_daemon(config)
        time.sleep(pause)
        daemon.process.kill()
        daemon.process.wait()
    daemon = start_daemon(config)
    daemon.wait_for(lambda: n_pairs(site) == 12)
    assert daemon.stop() == 0
    rows = site.rows()
    assert rows.num_rows == 48
    assert sorted(site.pairs(), key=lambda pair: int(pair[1])) == [("S00", str(n), str(n + 1)) for n in range(1, 25, 2)]
    assert set(site.dispositions().values()) == {"paired"}


def test_a_second_daemon_is_refused(site, start_daemon):
    """Two daemons on one output cannot be; the second says whose it is."""
    config = site.write_config(engine=LOCAL)
    daemon = start_daemon(config)
    daemon.wait_for_event("watching")
    command = [sys.executable, "-m", "streamcal", "run", str(config)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert f"is in use by process {daemon.process.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    assert daemon.stop() == 0


def test_a_second_signal_stops_at_once(site, start_daemon):
    """The first signal waits for what is in flight; the second does not, and workers go too."""
    plugin = site.folder / "plugins"
    plugin.mkdir(mode=0o755)
    (plugin / "sleepy.py").write_text(SLEEPY)
    config = site.write_config(engine=LOCAL, pipeline={"stages": ["isr", "sleepy"], "plugin_folders": [str(plugin)]})
    site.simulate([1000.0])
    daemon = start_daemon(config)
    daemon.wait_for((site.folder / "asleep").exists)
    daemon.process.terminate()
    time.sleep(0.3)
    assert daemon.process.poll() is None
    assert daemon.stop() == 1
    worker = int((site.folder / "asleep").read_text())
    for _ in range(500):
        if not os.path.exists(f"/proc/{worker}"):  # noqa: PTH110
            break
        time.sleep(0.01)
    assert not os.path.exists(f"/proc/{worker}")  # noqa: PTH110


SLEEPY = """
import os, time
from pathlib import Path
from streamcal import Stage, hookimpl

def sleep(pair, settings, context):
    (Path(__file__).parent.parent / "asleep").write_text(str(os.getpid()))
    time.sleep(600)

@hookimpl
def streamcal_stages():
    return [Stage(name="sleepy", kind="pair", run=sleep)]
"""


def test_status_tells_up_and_down(site, start_daemon):
    """The same command works with the daemon up and down."""
    daemon = start_daemon(site.write_config(engine=LOCAL))
    site.simulate([1000.0])
    daemon.wait_for(lambda: n_pairs(site) == 1)
    status = read_status(site.output)
    assert status.pid == daemon.process.pid == lock_owner(site.output / "state")
    assert (status.rows, status.pairs, status.pairs_last_hour) == (4, {"done": 1}, 1)
    assert daemon.stop() == 0
    status = read_status(site.output)
    assert status.pid is None
    assert status.dispositions == {"paired": 2}


def test_out_of_order_and_late_files(site, start_daemon):
    """Exposures that arrive in any order, some long after, pair as if in order."""
    daemon = start_daemon(site.write_config(engine=LOCAL))
    daemon.wait_for_event("watching")
    writer = threading.Thread(
        target=simulate_run,
        args=(site.incoming, CAMERA, LEVELS),
        kwargs={"order": "shuffled", "interval_seconds": 0.1},
    )
    writer.start()
    daemon.wait_for(lambda: n_pairs(site) == 3)
    writer.join()
    assert daemon.stop() == 0
    assert sorted(site.pairs()) == [("S00", "1", "2"), ("S00", "3", "4"), ("S00", "5", "6")]


def test_once_is_not_held_up_by_a_growing_file(site, start_daemon):
    """While one file still grows the others are entered, and a signal ends it; that is not done, so not exit code 0."""
    site.simulate([1000.0])
    growing = site.incoming / "growing.fits"
    daemon = start_daemon(site.write_config(engine=LOCAL, source={"settle_seconds": 0.5}), "--once")

    def grow():
        with growing.open("ab") as file:
            file.write(b"SIMPLE  =                    T")
        return (
            read_status(site.output).dispositions.get("new") == 2
            if (site.output / "streamcal.json").exists()
            else False
        )

    daemon.wait_for(grow)
    assert daemon.stop() == 1
