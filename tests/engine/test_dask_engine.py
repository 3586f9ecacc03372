"""What holds for a cluster: limits on its workers, workers that differ, and processes of it that end."""

import asyncio
import threading
import time
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from streamcal.engine import EngineOptions, make_engine
from streamcal.engine.address import check_address, is_loopback
from streamcal.engine.outcome import Outcome
from streamcal.engine.remote import Order, Stations, describe_difference
from streamcal.errors import ConfigError, RetryLater, WorkerDied, WorkerDiffers
from streamcal.faults.clusters import LocalCluster, find_free_port, kill

HERE = Path(__file__).parent


@pytest.fixture
def cluster(tmp_path):
    """Start a cluster to be broken: a scheduler, no worker yet."""
    with LocalCluster(tmp_path / "cluster", tls=False) as cluster:
        cluster.start_scheduler()
        yield cluster


@pytest.fixture
def start_ready(cluster, start_on):
    """Start an engine on the cluster to be broken, with one worker."""
    cluster.start_worker()
    return lambda **options: start_on(cluster, 1, **options)


def count_most_tasks(address, is_over):
    """Ask a scheduler again and again how many tasks it holds; return the largest number."""
    from distributed import Client

    async def ask():
        most = 0
        async with Client(address, asynchronous=True, set_as_default=False) as client:
            while not is_over():
                most = max(most, await client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))
        return most

    return asyncio.run(ask())


def test_time_limit(shared_cluster, start_on):
    """A job that hangs is ended on its worker, and the next one is done."""
    engine = start_on(shared_cluster, 2, job_seconds=1)
    error = engine.submit("jobs_for_tests:sleep", b"600").exception()
    assert isinstance(error, WorkerDied)
    assert str(error) == "worker exceeded time of 1 s"
    assert engine.submit("jobs_for_tests:echo", b"next").result() == b"next"


def test_memory_limit(shared_cluster, start_on):
    """A job over the limit of memory fails with its text, as on this machine."""
    engine = start_on(shared_cluster, 2, memory_megabytes=500)
    error = engine.submit("jobs_for_tests:take_memory", b"600000000").exception()
    assert isinstance(error, WorkerDied)
    assert str(error) == "worker exceeded memory of 500 MiB (engine.memory_megabytes)"


def test_crash_costs_the_job_only(shared_cluster, start_on):
    """A segmentation fault ends the child, never the worker of the cluster."""
    engine = start_on(shared_cluster, 2)
    assert "signal 11 (SIGSEGV)" in str(engine.submit("jobs_for_tests:segfault", b"").exception())
    assert engine.submit("jobs_for_tests:echo", b"next").result() == b"next"
    assert engine.state.workers == 2


def test_scheduler_holds_no_more_than_the_queue(cluster, start_ready):
    """Of many jobs only ``queue_size`` are with the scheduler; the rest wait on this side."""
    engine = start_ready(queue_size=3)
    futures = [engine.submit("jobs_for_tests:sleep", b"0.05") for _ in range(40)]
    assert count_most_tasks(cluster.address, lambda: all(future.done() for future in futures)) == 3
    assert [future.result() for future in futures] == [b"0.05"] * 40


class HeldFuture(asyncio.Future):
    """What a scheduler has been given and not yet done."""

    def release(self):
        """Let go of it."""


class HoldingClient:
    """Stands for the client of a scheduler with five new workers that ends nothing by itself."""

    status = "running"

    def __init__(self):
        self.scheduler, self.held = self, []

    async def ncores_running(self):
        """Name the workers."""
        return dict.fromkeys("abcde", 1)

    def submit(self, *_job, **_options):
        """Take a task."""
        self.held.append(HeldFuture())
        return self.held[-1]


async def try_workers(client):
    """Have the workers of a client tried and one job sent, two at once; return how many tasks it had, step by step."""
    from streamcal.engine.cluster import Cluster

    cluster, seen = Cluster(client, b"", lambda: None, most=2), []
    await cluster.review()
    job = asyncio.create_task(cluster.call("builtins:bytes", b"x", frozenset("a")))
    while not job.done():
        for _ in range(5):  # whatever can begin has begun
            await asyncio.sleep(0)
        seen.append(sum(not future.done() for future in client.held))
        next(future for future in client.held if not future.done()).set_result(Outcome(ok=True, payload=b"").to_bytes())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return seen, len(cluster.usable)


def test_trials_of_workers_count_as_jobs():
    """Many workers that come at once do not fill the scheduler: what goes beyond the limit waits on this side."""
    assert asyncio.run(try_workers(HoldingClient())) == ([2, 2, 2, 2, 2, 1], 5)


def test_worker_killed(cluster, start_ready, wait_until):
    """The jobs of a worker that is killed are done by another one."""
    engine = start_ready()
    cluster.start_worker()
    wait_until(lambda: engine.state.workers == 2)
    futures = [engine.submit("jobs_for_tests:sleep", b"0.3") for _ in range(10)]
    kill(cluster.workers[0])
    assert [future.result() for future in futures] == [b"0.3"] * 10


def test_last_worker_killed(cluster, start_ready, wait_until, tmp_path):
    """With no worker left the job is given back, and the engine is away until there is one."""
    engine = start_ready()
    future = engine.submit("jobs_for_tests:touch_and_sleep", bytes(tmp_path / "begun"))
    wait_until((tmp_path / "begun").exists)
    kill(cluster.workers[0])
    assert isinstance(future.exception(), RetryLater)
    wait_until(lambda: engine.state.away_since is not None)
    assert engine.state.reason == f"{cluster.address}: no worker is there"
    cluster.start_worker()
    wait_until(lambda: engine.state.away_since is None)
    assert engine.submit("jobs_for_tests:echo", b"x").result() == b"x"


def test_scheduler_killed(cluster, start_ready, wait_until, tmp_path):
    """Jobs of a lost scheduler are given back; the engine says since when it is away, and comes back by itself."""
    engine = start_ready()
    future = engine.submit("jobs_for_tests:touch_and_sleep", bytes(tmp_path / "begun"))
    wait_until((tmp_path / "begun").exists)
    before = time.time()
    kill(cluster.scheduler)
    assert isinstance(future.exception(), RetryLater)
    wait_until(lambda: engine.state.away_since is not None)
    since = engine.state.away_since
    assert before <= since <= time.time()
    error = engine.submit("jobs_for_tests:echo", b"x").exception()
    assert isinstance(error, RetryLater)
    assert cluster.address in str(error)
    assert engine.state.away_since == since
    cluster.start_scheduler()
    cluster.start_worker()
    wait_until(lambda: engine.state.away_since is None)
    assert engine.submit("jobs_for_tests:echo", b"x").result() == b"x"


def test_pauses_grow(monkeypatch):
    """A scheduler that stays away is asked less and less often, down to twice a minute."""
    pauses = []

    async def note(engine, due):
        pauses.append(due - time.monotonic())
        if len(pauses) == 9:
            engine._abort()
        await asyncio.sleep(0)

    monkeypatch.setattr("streamcal.engine.cluster.CONNECT_SECONDS", 0.01)
    monkeypatch.setattr("streamcal.engine.dask.DaskEngine._wait_until_over", note)
    engine = make_engine(EngineOptions(kind="dask", address=f"tcp://127.0.0.1:{find_free_port()}"))
    engine._thread.join()
    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 30], abs=0.1)


def test_no_scheduler(start_engine, monkeypatch):
    """A scheduler that is not there yet is no error of the configuration: jobs are given back."""
    monkeypatch.setattr("streamcal.engine.cluster.CONNECT_SECONDS", 0.5)
    address = f"tcp://127.0.0.1:{find_free_port()}"
    engine = start_engine("dask", address=address)
    assert address in str(engine.submit("jobs_for_tests:echo", b"x").exception())
    assert engine.state.away_since is not None


def test_other_workers_are_refused(cluster, start_ready, wait_until):
    """A worker that is not what one of this machine would be is named and gets no job, also when it joins later."""
    engine = start_ready(identify="jobs_for_tests:identify")
    cluster.start_worker(environment={"COLOUR": "blue"})
    wait_until(lambda: engine.state.refused)
    assert list(engine.state.refused.values()) == ["colour is red here and blue there"]
    futures = [engine.submit("jobs_for_tests:read_colour", b"") for _ in range(50)]
    assert {future.result() for future in futures} == {b"red"}


def test_only_other_workers(cluster, start_engine, wait_until):
    """With none but refused workers the engine is away, and says how they differ."""
    cluster.start_worker(environment={"COLOUR": "blue"})
    engine = start_engine(**cluster.settings, identify="jobs_for_tests:identify")
    wait_until(lambda: engine.state.refused)
    error = engine.submit("jobs_for_tests:echo", b"x").exception()
    assert isinstance(error, RetryLater)
    assert "none of 1 workers can be used: colour is red here and blue there" in str(error)


def test_worker_that_cannot_start(cluster, start_engine, wait_until):
    """A worker whose children do not start is named with the reason."""
    cluster.start_worker()
    engine = start_engine(**cluster.settings, start="not_there:nothing")
    wait_until(lambda: engine.state.refused)
    assert "No module named 'not_there'" in next(iter(engine.state.refused.values()))


def test_shutdown_cancels(shared_cluster, start_on):
    """A shutdown that cancels does not wait for jobs."""
    engine = start_on(shared_cluster, 2, job_seconds=5)
    futures = [engine.submit("jobs_for_tests:sleep", b"600") for _ in range(4)]
    engine.submit("jobs_for_tests:echo", b"x")
    engine.shutdown(cancel_futures=True)
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(timeout=5)


@pytest.fixture
def stations(wait_until):
    """Give what a process of the cluster keeps; its children are ended."""
    before = threading.active_count()
    stations = Stations()
    yield stations
    stations.close()
    wait_until(lambda: threading.active_count() == before)


def test_each_job_is_checked(stations):
    """A worker that became another after it was tried refuses the job itself, as often as it is asked."""
    order = Order(options=EngineOptions(), identity={"colour": "red"}).to_bytes()
    for _ in range(2):
        with pytest.raises(WorkerDiffers, match="colour is red here and missing there"):
            stations.run(order, 1, "builtins:bytes", b"x")


def test_each_child_is_checked(stations, tmp_path):
    """Another version installed while a worker runs: a child that imports it refuses its job; made right, it works."""
    path = tmp_path / "version"
    options = EngineOptions(
        identify="jobs_for_tests:identify_by_file",
        start_payload=str(path).encode(),
        jobs_per_worker=1,
        environment={"PYTHONPATH": str(HERE)},
    )
    order = Order(options=options, identity={"version": "1"}).to_bytes()
    path.write_text("1")
    assert stations.run(order, 1, "jobs_for_tests:echo", b"x") == b"x"
    path.write_text("2")
    with suppress(WorkerDiffers):  # its child may have started before
        stations.run(order, 1, "jobs_for_tests:echo", b"x")
    with pytest.raises(WorkerDiffers, match="version is 1 here and 2 there"):
        stations.run(order, 1, "jobs_for_tests:echo", b"x")
    path.write_text("1")
    assert stations.run(order, 1, "jobs_for_tests:echo", b"x") == b"x"


def test_stations_are_shared_and_few(stations):
    """Daemons of one configuration share a worker's children; those of many do not pile up."""
    from streamcal.engine.remote import MOST_STATIONS

    orders = [Order(options=EngineOptions(job_seconds=n), identity={}).to_bytes() for n in range(1, MOST_STATIONS + 2)]
    for order in (*orders, orders[-1]):
        assert stations.run(order, 1, "builtins:bytes", b"x") == b"x"
    assert list(stations._stations) == orders[1:]


def test_order_survives_its_bytes():
    """What comes with a job says nothing of how the cluster is reached; any bytes can be the warm-up's argument."""
    options = EngineOptions(kind="dask", address="tls://a:1", tls_key="/secret", start_payload=bytes(range(256)))
    order = Order(options=options, identity={"streamcal": "1"})
    assert b"secret" not in order.to_bytes()
    here = Order.from_bytes(order.to_bytes())
    assert here == replace(order, options=EngineOptions(start_payload=bytes(range(256))))


def test_difference_in_words():
    """Each thing that differs, or that one side lacks, is named."""
    text = describe_difference(
        {"streamcal": "1.0", "kernels": "a"}, {"streamcal": "1.1", "kernels": "a", "plugin x": "2"}
    )
    assert text == "plugin x is missing here and 2 there, streamcal is 1.0 here and 1.1 there"
    assert describe_difference({"a": "1"}, {"a": "1"}) == ""


@pytest.mark.parametrize(
    "address", ["", "host:8786", "tcp://host", "inproc://a:1", "ucx://10.0.0.1:1", "tls://[::1:8786"]
)
def test_addresses_that_are_none(address):
    """Only tls and tcp with host and port are addresses."""
    with pytest.raises(ConfigError, match=r"engine\.address must be tls://HOST:PORT or tcp://HOST:PORT"):
        check_address(EngineOptions(kind="dask", address=address))


@pytest.mark.parametrize("host", ["10.0.0.7", "scheduler", "localhost.example.org", "0.0.0.0", "[::2]"])
def test_plain_tcp_off_loopback(host):
    """Plain tcp leaves this machine only when configured in so many words."""
    options = EngineOptions(kind="dask", address=f"tcp://{host}:8786")
    with pytest.raises(ConfigError, match=r"must be tls:// off this machine.*engine\.allow_plain_tcp = true"):
        check_address(options)
    check_address(replace(options, allow_plain_tcp=True))


def test_loopback():
    """What never leaves the machine."""
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "127.8.0.1", "::1"))


def test_tls_needs_its_files(tmp_path):
    """Each TLS file must be named and readable."""
    options = EngineOptions(kind="dask", address="tls://host:8786", tls_ca=__file__, tls_certificate=__file__)
    with pytest.raises(ConfigError, match=r"engine\.tls_key must name a PEM file"):
        check_address(options)
    with pytest.raises(ConfigError, match=r"engine\.tls_key: .*No such file"):
        check_address(replace(options, tls_key=str(tmp_path / "key.pem")))
    check_address(replace(options, tls_key=__file__))


def test_package_is_missing(monkeypatch, start_engine):
    """Without distributed the error says what brings it."""
    monkeypatch.setattr("streamcal.engine.base.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'streamcal\[dask\]'"):
        start_engine("dask", address="tcp://127.0.0.1:8786")
