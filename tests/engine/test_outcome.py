"""Errors as text, without an engine around them."""

import json

import pytest

from streamcal.engine.outcome import TEXT_LIMIT, Outcome, execute
from streamcal.errors import CompanionsWanted, PluginError, StageError, WorkerFailed


class OddStageError(StageError):
    """A plugin's own error, made without what its base expects."""

    def __init__(self):
        Exception.__init__(self, "odd")
        self.stage = object


@pytest.fixture
def run(monkeypatch):
    """Execute a job that raises what it is given."""

    def run(error):
        def job(_):
            raise error

        monkeypatch.setattr("streamcal.engine.outcome._import_function", lambda _: job)
        return execute("any:job", b"")

    return run


def raised(outcome):
    """Catch what the outcome raises."""
    with pytest.raises(Exception) as info:
        outcome.get()
    return info.value


def test_error_is_json(run):
    """An error crosses the border as plain JSON."""
    payload = json.loads(run(PluginError("no such stage")).payload)
    assert payload == {"error": "PluginError", "message": "no such stage", "values": {}}


def test_subclass_keeps_nearest_type(run):
    """A plugin's own kind of error arrives as the kind it derives from; what it lacks has its default."""
    error = raised(run(OddStageError()))
    assert type(error) is StageError
    assert (str(error), error.stage, error.plugin) == ("odd", "<class 'object'>", "")


def test_what_a_job_lacks_arrives_as_that(run):
    """It is a request of its own kind, not one to wait."""
    error = raised(run(CompanionsWanted("crosstalk asks", after_seconds=0.0)))
    assert (type(error), error.after_seconds) == (CompanionsWanted, 0.0)


def test_long_texts_are_cut(run):
    """A message keeps its beginning, a traceback its end."""
    error = raised(run(StageError("m" * 10**6, detail="d" * 10**6 + "end")))
    assert len(str(error)) == TEXT_LIMIT
    assert len(error.detail) == TEXT_LIMIT
    assert error.detail.endswith("end")


def test_keyboard_interrupt_is_not_caught(run):
    """Ctrl-C is for the program, not for the job."""
    with pytest.raises(KeyboardInterrupt):
        run(KeyboardInterrupt())


@pytest.mark.parametrize(
    "payload", [b"\xff", b"{}", b"[]", b'{"error": "StageError", "message": "x", "values": {"colour": 1}}', b"7"]
)
def test_unreadable_error(payload):
    """Text that is no error becomes an error that says so."""
    error = raised(Outcome(ok=False, payload=payload))
    assert type(error) is WorkerFailed
    assert "cannot be read" in str(error)
