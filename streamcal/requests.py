"""What commands want of a running daemon: small files in ``STATE/requests/``, served in order and then removed.

When the daemon is down, a command takes its lock and serves its request itself, by the same functions.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamcal.errors import RetryLater
from streamcal.journal import Journal, JournaledExposure
from streamcal.records import PairState

Orphan = Callable[[JournaledExposure, str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request.

    Attributes
    ----------
    path : Path
        Its file.
    values : dict
        ``command`` and what goes with it; empty if the file is no request.
    """

    path: Path
    values: dict[str, Any]

    def remove(self) -> None:
        """Take it away: it is served.

        Raises
        ------
        RetryLater
            If the folder cannot be written now; serving it again then changes nothing.
        """
        try:
            self.path.unlink(missing_ok=True)
        except OSError as exc:
            msg = f"{self.path}: {exc.strerror}; it stays and is served again"
            raise RetryLater(msg) from exc


def leave(folder: Path, values: dict[str, Any]) -> Path:
    """Leave a request for the daemon; it appears at once, whole.

    Parameters
    ----------
    folder : Path
        ``STATE/requests``; made when it is not there.
    values : dict
        ``command`` and what goes with it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{time.time_ns():020d}-{os.getpid()}"
    hidden = folder / f".{name}"
    hidden.write_text(json.dumps(values))
    return hidden.rename(folder / f"{name}.json")


def pending(folder: Path) -> list[Request]:
    """Return the requests that wait, oldest first."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".json" and not path.name.startswith("."))
    except OSError:
        return []
    return [Request(path=path, values=_read(path)) for path in paths]


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def apply(request: Request, journal: Journal, orphan: Orphan) -> str:
    """Do what a request asks for.

    Parameters
    ----------
    request : Request
        ``retry`` with ``pairs`` (prefixes of pair ids; none: all failed ones) and ``files`` (paths of rejected files),
        or ``close-group`` with ``group`` and, if not all, ``detector``.
    journal : Journal
        Where it takes effect.
    orphan : callable
        Records an exposure as orphan with a reason.

    Returns
    -------
    str
        What was done, for people.
    """
    command = request.values.get("command")
    if command == "retry" and all(_is_texts(request.values.get(key, [])) for key in ("pairs", "files")):
        return _retry(request.values, journal)
    if command == "close-group" and _is_texts([request.values.get(key) or "" for key in ("group", "detector")]):
        return _close_group(request.values, journal, orphan)
    return f"not a request that is known, nothing done: {request.values!r}"


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _retry(values: dict[str, Any], journal: Journal) -> str:
    prefixes, files = list(values.get("pairs", ())), list(values.get("files", ()))
    if prefixes:
        pairs = [pair for prefix in prefixes for pair in journal.find_pairs(prefix) if pair.state == PairState.FAILED]
    else:
        pairs = [] if files else journal.failed_pairs()
    with journal.transaction():
        for pair in pairs:
            journal.retry_pair(pair.record.pair_id)
        for path in files:
            journal.forget_file(path)
    return f"{len(pairs)} pairs and {len(files)} files to be tried again"


def _close_group(values: dict[str, Any], journal: Journal, orphan: Orphan) -> str:
    exposures = journal.waiting_exposures(group=values.get("group"), detector=values.get("detector"))
    with journal.transaction():
        for exposure in exposures:
            orphan(exposure, "its group was closed")
    return f"{len(exposures)} exposures without partner recorded as orphans"
