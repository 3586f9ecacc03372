"""The source with real events of the kernel; what is asserted holds however slow the machine is."""

import os
import shutil
import threading
import time

import pytest

from streamcal.config import SourceConfig
from streamcal.records import FileStat
from streamcal.source import directory, watch
from streamcal.source.directory import DirectorySource

PATIENCE = 20.0  # s; only a failing test waits so long


class KnownFiles(dict):
    """A ledger: path to stat."""

    def known_files(self, folder, names):
        """Return the known ones of these files, by name."""
        return {name: self[f"{folder}/{name}"] for name in names if f"{folder}/{name}" in self}

    def known_file(self, path):
        """Return the stat of a file, or None."""
        return self.get(path)


class Service:
    """Runs a source as the main loop does: sleeps until woken or due, records what comes."""

    def __init__(self, folder, **options):
        self.folder = folder
        self.known = KnownFiles()
        self.wake = threading.Event()
        self.config = SourceConfig(
            **{"folders": (folder,), "settle_seconds": 0.05, "rescan_seconds": 3600.0, **options}
        )
        self.source = DirectorySource(self.config, self.known, wake=self.wake.set)
        self.found = []

    def turn(self):
        """Sleep until there is something to do, and do it."""
        self.wake.wait(min(max(0.0, self.source.next_due() - time.monotonic()), 0.2))
        self.wake.clear()
        for candidate in self.source.poll(100):
            self.found.append(os.path.relpath(candidate.path, self.folder))
            self.known[candidate.path] = candidate.stat
            self.source.forget(candidate.path)

    def await_files(self, *names):
        """Go on until exactly these files have been found, each once, and nothing is under way."""
        self.await_state(lambda: len(self.found) >= len(names) and self.source.status().n_settling == 0)
        assert sorted(self.found) == sorted(names)
        self.found.clear()

    def await_state(self, reached):
        """Go on until this is true."""
        deadline = time.monotonic() + PATIENCE
        while not reached():
            assert time.monotonic() < deadline, (self.found, self.source.status())
            self.turn()


@pytest.fixture
def service(tmp_path):
    """Return a function that makes and starts a service whose first listing has ended."""
    made = []

    def make(**options):
        (tmp_path / "in").mkdir(exist_ok=True)
        made.append(Service(tmp_path / "in", **options))
        made[-1].source.start()
        made[-1].await_state(lambda: made[-1].source.status().scans > 0)
        return made[-1]

    yield make
    for one in made:
        one.source.stop()


def write(path, content=b"x"):
    """Write a file, in a new folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_a_written_file_is_found_by_its_event(service):
    """A file that is written and closed comes without any further listing, and again when it is rewritten."""
    s = service(settle_seconds=3600.0)
    write(s.folder / "a.fits")
    s.await_files("a.fits")
    write(s.folder / "a.fits", b"other")
    s.await_files("a.fits")
    assert s.source.status().scans == 1
    assert s.source.status().files_found_without_hint == 0
    assert s.source.status().watch_mode == {str(s.folder): "events"}


def test_a_renamed_file_is_found_by_its_event(service):
    """A file that gets its name when it is complete needs no settle time."""
    s = service(settle_seconds=3600.0)
    write(s.folder / "a.fits.tmp")
    (s.folder / "a.fits.tmp").rename(s.folder / "a.fits")
    s.await_files("a.fits")


def test_files_from_elsewhere_are_found(service, tmp_path):
    """A hard link and a file moved in from outside are found; no closing is ever seen of them."""
    s = service()
    write(tmp_path / "b.fits")
    write(tmp_path / "c.fits")
    os.link(tmp_path / "b.fits", s.folder / "b.fits")
    (tmp_path / "c.fits").rename(s.folder / "c.fits")
    s.await_files("b.fits", "c.fits")
    assert s.source.status().scans == 1


def test_files_in_new_folders_are_found(service, tmp_path):
    """Files that lie in new, nested, moved and renamed folders from the beginning are found by the folders' events."""
    s = service()
    for n in range(30):
        write(s.folder / str(n) / "deep" / "a.fits")
    write(tmp_path / "outside" / "deep" / "b.fits")
    (tmp_path / "outside").rename(s.folder / "inside")
    s.await_files(*(f"{n}/deep/a.fits" for n in range(30)), "inside/deep/b.fits")
    (s.folder / "inside").rename(s.folder / "renamed")
    s.await_files("renamed/deep/b.fits")
    write(s.folder / "renamed" / "deep" / "c.fits")
    s.await_files("renamed/deep/c.fits")
    assert s.source.status().scans == 1


def test_many_quick_files_are_found_each_once(service):
    """A burst of 500 files comes completely."""
    s = service()
    for n in range(500):
        write(s.folder / f"{n}.fits")
    s.await_files(*(f"{n}.fits" for n in range(500)))


def test_lost_events_are_made_good(service, monkeypatch):
    """When more files come than hints are kept, a listing finds the rest and the loss is counted."""
    s = service()
    s.source._hints._capacity = 10
    for n in range(100):
        write(s.folder / f"{n}.fits")
    s.await_files(*(f"{n}.fits" for n in range(100)))
    assert s.source.status().overflows >= 1


def test_what_came_before_the_start_is_found(tmp_path):
    """Files that lie there already are listed; they do not count as missed by events."""
    write(tmp_path / "in" / "a.fits")
    s = Service(tmp_path / "in")
    s.source.start()
    s.await_files("a.fits")
    assert s.source.status().files_found_without_hint == 0
    s.source.stop()


def test_a_file_that_no_event_told_of_is_found_and_counted(service, monkeypatch):
    """The periodic listing finds what events missed."""
    s = service(rescan_seconds=0.1)
    monkeypatch.setattr(s.source._hints, "dispatch", lambda event: None)
    write(s.folder / "a.fits")
    s.await_files("a.fits")
    assert s.source.status().files_found_without_hint == 1


@pytest.mark.parametrize("how", ["deleted", "moved away"])
def test_a_folder_made_anew_is_watched_anew(service, tmp_path, how):
    """After the folder was deleted or moved and made again, its files are found by events again."""
    s = service(rescan_seconds=0.1)
    write(s.folder / "a.fits")
    s.await_files("a.fits")
    if how == "deleted":
        shutil.rmtree(s.folder)
    else:
        s.folder.rename(tmp_path / "old")
    s.folder.mkdir()
    observer = s.source._roots[0]._watch._observer
    s.await_state(lambda: s.source._roots[0]._watch._observer is not observer)
    assert s.source.status().watch_mode == {str(s.folder): "events"}
    write(s.folder / "b.fits")
    s.await_files("b.fits")


def test_a_folder_that_goes_and_comes_is_found(service):
    """While the folder is missing nothing breaks; when it is back its files are found."""
    s = service(rescan_seconds=0.1, poll_seconds=0.1)
    shutil.rmtree(s.folder)
    s.await_state(lambda: s.source.status().watch_mode == {str(s.folder): "missing"})
    write(s.folder / "a.fits")
    s.await_files("a.fits")
    assert s.source.status().watch_mode == {str(s.folder): "events"}


def test_a_dead_observer_is_replaced(service):
    """When watchdog's thread has died the next listing subscribes again."""
    s = service(rescan_seconds=0.1)
    dead = s.source._roots[0]._watch._observer
    dead.stop()
    dead.join()
    s.await_state(lambda: s.source._roots[0]._watch._observer is not dead)
    write(s.folder / "a.fits")
    s.await_files("a.fits")


def test_a_silent_observer_is_replaced(service, monkeypatch):
    """When a file came of which no event told, the next listing subscribes anew: a thread may have died unseen."""
    s = service(rescan_seconds=0.1)
    silent = s.source._roots[0]._watch._observer
    with monkeypatch.context() as patch:
        patch.setattr(s.source._hints, "dispatch", lambda event: None)
        write(s.folder / "a.fits")
        s.await_files("a.fits")
    s.await_state(lambda: s.source._roots[0]._watch._observer is not silent)
    write(s.folder / "b.fits")
    s.await_files("b.fits")


def test_a_reached_watch_limit_means_frequent_listings(service, monkeypatch, capsys):
    """With fewer watches than folders the source lists often, says so once, and finds everything."""
    monkeypatch.setattr(directory, "count_watches", lambda: 1)
    s = service(poll_seconds=0.1, rescan_seconds=0.1)
    monkeypatch.setattr(s.source._hints, "dispatch", lambda event: None)
    write(s.folder / "n" / "a.fits")
    s.await_files("n/a.fits")
    s.await_state(lambda: s.source.status().short_of_watches)
    scans = s.source.status().scans
    s.await_state(lambda: s.source.status().scans > scans + 3)
    assert capsys.readouterr().out.count("some folders are not watched, listing often") == 1


def test_a_refused_watch_means_polling(service, monkeypatch):
    """Where the kernel refuses to watch the folder, listing often finds the files; later the watch is taken up."""

    def refuse(**_options):
        raise OSError(24, "inotify instance limit reached")

    with monkeypatch.context() as patch:
        patch.setattr(watch, "InotifyObserver", refuse)
        s = service(poll_seconds=0.1)
        write(s.folder / "a.fits")
        s.await_files("a.fits")
        assert s.source.status().watch_mode == {str(s.folder): "poll"}
    s.await_state(lambda: s.source.status().watch_mode == {str(s.folder): "events"})


@pytest.mark.parametrize(("mode", "silent"), [("poll", False), ("auto", True)])
def test_polling_needs_no_events(service, monkeypatch, mode, silent):
    """By configuration, or where events do not reach, listing often finds the files; no thread is started."""
    monkeypatch.setattr("streamcal.source.watched.is_silent", lambda device: silent)
    before = threading.active_count()
    s = service(watch=mode, poll_seconds=0.05)
    assert threading.active_count() == before
    write(s.folder / "a.fits")
    s.await_files("a.fits")
    write(s.folder / "n" / "b.fits")
    s.await_files("n/b.fits")
    assert s.source.status().watch_mode == {str(s.folder): "poll"}
    assert s.source.status().files_found_without_hint == 0


def test_events_can_be_demanded(service, monkeypatch):
    """The configuration outweighs the kind of file system."""
    monkeypatch.setattr("streamcal.source.watched.is_silent", lambda device: True)
    assert service(watch="events").source.status().watch_mode.popitem()[1] == "events"


def test_names_are_bytes(service):
    """Names with newline, quotes, brackets, colons and bytes that are not UTF-8 are found as they are."""
    s = service()
    names = ["a\nb.fits", "'\"$x.fits", "c(out.fits)[1].fits", "http::x.fits", os.fsdecode(b"\xff\xfe.fits")]
    for name in names:
        write(s.folder / name)
    s.await_files(*names)


def test_a_source_can_be_stopped_in_the_middle(tmp_path, monkeypatch):
    """Stopping while a listing is under way leaves no thread and no open folder; stopping twice is fine."""
    monkeypatch.setattr(directory, "LOOKS_PER_POLL", 1)
    for n in range(5):
        write(tmp_path / f"{n}.fits")
    s = Service(tmp_path)
    s.source.start()
    s.source.poll()
    s.source.stop()
    s.source.stop()
    assert s.source.status().n_settling == 1


def test_our_own_reading_wakes_nobody(service):
    """Opening and reading a watched file makes no hint."""
    s = service()
    write(s.folder / "a.fits")
    s.await_files("a.fits")
    s.await_state(lambda: not s.source._hints)
    s.wake.clear()
    for _ in range(10):
        (s.folder / "a.fits").read_bytes()
    write(s.folder / "b.fits")
    s.await_state(lambda: s.found)
    assert s.found == ["b.fits"]
    assert FileStat.of((s.folder / "a.fits").stat()) == s.known[str(s.folder / "a.fits")]
