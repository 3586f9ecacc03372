"""Curves while the run goes on: the daemon as a real process fits what it has measured."""

from __future__ import annotations

import pytest

from streamcal import results

from .conftest import CAMERA

LEVELS = [500.0, 2000.0, 5000.0, 10000.0, 20000.0, 40000.0]


def versions(site):
    """Return every version of the first amplifier's solution; none before there is an output."""
    if not (site.output / "measurements").exists():
        return []
    rows = results.solutions(site.output, history=True).to_pylist()
    return [row for row in rows if row["amplifier"] == CAMERA.amplifiers[0].name]


def test_solutions_follow_the_pairs(site, start_daemon):
    """Three levels are too few, and said to be; with six there is a gain, in a new version; both stay."""
    fit = {"model": "EXPAPPROXIMATION", "interval_seconds": 0.0, "busy_interval_seconds": 0.0}
    daemon = start_daemon(site.write_config(engine={"kind": "local", "workers": 1}, fit=fit))
    site.simulate(LEVELS[:3])
    daemon.wait_for(lambda: any(row["n_pairs"] == 3 for row in versions(site)))
    site.simulate(LEVELS[3:], first_id=7)
    daemon.wait_for(lambda: any(row["n_pairs"] == 6 for row in versions(site)))
    assert daemon.stop() == 0
    history = versions(site)
    seqs = [row["seq"] for row in history]
    assert seqs == sorted(set(seqs))
    early = next(row for row in history if row["n_pairs"] == 3)
    assert early["reason"].startswith("too few levels: 3 usable, 5 needed")
    latest = results.solutions(site.output).to_pylist()[0]
    assert (latest["n_pairs"], latest["n_used"], latest["seq"]) == (6, 6, seqs[-1])
    assert latest["gain"] == pytest.approx(CAMERA.amplifiers[0].gain, abs=4 * latest["gain_error"])
