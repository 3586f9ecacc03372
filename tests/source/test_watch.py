"""Hints of watchdog, and the subscription that yields them."""

import logging

import pytest
from watchdog.events import DirCreatedEvent, FileClosedEvent, FileCreatedEvent, FileMovedEvent

from streamcal.source import watch
from streamcal.source.listing import identify_folder
from streamcal.source.watch import FolderWatch, Hint, Hints, OverflowListener, count_watches


def test_events_become_hints():
    """Each event names one path; a rename names the new one, and being closed outweighs being created."""
    hints = Hints(lambda: None)
    for event in (
        FileClosedEvent("/r/a"),
        FileCreatedEvent("/r/a"),
        FileCreatedEvent("/r/b"),
        FileMovedEvent("/r/b.tmp", "/r/b"),
        FileCreatedEvent("/r/c"),
        DirCreatedEvent("/r/d"),
    ):
        hints.dispatch(event)
    assert hints
    expected = {"/r/a": Hint.CLOSED, "/r/b": Hint.CLOSED, "/r/c": Hint.CREATED, "/r/d": Hint.FOLDER}
    assert hints.take() == (expected, False)
    assert not hints


def test_too_many_hints_are_an_overflow():
    """Beyond its capacity the set keeps what it has and says that more was lost, once."""
    hints = Hints(lambda: None, capacity=2)
    for name in "abca":
        hints.add(name, Hint.CLOSED)
    assert hints.take() == ({"a": Hint.CLOSED, "b": Hint.CLOSED}, True)
    assert hints.take() == ({}, False)


def test_a_raising_wake_does_not_reach_watchdog():
    """Whatever the caller's function does, the thread of watchdog lives on."""
    hints = Hints(lambda: 1 // 0)
    hints.dispatch(FileCreatedEvent("/r/a"))
    assert hints.take() == ({"/r/a": Hint.CREATED}, False)


def test_an_overflow_that_watchdog_only_logs_is_heard():
    """The log record of a full kernel queue counts as lost events; other records and later ones do not."""
    hints = Hints(lambda: None)
    listener = OverflowListener(hints)
    listener.start()
    logger = logging.getLogger("watchdog.observers.inotify_c")
    logger.warning("something else")
    assert not hints
    logger.warning("Inotify queue overflowed; filesystem events were lost")
    listener.stop()
    assert hints.take() == ({}, True)
    logger.warning("Inotify queue overflowed; filesystem events were lost")
    assert not hints


def test_the_kernel_counts_the_watches(tmp_path):
    """A watched tree of three folders adds three watches, which go with the subscription."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    before = count_watches()
    subscription = FolderWatch(str(tmp_path), Hints(lambda: None), recursive=True)
    assert subscription.ensure(identify_folder(str(tmp_path)))
    assert count_watches() == before + 3
    subscription.stop()
    assert count_watches() == before


def test_where_nothing_counts_watches_none_are_known(tmp_path):
    """Without the kernel's list the number is unknown, not zero."""
    assert count_watches(tmp_path / "absent") is None


@pytest.mark.parametrize("method", ["schedule", "start"])
def test_a_limit_of_the_kernel_means_no_events(tmp_path, monkeypatch, method):
    """Where the kernel refuses a watch no events flow, no thread is left, and a later try may succeed."""

    def refuse(*_, **__):
        raise OSError(28, "inotify watch limit reached")

    subscription = FolderWatch(str(tmp_path), Hints(lambda: None), recursive=True)
    identity = identify_folder(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(watch.InotifyObserver, method, refuse)
        assert not subscription.ensure(identity)
        assert not subscription.ensure(identity)
    assert subscription.ensure(identity)
    subscription.stop()


def test_no_observer_at_all_means_no_events(tmp_path, monkeypatch):
    """Where the kernel gives no further inotify instance, no events flow."""

    def refuse(**_options):
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr(watch, "InotifyObserver", refuse)
    assert not FolderWatch(str(tmp_path), Hints(lambda: None), recursive=True).ensure((1, 1))


def test_a_sound_subscription_is_kept(tmp_path):
    """Asking again for the same folder changes nothing; another identity renews the subscription."""
    subscription = FolderWatch(str(tmp_path), Hints(lambda: None), recursive=True)
    identity = identify_folder(str(tmp_path))
    assert subscription.ensure(identity)
    first = subscription._observer
    assert subscription.ensure(identity)
    assert subscription._observer is first
    assert subscription.ensure((0, 0))
    assert subscription._observer is not first
    assert not first.is_alive()
    subscription.stop()


def test_a_dead_observer_is_replaced(tmp_path):
    """A subscription whose thread has ended is renewed."""
    subscription = FolderWatch(str(tmp_path), Hints(lambda: None), recursive=True)
    identity = identify_folder(str(tmp_path))
    assert subscription.ensure(identity)
    dead = subscription._observer
    dead.stop()
    dead.join()
    assert subscription.ensure(identity)
    assert subscription._observer is not dead
    subscription.stop()
