"""What the documentation says of engines for other clusters can be done."""

import re
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

from streamcal.engine import EngineOptions, remote
from streamcal.errors import StageError, WorkerDied

DOCS = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")


class Pool(ThreadPoolExecutor):
    """Stand in for Parsl's; a lost manager is an error of its own."""

    def __init__(self, config):
        super().__init__(1)
        self.lost = config["lost"]

    def submit(self, function, *arguments):
        """Run the function, unless the manager is lost."""
        return super().submit({}.__getitem__, "manager") if self.lost else super().submit(function, *arguments)


@pytest.fixture
def start_parsl(monkeypatch, wait_until, leaves_nothing):
    """Make the engine of the documentation's module for Parsl."""
    before, stations = threading.active_count(), remote.Stations()
    monkeypatch.setattr(remote, "_STATIONS", stations)
    engines = []

    def start(lost):
        for name, contents in {
            "parsl": {},
            "parsl.concurrent": {"ParslPoolExecutor": Pool},
            "site_configuration": {"config": {"lost": lost}},
        }.items():
            module = ModuleType(name)
            module.__dict__.update(contents)
            monkeypatch.setitem(sys.modules, name, module)
        section = DOCS.split("## Parsl")[1]
        names = {"__name__": "streamcal_parsl"}
        exec(textwrap.dedent(re.search(r"\n(    .*\n(?:    .*\n|\n)+)", section)[1]), names)
        environment = {"PYTHONPATH": str(Path(__file__).parent)}
        options = EngineOptions(kind="parsl", environment=environment, identify="jobs_for_tests:identify")
        engines.append(names["make_engine"](options))
        return engines[-1]

    yield start
    for engine in engines:
        engine.shutdown()
    stations.close()
    wait_until(lambda: threading.active_count() == before)


def test_parsl(start_parsl):
    """Jobs run in limited children, errors come back as what they were."""
    engine = start_parsl(lost=False)
    assert engine.submit("jobs_for_tests:echo", b"x").result() == b"x"
    error = engine.submit("jobs_for_tests:raise_stage_error", b"").exception()
    assert (type(error), error.stage) == (StageError, "gain")
    assert "signal 11 (SIGSEGV)" in str(engine.submit("jobs_for_tests:segfault", b"").exception())


def test_parsl_that_fails(start_parsl):
    """An error of Parsl's own is one that streamcal knows."""
    error = start_parsl(lost=True).submit("jobs_for_tests:echo", b"x").exception()
    assert (type(error), str(error)) == (WorkerDied, "Parsl: 'manager'")
