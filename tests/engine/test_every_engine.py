"""What holds for every engine."""

from concurrent.futures import Executor, as_completed

import pytest

from streamcal.engine.outcome import RESULT_LIMIT
from streamcal.errors import ExposureError, RetryLater, StageError, WorkerDied, WorkerFailed


def test_is_executor(engine):
    """An engine can stand wherever an Executor can, its end included."""
    assert isinstance(engine, Executor)
    with engine:
        future = engine.submit("jobs_for_tests:echo", b"x")
    assert future.result() == b"x"


def test_returns_bytes(engine):
    """What the function returns comes back unchanged, also when it is long or empty."""
    for job in (b"", b"\0\n", bytes(range(256)) * 4000):
        assert engine.submit("jobs_for_tests:echo", job).result() == job


def test_takes_function_object(engine):
    """A function can be given itself, if it can be found by its name elsewhere."""
    from streamcal.engine.outcome import execute

    with pytest.raises(WorkerFailed, match="missing 1 required positional argument"):
        engine.submit(execute, b"").result()


@pytest.mark.parametrize("function", [lambda job: job, "no colon", ":name", "module:", "__main__:main"])
def test_refuses_what_cannot_be_imported(engine, function):
    """A function that no other process could import is refused at once."""
    with pytest.raises(ValueError, match="must be importable"):
        engine.submit(function, b"")


def test_many_jobs(engine):
    """Far more jobs than workers: each future ends with the result of its own job."""
    futures = {engine.submit("jobs_for_tests:echo", str(n).encode()): str(n).encode() for n in range(500)}
    assert all(future.result() == futures[future] for future in as_completed(futures))


def test_keeps_stage_error(engine):
    """A stage's error arrives with its stage, plugin and traceback."""
    error = engine.submit("jobs_for_tests:raise_stage_error", b"").exception()
    assert isinstance(error, StageError)
    assert (str(error), error.stage, error.plugin) == ("gain is negative", "gain", "streamcal")
    assert error.detail == "Traceback: here"


def test_keeps_exposure_error(engine):
    """A file's error arrives with its text, bytes of odd file names included."""
    error = engine.submit("jobs_for_tests:raise_exposure_error", b"").exception()
    assert type(error) is ExposureError
    assert str(error) == "file ends within HDU 3: b\udcff.fits"


def test_keeps_retry_later(engine):
    """A request to wait arrives with the time to wait."""
    error = engine.submit("jobs_for_tests:raise_retry_later", b"").exception()
    assert isinstance(error, RetryLater)
    assert error.after_seconds == 7.5


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("raise_key_error", "KeyError: 'EXPTIME'"),
        ("raise_two_arguments", "TwoArgumentsError: salt and pepper"),
        ("raise_speechless", "SpeechlessError: (its text cannot be had)"),
        ("exit_politely", "SystemExit: enough"),
        ("return_none", "jobs_for_tests:return_none must return bytes, got <class 'NoneType'>"),
        ("return_lambda", "jobs_for_tests:return_lambda must return bytes, got <class 'function'>"),
        ("not_there", "AttributeError: module 'jobs_for_tests' has no attribute 'not_there'"),
    ],
)
def test_other_errors_become_text(engine, function, text):
    """Any other exception is one kind of error that says what it was; the engine goes on."""
    error = engine.submit(f"jobs_for_tests:{function}", b"").exception()
    assert type(error) is WorkerFailed
    assert str(error) == text
    assert engine.submit("jobs_for_tests:echo", b"next").result() == b"next"


def test_error_has_traceback(engine):
    """The traceback of the job comes along as text."""
    error = engine.submit("jobs_for_tests:raise_key_error", b"").exception()
    assert 'return {}["EXPTIME"]' in error.detail


def test_refuses_huge_result(engine):
    """A result over the limit is the job's failure, one at the limit is not."""
    error = engine.submit("jobs_for_tests:return_much", str(RESULT_LIMIT + 1).encode()).exception()
    assert type(error) is WorkerFailed
    assert "must return at most 67108864 bytes, got 67108865" in str(error)
    assert len(engine.submit("jobs_for_tests:return_much", str(RESULT_LIMIT).encode()).result()) == RESULT_LIMIT


def test_memory_error(engine):
    """More memory than there is costs the job only."""
    assert isinstance(engine.submit("jobs_for_tests:take_memory", b"1" + b"0" * 15).exception(), WorkerDied)
    assert engine.submit("jobs_for_tests:echo", b"next").result() == b"next"


def test_prints_do_not_reach_stdout(engine, capsys, shared_cluster, wait_until):
    """What a job prints goes to stderr, on a cluster to the worker's: stdout is for results."""
    engine.submit("builtins:print", b"a plugin's greeting").exception()
    engine.shutdown()
    out, err = capsys.readouterr()
    assert out == ""
    if engine.state.workers is None:
        assert "a plugin's greeting" in err
    else:
        wait_until(lambda: "a plugin's greeting" in shared_cluster.worker_log.read_text())


def test_refuses_jobs_after_shutdown(engine):
    """After the shutdown, which may be called twice, no job is taken."""
    engine.shutdown()
    engine.shutdown(cancel_futures=True)
    with pytest.raises(RuntimeError, match="shut down"):
        engine.submit("jobs_for_tests:echo", b"")
