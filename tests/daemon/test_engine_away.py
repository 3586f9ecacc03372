"""A daemon whose cluster is not there waits, says so, and goes on by itself; its rows are those of this process."""

from __future__ import annotations

import shutil
from pathlib import Path

from typer.testing import CliRunner

import streamcal
from streamcal import __version__, results
from streamcal.cli.main import app
from streamcal.daemon import run_daemon
from streamcal.faults.clusters import LocalCluster, kill
from streamcal.status import read_status

CHANGES = [  # file, what is there, what another version has there
    ("__init__.py", f'__version__ = "{__version__}"', '__version__ = "9.9"'),
    ("stages/gain.py", 'unit="e-/ADU"', 'unit="electron/ADU"'),
    ("measure/amplifier.py", 'gain_correction: str = "FULL"', 'gain_correction: str = "NONE"'),
]
OF_THE_RUN = ["seq", "measured_at", "timings"]


def test_cluster_that_comes_late(site, start_daemon, tmp_path):
    """Nothing is lost while the engine is away, ``status`` says since when, and then all is measured as inline.

    The worker that comes first is of another version: it gets no pair, and ``status`` says what differs.
    """
    site.simulate([1000.0, 2000.0])
    with LocalCluster(tmp_path / "cluster") as cluster:
        daemon = start_daemon(site.write_config(engine=cluster.settings, log={"format": "json"}))
        daemon.wait_for_event("engine away")
        daemon.wait_for(lambda: show_status(site, "ENGINE"))
        assert f"UTC: {cluster.address}: " in show_status(site, "ENGINE")
        cluster.start_scheduler()
        other = cluster.start_worker(environment=install_other(tmp_path / "other"))
        daemon.wait_for_event("worker refused")
        daemon.wait_for(lambda: show_status(site, "refused"))
        line = show_status(site, "refused")
        assert f"streamcal is {__version__} here and 9.9 there" in line
        assert all(f"{name} is " in line for name in ("kernels", "plugin gain", "streamcal sources"))
        assert "done" not in read_status(site.output).pairs
        kill(other)
        cluster.start_worker()
        daemon.wait_for(lambda: read_status(site.output).pairs == {"done": 2})
        daemon.wait_for(lambda: read_status(site.output).heartbeat["engine"]["refused"] == {})  # a heartbeat later
        assert daemon.stop() == 0
    rows = to_texts(site.rows())
    run_daemon(site.config(output={"folder": str(tmp_path / "inline")}), once=True)
    assert rows == to_texts(results.read(tmp_path / "inline"))


def test_night_through_a_cluster_that_is_killed(site, start_daemon, tmp_path):
    """Worker and scheduler are killed while pairs come: each is committed once, with the rows of this process.

    `make cluster-demo` does the same with twenty detectors and thirty levels.
    """
    detectors = ("R00", "R01", "R02")

    def simulate(*levels, first_id):
        site.simulate(list(levels), detectors=detectors, first_id=first_id)

    with LocalCluster(tmp_path / "cluster") as cluster:
        cluster.start_scheduler()
        worker = cluster.start_worker()
        daemon = start_daemon(site.write_config(engine={**cluster.settings, "queue_size": 4}, log={"format": "json"}))
        daemon.wait_for_event("watching")
        simulate(1000.0, 2000.0, first_id=1)
        daemon.wait_for(lambda: read_status(site.output).pairs.get("done"))
        kill(worker)
        simulate(3000.0, first_id=5)
        kill(cluster.scheduler)
        daemon.wait_for(lambda: show_status(site, "ENGINE"))
        simulate(4000.0, first_id=7)
        cluster.start_scheduler()
        cluster.start_worker()
        daemon.wait_for(lambda: read_status(site.output).pairs == {"done": 12})
        assert daemon.stop() == 0
    rows = site.rows()
    assert len(set(zip(rows["pair_id"].to_pylist(), rows["amplifier"].to_pylist(), strict=True))) == len(rows) == 12 * 4
    run_daemon(site.config(output={"folder": str(tmp_path / "inline")}), once=True)
    assert to_texts(rows) == to_texts(results.read(tmp_path / "inline"))


def show_status(site, word):
    """Return the line of ``streamcal status`` that begins with a word; empty if there is none."""
    lines = CliRunner().invoke(app, ["status", str(site.output)]).stdout.splitlines()
    return next((line for line in lines if line.startswith(word)), "")


def install_other(folder):
    """Copy streamcal with another version, another stage and a kernel that rounds elsewhere; return how to use it."""
    package = folder / "streamcal"
    shutil.copytree(Path(streamcal.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in CHANGES:
        path = package / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}


def to_texts(rows):
    """Return rows as texts that tell every bit, NaN included, in an order that does not depend on the run."""
    return sorted(map(repr, rows.drop_columns(OF_THE_RUN).to_pylist()))


def test_stop_while_away(site, start_daemon, tmp_path):
    """A daemon whose engine is away stops when told to."""
    site.simulate([1000.0])
    cluster = LocalCluster(tmp_path / "cluster", tls=False)
    daemon = start_daemon(site.write_config(engine=cluster.settings, log={"format": "json"}))
    daemon.wait_for_event("engine away")
    assert daemon.stop() == 0
