"""The output is full, read-only, gone, locked, damaged: it waits or stops with a reason, and loses nothing."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import time

import pytest

from streamcal.faults.compare import compare, read_outcome
from streamcal.faults.daemons import Daemon, wait_until_done
from streamcal.faults.site import add_pairs

PAIRS = 6


def wait_until_paused(process):
    """Wait until it says that it waits; return why."""
    return process.wait_for_event("paused")["reason"]


@pytest.fixture
def small_disk(tmp_path):
    """Return a file system of its own, of 1 MB, as the folder of outputs."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder, option):
    """Change an option of a mounted file system."""
    subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)


def test_full_disk(make, start, small_disk, check_on_disk):
    """A full disk: it says so and waits; as soon as there is room it goes on by itself, without a restart."""
    site = make(name="disk/run")
    process = start(site)
    process.wait_for_event("watching")
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(1 << 20))
    add_pairs(site.incoming, PAIRS)
    assert "full" in wait_until_paused(process) or "No space" in wait_until_paused(process)
    time.sleep(1)
    assert process.running
    ballast.unlink()
    wait_until_done(process, PAIRS)
    assert process.stop() == 0
    check_on_disk(site)


def test_started_on_a_full_disk(make, small_disk, finish, check_on_disk):
    """A start on a full disk fails with one line, and a later one works."""
    site = make(name="disk/run")
    add_pairs(site.incoming, PAIRS)
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(1 << 20))
    process = Daemon(site, "--once")
    assert process.wait() == 1
    ballast.unlink()
    finish(site)
    assert "Traceback" not in site.log.read_text()
    check_on_disk(site)


@pytest.fixture
def check_on_disk(check):
    """Return `check` with room for the undisturbed run."""

    def check_with_room(site):
        remount(site.home.parent, "size=8m")
        check(site)

    return check_with_room


def test_read_only_disk(make, start, small_disk, finish, check):
    """A disk that becomes read-only, as after an error: it waits or is restarted, and goes on when it can write."""
    site = make(name="disk/run")
    remount(small_disk, "size=8m")
    add_pairs(site.incoming, 2)
    process = start(site)
    wait_until_done(process, 2)
    process.stop()
    remount(small_disk, "ro")
    with (site.home.parent.parent / "log").open("wb") as log:
        refused = subprocess.run(
            [*Daemon.command(site), "--once"], stdout=log, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert refused.returncode in {1, 2}
    assert len(refused.stderr.splitlines()) == 1
    assert "ead-only" in refused.stderr or "readonly" in refused.stderr
    remount(small_disk, "rw")
    add_pairs(site.incoming / "more", PAIRS - 2, first_id=5)
    finish(site)
    check(site)


def test_limit_of_file_size(make, start, check):
    """The same without privileges: the operating system allows no file to grow, then it does."""
    site = make()
    process = start(site)
    process.wait_for_event("watching")
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    limit = (site.state / "journal.db").stat().st_size
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, hard))
    add_pairs(site.incoming, PAIRS)
    process.wait_for(lambda: process.events("paused") or not process.running)
    if process.running:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    else:  # the journal could not be written: it stops, and is restarted
        assert process.process.returncode == 1
        process = start(site)
    wait_until_done(process, PAIRS)
    assert process.stop() == 0
    check(site)


def test_removed_results(make, start, finish, check):
    """The results are gone and the journal is not: it waits, says so at a restart, and goes on when they are back."""
    site = make()
    state = site.home / "state"
    site.config.write_text(site.config.read_text().replace("# state =", f'state = "{state}"'))
    add_pairs(site.incoming, 2)
    process = start(site)
    wait_until_done(process, 2)
    away = site.output.rename(site.home / "away")
    add_pairs(site.incoming / "more", PAIRS - 2, first_id=5)
    process.wait_for_event("paused")
    assert process.stop() == 0
    again = Daemon(site, "--once")
    assert again.wait() == 1
    assert "missing data" in again.text()
    shutil.rmtree(site.output)
    away.rename(site.output)
    finish(site)
    check(site)


def test_removed_output(make, start, finish, check):
    """All is gone, the journal too: the daemon ends with a reason, and the next one measures everything anew."""
    site = make()
    add_pairs(site.incoming, 2)
    process = start(site)
    wait_until_done(process, 2)
    shutil.rmtree(site.output)
    add_pairs(site.incoming / "more", PAIRS - 2, first_id=5)
    assert process.wait() == 1
    assert "moved or removed" in process.text()
    assert "Traceback" not in process.text()
    finish(site)
    check(site)


def test_journal_locked_by_another(make, start, check):
    """Another process holds the journal, for longer than SQLite waits: it says so, waits, and goes on."""
    site = make()
    process = start(site)
    process.wait_for_event("watching")
    thief = sqlite3.connect(site.state / "journal.db", isolation_level=None)
    thief.execute("BEGIN EXCLUSIVE")
    add_pairs(site.incoming, 2)
    assert "locked" in wait_until_paused(process)
    thief.execute("ROLLBACK")
    thief.close()
    wait_until_done(process, 2)
    assert process.stop() == 0
    check(site)


@pytest.mark.parametrize("damage", ["header", "middle", "empty", "text"])
def test_damaged_journal(make, damage, finish):
    """A damaged journal stops the start, or the run, with one line that names it; nothing is written any more."""
    site = make()
    add_pairs(site.incoming, 2)
    finish(site)
    path = site.state / "journal.db"
    content = bytearray(path.read_bytes())
    if damage == "header":
        content[:100] = bytes(100)
    elif damage == "middle":
        content[4096:-4096] = os.urandom(len(content) - 8192)
    path.write_bytes({"empty": b"", "text": b"not a database " * 1000}.get(damage, bytes(content)))
    before = {path: path.read_bytes() for path in (site.output / "measurements").rglob("*.arrow*")}
    process = Daemon(site, "--once")
    assert process.wait() == 1
    last = process.text().splitlines()[-1]
    assert last.startswith("streamcal: ")
    assert "journal" in last
    assert "Traceback" not in process.text()
    assert before.items() <= {path: path.read_bytes() for path in (site.output / "measurements").rglob("*")
                              if path.is_file()}.items()  # fmt: skip


def test_part_of_a_batch_behind_the_end(make, tmp_path, finish):
    """Behind the committed end parts of a batch may stand, cut here and there: the next start cuts them off."""
    from streamcal.config import load_config
    from streamcal.daemon import run_daemon

    site = make(output={"roll_megabytes": 64.0})
    add_pairs(site.incoming, 3)
    finish(site)
    expected = read_outcome(site.output)
    live = site.output / "measurements" / "live" / "000001.arrows"
    whole = live.read_bytes()
    batch = whole[-9000:]  # more than one batch
    config = load_config(site.config)
    for length in range(1, len(batch), 500):
        live.write_bytes(whole + batch[:length])
        assert run_daemon(config, once=True) == 0
        assert live.read_bytes() == whole
    assert compare(expected, read_outcome(site.output))


@pytest.mark.parametrize("missing", [1, 100, 5000])
def test_truncated_behind_the_committed_offset(make, missing, finish):
    """Committed bytes are missing: it stops, says so with file and numbers, and writes nothing."""
    site = make(output={"roll_megabytes": 64.0})
    add_pairs(site.incoming, 3)
    finish(site)
    live = site.output / "measurements" / "live" / "000001.arrows"
    size = live.stat().st_size
    os.truncate(live, size - missing)
    process = Daemon(site, "--once")
    assert process.wait() == 1
    message = process.text().splitlines()[-1]
    assert f"missing data: {live} has {size - missing} bytes, the journal committed {size} bytes" in message
    assert live.stat().st_size == size - missing
