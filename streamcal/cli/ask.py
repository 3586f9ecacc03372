"""Ask a running daemon to do something, or do it in its place when it is down."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import typer

from streamcal import requests
from streamcal.journal import Journal, JournaledExposure
from streamcal.lock import StateLock, lock_owner
from streamcal.records import Disposition
from streamcal.state import JOURNAL, find_state

EXIT_DONE, EXIT_FAILURE = 0, 1
PATIENCE = 5.0  # s


def ask_daemon(output: Path, values: dict[str, Any]) -> int:
    """Have a request served, and print what was done; return the exit code.

    Parameters
    ----------
    output : Path
        Output folder of the run.
    values : dict
        See `streamcal.requests.apply`.

    Returns
    -------
    int
        0; 1 if nothing was as the request says, or the daemon has not answered.

    Raises
    ------
    ConfigError
        If the folder is not an output of streamcal.
    StateError
        If its journal is not there or damaged; none is ever made.
    """
    state = find_state(output)
    path = requests.leave(state / "requests", values)
    if lock_owner(state) is None:
        with StateLock(state):
            _serve(state)
    outcome = _await_answer(path)
    if outcome is None:
        typer.echo("the daemon has not answered yet; it will do it when it can", err=True)
        return EXIT_FAILURE
    typer.echo(outcome.text)
    return EXIT_DONE if outcome.count else EXIT_FAILURE


def _await_answer(path: Path) -> requests.Outcome | None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if outcome := requests.take_answer(path):
            return outcome
        time.sleep(0.05)
    return None


def _serve(state: Path) -> None:
    """Serve all requests in the daemon's place."""
    journal = Journal(state / JOURNAL, create=False)

    def orphan(exposure: JournaledExposure, reason: str) -> None:
        journal.set_disposition(exposure.number, Disposition.ORPHAN, reason)

    try:
        for request in requests.pending(state / "requests"):
            request.close(requests.apply(request, journal, orphan, _refuse_fit))
    finally:
        journal.close()


def _refuse_fit(_: dict[str, Any]) -> requests.Outcome:
    """Answer a request for fits that no daemon has lived to serve."""
    return requests.Outcome(text="not fitted: the daemon is down; use streamcal fit again", count=0)
