"""Bad input of every kind: a recorded reason in plain words, bounded memory, and the pairs around it are measured."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamcal import results
from streamcal.config import load_config
from streamcal.daemon import run_daemon
from streamcal.faults.compare import compare, read_outcome
from streamcal.faults.daemons import list_workers, memory_megabytes, peak_megabytes, wait_until_done
from streamcal.faults.fuzz import Fuzz
from streamcal.faults.mutants import BLOCK, make_bases, set_card
from streamcal.faults.site import CAMERA, ROWS_PER_PAIR, add_pairs, make_site
from streamcal.jobs import inspect_job
from streamcal.paths import show_path
from streamcal.simulate.files import encode_exposure
from streamcal.simulate.plan import Shot
from streamcal.status import read_status

LOCAL = {"kind": "local", "workers": 2, "job_seconds": 20, "attempts": 2, "memory_megabytes": 2048}
DAEMON_MEMORY, WORKER_MEMORY = 300.0, 400.0  # MB of resident memory: libraries take 250 of it


@pytest.fixture(scope="module")
def base():
    """Return the bytes of a valid exposure."""
    return make_bases()[".fits"]


def dispositions(site):
    """Return disposition and reason by file name, as `os.fsencode` gives it, shown."""
    rows = results.exposures(site.output).to_pylist()
    return {Path(row["path"]).name: (row["disposition"], row["reason"]) for row in rows}


def card(base, key, value, which=0):
    """Return an exposure with another value in a card."""
    data = bytearray(base)
    assert set_card(data, key, value, which)
    return bytes(data)


def gzip_bomb(start):
    """Return a file that begins like this and expands to 200 MB of zeros behind it, from 200 kB."""
    return gzip.compress(start + bytes(200_000_000), 9)


def announce(length):
    """Return a header that announces so many bytes of data."""
    cards = [("SIMPLE", "T"), ("BITPIX", "8"), ("NAXIS", "1"), ("NAXIS1", str(length))]
    text = "".join(f"{key:<8}= {value:>20}".ljust(80) for key, value in cards) + "END"
    return text.ljust(BLOCK).encode()


def damage_tiles():
    """Return Rice-compressed exposures whose last amplifier is damaged: pixels, addresses of tiles, pixels all zero."""
    whole = make_bases()[".fits.fz"]
    table = whole.index(b"XTENSION", whole.index(b"C11") - BLOCK)
    table = whole.index(b" END ", table) // BLOCK * BLOCK + BLOCK
    heap = table + 8 * CAMERA.shape[0]  # a row of pixels is a tile, its address eight bytes
    dice = random.Random(1)

    def fill(start, content):
        return whole[:start] + content + whole[start + len(content) :]

    return fill(heap, dice.randbytes(2500)), fill(table, dice.randbytes(heap - table)), fill(heap, bytes(2500))


def filled(value, exposure_id, level=1.0):
    """Return an exposure of which every pixel has one value (float32 where it is not a count)."""
    shot = Shot(exposure_id=exposure_id, level=level, exposure_time=level)
    kind = np.float32 if np.isnan(value) else np.uint16
    ny, nx = CAMERA.shape[0], CAMERA.shape[1] + CAMERA.prescan + CAMERA.overscan
    images = {amplifier.name: np.full((ny, nx), value, kind) for amplifier in CAMERA.amplifiers}
    return encode_exposure(CAMERA, shot, images)


@pytest.fixture(scope="module")
def unusable(base):
    """Return files that can never be used: content, and what the reason says."""
    header_end = next(at for at in range(0, len(base), 80) if base[at : at + 80].strip() == b"END")
    return {
        "empty.fits": (b"", "0 bytes"),
        "header_only.fits": (base[: (header_end // BLOCK + 1) * BLOCK], "image HDUs"),
        "not_fits.fits": (b"%PDF-1.4 some document " * 1000, "not a FITS file"),
        "random.fits": (random.Random(7).randbytes(50_000), "not a FITS file"),
        "absurd_naxis1.fits": (card(base, "NAXIS1", "999999999999"), "max_expanded_bytes"),
        "absurd_naxis.fits": (card(base, "NAXIS", "999", 1), "NAXIS"),
        "negative.fits": (card(base, "NAXIS2", "-5"), "NAXIS2"),
        "bitpix.fits": (card(base, "BITPIX", "17", 1), "BITPIX"),
        "bomb.fits.gz": (gzip_bomb(announce(200_000_000)), "max_expanded_bytes"),
        "hidden_bomb.fits.gz": (gzip_bomb(base), "expands to more than max_expanded_bytes"),
        "plain_bomb.fits": (gzip_bomb(base), "expands to more than max_expanded_bytes"),
        "cut.fits.gz": (gzip.compress(base)[:-500], "gzip stream is not complete"),
        "no_time.fits": (card(base, "EXPTIME", "''"), "exposure time"),
        "no_id.fits": (base.replace(b"EXPID   ", b"NOEXPID "), "exposure id"),
        "wrong_section.fits": (card(base, "DATASEC", "'[1:9999,1:48]'"), "section"),
    }


def test_unusable_files(make, unusable):
    """Each is rejected with a reason that says what is wrong, and whole pairs among them are measured."""
    site = make(source={"max_expanded_megabytes": 20.0})
    for name, (content, _) in unusable.items():
        site.incoming.joinpath(name).write_bytes(content)
    add_pairs(site.incoming / "good", 2, first_id=100)
    assert run_daemon(load_config(site.config), once=True) == 3
    found = dispositions(site)
    for name, (_, said) in unusable.items():
        what, reason = found[name]
        assert what == "rejected", name
        assert said in reason, (name, reason)
    assert results.read(site.output).num_rows == 2 * ROWS_PER_PAIR
    assert read_outcome(site.output).faults == ()


def test_bombs_in_bounded_memory(make, start, unusable):
    """What expands, or claims, to take any amount of memory takes none, neither of the daemon nor of its worker."""
    site = make(engine=LOCAL | {"workers": 1}, source={"max_expanded_megabytes": 20.0})
    names = [name for name in unusable if "bomb" in name or "absurd" in name]
    for name in names:
        site.incoming.joinpath(name).write_bytes(unusable[name][0])
    add_pairs(site.incoming / "good", 1, first_id=100)
    process = start(site)
    peaks = {}

    def look(status):
        peaks.update((pid, peak_megabytes(pid)) for pid in list_workers(process.pid))
        return status.pairs.get("done") == 1 and status.dispositions.get("rejected") == len(names)

    process.wait_for_status(look)
    assert max(peaks.values()) < WORKER_MEMORY
    assert peak_megabytes(process.pid) < DAEMON_MEMORY
    assert len(peaks) == 1  # no worker had to be replaced
    assert process.stop() == 0


def test_truncated_at_every_block(make, base):
    """A file that ends early is incomplete, wherever it ends, also between two extensions."""
    site = make()
    sizes = range(0, len(base), BLOCK)
    for size in sizes:
        (site.incoming / f"cut{size:06d}.fits").write_bytes(base[:size])
    assert run_daemon(load_config(site.config), once=True) == 3
    found = dispositions(site)
    assert len(found) == len(sizes)
    for what, reason in found.values():
        assert what == "rejected"
        assert reason.startswith("incomplete: ")


def test_all_nan(make):
    """Without a single finite pixel there is nothing to measure: the pair fails and says so, others are measured."""
    site = make()
    for number in (1, 2):
        (site.incoming / f"{number}.fits").write_bytes(filled(float("nan"), number))
    add_pairs(site.incoming / "good", 1, first_id=100)
    assert run_daemon(load_config(site.config), once=True) == 3
    (failure,) = read_status(site.output).failures
    assert failure["error"] == "overscan of amplifier 'C00' has no finite pixel"
    assert results.read(site.output).num_rows == ROWS_PER_PAIR


@pytest.mark.parametrize("value", [65535.0, 0.0, 1000.0])
def test_pixels_without_information(make, value):
    """All saturated, zero or constant: measured, flagged, and no number that is not one."""
    site = make()
    for number in (1, 2):
        (site.incoming / f"{number}.fits").write_bytes(filled(value, number))
    add_pairs(site.incoming / "good", 1, first_id=100)
    assert run_daemon(load_config(site.config), once=True) == 0
    rows = results.read(site.output).to_pylist()
    empty = [row for row in rows if row["exposure_id_1"] == "1"]
    assert len(empty) == ROWS_PER_PAIR
    for row in empty:
        assert not np.isfinite(row["gain"])
        assert results.decode_flags(row["flags"])
    assert len(rows) == 2 * ROWS_PER_PAIR


def test_shapes_that_differ_within_a_pair(make):
    """Two files of other shapes are two exposures; their pair fails with a reason that names both shapes."""
    site = make()
    other = replace(CAMERA, shape=(56, 40))
    shots = [Shot(exposure_id=number, level=9.0, exposure_time=9.0) for number in (1, 2)]
    for shot, camera in zip(shots, (CAMERA, other), strict=True):
        ny, nx = camera.shape[0], camera.shape[1] + camera.prescan + camera.overscan
        images = {amplifier.name: np.full((ny, nx), 1500, np.uint16) for amplifier in camera.amplifiers}
        (site.incoming / f"{shot.exposure_id}.fits").write_bytes(encode_exposure(camera, shot, images))
    add_pairs(site.incoming / "good", 1, first_id=100)
    assert run_daemon(load_config(site.config), once=True) == 3
    (failure,) = read_status(site.output).failures
    assert "48" in failure["error"]
    assert "56" in failure["error"]
    assert results.read(site.output).num_rows == ROWS_PER_PAIR


def test_damaged_tiles(make):
    """Pixels that cannot be decompressed fail their pair and say where; what can be is measured and flagged."""
    site = make(engine=LOCAL)
    for number, content in enumerate(damage_tiles()):
        for exposure_id in (2 * number + 1, 2 * number + 2):
            data = bytearray(content)
            set_card(data, "EXPID", str(exposure_id))
            set_card(data, "EXPTIME", f"{number + 1}.0")
            (site.incoming / f"{exposure_id}.fits.fz").write_bytes(bytes(data))
    add_pairs(site.incoming / "good", 1, first_id=100)
    assert run_daemon(load_config(site.config), once=True) == 3
    assert {what for what, _ in dispositions(site).values()} == {"paired"}
    errors = {failure["exposures"]: failure["error"] for failure in read_status(site.output).failures}
    assert len(errors) == 2
    assert all(error.startswith("the pixels of HDU 4 cannot be read: ") for error in errors.values()), errors
    rows = {(row["exposure_id_1"], row["amplifier"]): row for row in results.read(site.output).to_pylist()}
    assert sum(exposure_id == "100" for exposure_id, _ in rows) == ROWS_PER_PAIR
    assert len(rows) == 2 * ROWS_PER_PAIR
    zeros = rows["5", "C11"]
    assert "GAIN_INVALID" in results.decode_flags(zeros["flags"])
    assert np.isnan(zeros["gain"])
    assert read_outcome(site.output).faults == ()


def test_duplicates(make, base):
    """The same id with the same content is a duplicate, with other content rejected; both name the first file."""
    site = make()
    add_pairs(site.incoming, 1)
    first = min(site.incoming.glob("*.fits"))
    shutil.copy(first, site.incoming / "zz_copy.fits")
    content = bytearray(first.read_bytes())
    content[-BLOCK] ^= 1
    (site.incoming / "zz_other.fits").write_bytes(bytes(content))
    assert run_daemon(load_config(site.config), once=True) == 3
    found = dispositions(site)
    assert found["zz_copy.fits"] == ("duplicate", f"same id and content as {first}")
    assert found["zz_other.fits"][0] == "rejected"
    assert str(first) in found["zz_other.fits"][1]
    assert results.read(site.output).num_rows == ROWS_PER_PAIR


def test_names(make, base):
    """Names with newline, quotes, colon, brackets, escapes and bytes that are not UTF-8 are names like others."""
    site = make(engine=LOCAL)
    names = [
        b"new\nline.fits",
        b"quo'te\".fits",
        b"a:b[1].fits",
        b"esc\x1b[31m.fits",
        b"caf\xe9.fits",
        b"+plus @x.fits",
    ]
    folder = os.fsencode(site.incoming)
    for number, name in enumerate(names):
        data = bytearray(base)
        set_card(data, "EXPID", str(number + 1))
        set_card(data, "EXPTIME", f"{1 + number // 2}.0")
        data[-1] = number  # padding: content of its own, the same pixels
        with open(os.path.join(folder, name), "wb") as file:  # noqa: PTH118, PTH123 - bytes
            file.write(data)
    assert run_daemon(load_config(site.config), once=True) == 0
    found = dispositions(site)
    assert {Path(show_path(name)).name for name in names} == found.keys()
    assert all(name.isprintable() for name in found)
    assert results.read(site.output).num_rows == len(names) // 2 * ROWS_PER_PAIR


def test_things_that_are_no_files(make, tmp_path):
    """Symlink loops, dangling links, FIFOs, sockets and folders with the name of an exposure are passed by."""
    site = make()
    incoming = site.incoming
    (incoming / "loop.fits").symlink_to(incoming / "loop.fits")
    (incoming / "a").mkdir()
    (incoming / "a" / "b").symlink_to(incoming)
    (incoming / "dangling.fits").symlink_to(tmp_path / "nowhere.fits")
    os.mkfifo(incoming / "fifo.fits")
    (incoming / "folder.fits").mkdir()
    add_pairs(incoming / "good", 1)
    assert run_daemon(load_config(site.config), once=True) == 0
    assert len(dispositions(site)) == 2
    site = make(name="followed", source={"follow_symlinks": True})
    assert run_daemon(load_config(site.config), once=True) == 0
    assert results.read(site.output).num_rows == ROWS_PER_PAIR


def test_unreadable_file(make, base):
    """A file that may not be read is rejected with that reason; root, who may read all, is somebody else meanwhile."""
    warm = make()
    add_pairs(warm.incoming, 1)
    run_daemon(load_config(warm.config), once=True)  # what is imported late may be closed to others
    with tempfile.TemporaryDirectory() as name:  # outside of the folders of pytest, which are closed to others, too
        folder = Path(name)
        site = make_site(folder / "incoming", folder / "run")
        add_pairs(site.incoming / "good", 1, first_id=100)
        (site.incoming / "secret.fits").write_bytes(base)
        (site.incoming / "secret.fits").chmod(0)
        with somebody_else(folder):
            assert run_daemon(load_config(site.config), once=True) == 3
        secret = site.incoming / "secret.fits"
        assert dispositions(site)["secret.fits"] == ("rejected", f"{secret} cannot be read: Permission denied")
        assert results.read(site.output).num_rows == ROWS_PER_PAIR


@contextmanager
def somebody_else(folder):
    """Be a user without rights for a block, if this is root; the folder is his."""
    if os.geteuid() != 0:
        yield
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_files_that_change(make, start):
    """Renamed in place, vanished, rewritten after reading: each has what became of it, and rows stay as they were."""
    site = make(engine=LOCAL)
    add_pairs(site.incoming, 3)
    process = start(site)
    wait_until_done(process, 3)
    before = read_outcome(site.output).rows
    first, second, third, fourth, *_ = sorted(site.incoming.glob("*.fits"))
    first.rename(first.with_name("renamed.fits"))
    second.unlink()
    content = bytearray(third.read_bytes())
    content[-BLOCK] ^= 1
    third.write_bytes(bytes(content))
    fourth.touch()
    process.wait_for_status(lambda status: status.dispositions.get("rejected") == 1)
    process.wait_for_status(lambda status: status.dispositions.get("duplicate") == 1)
    assert process.stop() == 0
    assert read_outcome(site.output).rows == before
    rows = results.exposures(site.output).to_pylist()
    rejected = [row for row in rows if row["disposition"] == "rejected"]
    assert [Path(row["path"]).name for row in rejected] == [third.name]
    assert "came before with other content" in rejected[0]["reason"]


def test_vanished_before_reading(make, finish):
    """A file that vanishes between listing and reading is rejected as vanished, and taken up when it comes back."""
    site = make()
    add_pairs(site.incoming, 2)
    gone = min(site.incoming.glob("*.fits"))
    kept = gone.read_bytes()

    def vanish(candidate, recipe):
        if candidate.path == str(gone):
            gone.unlink(missing_ok=True)
        return inspect_job(candidate, recipe)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streamcal.intake.inspect_job", vanish)
        assert run_daemon(load_config(site.config), once=True) == 3
    assert dispositions(site)[gone.name] == ("rejected", "vanished before it could be read")
    gone.write_bytes(kept)
    assert finish(site) == 1
    assert dispositions(site)[gone.name][0] == "paired"
    assert results.read(site.output).num_rows == 2 * ROWS_PER_PAIR


@pytest.mark.parametrize("count", [1500, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_thousands_of_files_in_a_second(make, start, count):
    """Files that come as fast as the disk takes them: each is found, and the memory stays bounded."""
    site = make(
        name="flood",
        engine={"kind": "local", "workers": 2, "queue_size": 64},
        source={"max_file_megabytes": 0.001, "rescan_seconds": 1.0},
    )
    process = start(site)
    process.wait_for_event("watching")
    resting = memory_megabytes(process.pid)
    for number in range(count):
        (site.incoming / f"{number:05d}.fits").write_bytes(b"x" * 2000)
    largest = 0.0

    def look(status):
        nonlocal largest
        largest = max(largest, memory_megabytes(process.pid))
        return status.dispositions.get("rejected") == count

    process.wait_for_status(look, 110 if count < 10_000 else 800)
    assert process.stop() == 0
    assert largest < resting + 150
    assert len(dispositions(site)) == count


def test_queue_of_events_runs_over(make, start):
    """More events than the kernel keeps, while nobody reads: the listing finds the files all the same."""
    site = make()
    process = start(site)
    process.wait_for_event("watching")
    process.process.send_signal(signal.SIGSTOP)
    for number in range(2 * most_events()):
        (site.incoming / f".hidden{number % 7}").write_bytes(b"")  # two events each
    add_pairs(site.incoming / "later", 2, first_id=5)
    process.process.send_signal(signal.SIGCONT)
    wait_until_done(process, 2)
    process.wait_for_status(lambda status: status.heartbeat["source"]["overflows"] > 0)
    assert process.stop() == 0


def most_events():
    """Return how many events the kernel keeps for a program that does not read them."""
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


def test_folder_that_appears_later(make, start, tmp_path):
    """It says that the folder is missing, takes it when it appears, and again after it was away and came back."""
    site = make()
    shutil.rmtree(site.incoming)
    process = start(site)
    process.wait_for_event("folder is missing")
    add_pairs(tmp_path / "prepared", 2)
    (tmp_path / "prepared").rename(site.incoming)
    wait_until_done(process, 2)
    away = site.incoming.rename(tmp_path / "away")
    process.wait_for(lambda: len(process.events("folder is missing")) == 2)
    add_pairs(away, 2, first_id=5)
    away.rename(site.incoming)
    wait_until_done(process, 4)
    assert process.stop() == 0
    assert results.read(site.output).num_rows == 4 * ROWS_PER_PAIR


def test_folder_that_is_unmounted(make, start):
    """An input disk that goes and comes back: nothing is rejected, what comes with it is measured."""
    site = make()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(site.incoming)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        process = start(site)
        add_pairs(site.incoming, 2)
        wait_until_done(process, 2)
        subprocess.run(["umount", "-l", str(site.incoming)], check=True)
        subprocess.run(command, check=True)
        add_pairs(site.incoming, 2, first_id=5)
        wait_until_done(process, 4)
        assert process.stop() == 0
    finally:
        subprocess.run(["umount", "-l", str(site.incoming)], check=False)
    assert {what for what, _ in dispositions(site).values()} == {"paired"}


def test_clock_that_jumps(make, monkeypatch):
    """The clock of the day jumps a day back and two forward in the middle: rows and dispositions are the same."""
    site = make()
    add_pairs(site.incoming, 4)
    assert run_daemon(load_config(site.config), once=True) == 0
    expected = read_outcome(site.output)
    jumps = iter([0, -86400, 86400, -5] * 1000)
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + next(jumps))
    other = site.sibling("jumping")
    assert run_daemon(load_config(other.config), once=True) == 0
    assert compare(expected, read_outcome(other.output))


@pytest.mark.parametrize("mutants", [120, pytest.param(20_000, marks=[pytest.mark.long, pytest.mark.timeout(14_400)])])
def test_mutants(tmp_path, mutants):
    """Damaged files among whole pairs: a disposition and a reason each, the pairs all measured, memory bounded."""
    assert Fuzz(folder=tmp_path, mutants=mutants, seed=5, workers=2).run() == []


def test_writers_at_once(make, start):
    """Several writers, slow and quick, in several folders at once: every pair is measured once."""
    site = make(engine=LOCAL)
    process = start(site)
    process.wait_for_event("watching")
    writers = [
        threading.Thread(
            target=add_pairs,
            args=(site.incoming / style, 2),
            kwargs={"first_id": 1 + 4 * number, "style": style, "seed": number},
        )
        for number, style in enumerate(("rename", "direct", "slow"))
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    wait_until_done(process, 6)
    assert process.stop() == 0
    assert results.read(site.output).num_rows == 6 * ROWS_PER_PAIR
