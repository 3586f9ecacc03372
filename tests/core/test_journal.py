"""The journal: what it remembers, and that a transaction is all or nothing."""

from __future__ import annotations

import json
import sqlite3

import pytest

from streamcal.errors import RetryLater, StateError
from streamcal.journal import Journal, id_number
from streamcal.journal.schema import check_schema
from streamcal.pairing import form_pair
from streamcal.records import Disposition, ExposureInfo, FileStat, PairState
from streamcal.sink.tables import TABLES as SINK_TABLES

STAT = FileStat(size=2880, mtime_ns=7, inode=11, device=13)


def flat(exposure_id: str, **values) -> ExposureInfo:
    """Return what the header of a flat says."""
    values = {"path": f"/in/{exposure_id}.fits", "digest": f"digest-{exposure_id}"} | values
    return ExposureInfo(
        stat=STAT, instrument="cam", detector="S00", exposure_id=exposure_id, is_flat=True, exposure_time=1.0, **values
    )


@pytest.fixture
def journal(tmp_path):
    """Return a journal in a file."""
    journal = Journal(tmp_path / "journal.db", clock=lambda: 1000.0)
    yield journal
    journal.close()


def add_pair(journal: Journal) -> str:
    """Enter two exposures and their pair; return its id."""
    infos = [flat("1"), flat("2")]
    record = form_pair(*infos)
    with journal.transaction():
        journal.add_pair(record, *(journal.add_exposure(info, 1.0) for info in infos))
    return record.pair_id


def test_a_known_file_keeps_its_identity(journal):
    """A file taken up is known by folder and by path, names that are not UTF-8 included."""
    path = "/in/\udcffname\n.fits"
    journal.take_file(path, STAT)
    assert journal.known_file(path) == STAT
    assert journal.known_files("/in", ["other", "\udcffname\n.fits"]) == {"\udcffname\n.fits": STAT}
    journal.forget_file(path)
    assert journal.known_file(path) is None


def test_a_transaction_that_raises_leaves_nothing(journal):
    """What a failed transaction wrote is gone, its parts included."""

    def write_and_fail() -> None:
        with journal.transaction():
            journal.take_file("/in/a.fits", STAT)
            journal.add_exposure(flat("1"), 1.0)
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()
    assert journal.known_file("/in/a.fits") is None
    assert journal.new_exposures(10) == []
    assert journal.tallies() == {}


def test_it_remembers_over_a_restart(tmp_path):
    """Pairs, exposures and tallies are there after closing and opening."""
    path = tmp_path / "journal.db"
    journal = Journal(path)
    pair_id = add_pair(journal)
    journal.close()
    journal = Journal(path)
    (pair,) = journal.ready_pairs(10)
    assert repr(pair.record) == repr(form_pair(flat("1"), flat("2")))  # a NaN equals none, its text does
    assert (pair.record.pair_id, pair.state) == (pair_id, PairState.READY)
    assert journal.tallies() == {"disposition:new": 0, "disposition:paired": 2, "pair:ready": 1}
    journal.close()


def test_every_change_waits_to_be_published(journal):
    """Changes come in order, as the exposure then became, and leave when dropped."""
    number = journal.add_exposure(flat("1"), 1.0)
    journal.set_disposition(number, Disposition.WAITING)
    journal.set_disposition(number, Disposition.ORPHAN, "nobody came")
    changes = [(seq, entry.disposition, entry.reason) for seq, _, entry in journal.changes(10)]
    assert changes == [(1, "waiting", ""), (2, "orphan", "nobody came")]
    journal.drop_changes(1)
    assert [seq for seq, _, _ in journal.changes(10)] == [2]


def test_numbers_of_changes_never_come_again(journal):
    """After all changes are dropped, the next one still has a higher number: the highest counts."""
    number = journal.add_exposure(flat("1"), 1.0)
    journal.set_disposition(number, Disposition.WAITING)
    journal.drop_changes(1)
    journal.set_disposition(number, Disposition.ORPHAN)
    assert [seq for seq, _, _ in journal.changes(10)] == [2]


def test_a_replaced_exposure_keeps_its_number(journal):
    """Newer content of an unmeasured file takes the place of the older in the exposures table."""
    number = journal.add_exposure(flat("1"), 1.0)
    journal.set_disposition(number, Disposition.WAITING)
    assert journal.add_exposure(flat("1", digest="newer"), 1.0, replaces=number) == number
    assert journal.exposure(number).info.digest == "newer"
    assert journal.tallies() == {"disposition:new": 1, "disposition:waiting": 0}


def test_new_exposures_come_in_order_of_id(journal):
    """Ids are numbers where they can be, and those come first."""
    for exposure_id in ("10", "b", "9", "a"):
        journal.add_exposure(flat(exposure_id), 1.0)
    assert [entry.info.exposure_id for entry in journal.new_exposures(10)] == ["9", "10", "a", "b"]


def test_a_failed_pair_can_be_tried_again(journal):
    """A failure is remembered with its reason; a retry has all its attempts again."""
    pair_id = add_pair(journal)
    assert journal.count_attempt(pair_id) == 1
    journal.fail_pair(pair_id, "boom", stage="isr", plugin="mine", detail="traceback")
    (failed,) = journal.failed_pairs()
    assert (failed.error, failed.stage, failed.plugin, failed.detail) == ("boom", "isr", "mine", "traceback")
    journal.retry_pair(pair_id)
    assert journal.failed_pairs() == []
    assert journal.count_attempt(pair_id) == 1


def test_pairs_in_work_are_left_out(journal):
    """What is in flight is not dispatched again."""
    pair_id = add_pair(journal)
    assert journal.ready_pairs(10, leave_out=(pair_id,)) == []


def test_a_pair_that_failed_to_read_is_tried_again_when_its_file_is_whole(journal):
    """A touched file gets its new identity, and its pair another chance; one that failed in a stage does not."""
    pair_id = add_pair(journal)
    (entry,) = journal.exposures_of_file("/in/1.fits")
    journal.fail_pair(pair_id, "raises", stage="isr")
    journal.refresh_exposure(entry.number, flat("1"))
    assert len(journal.failed_pairs()) == 1
    journal.fail_pair(pair_id, "file changed", stage="read")
    touched = FileStat(size=2880, mtime_ns=8, inode=11, device=13)
    info = ExposureInfo.from_dict({**flat("1").to_dict(), "stat": {**flat("1").to_dict()["stat"], "mtime_ns": 8}})
    journal.refresh_exposure(entry.number, info)
    assert [pair.record.first.stat for pair in journal.ready_pairs(10)] == [touched]


def test_a_file_that_is_no_journal_is_told(tmp_path):
    """Rubbish in place of the journal stops the start with one line."""
    path = tmp_path / "journal.db"
    path.write_bytes(b"rubbish " * 1000)
    with pytest.raises(StateError, match="journal cannot be used"):
        Journal(path)


def test_a_journal_from_the_future_is_refused(tmp_path):
    """An older streamcal does not write into a newer one's journal."""
    path = tmp_path / "journal.db"
    Journal(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StateError, match="journal has version 99"):
        Journal(path)


def make_version_1(path):
    """Write a journal as the first streamcal made it, with two exposures, one of them rejected, and a pair."""
    db = sqlite3.connect(path)
    db.executescript(VERSION_1)
    for statement in SINK_TABLES:
        db.execute(statement)
    exposure = "INSERT INTO exposure VALUES (?, x'2F', '', 'cam', 'S00', '', ?, ?, 1.0, NULL, ?, ?, '', '', ?)"
    for number, disposition in ((1, "paired"), (2, "paired"), (3, "rejected")):
        info = json.dumps(flat(str(number)).to_dict())
        db.execute(exposure, (number, str(number), number, info, disposition, 100.0 + number))
    db.execute("INSERT INTO pair (pair_id, first, second, state, formed_at) VALUES ('p', 1, 2, 'ready', 102.0)")
    db.execute("PRAGMA user_version = 1")
    db.commit()
    return db


VERSION_1 = """
    CREATE TABLE file (
        folder BLOB NOT NULL, name BLOB NOT NULL,
        size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL, device INTEGER NOT NULL,
        PRIMARY KEY (folder, name)
    ) WITHOUT ROWID;
    CREATE TABLE exposure (
        number INTEGER PRIMARY KEY,
        path BLOB NOT NULL, digest TEXT NOT NULL,
        instrument TEXT NOT NULL, detector TEXT NOT NULL, grp TEXT NOT NULL, exposure_id TEXT NOT NULL,
        id_number INTEGER, level REAL, mjd_start REAL,
        info TEXT NOT NULL,
        disposition TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', pair_id TEXT NOT NULL DEFAULT '',
        arrived_at REAL NOT NULL
    );
    CREATE INDEX exposure_identity ON exposure (instrument, detector, exposure_id);
    CREATE INDEX exposure_path ON exposure (path);
    CREATE INDEX exposure_level ON exposure (instrument, detector, grp, level, disposition);
    CREATE INDEX exposure_disposition ON exposure (disposition, arrived_at);
    CREATE TABLE pair (
        number INTEGER PRIMARY KEY, pair_id TEXT NOT NULL UNIQUE,
        first INTEGER NOT NULL REFERENCES exposure, second INTEGER NOT NULL REFERENCES exposure,
        state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
        error TEXT NOT NULL DEFAULT '', stage TEXT NOT NULL DEFAULT '', plugin TEXT NOT NULL DEFAULT '',
        detail TEXT NOT NULL DEFAULT '',
        formed_at REAL NOT NULL, ended_at REAL
    );
    CREATE INDEX pair_state ON pair (state, number);
    CREATE TABLE change (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, exposure INTEGER NOT NULL REFERENCES exposure,
        disposition TEXT NOT NULL, reason TEXT NOT NULL, pair_id TEXT NOT NULL, changed_at REAL NOT NULL
    );
    CREATE TABLE tally (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
"""
# what later ones of that version had grown
LATE_VERSION_1 = """
    ALTER TABLE exposure ADD COLUMN changed_at REAL NOT NULL DEFAULT 0;
    UPDATE exposure SET changed_at = 500.0;
    CREATE INDEX exposure_shot ON exposure (exposure_id);
    CREATE INDEX exposure_rejected ON exposure (changed_at) WHERE disposition = 'rejected';
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    INSERT INTO meta VALUES ('match', 'TIME');
"""


@pytest.mark.parametrize(("grown", "changed_at"), [("", 103.0), (LATE_VERSION_1, 500.0)])
def test_a_journal_of_version_1_is_brought_up_to_date(tmp_path, grown, changed_at):
    """It has all that a new one has, knows what it knew, and can be worked with."""
    path = tmp_path / "journal.db"
    db = make_version_1(path)
    db.executescript(grown)
    db.close()
    journal = Journal(path)
    assert journal.query("PRAGMA user_version") == [(2,)]
    assert list(check_schema(journal._db)) == []
    assert journal.query("SELECT changed_at FROM exposure WHERE number = 3") == [(changed_at,)]
    assert [pair.record.pair_id for pair in journal.ready_pairs(10)] == ["p"]
    journal.rematch("FLUX", lambda info: info.flux)
    journal.add_exposure(flat("4"), 1.0)
    journal.end_pair("p")
    journal.close()


def test_an_upgrade_that_is_interrupted_leaves_the_old_version(tmp_path):
    """It is one transaction: the next start finds what the first one found."""
    path = tmp_path / "journal.db"
    db = make_version_1(path)
    db.execute("CREATE TABLE exposure_rejected (x)")  # is in its way, after some of it
    db.close()
    with pytest.raises(StateError, match="journal cannot be used"):
        Journal(path)
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert "changed_at" not in [name for _, name, *_ in db.execute("PRAGMA table_info(exposure)")]
    db.close()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DROP TABLE meta", "table meta is missing"),
        ("DROP INDEX exposure_shot", "index exposure_shot is missing"),
        ("ALTER TABLE tally RENAME COLUMN count TO number", "table tally has name TEXT NOT NULL KEY, number INTEGER"),
    ],
)
def test_a_journal_without_all_its_tables_is_refused(tmp_path, damage, said):
    """It stops the start with one line that names what is missing."""
    path = tmp_path / "journal.db"
    Journal(path).close()
    with sqlite3.connect(path) as db:
        db.execute(damage)
    db.close()
    with pytest.raises(StateError, match=said):
        Journal(path)


@pytest.mark.parametrize("content", [None, b""])
def test_a_journal_is_made_for_new_outputs_only(tmp_path, content):
    """Whoever expects one gets none that knows nothing."""
    path = tmp_path / "journal.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StateError, match="is not there" if content is None else "is empty"):
        Journal(path, create=False)
    assert content == (path.read_bytes() if path.exists() else None)


def test_a_full_disk_passes(tmp_path):
    """When SQLite cannot grow, it is a thing to wait for, and the transaction has left nothing."""
    journal = Journal(tmp_path / "journal.db")
    journal.query("PRAGMA max_page_count = 20")
    names = (f"/in/{index:0500d}.fits" for index in range(10_000))
    with pytest.raises(RetryLater, match="full"):
        [journal.take_file(name, STAT) for name in names]
    ((count,),) = journal.query("SELECT count(*) FROM file")
    journal.query("PRAGMA max_page_count = 100000")
    journal.take_file("/in/after.fits", STAT)
    assert journal.query("SELECT count(*) FROM file") == [(count + 1,)]
    journal.close()


@pytest.mark.parametrize(
    ("text", "number"),
    [("12", 12), ("0012", 12), ("", None), ("-1", None), ("1.5", None), ("²", None), ("1" * 19, None)],
)
def test_ids_that_are_numbers(text, number):
    """Only plain digits that SQLite can hold count as a number."""
    assert id_number(text) == number


def test_levels_are_found_by_index(journal):
    """The look-up of a partner does not read the whole history."""
    plan = journal.query(
        "EXPLAIN QUERY PLAN SELECT number FROM exposure WHERE instrument = ? AND detector = ? AND grp = ? "
        "AND level BETWEEN ? AND ? AND disposition IN ('waiting', 'orphan')",
        ("", "", "", 0, 1),
    )
    assert [row[3].split(" (")[0] for row in plan] == ["SEARCH exposure USING COVERING INDEX exposure_level"]


def test_levels_follow_what_pairs_are_matched_by(journal):
    """When the configuration goes from TIME to FLUX, exposures that wait are found by their flux."""
    journal.rematch("TIME", lambda info: info.exposure_time)
    number = journal.add_exposure(flat("1", flux=500.0), 1.0)
    journal.set_disposition(number, Disposition.WAITING)
    journal.rematch("FLUX", lambda info: info.flux)
    assert [entry.number for entry in journal.open_exposures(flat("2"), 499.0, 501.0)] == [number]
    assert journal.open_exposures(flat("2"), 0.0, 2.0) == []
