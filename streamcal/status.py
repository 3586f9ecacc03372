"""How a run is doing, told from its journal and heartbeat, whether the daemon is up or down."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamcal.journal import NEW
from streamcal.lock import lock_owner
from streamcal.paths import show_path
from streamcal.records import Disposition
from streamcal.state import find_state, open_journal

LATEST = 5  # errors shown
LOOKED_AT = 1000  # failures and rejections that are sorted by kind
HOUR = 3600.0  # s


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
        Pairs by state: ``ready`` (to be measured), ``done``, ``failed``.
    rows : int
        Committed rows.
    pairs_last_hour : int
        Pairs that ended within the last hour.
    oldest_waiting : dict or None
        The exposure that has waited longest for its partner: ``path``, ``seconds``.
    backlog : dict of str to dict
        What is still to be done, where there is any: ``read`` (files that were seen; known while the daemon is up),
        ``pair`` (exposures), ``measure`` (pairs, those in work included), each with ``count`` and of the one that has
        waited longest ``path`` (of a pair its first) and ``seconds``.
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
    backlog: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    rejections: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    set_aside: dict[str, int] = field(default_factory=dict)
    exposures_last_hour: int = 0
    heartbeat: dict[str, Any] = field(default_factory=dict)


def read_status(output: Path) -> Status:
    """Return how the run of an output folder is doing.

    Raises
    ------
    ConfigError
        If the folder is not an output of streamcal.
    StateError
        If the journal is not there or cannot be read.
    """
    state = find_state(output)
    pid, heartbeat = lock_owner(state), _read_heartbeat(state)
    with closing(open_journal(state)) as journal:
        tallies = dict(journal.execute("SELECT name, count FROM tally"))
        return Status(
            output=str(output),
            pid=pid,
            dispositions=_with_prefix(tallies, "disposition:"),
            pairs=_with_prefix(tallies, "pair:"),
            rows=_count_rows(journal),
            pairs_last_hour=_count_ended(journal),
            oldest_waiting=_oldest_exposure(journal, Disposition.WAITING),
            backlog=_find_backlog(journal, tallies, heartbeat if pid else {}),
            failures=_failures(journal),
            rejections=_rejections(journal),
            errors=_errors_by_kind(journal),
            set_aside={"pairs": tallies.get("pair:failed", 0), "files": tallies.get("disposition:rejected", 0)},
            exposures_last_hour=_count_arrived(journal),
            heartbeat=heartbeat,
        )


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
        If the journal is not there or cannot be read.
    """
    sql = """
        SELECT number, path, detector, exposure_id, disposition, reason, pair_id FROM exposure
        WHERE number > ? ORDER BY number LIMIT 1000
    """
    names = ("path", "detector", "exposure_id", "disposition", "reason", "pair_id")
    with closing(open_journal(find_state(output))) as journal:
        # page by page, each read at once: a reader that is waited for would keep the daemon from writing
        last = 0
        while page := journal.execute(sql, (last,)).fetchall():
            for _, path, *rest in page:
                yield dict(zip(names, (show_path(path), *rest), strict=True))
            last = page[-1][0]


def _with_prefix(tallies: dict[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in tallies.items() if name.startswith(prefix) and count}


# each reads by an index what it tells of, and nothing of the history before


def _count_rows(journal: sqlite3.Connection) -> int:
    sql = "SELECT first_row + row_count FROM segment WHERE table_name = 'measurements' ORDER BY number DESC LIMIT 1"
    return int((journal.execute(sql).fetchone() or (0,))[0])


def _count_ended(journal: sqlite3.Connection) -> int:
    sql = "SELECT count(*) FROM pair WHERE state IN ('done', 'failed') AND ended_at > ?"
    return int(journal.execute(sql, (time.time() - HOUR,)).fetchone()[0])


def _count_arrived(journal: sqlite3.Connection) -> int:
    dispositions = (NEW, *(disposition.value for disposition in Disposition))
    marks = ", ".join("?" * len(dispositions))
    sql = f"SELECT count(*) FROM exposure WHERE disposition IN ({marks}) AND arrived_at > ?"  # noqa: S608 - of marks only
    return int(journal.execute(sql, (*dispositions, time.time() - HOUR)).fetchone()[0])


def _oldest_exposure(journal: sqlite3.Connection, disposition: str) -> dict[str, Any] | None:
    sql = "SELECT path, arrived_at FROM exposure WHERE disposition = ? ORDER BY arrived_at LIMIT 1"
    row = journal.execute(sql, (disposition,)).fetchone()
    return _waiting(*row) if row else None


def _oldest_pair(journal: sqlite3.Connection) -> dict[str, Any] | None:
    sql = """
        SELECT path, formed_at FROM pair JOIN exposure ON exposure.number = pair.first
        WHERE state = 'ready' AND ended_at IS NULL ORDER BY pair.number LIMIT 1
    """
    row = journal.execute(sql).fetchone()
    return _waiting(*row) if row else None


def _waiting(path: str | bytes, since: float) -> dict[str, Any]:
    return {"path": show_path(path), "seconds": round(max(time.time() - since, 0.0), 1)}


def _find_backlog(
    journal: sqlite3.Connection, tallies: dict[str, int], heartbeat: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    found = {}
    if oldest := _oldest_exposure(journal, NEW):
        found["pair"] = {"count": tallies.get(f"disposition:{NEW}", 0), **oldest}
    if oldest := _oldest_pair(journal):
        found["measure"] = {"count": tallies.get("pair:ready", 0), **oldest}
    source = heartbeat.get("source", {})
    if source.get("n_settling") and source.get("oldest_settling"):
        path, seconds = source["oldest_settling"]
        found["read"] = {"count": source["n_settling"], **_waiting(path, heartbeat["time"] - seconds)}
    return found


def _errors_by_kind(journal: sqlite3.Connection) -> list[dict[str, Any]]:
    failed = "SELECT stage, error, ended_at FROM pair WHERE state = 'failed' ORDER BY ended_at DESC LIMIT ?"
    rejected = """
        SELECT path, reason, changed_at FROM exposure WHERE disposition = 'rejected' ORDER BY changed_at DESC LIMIT ?
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


def _failures(journal: sqlite3.Connection) -> list[dict[str, Any]]:
    sql = """
        SELECT pair.pair_id, first.exposure_id || '+' || second.exposure_id, stage, plugin, error, detail, ended_at
        FROM pair JOIN exposure first ON first.number = pair.first JOIN exposure second ON second.number = pair.second
        WHERE state = 'failed' ORDER BY ended_at DESC LIMIT ?
    """
    names = ("pair_id", "exposures", "stage", "plugin", "error", "detail", "time")
    return [dict(zip(names, row, strict=True)) for row in journal.execute(sql, (LATEST,))]


def _rejections(journal: sqlite3.Connection) -> list[dict[str, Any]]:
    sql = """
        SELECT path, reason, changed_at FROM exposure WHERE disposition = 'rejected' ORDER BY changed_at DESC LIMIT ?
    """
    rows = journal.execute(sql, (LATEST,))
    return [{"path": show_path(path), "reason": reason, "time": time_} for path, reason, time_ in rows]


def _read_heartbeat(state: Path) -> dict[str, Any]:
    """Return what the daemon last told of itself; nothing where that is damaged."""
    try:
        values = json.loads((state / "heartbeat.json").read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(values, dict) or not isinstance(values.get("time"), int | float):
        return {}
    return values if all(isinstance(values.get(part), dict) for part in ("source", "engine")) else {}
