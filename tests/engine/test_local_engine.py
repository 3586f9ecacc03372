"""Workers as they should be: limits, environment, recycling, the end."""

import ast
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, wait
from pathlib import Path

import pytest

from streamcal.logs import configure_logs

HERE = Path(__file__).parent


def evaluate(engine, function, job=b""):
    """Run a job that returns the repr of a value."""
    return ast.literal_eval(engine.submit(f"jobs_for_tests:{function}", job).result().decode())


def test_limits(start_engine):
    """A worker has its limit of address space and writes no core."""
    assert evaluate(start_engine(memory_megabytes=900), "read_limits") == [900 << 20, 0]


def test_one_thread_each(start_engine):
    """Libraries that start threads of their own are told to use one."""
    engine = start_engine()
    for name in (b"OMP_NUM_THREADS", b"OPENBLAS_NUM_THREADS", b"MKL_NUM_THREADS", b"NUMBA_NUM_THREADS"):
        assert engine.submit("jobs_for_tests:read_variable", name).result() == b"1"


def test_environment(start_engine):
    """Variables of the options win over all others."""
    engine = start_engine(environment={"NUMBA_CACHE_DIR": "/tmp/cache", "OMP_NUM_THREADS": "3"})
    assert engine.submit("jobs_for_tests:read_variable", b"NUMBA_CACHE_DIR").result() == b"/tmp/cache"
    assert engine.submit("jobs_for_tests:read_variable", b"OMP_NUM_THREADS").result() == b"3"


def test_imports_nothing_from_current_folder(start_engine, tmp_path, monkeypatch):
    """The folder in which the daemon was started is not searched for modules."""
    monkeypatch.chdir(tmp_path)
    path = evaluate(start_engine(), "read_path")
    assert "" not in path
    assert str(tmp_path) not in path


def test_default_signals(start_engine):
    """Signals that the daemon ignores or blocks are neither in a worker."""
    kept = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        assert evaluate(start_engine(), "read_signals") == ([], [])
    finally:
        signal.signal(signal.SIGINT, kept)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def test_own_session(start_engine):
    """Ctrl-C in the daemon's terminal does not reach a worker."""
    pid, session, group = evaluate(start_engine(), "read_session")
    assert pid == session == group


def test_ps_shows_name(start_engine, wait_until):
    """`ps` tells the workers apart."""
    pids = start_engine(workers=2).pids
    names = {"streamcal-w0", "streamcal-w1"}
    wait_until(lambda: {Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids()} == names)


def test_warm_up(start_engine):
    """The start function has run in a worker before its first job."""
    engine = start_engine(start="jobs_for_tests:warm_up", start_payload=b"kernels")
    assert engine.submit("jobs_for_tests:read_variable", b"WARM").result() == b"kernels"


def test_passes_stderr_on(start_engine, capsys):
    """Whatever a job prints, by whichever door, arrives on our stderr and breaks nothing."""
    engine = start_engine()
    assert engine.submit("jobs_for_tests:say_hello", b"").result() == b"said"
    engine.shutdown()
    out, err = capsys.readouterr()
    assert out == ""
    assert "hello from print\n" in err
    assert "hello from descriptor 1\n" in err
    assert err.count("\\xff") == 200_000


def test_output_becomes_events_among_json(start_engine, capsys):
    """Where logs are JSON a worker's other lines are wrapped, its own events are passed on as they are."""
    configure_logs("info", "json")
    engine = start_engine()
    for text in ("hello", '{"event": "mine", "n": 1}', "{broken", "[" * 20_000):
        engine.submit("builtins:print", text.encode()).exception()  # prints b'...': no event either
    engine.submit("jobs_for_tests:write_to_stderr", b'{"event": "mine", "n": 1}\n\n{"event"\n').result()
    engine.shutdown()
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {"event": "mine", "n": 1} in events
    lines = [event["line"] for event in events if event["event"] == "worker output"]
    assert "b'hello'" in lines
    assert lines[-1] == '{"event"'
    assert len(lines) == 5


def test_long_job(start_engine):
    """A job that fills the pipe many times over arrives whole."""
    job = os.urandom(20 << 20)
    assert start_engine().submit("jobs_for_tests:echo", job).result() == job


def test_no_limits(start_engine):
    """Zero means no limit of time."""
    assert start_engine(job_seconds=0, start_seconds=0).submit("jobs_for_tests:echo", b"x").result() == b"x"


def test_very_long_limit(start_engine):
    """A limit beyond what the kernel can count in one wait works."""
    assert start_engine(job_seconds=1e12).submit("jobs_for_tests:echo", b"x").result() == b"x"


def test_recycles_after_jobs(start_engine):
    """A worker is replaced after its number of jobs."""
    engine = start_engine(jobs_per_worker=3)
    pids = [engine.submit("jobs_for_tests:pid", b"").result() for _ in range(7)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]
    assert engine.restarts == 2


def test_recycles_by_size(start_engine):
    """A worker that has grown too large is replaced."""
    engine = start_engine(recycle_megabytes=200)
    before = engine.submit("jobs_for_tests:pid", b"").result()
    engine.submit("jobs_for_tests:keep_memory", b"1").result()
    assert engine.submit("jobs_for_tests:pid", b"").result() == before
    engine.submit("jobs_for_tests:keep_memory", b"250").result()
    assert engine.submit("jobs_for_tests:pid", b"").result() != before


def test_status(start_engine, tmp_path, wait_until):
    """Counts of processes, running and waiting jobs."""
    engine = start_engine(workers=2)
    for name in "abc":
        engine.submit("jobs_for_tests:touch_and_sleep", str(tmp_path / name).encode())
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    assert (engine.alive, engine.busy, engine.queued, engine.restarts) == (2, 2, 1, 0)
    assert len(set(engine.pids())) == 2
    engine.shutdown(cancel_futures=True)
    assert (engine.alive, engine.busy, engine.queued) == (0, 0, 0)


def test_cancels_waiting_job(start_engine, tmp_path, wait_until):
    """A job that waits can be cancelled and is never run."""
    engine = start_engine()
    running = engine.submit("jobs_for_tests:sleep", b"0.5")
    wait_until(running.running)
    cancelled = engine.submit("jobs_for_tests:touch_and_sleep", str(tmp_path / "ran").encode())
    last = engine.submit("jobs_for_tests:echo", b"last")
    assert cancelled.cancel()
    assert not running.cancel()
    assert (running.result(), last.result()) == (b"0.5", b"last")
    assert not (tmp_path / "ran").exists()


def test_shutdown_finishes_all(start_engine):
    """Without cancelling, running and waiting jobs are done first."""
    engine = start_engine(workers=2)
    futures = [engine.submit("jobs_for_tests:sleep", b"0.05") for _ in range(10)]
    engine.shutdown()
    assert all(future.done() for future in futures)
    assert [future.result() for future in futures] == [b"0.05"] * 10


def test_shutdown_without_wait(start_engine):
    """The shutdown may return at once; what was submitted is still done."""
    engine = start_engine()
    future = engine.submit("jobs_for_tests:sleep", b"0.2")
    engine.shutdown(wait=False)
    assert future.result() == b"0.2"


def test_shutdown_at_once(start_engine, tmp_path, wait_until, is_running):
    """With cancelling, running jobs are killed and all futures end."""
    engine = start_engine(workers=2)
    futures = [engine.submit("jobs_for_tests:touch_and_sleep", str(tmp_path / name).encode()) for name in "abcd"]
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    pids = engine.pids()
    engine.shutdown(cancel_futures=True)
    assert not any(is_running(pid) for pid in pids)
    assert [future.cancelled() for future in futures] == [False, False, True, True]
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(timeout=0)


def test_shutdown_wakes_who_waits(start_engine, tmp_path, wait_until):
    """A thread that waits for futures of any kind learns of the shutdown."""
    engine = start_engine()
    futures = [engine.submit("jobs_for_tests:touch_and_sleep", str(tmp_path / name).encode()) for name in "ab"]
    waiter = threading.Thread(target=wait, args=(futures,))
    waiter.start()
    wait_until((tmp_path / "a").exists)
    engine.shutdown(cancel_futures=True)
    waiter.join(60)
    assert not waiter.is_alive()


def test_shutdown_during_start(start_engine):
    """A worker that is still warming up does not hold the shutdown up."""
    engine = start_engine(start="jobs_for_tests:sleep", start_payload=b"600")
    engine.shutdown()
    assert engine.alive == 0


PARENT = """
import sys, time
from streamcal.engine import EngineOptions, make_engine

engine = make_engine(EngineOptions(workers=3))
for name in sys.argv[1:]:
    engine.submit("jobs_for_tests:touch_and_sleep", name.encode())
child = engine.submit("jobs_for_tests:fork", b"").result()
print(*engine.pids(), child.decode(), flush=True)
{end}
"""


@pytest.mark.parametrize(("end", "code"), [("time.sleep(600)", -signal.SIGKILL), ("", 0), ("1 / 0", 1)])
def test_workers_end_with_parent(tmp_path, wait_until, is_running, end, code):
    """However the parent ends, killed or without a shutdown, no worker and no child of one stays."""
    names = [str(tmp_path / "a"), str(tmp_path / "b")]
    with subprocess.Popen(
        [sys.executable, "-c", PARENT.format(end=end), *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    ) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        if code == -signal.SIGKILL:
            parent.kill()
        assert parent.wait() == code
    assert len(pids) == 4
    wait_until(lambda: not any(is_running(pid) for pid in pids))
