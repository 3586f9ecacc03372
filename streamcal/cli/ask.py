"""Ask a running daemon to do something, or do it in its place when it is down."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from streamcal import requests
from streamcal.journal import Journal, JournaledExposure
from streamcal.lock import StateLock, lock_owner
from streamcal.records import Disposition
from streamcal.status import find_state

PATIENCE = 5.0  # s


def ask_daemon(output: Path, values: dict[str, Any]) -> str:
    """Have a request served; return what was done, for people.

    Parameters
    ----------
    output : Path
        Output folder of the run.
    values : dict
        See `streamcal.requests.apply`.
    """
    state = find_state(output)
    path = requests.leave(state / "requests", values)
    if owner := lock_owner(state):
        return _await_service(path, owner)
    with StateLock(state):
        return _serve(state, path)


def _await_service(path: Path, owner: int) -> str:
    deadline = time.monotonic() + PATIENCE
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return f"the daemon ({owner}) {'will do it when it can' if path.exists() else 'has done it; see its log'}"


def _serve(state: Path, path: Path) -> str:
    journal = Journal(state / "journal.db")

    def orphan(exposure: JournaledExposure, reason: str) -> None:
        journal.set_disposition(exposure.number, Disposition.ORPHAN, reason)

    try:
        texts = []
        for request in requests.pending(path.parent):
            texts.append(requests.apply(request, journal, orphan))
            request.remove()
    finally:
        journal.close()
    return f"{texts[-1]}, at the next start"
