"""The source of files at rest, on a clock that the tests move; without events unless said."""

import os
from pathlib import Path

import pytest

from streamcal.config import SourceConfig
from streamcal.records import FileStat
from streamcal.source import directory
from streamcal.source.directory import DirectorySource
from streamcal.source.watch import Hint


class Clock:
    """Seconds that pass when told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        """Return the time."""
        return self.now

    def pass_time(self, seconds):
        """Let so much time pass."""
        self.now += seconds


class KnownFiles(dict):
    """A ledger: path to stat."""

    def known_files(self, folder, names):
        """Return the known ones of these files, by name."""
        return {name: self[f"{folder}/{name}"] for name in names if f"{folder}/{name}" in self}

    def known_file(self, path):
        """Return the stat of a file, or None."""
        return self.get(path)


class Setup:
    """A source on one folder, its clock and what it knows."""

    def __init__(self, folder, exclude=(), **options):
        defaults = {"folders": (folder,), "watch": "poll", "settle_seconds": 2.0, "poll_seconds": 10.0}
        self.folder = folder
        self.clock = Clock()
        self.known = KnownFiles()
        self.config = SourceConfig(**{**defaults, **options})
        self.source = DirectorySource(self.config, self.known, clock=self.clock, exclude=exclude)

    def poll(self, seconds=0.0, **options):
        """Let time pass, then return the names that are handed out."""
        self.clock.pass_time(seconds)
        return [os.path.relpath(candidate.path, self.folder) for candidate in self.source.poll(**options)]

    def hint(self, name, hint=Hint.CREATED):
        """Do what watchdog's thread does at an event."""
        self.source._hints.add(str(self.folder / name), hint)

    def record(self, name):
        """Know a file as it is, and give it back."""
        path = self.folder / name
        self.known[str(path)] = FileStat.of(path.stat())
        self.source.forget(str(path))


@pytest.fixture
def setup(tmp_path):
    """Return a function that makes and starts a source on an empty folder."""
    made = []

    def make(**options):
        (tmp_path / "in").mkdir(exist_ok=True)
        made.append(Setup(tmp_path / "in", **options))
        made[-1].source.start()
        return made[-1]

    yield make
    for one in made:
        one.source.stop()


def write(path, content=b"x"):
    """Write a file, in a new folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_a_file_found_by_listing_must_rest(setup):
    """Two equal looks, settle_seconds apart, hand it out; once."""
    s = setup()
    write(s.folder / "a.fits")
    assert s.poll() == []
    assert s.poll(1.9) == []
    assert s.poll(0.1) == ["a.fits"]
    assert s.poll(100.0) == []


def test_a_candidate_carries_what_the_file_was(setup):
    """Path and stat of a candidate are those of the file at its last look."""
    s = setup(settle_seconds=0.0)
    write(s.folder / "a.fits", b"12345")
    (candidate,) = s.source.poll()
    assert candidate.path == str(s.folder / "a.fits")
    assert candidate.stat == FileStat.of((s.folder / "a.fits").stat())


def test_a_slow_writer_is_waited_for(setup):
    """A file that grows at each look is handed out when it has stopped growing for the settle time."""
    s = setup()
    for n in range(1, 20):
        write(s.folder / "a.fits", b"x" * n)
        assert s.poll(1.5) == []
    assert s.poll(2.0) == ["a.fits"]


def test_a_closed_file_needs_no_rest(setup):
    """A file that was seen being closed is handed out at once."""
    s = setup()
    s.poll()
    write(s.folder / "a.fits")
    s.hint("a.fits", Hint.CLOSED)
    assert s.poll() == ["a.fits"]


def test_a_closed_file_that_changes_again_must_rest(setup):
    """When the file is no longer what it was at the hint, the settle rule holds."""
    s = setup()
    s.poll()
    write(s.folder / "a.fits")
    s.hint("a.fits", Hint.CLOSED)
    assert s.poll(limit=0) == []
    write(s.folder / "a.fits", b"longer")
    assert s.poll() == []
    assert s.poll(1.9) == []
    assert s.poll(0.1) == ["a.fits"]


@pytest.mark.parametrize("mtime", [0, 10**19 // 2])
def test_the_time_that_a_file_carries_does_not_matter(setup, mtime):
    """A file dated 1970, or a century ahead, rests as long as others."""
    s = setup()
    write(s.folder / "a.fits")
    os.utime(s.folder / "a.fits", ns=(mtime, mtime))
    assert s.poll() == []
    assert s.poll(1.9) == []
    assert s.poll(0.1) == ["a.fits"]


def test_a_file_replaced_by_one_of_equal_size_and_time_must_rest(setup):
    """Another inode is another file."""
    s = setup()
    for name in ("a.fits", "b"):
        write(s.folder / name)
        os.utime(s.folder / name, ns=(7, 7))
    assert s.poll() == []
    (s.folder / "b").replace(s.folder / "a.fits")
    assert s.poll(2.0) == []
    assert s.poll(2.0) == ["a.fits"]


def test_a_vanished_file_is_dropped(setup):
    """A file that goes while it settles is not handed out."""
    s = setup()
    write(s.folder / "a.fits")
    s.poll()
    (s.folder / "a.fits").unlink()
    assert s.poll(2.0) == []
    assert s.source.status().n_settling == 0


def test_known_files_are_not_handed_out(setup):
    """What the ledger knows as it is stays where it is, also when an event tells of it."""
    s = setup()
    write(s.folder / "a.fits")
    s.record("a.fits")
    s.hint("a.fits", Hint.CLOSED)
    assert s.poll() == []
    assert s.poll(2.0) == []


def test_a_changed_known_file_is_handed_out_again(setup):
    """When a known file is overwritten the next listing finds it."""
    s = setup()
    write(s.folder / "a.fits")
    s.record("a.fits")
    s.poll()
    write(s.folder / "a.fits", b"other")
    assert s.poll(10.0) == []
    assert s.poll(2.0) == ["a.fits"]


def test_a_file_in_the_callers_hands_is_not_handed_out(setup):
    """However it changes, nothing comes until the caller gives it back; then it comes soon."""
    s = setup()
    write(s.folder / "a.fits")
    s.poll()
    assert s.poll(2.0) == ["a.fits"]
    write(s.folder / "a.fits", b"longer")
    s.hint("a.fits", Hint.CLOSED)
    assert s.poll(20.0) == []
    s.source.forget(str(s.folder / "a.fits"))
    assert s.poll() == []
    assert s.poll(2.0) == ["a.fits"]


def test_a_recorded_file_is_forgotten_for_good(setup):
    """After record and forget nothing of the file is kept, and it does not come back."""
    s = setup()
    write(s.folder / "a.fits")
    s.poll()
    assert s.poll(2.0) == ["a.fits"]
    s.record("a.fits")
    assert s.poll() == []
    assert s.poll(20.0) == []
    assert (s.source.status().n_settling, s.source.status().n_handed_out) == (0, 0)


def test_an_incomplete_file_comes_again_when_it_changes(setup):
    """Given back with the stat that was no good, a file stays away exactly as long as it is like that."""
    s = setup()
    write(s.folder / "a.fits")
    s.poll()
    (candidate,) = (s.clock.pass_time(2.0), s.source.poll())[1]
    s.source.forget(candidate.path, unless=candidate.stat)
    assert s.poll() == []
    assert s.poll(30.0) == []
    write(s.folder / "a.fits", b"longer")
    s.hint("a.fits", Hint.CLOSED)
    assert s.poll() == ["a.fits"]


def test_incomplete_files_are_remembered_in_bounds(setup, monkeypatch):
    """With too many of them the first are handed out again instead of remembered."""
    monkeypatch.setattr(directory, "MAX_SETTLING", 2)
    s = setup(settle_seconds=0.0)
    for name in "abc":
        write(s.folder / f"{name}.fits")
    for candidate in sorted(s.source.poll(), key=lambda candidate: candidate.path):
        s.source.forget(candidate.path, unless=candidate.stat)
    assert s.poll() == ["a.fits"]


def test_the_ledger_has_the_last_word_over_an_old_listing(setup, monkeypatch):
    """A listing that goes on with what it knew before does not hand out what was recorded since."""
    monkeypatch.setattr(directory, "LOOKS_PER_POLL", 1)
    s = setup()
    for name in "abc":
        write(s.folder / f"{name}.fits")
    s.poll()
    for name in "abc":
        s.known[str(s.folder / f"{name}.fits")] = FileStat.of((s.folder / f"{name}.fits").stat())
    assert [s.poll(2.0) for _ in range(6)] == [[]] * 6


def test_portions_are_bounded_and_nothing_is_lost(setup, monkeypatch):
    """However much lies there, few files are kept in memory, and all come out in portions, each once."""
    monkeypatch.setattr(directory, "LOOKS_PER_POLL", 7)
    monkeypatch.setattr(directory, "MAX_SETTLING", 10)
    s = setup(poll_seconds=1000.0)
    paths = [f"{n % 3}/{n}.fits" for n in range(100)]
    for path in paths:
        write(s.folder / path)
    found = []
    for _ in range(200):
        portion = s.poll(0.5, limit=3)
        assert len(portion) <= 3
        assert s.source.status().n_settling < 17
        for path in portion:
            s.record(path)
        found += portion
    assert sorted(found) == sorted(paths)


def test_files_that_never_rest_do_not_keep_out_others(setup, monkeypatch):
    """When the queue is full of changing files, those give way."""
    monkeypatch.setattr(directory, "MAX_SETTLING", 2)
    monkeypatch.setattr(directory, "LOOKS_PER_POLL", 2)
    s = setup(poll_seconds=1000.0)
    found = []
    for n in range(1, 20):
        for name in ("restless1.fits", "restless2.fits"):
            write(s.folder / name, b"x" * n)
        if n == 2:
            for name in "abc":
                write(s.folder / f"{name}.fits")
        found += s.poll(2.0)
        s.source.rescan()
    assert {"a.fits", "b.fits", "c.fits"} <= set(found)


def test_listings_repeat_on_their_period(setup):
    """The next listing is due after poll_seconds, and next_due says so."""
    s = setup()
    s.poll()
    assert s.source.next_due() == s.clock.now + 10.0
    write(s.folder / "a.fits")
    assert s.poll(9.9) == []
    assert s.poll(0.1) == []
    assert s.source.next_due() == s.clock.now + 2.0
    assert s.poll(2.0) == ["a.fits"]
    assert s.source.status().scans == 2


def test_a_costly_listing_repeats_less_often(setup, monkeypatch):
    """Listing takes at most a tenth of the time where it must be done often."""
    s = setup(poll_seconds=1.0)
    write(s.folder / "a.fits")
    known_files = s.known.known_files
    monkeypatch.setattr(s.known, "known_files", lambda *names: s.clock.pass_time(3.0) or known_files(*names))
    s.poll()
    assert s.source.status().last_scan_seconds == 3.0
    assert s.source.next_due() == s.clock.now + 30.0


def test_work_left_is_due_at_once(setup):
    """After a poll that had a limit, next_due lies in the past."""
    s = setup(settle_seconds=0.0)
    write(s.folder / "a.fits")
    assert s.poll(limit=0) == []
    assert s.source.next_due() <= s.clock.now
    assert s.poll() == ["a.fits"]


def test_a_rescan_lists_at_once_and_once_more_if_one_is_under_way(setup, monkeypatch):
    """What a listing has passed by already is found by the one that was asked for."""
    monkeypatch.setattr(directory, "LOOKS_PER_POLL", 1)
    s = setup(settle_seconds=0.0)
    write(s.folder / "a.fits")
    s.poll()
    s.source.rescan()
    for _ in range(10):
        s.poll()
    assert s.source.status().scans == 2


def test_lost_hints_lead_to_a_listing(setup):
    """An overflow is counted, and the folders are listed without waiting for the period."""
    s = setup(settle_seconds=0.0)
    s.poll()
    write(s.folder / "a.fits")
    s.source._hints.overflow()
    assert s.source.next_due() <= s.clock.now
    assert s.poll() == ["a.fits"]
    assert s.source.status().overflows == 1


def test_a_new_folder_is_listed_on_a_hint(setup):
    """A file that was in a new folder before anybody watched it is found without the period."""
    s = setup()
    s.poll()
    write(s.folder / "n" / "o" / "a.fits")
    s.hint("n", Hint.FOLDER)
    assert s.poll() == []
    assert s.poll(2.0) == ["n/o/a.fits"]


@pytest.mark.parametrize("name", ["a.fits.tmp", ".a.fits", ".n/a.fits", "a.txt", "results/a.fits", "../a.fits"])
def test_hints_obey_the_same_rules_as_listings(setup, tmp_path, name):
    """A hint of a name that no listing takes is nothing."""
    s = setup(exclude=(tmp_path / "in" / "results",))
    write(s.folder / name)
    s.source._hints.add(os.path.normpath(s.folder / name), Hint.CLOSED)
    s.hint(os.path.dirname(name) or "x", Hint.FOLDER)  # noqa: PTH120
    assert s.poll() == []
    assert s.poll(2.0) == []


def test_an_excluded_folder_around_the_watched_one_excludes_nothing(setup, tmp_path):
    """Results may be written to the folder in which the watched one lies."""
    s = setup(exclude=(tmp_path,), settle_seconds=0.0)
    write(s.folder / "a.fits")
    assert s.poll() == ["a.fits"]


def test_a_folder_that_appears_later_is_found(setup, tmp_path, capsys):
    """A missing folder is no error; it is named once in the log and looked for on the period."""
    s = setup(folders=(tmp_path / "later",), settle_seconds=0.0)
    assert s.poll() == s.poll(10.0) == []
    assert s.source.status().watch_mode == {str(tmp_path / "later"): "missing"}
    assert capsys.readouterr().out.count("folder is missing") == 1
    write(tmp_path / "later" / "a.fits")
    assert s.poll(10.0) == ["../later/a.fits"]
    assert s.source.status().watch_mode == {str(tmp_path / "later"): "poll"}


def test_an_unreadable_folder_is_counted_and_logged_once(setup, monkeypatch, capsys):
    """The listing goes on around a folder that cannot be read; the log names it once."""
    s = setup(settle_seconds=0.0)
    write(s.folder / "shut" / "a.fits")
    write(s.folder / "b.fits")
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert s.poll() == ["b.fits"]
    s.poll(10.0)
    assert s.source.status().unreadable == 1
    assert capsys.readouterr().out.count("cannot be looked at") == 1


def test_two_folders_are_watched_and_named_twice_counts_once(setup, tmp_path):
    """Each configured folder is listed, one after the other."""
    s = setup(folders=(tmp_path / "in", tmp_path / "two", tmp_path / "in"), settle_seconds=0.0)
    write(s.folder / "a.fits")
    write(tmp_path / "two" / "b.fits")
    assert sorted(s.poll(10.0)) == ["../two/b.fits", "a.fits"]
    assert len(s.source.status().watch_mode) == 2


def test_the_status_names_what_waits(setup):
    """The file that has waited longest for rest is named with its time."""
    s = setup()
    write(s.folder / "a.fits")
    s.poll()
    s.poll(1.5)
    assert s.source.status().oldest_settling == (str(s.folder / "a.fits"), 1.5)


def scan(source, clock, wait):
    """Give the candidates of one scan, passing the time that it asks for."""
    for candidate in source.scan_once():
        if candidate is None:
            wait(source.next_due() - clock())
        else:
            yield candidate


def test_scan_once_gives_everything_at_rest_and_ends(tmp_path, monkeypatch):
    """All files that are not known come out once, with one settle time waited for a portion."""
    monkeypatch.setattr(directory, "LOOKS_PER_POLL", 3)
    monkeypatch.setattr(directory, "MAX_SETTLING", 5)
    (tmp_path / "in").mkdir()
    s = Setup(tmp_path / "in", folders=(tmp_path / "in", tmp_path / "absent", tmp_path / "two"))
    for n in range(20):
        write(s.folder / f"{n}.fits")
        write(tmp_path / "two" / f"{n}.fits")
    s.record("7.fits")
    found = []
    for candidate in scan(s.source, s.clock, s.clock.pass_time):
        found.append(candidate.path)
        s.source.forget(candidate.path)
    assert len(found) == len(set(found)) == 39


def test_scan_once_waits_for_a_growing_file_but_not_for_ever(tmp_path):
    """A file that grows comes when it rests; one that never rests is left out after incomplete_timeout."""
    (tmp_path / "in").mkdir()
    s = Setup(tmp_path / "in", incomplete_timeout=60.0)
    write(s.folder / "slow.fits")
    write(s.folder / "endless.fits")
    began = s.clock.now

    def grow(seconds):
        s.clock.pass_time(seconds)
        with (s.folder / "endless.fits").open("ab") as file:
            file.write(b"x")
        if s.clock.now - began < 10.0:
            write(s.folder / "slow.fits", b"x" * int(s.clock.now))

    found = [(Path(candidate.path).name, s.clock.now - began) for candidate in scan(s.source, s.clock, grow)]
    assert found == [("slow.fits", 10.0)]
    assert 60.0 < s.clock.now - began <= 64.0


def test_scan_once_does_not_hold_up_its_caller(tmp_path):
    """While a file grows it says so, and the caller can do something else."""
    (tmp_path / "in").mkdir()
    s = Setup(tmp_path / "in")
    write(s.folder / "slow.fits")
    candidates = s.source.scan_once()
    assert next(candidates) is None
    assert s.source.next_due() > s.clock()


def test_scan_once_on_an_empty_folder_does_not_wait(tmp_path):
    """With nothing there it ends at once."""
    s = Setup(tmp_path)
    assert list(s.source.scan_once()) == []
