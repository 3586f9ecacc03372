"""`streamcal verify` finds whatever does not agree, tells what it would repair, and repairs only that."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

from streamcal.config import load_config
from streamcal.daemon import run_daemon
from streamcal.errors import StateError
from streamcal.faults.compare import compare, read_outcome
from streamcal.faults.daemons import wait_until_done
from streamcal.faults.site import add_pairs, make_site
from streamcal.journal import Journal
from streamcal.status import read_status
from streamcal.verify import repair_output, verify_output


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a site whose run has ended: two sealed segments and a live one."""
    folder = tmp_path_factory.mktemp("finished")
    site = make_site(folder / "incoming", folder / "run")
    add_pairs(site.incoming, 8)
    (site.incoming / "text.fits").write_text("not an image")
    assert run_daemon(load_config(site.config), once=True) == 3
    return site


@pytest.fixture
def output(finished, tmp_path):
    """Return a copy of its output that may be broken."""
    copy = tmp_path / "output"
    shutil.copytree(finished.output, copy)
    return copy


def table(output):
    """Return the folder of the rows, its live file and its first sealed one."""
    folder = output / "measurements"
    return folder, next((folder / "live").iterdir()), folder / "sealed" / "000001.arrow"


def sql(output, *statements):
    """Change the journal behind the back of streamcal."""
    journal = sqlite3.connect(output / "state" / "journal.db")
    for statement in statements:
        journal.execute(statement)
    journal.commit()
    journal.close()


def test_an_undisturbed_output_agrees(output):
    """Nothing is found where nothing happened."""
    assert verify_output(output) == []


def test_it_changes_nothing(output):
    """It reads only."""
    files = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    verify_output(output)
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == files


def torn_tail(output):
    """Leave a part of a batch."""
    with table(output)[1].open("ab") as file:
        file.write(b"half a batch")


def leftovers(output):
    """Leave a file that was being written."""
    (table(output)[0] / "sealed" / ".000009.arrow.tmp").write_bytes(b"x")


def begun_segment(output):
    """Leave a segment of which nothing was committed."""
    live = table(output)[1]
    live.with_name(f"{int(live.stem) + 1:06d}.arrows").write_bytes(b"x")


def begun_table(output):
    """Leave what an interruption of the very first append leaves."""
    (output / "ptc" / "live" / "000001.arrows").write_bytes(b"x")


def old_current(output):
    """Lose CURRENT, as a loss of power may."""
    (table(output)[0] / "CURRENT").write_bytes(b"\0\0")


def wrong_total(output):
    """Count wrong."""
    sql(output, "UPDATE tally SET count = count + 1 WHERE name = 'pair:done'")


@pytest.mark.parametrize(
    ("breakage", "said"),
    [
        (torn_tail, "cut 12 bytes"),
        (leftovers, "remove it"),
        (begun_segment, "remove it"),
        (begun_table, "remove it"),
        (old_current, "write what the journal says"),
        (wrong_total, "count anew"),
    ],
)
def test_what_can_be_repaired(output, breakage, said):
    """It says first what it would do; then does it, and all rows are as before."""
    before = read_outcome(output)
    breakage(output)
    assert [finding.repair for finding in verify_output(output)] == [said]
    repair_output(output)
    assert verify_output(output) == []
    assert compare(before, read_outcome(output))


def short_live_file(output):
    """Lose the last byte."""
    os.truncate(table(output)[1], table(output)[1].stat().st_size - 1)


def flipped_bit_in_live_file(output):
    """Flip a bit."""
    flip(table(output)[1])


def flipped_bit_in_sealed_file(output):
    """Flip a bit."""
    flip(table(output)[2])


def flip(path):
    """Flip a bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def missing_sealed_file(output):
    """Lose a segment."""
    table(output)[2].unlink()


def lost_rows_in_journal(output):
    """Lose a commit."""
    sql(output, "DELETE FROM batch WHERE table_name = 'measurements' AND seq = 2")


def undone_pair(output):
    """Forget that a pair is done."""
    sql(
        output,
        "UPDATE pair SET state = 'ready' WHERE number = 3",
        "UPDATE tally SET count = count - 1 WHERE name = 'pair:done'",
        "INSERT OR REPLACE INTO tally VALUES ('pair:ready', 1)",
    )


def unpaired_exposure(output):
    """Forget that an exposure is paired."""
    sql(
        output,
        "UPDATE exposure SET disposition = 'waiting' WHERE number = 1",
        "UPDATE tally SET count = count - 1 WHERE name = 'disposition:paired'",
        "INSERT OR REPLACE INTO tally VALUES ('disposition:waiting', 1)",
    )


def foreign_segment(output):
    """Put in a segment of nobody."""
    shutil.copy(table(output)[2], table(output)[2].with_name("000077.arrow"))


def later_segment(output):
    """Put in a live segment that this journal never had."""
    (table(output)[0] / "live" / "000099.arrows").write_bytes(b"x")


def newer_current(output):
    """Have results of which the journal, an older copy, does not know yet."""
    path = table(output)[0] / "CURRENT"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "seq": values["seq"] + 1}))


def foreign_files(output):
    """Put notes beside the segments."""
    (table(output)[0] / "sealed" / "mine.tmp").write_bytes(b"x")
    (table(output)[0] / "live" / "notes.arrows").write_bytes(b"x")


def missing_folder(output):
    """Lose a folder in which nothing was, since the last segment is sealed."""
    shutil.rmtree(output / "measurements" / "live")


def journal_of_nobody(output):
    """Have a journal that knows nothing of the results beside it."""
    (output / "state" / "journal.db").unlink()
    Journal(output / "state" / "journal.db").close()


def other_disposition(output):
    """Say in the journal that a rejected exposure is an orphan."""
    sql(
        output,
        "UPDATE exposure SET disposition = 'orphan' WHERE disposition = 'rejected'",
        "UPDATE tally SET name = 'disposition:orphan' WHERE name = 'disposition:rejected'",
    )


def other_reason(output):
    """Say in the journal that an exposure was rejected for another reason."""
    sql(output, "UPDATE exposure SET reason = 'no reason' WHERE disposition = 'rejected'")


def forgotten_exposures(output):
    """Lose the exposures that were rejected."""
    sql(
        output,
        "DELETE FROM exposure WHERE disposition = 'rejected'",
        "DELETE FROM tally WHERE name = 'disposition:rejected'",
    )


def forgotten_files(output):
    """Lose the files that were taken up."""
    sql(output, "DELETE FROM file")


def lost_index(output):
    """Lose an index."""
    sql(output, "DROP INDEX exposure_shot")


def lost_table(output):
    """Lose a table."""
    sql(output, "DROP TABLE meta")


def damaged_journal(output):
    """Lose pages."""
    path = output / "state" / "journal.db"
    content = bytearray(path.read_bytes())
    content[8192:20000] = bytes(11808)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("breakage", "said"),
    [
        (short_live_file, "missing data"),
        (flipped_bit_in_live_file, "damaged at byte"),
        (flipped_bit_in_sealed_file, "damaged"),
        (missing_sealed_file, "missing data: is not there"),
        (lost_rows_in_journal, "is done and has no rows"),
        (undone_pair, "has rows and is not done"),
        (unpaired_exposure, "is waiting and yet a member of a pair"),
        (foreign_segment, "is not in the journal"),
        (later_segment, "is not in the journal"),
        (newer_current, "the journal knows 8"),
        (foreign_files, "is no file of streamcal"),
        (missing_folder, "missing data: the folder is gone"),
        (journal_of_nobody, "speaks of commit 8, the journal knows 0"),
        (other_disposition, "is orphan in the journal, rejected in the exposures table"),
        (other_reason, "with another reason or pair"),
        (forgotten_exposures, "is rejected in the exposures table, the journal does not know it"),
        (forgotten_exposures, "was taken up and has no disposition"),
        (forgotten_files, "has a disposition and was not taken up"),
        (lost_index, "index exposure_shot is missing"),
        (lost_table, "table meta is missing"),
        (damaged_journal, ""),
    ],
)
def test_what_only_a_person_can_decide(output, breakage, said):
    """It is found and named, and no repair is offered for it."""
    breakage(output)
    findings = verify_output(output)
    assert findings
    assert any(said in finding.problem and not finding.repair for finding in findings), list(map(str, findings))


def test_foreign_files_outlive_a_repair(output):
    """What is said of them holds: they are left alone, and everything else is repaired."""
    foreign_files(output)
    torn_tail(output)
    repair_output(output)
    assert {finding.where.rpartition("/")[2] for finding in verify_output(output)} == {"mine.tmp", "notes.arrows"}


def test_what_waits_for_a_retry(output):
    """A rejected file that is to be taken up again is no finding, nor is a change that waits to be published."""
    sql(
        output,
        "DELETE FROM file WHERE CAST(name AS TEXT) = 'text.fits'",
        "UPDATE exposure SET reason = 'later' WHERE disposition = 'rejected'",
        "INSERT INTO change (exposure, disposition, reason, pair_id, changed_at)"
        " SELECT number, disposition, reason, pair_id, 0 FROM exposure WHERE disposition = 'rejected'",
    )
    assert verify_output(output) == []


def test_journal_of_an_older_version(output):
    """It is told what a start would do with it; a repair does it."""
    sql(output, "DROP INDEX exposure_shot", "PRAGMA user_version = 1")
    with pytest.raises(StateError, match="has version 1, this streamcal reads 2; a start of the daemon"):
        read_status(output)
    assert [finding.repair for finding in verify_output(output)] == ["bring it up to date"]
    repair_output(output)
    assert verify_output(output) == []
    assert read_status(output).pairs == {"done": 8}


def test_no_journal_is_made(finished, output):
    """Where the journal is not there, none of the commands that need one makes one, nor does a start."""
    path = output / "state" / "journal.db"
    path.rename(output / "away")
    config = load_config(finished.config, output=output)
    for act in (verify_output, repair_output, read_status, lambda _: run_daemon(config, once=True)):
        with pytest.raises(StateError, match=r"journal .*journal\.db is not there"):
            act(output)
    assert not path.exists()


def test_the_command(output):
    """Exit code 1 and a line per finding until it is repaired, then 0."""

    def run(*options):
        command = [sys.executable, "-m", "streamcal", "verify", str(output), *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    torn_tail(output)
    found = run()
    assert found.returncode == 1
    assert "cut 12 bytes" in found.stdout
    assert run("--repair").returncode == 0
    assert run().stdout.endswith("journal, segments and schemas agree\n")


def test_with_a_daemon_running(make, start):
    """It can be asked at any time: what a daemon is just doing is no finding."""
    site = make(engine={"kind": "local", "workers": 1})
    add_pairs(site.incoming, 10)
    process = start(site)
    process.wait_for_status(lambda status: status.pairs.get("done", 0) >= 2)
    assert verify_output(site.output) == []
    wait_until_done(process, 10)
    assert process.stop() == 0
    assert verify_output(site.output) == []
