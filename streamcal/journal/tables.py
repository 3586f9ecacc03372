"""Tables of the journal, beside those of the sink; a change here is a new version in `streamcal.journal.schema`."""

from __future__ import annotations

TABLES = (
    """
    CREATE TABLE file (
        folder BLOB NOT NULL, name BLOB NOT NULL,
        size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL, device INTEGER NOT NULL,
        PRIMARY KEY (folder, name)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE exposure (
        number INTEGER PRIMARY KEY,
        path BLOB NOT NULL, digest TEXT NOT NULL,
        instrument TEXT NOT NULL, detector TEXT NOT NULL, grp TEXT NOT NULL, exposure_id TEXT NOT NULL,
        id_number INTEGER, level REAL, mjd_start REAL,
        info TEXT NOT NULL,
        disposition TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', pair_id TEXT NOT NULL DEFAULT '',
        arrived_at REAL NOT NULL, changed_at REAL NOT NULL
    )
    """,
    "CREATE INDEX exposure_identity ON exposure (instrument, detector, exposure_id)",
    "CREATE INDEX exposure_path ON exposure (path)",
    "CREATE INDEX exposure_shot ON exposure (exposure_id)",
    "CREATE INDEX exposure_level ON exposure (instrument, detector, grp, level, disposition)",
    "CREATE INDEX exposure_disposition ON exposure (disposition, arrived_at)",
    "CREATE INDEX exposure_rejected ON exposure (changed_at) WHERE disposition = 'rejected'",
    """
    CREATE TABLE pair (
        number INTEGER PRIMARY KEY, pair_id TEXT NOT NULL UNIQUE,
        first INTEGER NOT NULL REFERENCES exposure, second INTEGER NOT NULL REFERENCES exposure,
        state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
        error TEXT NOT NULL DEFAULT '', stage TEXT NOT NULL DEFAULT '', plugin TEXT NOT NULL DEFAULT '',
        detail TEXT NOT NULL DEFAULT '',
        formed_at REAL NOT NULL, ended_at REAL
    )
    """,
    # rows of one state and time are in order of their number; no time: not ended
    "CREATE INDEX pair_state ON pair (state, ended_at)",
    """
    CREATE TABLE change (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, exposure INTEGER NOT NULL REFERENCES exposure,
        disposition TEXT NOT NULL, reason TEXT NOT NULL, pair_id TEXT NOT NULL, changed_at REAL NOT NULL
    )
    """,
    # running totals, so that status costs nothing however long the history
    "CREATE TABLE tally (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID",
    # by what exposures are matched: their levels mean that
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)
