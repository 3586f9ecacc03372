"""Rubbish where the daemon expects its own: requests, answers of workers, a log that cannot be written."""

from __future__ import annotations

import errno
import io
import json
import os

import pytest
import structlog

from streamcal import requests, results
from streamcal.config import load_config
from streamcal.daemon import run_daemon
from streamcal.errors import RetryLater
from streamcal.faults.daemons import wait_until_done
from streamcal.faults.site import ROWS_PER_PAIR, add_pairs
from streamcal.instruments.inspect import inspect_file
from streamcal.jobs import measure_pair
from streamcal.journal import Journal
from streamcal.logs import configure_logs
from streamcal.status import read_status

REQUESTS = [
    b"",
    b"\xff\xfe not json",
    b"[]",
    b"{}",
    b'{"command": "retry", "pairs": 5}',
    b'{"command": "retry", "pairs": [null], "files": "x"}',
    b'{"command": "close-group", "group": {"a": 1}}',
    b'{"command": ["retry"]}',
]


def test_rubbish_as_requests(make, start):
    """Requests that are none are served by doing nothing, and taken away; the daemon goes on."""
    site = make()
    process = start(site)
    process.wait_for_event("watching")
    folder = site.state / "requests"
    for number, content in enumerate(REQUESTS):
        (folder / f"{number}.json").write_bytes(content)
    process.wait_for(lambda: not any(path.suffix == ".json" for path in folder.iterdir()))
    assert len(process.events("request")) == len(REQUESTS)
    add_pairs(site.incoming, 1)
    wait_until_done(process, 1)
    assert process.stop() == 0


def test_a_request_that_cannot_be_taken_away(tmp_path, monkeypatch):
    """It stays, and is served again later: that changes nothing."""
    path = requests.leave(tmp_path / "requests", {"command": "retry"})
    (request,) = requests.pending(path.parent)

    def refuse(*_args, **_keywords):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    with pytest.raises(RetryLater, match="served again"):
        request.close(requests.Outcome(text="done", count=0))
    journal = Journal(tmp_path / "journal.db")
    outcomes = [requests.apply(request, journal, lambda *_: None, lambda _: None) for _ in range(2)]
    journal.close()
    assert [outcome.count for outcome in outcomes] == [0, 0]


class FullStream(io.StringIO):
    """A log file on a full disk."""

    def write(self, text):
        """Fail."""
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_log_that_cannot_be_written():
    """It is not worth a run."""
    configure_logs("info", "json", FullStream())
    structlog.get_logger("x").error("this is lost")


@pytest.mark.parametrize("answer", [b"", b"rubbish", b"\xff\xff\xff\xff" * 50], ids=["empty", "text", "bytes"])
def test_rubbish_as_answer(make, monkeypatch, answer):
    """What cannot be read as rows costs that pair, with a reason; the others are measured."""
    site = make()
    add_pairs(site.incoming, 3)

    def answer_once(job):
        return answer if json.loads(job)["first"]["exposure_id"] == "3" else measure_pair(job)

    monkeypatch.setattr("streamcal.engine.outcome._import_function", lambda name: _choose(name, answer_once))
    assert run_daemon(load_config(site.config), once=True) == 3
    (failure,) = read_status(site.output).failures
    assert failure["exposures"] == "3+4"
    assert failure["error"].startswith("the worker's answer cannot be read")
    assert results.read(site.output).num_rows == 2 * ROWS_PER_PAIR


def _choose(name, answer_once):
    return answer_once if name.endswith("measure_pair") else inspect_file
