"""Where the state of an output lies, whose a state is, and its journal for those who only read."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from streamcal.errors import ConfigError, StateError
from streamcal.heartbeat import write_atomically
from streamcal.journal.schema import SCHEMA_VERSION
from streamcal.lock import lock_owner

JOURNAL = "journal.db"
ANNOUNCEMENT = "streamcal.json"  # in the output: where its state lies
OWNER = "output.json"  # in a state that lies elsewhere: whose it is


def announce(output: Path, state: Path, notes: dict[str, str]) -> None:
    """Leave in an output where its state lies; in a state that lies elsewhere, whose it is.

    Parameters
    ----------
    output, state : Path
        Their folders. A state inside the output is told relative to it: it goes where the output goes.
    notes : dict
        What else is to be told.

    Raises
    ------
    OSError
        If they cannot be written now.
    """
    inside = _is_inside(state, output)
    if not inside:
        write_atomically(state / OWNER, json.dumps({"output": str(output.resolve())}) + "\n")
    values = {"state": str(state.resolve().relative_to(output.resolve()) if inside else state), **notes}
    write_atomically(output / ANNOUNCEMENT, json.dumps(values, indent=2) + "\n")


def is_announced(output: Path) -> bool:
    """Tell whether a folder has been an output, so that there must be a journal that knows of it."""
    return (output / ANNOUNCEMENT).exists()


def find_state(output: Path) -> Path:
    """Return the state folder that belongs to an output folder.

    Raises
    ------
    ConfigError
        If the folder is not an output of streamcal.
    StateError
        If there is no journal, or it is that of another output, of which this one may be a copy.
    """
    state = output / _read_announcement(output)
    try:
        found = (state / JOURNAL).is_file()
        owned = _is_inside(state, output) or _is_owner(output, state)
    except OSError as exc:
        msg = f"{state} cannot be read: {exc.strerror}"
        raise StateError(msg) from exc
    if not found:
        msg = f"journal {state / JOURNAL} is not there: nothing else knows what became of {output}"
        raise StateError(msg)
    if not owned:
        msg = f"{state} does not belong to {output}: a copy has no state; if it was moved, start the daemon on it"
        raise StateError(msg)
    return state


def open_journal(state: Path, *, older: bool = False) -> sqlite3.Connection:
    """Open the journal of a state folder for reading.

    Parameters
    ----------
    state : Path
        The state folder.
    older : bool
        Take one of an older version too, which a start of the daemon brings up to date.

    Raises
    ------
    StateError
        If it is not there, is no journal, is damaged, or of another version.
    """
    journal = connect(state)
    version = read_version(journal)
    if version != SCHEMA_VERSION and not (older and 0 < version < SCHEMA_VERSION):
        journal.close()
        msg = f"journal {state / JOURNAL} has version {version}, this streamcal reads {SCHEMA_VERSION}"
        remedy = "; a start of the daemon brings it up to date, or streamcal verify --repair"
        raise StateError(msg + (remedy if 0 < version < SCHEMA_VERSION else ""))
    return journal


def connect(state: Path) -> sqlite3.Connection:
    """Open a database that may be a journal of any version; raises as `open_journal`."""
    path = state / JOURNAL
    # a journal left by a crash is rolled back by whoever reads it first, which needs the right to write
    mode = "ro" if lock_owner(state) else "rw"
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=10.0
        )
        read_version(connection)
    except sqlite3.Error as exc:
        msg = f"journal {path} cannot be read: {exc}"
        raise StateError(msg) from exc
    return connection


def read_version(journal: sqlite3.Connection) -> int:
    """Return the version of a journal's schema; 0: it is empty."""
    return int(journal.execute("PRAGMA user_version").fetchone()[0])


def _read_announcement(output: Path) -> str:
    path = output / ANNOUNCEMENT
    try:
        return str(json.loads(path.read_text())["state"])
    except FileNotFoundError as exc:
        msg = f"{output} is not an output of streamcal: {path} is not there"
        raise ConfigError(msg) from exc
    except (OSError, ValueError, KeyError, TypeError) as exc:
        msg = f"{path} cannot be read: {exc}"
        raise ConfigError(msg) from exc


def _is_inside(state: Path, output: Path) -> bool:
    return state.resolve().is_relative_to(output.resolve())


def _is_owner(output: Path, state: Path) -> bool:
    try:
        return Path(json.loads((state / OWNER).read_text())["output"]).samefile(output)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return False
