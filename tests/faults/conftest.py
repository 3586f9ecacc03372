"""Sites to break things in, and daemons that no test leaves behind."""

from __future__ import annotations

import pytest

from streamcal.faults.daemons import Daemon
from streamcal.faults.site import make_site


@pytest.fixture
def make(tmp_path):
    """Return a function that makes a site of this test from tables of its configuration."""

    def make(name="run", **tables):
        return make_site(tmp_path / "incoming", tmp_path / name, **tables)

    return make


@pytest.fixture
def start():
    """Return a function that starts a daemon; what a test leaves running is killed."""
    daemons = []

    def start(site, *options, **keywords):
        daemons.append(Daemon(site, *options, **keywords))
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.kill()
