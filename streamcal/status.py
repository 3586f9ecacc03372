"""How a run is doing, told from its journal and heartbeat, whether the daemon is up or down."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamcal.errors import ConfigError, StateError
from streamcal.lock import lock_owner
from streamcal.paths import show_path

LATEST = 5  # errors shown
LOOKED_AT = 1000  # failures and rejections that are sorted by kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """How a run is doing.

    Attributes
    ----------
    output : str
        Folder of the results.
    pid : int or None
        Process of the daemon; None if it is down.
    dispositions : dict of str to int
        Exposures by what became of them.
    pairs : dict of str to int
        Pairs by state: ``ready`` (the backlog), ``done``, ``failed``.
    rows : int
        Committed rows.
    pairs_last_hour : int
        Pairs that ended within the last hour.
    oldest_waiting : dict or None
        The exposure that has waited longest for its partner: ``path``, ``seconds``.
    failures, rejections : list of dict
        The latest failed pairs (``pair_id``, ``exposures``, ``stage``, ``plugin``, ``error``, ``detail`` with the
        traceback, ``time``) and rejected files (``path``, ``reason``, ``time``).
    errors : list of dict
        The latest `LOOKED_AT` failures and rejections by kind, the newest kind first: ``kind`` (``pair: STAGE``,
        ``pair: worker``, or ``file: REASON`` without its numbers), ``count``, and of the last one ``text``, ``time``.
    set_aside : dict of str to int
        What `streamcal retry` would try again: ``pairs`` that failed, ``files`` that were rejected.
    exposures_last_hour : int
        Exposures that were entered within the last hour.
    heartbeat : dict
        What the daemon last told of itself.
    """

    output: str
    pid: int | None
    dispositions: dict[str, int]
    pairs: dict[str, int]
    rows: int
    pairs_last_hour: int
    oldest_waiting: dict[str, Any] | None
    failures: list[dict[str, Any]] = field(default_factory=list)
    rejections: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    set_aside: dict[str, int] = field(default_factory=dict)
    exposures_last_hour: int = 0
    heartbeat: dict[str, Any] = field(default_factory=dict)


def find_state(output: Path) -> Path:
    """Return the state folder that belongs to an output folder.

    Raises
    ------
    ConfigError
        If the folder is not an output of streamcal.
    """
    path = output / "streamcal.json"
    try:
        return Path(json.loads(path.read_text())["state"])
    except FileNotFoundError as exc:
        msg = f"{output} is not an output of streamcal: {path} is not there"
        raise ConfigError(msg) from exc
    except (OSError, ValueError, KeyError, TypeError) as exc:
        msg = f"{path} cannot be read: {exc}"
        raise ConfigError(msg) from exc


def open_journal(state: Path) -> sqlite3.Connection | None:
    """Open the journal of a state folder for reading; None if there is none yet.

    Raises
    ------
    StateError
        If it is no journal, or damaged.
    """
    path = state / "journal.db"
    if not path.exists():
        return None
    # a journal left by a crash is rolled back by whoever reads it first, which needs the right to write
    mode = "ro" if lock_owner(state) else "rw"
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=10.0)
        connection.execute("SELECT count(*) FROM tally").fetchone()
    except sqlite3.Error as exc:
        msg = f"journal {path} cannot be read: {exc}"
        raise StateError(msg) from exc
    return connection


def read_status(output: Path) -> Status:
    """Return how the run of an output folder is doing.

    Raises
    ------
    ConfigError
        If the folder is not an output of streamcal.
    StateError
        If the journal cannot be read.
    """
    state = find_state(output)
    journal = open_journal(state)
    tallies = dict(journal.execute("SELECT name, count FROM tally")) if journal else {}
    status = Status(
        output=str(output),
        pid=lock_owner(state),
        dispositions=_with_prefix(tallies, "disposition:"),
        pairs=_with_prefix(tallies, "pair:"),
        rows=_count_rows(journal),
        pairs_last_hour=_count_recent(journal),
        oldest_waiting=_oldest_waiting(journal),
        failures=_failures(journal),
        rejections=_rejections(journal),
        errors=_errors_by_kind(journal),
        set_aside={"pairs": tallies.get("pair:failed", 0), "files": tallies.get("disposition:rejected", 0)},
        exposures_last_hour=_count_arrived(journal),
        heartbeat=_read_heartbeat(state),
    )
    if journal:
        journal.close()
    return status


def list_files(output: Path) -> Iterator[dict[str, str]]:
    """Yield each input file with what became of it, in the order in which they came.

    Yields
    ------
    dict
        ``path``, ``detector``, ``exposure_id``, ``disposition``, ``reason``, ``pair_id``.

    Raises
    ------
    ConfigError
        If the folder is not an output of streamcal.
    StateError
        If the journal cannot be read.
    """
    journal = open_journal(find_state(output))
    if journal is None:
        return
    sql = """
        SELECT number, path, detector, exposure_id, disposition, reason, pair_id FROM exposure
        WHERE number > ? ORDER BY number LIMIT 1000
    """
    names = ("path", "detector", "exposure_id", "disposition", "reason", "pair_id")
    # page by page, each read at once: a reader that is waited for would keep the daemon from writing
    last = 0
    while page := journal.execute(sql, (last,)).fetchall():
        for _, path, *rest in page:
            yield dict(zip(names, (show_path(path), *rest), strict=True))
        last = page[-1][0]
    journal.close()


def _with_prefix(tallies: dict[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in tallies.items() if name.startswith(prefix) and count}


def _count_rows(journal: sqlite3.Connection | None) -> int:
    if journal is None:
        return 0
    sql = "SELECT coalesce(sum(row_count), 0) FROM segment WHERE table_name = 'measurements'"
    return int(journal.execute(sql).fetchone()[0])


def _count_recent(journal: sqlite3.Connection | None) -> int:
    if journal is None:
        return 0
    # pairs end nearly in the order of their numbers: look at the latest only, however long the history
    sql = "SELECT count(*) FROM (SELECT ended_at FROM pair ORDER BY number DESC LIMIT 100000) WHERE ended_at > ?"
    return int(journal.execute(sql, (time.time() - 3600,)).fetchone()[0])


def _count_arrived(journal: sqlite3.Connection | None) -> int:
    if journal is None:
        return 0
    sql = (
        "SELECT count(*) FROM (SELECT arrived_at FROM exposure ORDER BY number DESC LIMIT 100000) WHERE arrived_at > ?"
    )
    return int(journal.execute(sql, (time.time() - 3600,)).fetchone()[0])


def _errors_by_kind(journal: sqlite3.Connection | None) -> list[dict[str, Any]]:
    if journal is None:
        return []
    failed = "SELECT stage, error, ended_at FROM pair WHERE state = 'failed' ORDER BY number DESC LIMIT ?"
    rejected = """
        SELECT path, reason, changed_at FROM exposure WHERE disposition = 'rejected' ORDER BY arrived_at DESC LIMIT ?
    """
    found = [(f"pair: {stage or 'worker'}", text, when) for stage, text, when in journal.execute(failed, (LOOKED_AT,))]
    for path, reason, when in journal.execute(rejected, (LOOKED_AT,)):
        found.append((f"file: {_without_numbers(reason)}", f"{show_path(path)}: {reason}", when))
    kinds: dict[str, dict[str, Any]] = {}
    for kind, text, when in sorted(found, key=lambda item: -item[2]):
        kinds.setdefault(kind, {"kind": kind, "count": 0, "text": text, "time": when})["count"] += 1
    return list(kinds.values())


def _without_numbers(reason: str) -> str:
    """Return what a reason has in common with others of its kind: no numbers, paths or quoted values, not too long."""
    words = [word for word in reason.split() if word.isascii() and not set(word) & set("0123456789'\"/")]
    return " ".join(words)[:60]


def _oldest_waiting(journal: sqlite3.Connection | None) -> dict[str, Any] | None:
    sql = "SELECT path, arrived_at FROM exposure WHERE disposition = 'waiting' ORDER BY arrived_at LIMIT 1"
    row = journal.execute(sql).fetchone() if journal else None
    return {"path": show_path(row[0]), "seconds": round(max(time.time() - row[1], 0.0), 1)} if row else None


def _failures(journal: sqlite3.Connection | None) -> list[dict[str, Any]]:
    if journal is None:
        return []
    sql = """
        SELECT pair.pair_id, first.exposure_id || '+' || second.exposure_id, stage, plugin, error, detail, ended_at
        FROM pair JOIN exposure first ON first.number = pair.first JOIN exposure second ON second.number = pair.second
        WHERE state = 'failed' ORDER BY pair.number DESC LIMIT ?
    """
    names = ("pair_id", "exposures", "stage", "plugin", "error", "detail", "time")
    return [dict(zip(names, row, strict=True)) for row in journal.execute(sql, (LATEST,))]


def _rejections(journal: sqlite3.Connection | None) -> list[dict[str, Any]]:
    if journal is None:
        return []
    sql = """
        SELECT path, reason, changed_at FROM exposure WHERE disposition = 'rejected' ORDER BY changed_at DESC LIMIT ?
    """
    rows = journal.execute(sql, (LATEST,))
    return [{"path": show_path(path), "reason": reason, "time": time_} for path, reason, time_ in rows]


def _read_heartbeat(state: Path) -> dict[str, Any]:
    try:
        values = json.loads((state / "heartbeat.json").read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
