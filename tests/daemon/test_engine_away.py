"""A daemon whose cluster is not there waits, says so, and goes on by itself; its rows are those of this process."""

from __future__ import annotations

from typer.testing import CliRunner

from streamcal import results
from streamcal.cli.main import app
from streamcal.daemon import run_daemon
from streamcal.faults.clusters import LocalCluster
from streamcal.status import read_status

OF_THE_RUN = ["seq", "measured_at", "timings"]


def test_cluster_that_comes_late(site, start_daemon, tmp_path):
    """Nothing is lost while the engine is away, ``status`` says since when, and then all is measured as inline."""
    site.simulate([1000.0, 2000.0])
    with LocalCluster(tmp_path / "cluster") as cluster:
        daemon = start_daemon(site.write_config(engine=cluster.settings, log={"format": "json"}))
        daemon.wait_for_event("engine away")
        daemon.wait_for(lambda: "ENGINE" in CliRunner().invoke(app, ["status", str(site.output)]).stdout)
        status = CliRunner().invoke(app, ["status", str(site.output)]).stdout
        assert f"UTC: {cluster.address}: " in next(line for line in status.splitlines() if line.startswith("ENGINE"))
        cluster.start_scheduler()
        cluster.start_worker()
        daemon.wait_for(lambda: read_status(site.output).pairs == {"done": 2})
        assert read_status(site.output).heartbeat["engine"]["refused"] == {}
        assert daemon.stop() == 0
    rows = to_texts(site.rows())
    run_daemon(site.config(output={"folder": str(tmp_path / "inline")}), once=True)
    assert rows == to_texts(results.read(tmp_path / "inline"))


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
