"""What bad jobs do to local workers costs the job, never the others and never this process."""

import os
import random
import signal
import threading
from contextlib import suppress

import pytest

from streamcal.engine.frames import FrameKind, pack_frame
from streamcal.errors import WorkerDied


def assert_dies(engine, function, job, text):
    """Run a bad job between good ones."""
    good = [engine.submit("jobs_for_tests:echo", b"good") for _ in range(4)]
    bad = engine.submit(f"jobs_for_tests:{function}", job)
    good += [engine.submit("jobs_for_tests:echo", b"good") for _ in range(4)]
    error = bad.exception()
    assert isinstance(error, WorkerDied)
    assert text in str(error)
    assert [future.result() for future in good] == [b"good"] * 8
    return error


def test_segfault(start_engine):
    """A segmentation fault is reported, with the place in the job."""
    error = assert_dies(start_engine(workers=2), "segfault", b"", "worker was killed by signal 11 (SIGSEGV)")
    assert "in segfault" in error.detail


@pytest.mark.parametrize("code", [b"0", b"3"])
def test_exit(start_engine, code):
    """A job that ends the process is reported with the exit code."""
    assert_dies(start_engine(workers=2), "leave", code, f"worker exited with code {code.decode()}")


@pytest.mark.parametrize(
    ("place", "stage", "plugin"),
    [
        ("read", "read", ""),
        ("inner", "inner", "sm\u00e5l"),
        ("outer", "outer", ("plugin " * 100)[:506]),
        ("after", "", ""),
    ],
)
def test_the_stage_that_ended_the_worker_is_named(start_engine, place, stage, plugin):
    """With its plugin (a name of any length does no harm), and none where none was running."""
    engine = start_engine()
    assert engine.submit("jobs_for_tests:work_in_stages", b"no").result() == b"no"
    error = engine.submit("jobs_for_tests:work_in_stages", place.encode()).exception()
    assert (str(error), error.stage, error.plugin) == ("worker exited with code 7", stage, plugin)


def test_hang(start_engine):
    """A job that hangs is ended, and the error says where it was."""
    engine = start_engine(workers=2, job_seconds=1)
    error = assert_dies(engine, "sleep", b"600", "worker exceeded time of 1 s")
    assert "in sleep" in error.detail


def test_hang_without_mercy(start_engine):
    """A job that ignores SIGTERM is killed."""
    engine = start_engine(workers=2, job_seconds=1, grace_seconds=0.2)
    assert_dies(engine, "ignore_sigterm", b"", "worker exceeded time of 1 s")


def test_memory_limit(start_engine, wait_until):
    """A job over the limit of memory fails; the machine is not asked for more."""
    engine = start_engine(workers=2, memory_megabytes=500)
    error = assert_dies(
        engine, "take_memory", b"600000000", "worker exceeded memory of 500 MiB (engine.memory_megabytes)"
    )
    assert "in take_memory" in error.detail
    assert engine.submit("jobs_for_tests:take_memory", b"1000000").result() == b"\0"
    wait_until(lambda: engine.restarts == 1)


def test_closed_pipes(start_engine):
    """A job that closes all descriptors and goes on is ended."""
    assert_dies(start_engine(workers=2, grace_seconds=0.2), "close_everything", b"", "worker closed its pipes")


@pytest.mark.parametrize(
    "garbage",
    [
        b"?",
        b"Traceback (most recent call last):\n" * 10,
        pack_frame(FrameKind.RESULT, 10**6, b"another job's"),
        pack_frame(FrameKind.JOB, 1, b"no answer"),
        pack_frame(FrameKind.RESULT, 1, b"")[:-8] + b"\xff" * 8,
    ],
    ids=["byte", "text", "number", "kind", "length"],
)
def test_garbage(start_engine, garbage):
    """What is no frame, or not the answer to this job, is never taken for a result."""
    engine = start_engine(workers=1)
    error = engine.submit("jobs_for_tests:write_garbage", garbage).exception()
    assert isinstance(error, WorkerDied)
    assert "worker sent garbage" in str(error)
    assert engine.submit("jobs_for_tests:echo", b"next").result() == b"next"


def test_second_frame(start_engine, wait_until):
    """A second answer is never taken for the answer to the next job; the worker that gave it is replaced."""
    engine = start_engine()
    answers = [
        engine.submit("jobs_for_tests:write_garbage", pack_frame(FrameKind.RESULT, 1, b"forged")),
        engine.submit("jobs_for_tests:echo", b"next"),
    ]
    # the kernel decides whether it comes with the first answer, between the jobs, or during the second job
    for answer, value in zip(answers, (b"forged", b"next"), strict=True):
        if answer.exception() is None:
            assert answer.result() == value
        else:
            assert isinstance(answer.exception(), WorkerDied)
    wait_until(lambda: engine.restarts == 1)
    assert engine.submit("jobs_for_tests:echo", b"last").result() == b"last"


def test_forked_child_is_killed(start_engine, is_running, wait_until):
    """What a job leaves running ends with its worker at the latest."""
    engine = start_engine()
    child = int(engine.submit("jobs_for_tests:fork", b"").result())
    assert is_running(child)
    engine.shutdown()
    wait_until(lambda: not is_running(child))


def test_forked_child_does_not_answer(start_engine):
    """A child that returns from the job as well cannot send a second result."""
    engine = start_engine()
    assert int(engine.submit("jobs_for_tests:fork", b"return").result()) > 0
    assert [engine.submit("jobs_for_tests:echo", b"%d" % n).result() for n in range(20)] == [
        b"%d" % n for n in range(20)
    ]
    assert engine.restarts == 0


def test_programs_of_a_hung_job_are_killed(start_engine, tmp_path, is_running, wait_until):
    """A program that a hung job started is killed with it."""
    path = tmp_path / "pid"
    engine = start_engine(job_seconds=1)
    assert isinstance(engine.submit("jobs_for_tests:spawn", bytes(path)).exception(), WorkerDied)
    wait_until(lambda: not is_running(int(path.read_text())))


def test_killed_while_idle(start_engine, wait_until):
    """An idle worker that is killed is replaced before any job notices."""
    engine = start_engine()
    pid = int(engine.submit("jobs_for_tests:pid", b"").result())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: engine.restarts == 1)
    assert int(engine.submit("jobs_for_tests:pid", b"").result()) != pid


def test_killed_while_busy(start_engine, tmp_path, wait_until):
    """A worker that is killed in a job fails this job alone."""
    engine = start_engine(workers=2)
    hung = engine.submit("jobs_for_tests:touch_and_sleep", bytes(tmp_path / "a"))
    pid = int(engine.submit("jobs_for_tests:pid", b"").result())
    wait_until((tmp_path / "a").exists)
    os.kill(next(other for other in engine.pids() if other != pid), signal.SIGKILL)
    assert str(hung.exception()) == "worker was killed by signal 9 (SIGKILL)"
    assert int(engine.submit("jobs_for_tests:pid", b"").result()) == pid


@pytest.mark.slow
def test_200_kills(start_engine, wait_until):
    """Random kills under load: every future ends, no more fail than workers were killed, and nothing stalls."""
    engine = start_engine(workers=4)
    seen, kills, failures, done = set(), 0, 0, 0
    chance = random.Random(20)
    while kills < 200:
        futures = [engine.submit("jobs_for_tests:sleep_and_tell", b"0.002") for _ in range(20)]
        for future in futures:
            # one that is working: killing only those that are starting would make the engine pause
            if seen and chance.random() < 0.5:
                with suppress(ProcessLookupError):
                    os.kill(seen.pop(), signal.SIGKILL)
                    kills += 1
            if (error := future.exception(timeout=60)) is None:
                seen.add(int(future.result()))
                done += 1
            else:
                assert isinstance(error, WorkerDied)
                failures += 1
        seen.intersection_update(engine.pids())
    assert 0 < failures <= kills
    assert done > failures
    # the last one killed may still be on its way out
    wait_until(lambda: engine.submit("jobs_for_tests:echo", b"alive").exception() is None)


def test_killed_while_starting(start_engine, wait_until):
    """A worker that is killed while it starts is replaced; the job that waits for it does not notice."""
    engine = start_engine(start="jobs_for_tests:sleep", start_payload=b"0.5")
    wait_until(engine.pids)
    os.kill(engine.pids()[0], signal.SIGKILL)
    assert engine.submit("jobs_for_tests:echo", b"x").result() == b"x"
    assert engine.restarts == 1


@pytest.mark.parametrize(
    ("start", "text"),
    [("not_there:nothing", "No module named 'not_there'"), ("jobs_for_tests:raise_stage_error", "gain is negative")],
)
def test_start_raises(start_engine, start, text):
    """A warm-up that raises: after a few tries a waiting job learns why, at the shutdown all do."""
    engine = start_engine(start=start)
    first, second = (engine.submit("jobs_for_tests:echo", b"x") for _ in range(2))
    assert isinstance(first.exception(), WorkerDied)
    assert "worker did not start: " in str(first.exception())
    assert text in str(first.exception())
    engine.shutdown()
    assert isinstance(second.exception(), WorkerDied)
    assert engine.restarts >= 2


def test_start_recovers(start_engine, tmp_path, wait_until):
    """When the cause has gone, workers start and waiting jobs are done; a death at start tells its stderr."""
    flag = tmp_path / "flag"
    flag.touch()
    engine = start_engine(start="jobs_for_tests:die_on_flag", start_payload=bytes(flag))
    first, second = (engine.submit("jobs_for_tests:echo", b"x") for _ in range(2))
    assert str(first.exception()) == "worker did not start: worker exited with code 9"
    assert "the flag is up" in first.exception().detail
    flag.unlink()
    assert second.result() == b"x"


def test_start_hangs(start_engine):
    """A warm-up that hangs is ended."""
    engine = start_engine(start="jobs_for_tests:sleep", start_payload=b"600", start_seconds=0.5)
    assert "worker exceeded time of 0.5 s" in str(engine.submit("jobs_for_tests:echo", b"x").exception())


def test_no_interpreter(start_engine, monkeypatch):
    """A worker that cannot even be started is a failed start, not the end of the supervisor."""
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    error = start_engine().submit("jobs_for_tests:echo", b"x").exception()
    assert isinstance(error, WorkerDied)
    assert "/nowhere/python" in str(error)


def test_process_that_cannot_be_killed(start_engine, monkeypatch):
    """A killed process that hangs in the kernel is given up after a while; its slot goes on with another."""
    from streamcal.engine import process

    monkeypatch.setattr(process, "REAP_SECONDS", 0.01)
    unkillable = []
    signal_group = process.WorkerProcess._signal_group

    def refuse_first(worker, number):
        if not unkillable:
            unkillable.append(worker)
        if worker not in unkillable:
            signal_group(worker, number)

    monkeypatch.setattr(process.WorkerProcess, "_signal_group", refuse_first)
    engine = start_engine(job_seconds=0.5, grace_seconds=0.1)
    assert isinstance(engine.submit("jobs_for_tests:sleep", b"600").exception(), WorkerDied)
    assert engine.submit("jobs_for_tests:echo", b"next").result() == b"next"
    unkillable[0]._process.kill()
    unkillable[0]._process.wait()


def test_bug_of_ours_ends_engine(start_engine, monkeypatch):
    """If the supervisor itself has a bug, every future ends and no job is taken any more."""
    from streamcal.engine.local import WorkerSlot

    seen = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    engine = start_engine()
    engine.submit("jobs_for_tests:echo", b"x").result()
    monkeypatch.setattr(WorkerSlot, "_is_spent", lambda *_: 1 / 0)
    engine.submit("jobs_for_tests:echo", b"x").result()
    engine.shutdown()
    assert [entry.exc_type for entry in seen] == [ZeroDivisionError]
    assert engine.alive == 0
    with pytest.raises(RuntimeError, match="shut down"):
        engine.submit("jobs_for_tests:echo", b"x")


def test_no_descriptor_left(start_engine):
    """A start that fails in its last step takes back all others (the autouse fixture looks for what is left)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pidfd_open", lambda *_: (_ for _ in ()).throw(OSError(24, "too many open files")))
        engine = start_engine()
        assert "too many open files" in str(engine.submit("jobs_for_tests:echo", b"x").exception())
        engine.shutdown()
