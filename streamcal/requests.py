"""What commands want of a running daemon: small files in ``STATE/requests/``, served in order and then removed.

When the daemon is down, a command takes its lock and serves its request itself, by the same functions.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from streamcal.errors import RetryLater
from streamcal.heartbeat import write_atomically
from streamcal.journal import Journal, JournaledExposure
from streamcal.paths import show_path
from streamcal.records import PairState

FORGOTTEN = 60.0  # s
Orphan = Callable[[JournaledExposure, str], None]
Fit = Callable[[dict[str, Any]], "Outcome"]


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

    def close(self, outcome: Outcome) -> None:
        """Take it away, served; its outcome lies where whoever asked looks for it.

        Raises
        ------
        RetryLater
            If the folder cannot be written now; serving it again then changes nothing.
        """
        try:
            with contextlib.suppress(OSError):
                write_atomically(_answer_path(self.path), json.dumps(asdict(outcome)))
            self.path.unlink(missing_ok=True)
        except OSError as exc:
            msg = f"{self.path}: {exc.strerror}; it stays and is served again"
            raise RetryLater(msg) from exc


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of a request.

    Attributes
    ----------
    text : str
        For people.
    count : int
        Number of things it had an effect on; 0: nothing was as it says.
    """

    text: str
    count: int


def leave(folder: Path, values: dict[str, Any]) -> Path:
    """Leave a request for the daemon; it appears at once, whole.

    Parameters
    ----------
    folder : Path
        ``STATE/requests``; made when it is not there, in a STATE that is.
    values : dict
        ``command`` and what goes with it.

    Raises
    ------
    RetryLater
        If the folder cannot be written now, or not by this user.
    """
    name = f"{time.time_ns():020d}-{os.getpid()}"
    hidden = folder / f".{name}"
    try:
        folder.mkdir(exist_ok=True)
        hidden.write_text(json.dumps(values))
        return hidden.rename(folder / f"{name}.json")
    except OSError as exc:
        msg = f"{folder}: {exc.strerror}; nothing was asked for"
        raise RetryLater(msg) from exc


def take_answer(path: Path) -> Outcome | None:
    """Return what became of a request that was left here, once; None while it is not served."""
    answer = _answer_path(path)
    values = _read(answer)
    if not values:
        return None
    answer.unlink(missing_ok=True)
    return Outcome(**values)


def _answer_path(path: Path) -> Path:
    return path.with_suffix(".answer")


def pending(folder: Path) -> list[Request]:
    """Return the requests that wait, oldest first; old answers that nobody fetched are cleared away."""
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []
    waiting = [Request(path=path, values=_read(path)) for path in paths if path.suffix == ".json"]
    for path in paths if waiting else ():
        with contextlib.suppress(OSError):
            if path.suffix == ".answer" and time.time() - path.stat().st_mtime > FORGOTTEN:
                path.unlink()
    return waiting


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def apply(request: Request, journal: Journal, orphan: Orphan, fit: Fit) -> Outcome:
    """Do what a request asks for.

    Parameters
    ----------
    request : Request
        ``retry`` with ``pairs`` (beginnings of pair ids), ``files`` (rejected files, by path or as `show_path` shows
        it) or ``rejected`` (all of them); with none of these all failed pairs. ``close-group`` with ``group`` and
        ``detector``, either of them or none. ``fit`` with what ``fit`` takes.
    journal : Journal
        Where it takes effect.
    orphan : callable
        Records an exposure as orphan with a reason.
    fit : callable
        Has groups fitted, see `streamcal.refitting.Refitting.ask`.

    Returns
    -------
    Outcome
        What was done.
    """
    command = request.values.get("command")
    if command == "retry" and all(_is_texts(request.values.get(key, [])) for key in ("pairs", "files")):
        return _retry(request.values, journal)
    if command == "close-group" and _is_texts([request.values.get(key) or "" for key in ("group", "detector")]):
        return _close_group(request.values, journal, orphan)
    if command == "fit":
        return fit(request.values)
    return Outcome(text=f"not a request that is known, nothing done: {request.values!r}", count=0)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _retry(values: dict[str, Any], journal: Journal) -> Outcome:
    prefixes, names, everything = values.get("pairs", []), values.get("files", []), bool(values.get("rejected"))
    files = _rejected_files(journal, None if everything else names) if everything or names else []
    if prefixes:
        pairs = [pair for prefix in prefixes for pair in journal.find_pairs(prefix) if pair.state == PairState.FAILED]
    else:
        pairs = [] if everything or names else journal.failed_pairs()
    with journal.transaction():
        for pair in pairs:
            journal.retry_pair(pair.record.pair_id)
        for path in files:
            journal.forget_file(path)
    text = f"failed pairs to be measured again: {len(pairs)}; rejected files to be looked into again: {len(files)}"
    return Outcome(text=text, count=len(pairs) + len(files))


def _rejected_files(journal: Journal, names: list[str] | None) -> list[str]:
    """Return the paths of rejected files that are named, or of all."""
    paths = list(dict.fromkeys(entry.info.path for entry in journal.rejected_exposures()))
    if names is None:
        return paths
    wanted = {*names, *(os.path.realpath(name) for name in names)}
    return [path for path in paths if wanted & {path, show_path(path), os.path.realpath(path)}]


def _close_group(values: dict[str, Any], journal: Journal, orphan: Orphan) -> Outcome:
    exposures = journal.waiting_exposures(group=values.get("group"), detector=values.get("detector"))
    with journal.transaction():
        for exposure in exposures:
            orphan(exposure, "its group was closed")
    return Outcome(text=f"exposures without partner recorded as orphans: {len(exposures)}", count=len(exposures))
