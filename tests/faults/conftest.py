"""Sites to break things in, and daemons that no test leaves behind."""

from __future__ import annotations

import pytest

from streamcal.faults.compare import compare, read_outcome
from streamcal.faults.daemons import Daemon
from streamcal.faults.nursery import Nursery
from streamcal.faults.site import make_site


@pytest.fixture
def make(tmp_path):
    """Return a function that makes a site of this test from tables of its configuration."""

    def make(name="run", **tables):
        return make_site(tmp_path / "incoming", tmp_path / name, **tables)

    return make


@pytest.fixture(scope="session")
def nursery():
    """Return what runs daemons quickly, one at a time."""
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def finish(nursery):
    """Return a function that runs ``--once`` until it ends by itself."""
    return nursery.run_to_end


@pytest.fixture
def undisturbed(nursery):
    """Return a function that tells what a run that nobody disturbs gives on the exposures of a site."""

    def run(site):
        quiet = site.sibling("quiet")
        assert nursery.run_to_end(quiet, starts=1) == 1
        return read_outcome(quiet.output)

    return run


@pytest.fixture
def check(undisturbed):
    """Return a function that holds what came out of a site against an undisturbed run."""

    def check(site):
        verdict = compare(undisturbed(site), read_outcome(site.output))
        assert verdict, str(verdict)

    return check


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
