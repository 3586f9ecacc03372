"""Engines for the tests, and a watch on what they leave behind."""

import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from streamcal.engine import EngineOptions, make_engine
from streamcal.faults.clusters import LocalCluster

HERE = Path(__file__).parent
DEADLINE = 60.0  # s; only there so that a failing test ends


@pytest.fixture
def wait_until():
    """Wait until a condition holds; fail the test if it never does."""

    def wait(condition):
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, "condition never held"
            time.sleep(0.01)

    return wait


@pytest.fixture
def is_running():
    """Whether a process lives; one that has ended and was not reaped does not."""

    def look(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False

    return look


def children():
    """Ids of the children of this process."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found.update((task / "children").read_text().split())
    return found


def descriptors():
    """Open file descriptors of this process and what they are."""
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor by which the folder is being listed
            found[link.name] = str(link.readlink())
    return found


@pytest.fixture(autouse=True)
def leaves_nothing():
    """No test leaves a process, a thread or a descriptor behind."""
    before = children(), set(threading.enumerate()), descriptors()
    yield
    assert (children(), set(threading.enumerate()), descriptors()) == before


@pytest.fixture
def start_engine(leaves_nothing):
    """Make engines; they are shut down at the end, at once."""
    engines = []

    def start(kind="local", **options):
        options["environment"] = {"PYTHONPATH": str(HERE), **options.get("environment", {})}
        engine = make_engine(EngineOptions(kind=kind, **options))
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        engine.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory):
    """Two workers on loopback, for tests that leave them as they are."""
    with pytest.MonkeyPatch.context() as patch, LocalCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        # distributed keeps a thread for long messages as long as the process lives
        patch.setattr("distributed.comm.utils.OFFLOAD_THRESHOLD", 0)
        cluster.start_scheduler()
        for _ in range(2):
            cluster.start_worker()
        yield cluster


@pytest.fixture
def start_on(start_engine, wait_until):
    """Start an engine on a cluster, and wait until so many of its workers can be used."""

    def start(cluster, workers, **options):
        engine = start_engine(**cluster.settings, **options)
        wait_until(lambda: engine.state.workers == workers)
        return engine

    return start


@pytest.fixture(params=["inline", "local", "dask"])
def engine(request, shared_cluster, start_on, start_engine, monkeypatch):
    """Each engine in turn."""
    monkeypatch.syspath_prepend(str(HERE))
    if request.param == "dask":
        return start_on(shared_cluster, 2)
    return start_engine(request.param, workers=2)
