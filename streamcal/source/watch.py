"""Hints of watchdog that something came, and the subscription of one folder, kept sound.

Watchdog loses events in bursts, goes silent when a folder is re-created or a limit is reached, and tells nobody. So
nothing here is relied on but for being quick: the listing of `streamcal.source.listing` finds what was missed.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.inotify import InotifyObserver

from streamcal.paths import show_path

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver

log = structlog.get_logger(__name__)

MAX_HINTS = 10_000
EVENTS: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileMovedEvent,
    FileCreatedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]


class Hint(Enum):
    """What an event says of its path."""

    CLOSED = "closed"  # after writing, or renamed to this name: it is complete
    CREATED = "created"  # also hard links
    FOLDER = "folder"  # a new or renamed folder


class Hints(FileSystemEventHandler):
    """The bounded set of paths that events named, filled by watchdog's thread and emptied by ours.

    Parameters
    ----------
    wake : callable
        Called without arguments, in watchdog's thread, when there is something to take.
    capacity : int
        With this many paths waiting, further ones are dropped and `take` says so.
    """

    def __init__(self, wake: Callable[[], None], capacity: int = MAX_HINTS) -> None:
        self._wake = wake
        self._capacity = capacity
        self._lock = threading.Lock()
        self._paths: dict[str, Hint] = {}
        self._overflowed = False

    def __bool__(self) -> bool:
        return bool(self._paths) or self._overflowed

    def dispatch(self, event: FileSystemEvent) -> None:
        """Note the path of an event; what watchdog calls."""
        if event.is_directory:
            hint = Hint.FOLDER
        elif isinstance(event, (FileClosedEvent, FileMovedEvent)):
            hint = Hint.CLOSED
        else:
            hint = Hint.CREATED
        self.add(os.fsdecode(event.dest_path or event.src_path), hint)
        self._call()

    def add(self, path: str, hint: Hint) -> None:
        """Note a path and wake nobody; being closed says more than being created."""
        with self._lock:
            if len(self._paths) >= self._capacity and path not in self._paths:
                self._overflowed = True
            elif hint is not Hint.CREATED or path not in self._paths:
                self._paths[path] = hint

    def overflow(self) -> None:
        """Note that events were lost."""
        with self._lock:
            self._overflowed = True
        self._call()

    def take(self) -> tuple[dict[str, Hint], bool]:
        """Return and remove all paths in order of arrival, and whether others were lost."""
        with self._lock:
            taken, self._paths, self._overflowed = (self._paths, self._overflowed), {}, False
        return taken

    def _call(self) -> None:
        with suppress(Exception):  # one exception would end watchdog's thread for good
            self._wake()


class OverflowListener(logging.Handler):
    """Hears watchdog log that the kernel's queue ran over: it tells its handlers nothing."""

    def __init__(self, hints: Hints) -> None:
        super().__init__(logging.WARNING)
        self._hints = hints
        self._logger = logging.getLogger("watchdog.observers")

    def emit(self, record: logging.LogRecord) -> None:
        """Pass an overflow on as a hint that events were lost."""
        if "overflow" in record.getMessage():
            self._hints.overflow()

    def start(self) -> None:
        """Begin to listen."""
        self._logger.addHandler(self)

    def stop(self) -> None:
        """Listen no more."""
        self._logger.removeHandler(self)


class FolderWatch:
    """The subscription to one folder: made when the folder appears, renewed when it is another one or has died.

    Parameters
    ----------
    folder : str
        Absolute path.
    hints : Hints
        Where the events go.
    recursive : bool
        Whether folders inside count.
    """

    def __init__(self, folder: str, hints: Hints, *, recursive: bool) -> None:
        self._folder = folder
        self._hints = hints
        self._recursive = recursive
        self._observer: BaseObserver | None = None
        self._identity: tuple[int, int] | None = None
        self._warned = False

    def ensure(self, identity: tuple[int, int]) -> bool:
        """Subscribe to the folder unless a sound subscription to this very folder exists.

        Parameters
        ----------
        identity : tuple of int
            Device and inode of the folder now.

        Returns
        -------
        bool
            Whether events flow. List the folder *after* this call: what came before it gave no event.
        """
        if self._identity == identity and self._is_sound():
            return True
        self.stop()
        try:
            self._subscribe()
        except OSError as exc:
            if not self._warned:
                log.warning(
                    "folder cannot be watched, listing it often", folder=show_path(self._folder), error=str(exc)
                )
            self._warned = True
            return False
        self._identity, self._warned = identity, False
        return True

    def stop(self) -> None:
        """End the subscription and wait for its threads."""
        observer, self._observer, self._identity = self._observer, None, None
        if observer is not None:
            observer.stop()
            with suppress(RuntimeError):  # it had not been started
                observer.join()

    def _is_sound(self) -> bool:
        observer = self._observer
        if observer is None or not observer.is_alive():
            return False
        emitters = list(observer.emitters)  # the emitter of a deleted folder ends, its observer does not
        return bool(emitters) and all(emitter.is_alive() for emitter in emitters)

    def _subscribe(self) -> None:
        # Watchdog warns of itself in its reading thread, at length and harmlessly; as an error this ends the thread.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        # of all events: without them a file renamed in from outside is told of as one that is only being made
        self._observer = InotifyObserver(generate_full_events=True)
        try:
            self._observer.schedule(self._hints, self._folder, recursive=self._recursive, event_filter=EVENTS)
            self._observer.start()
        except OSError:
            self.stop()  # threads may run since the observer was made
            raise


def count_watches(descriptors: Path = Path("/proc/self/fdinfo")) -> int | None:
    """Return how many folders the kernel watches for this process; None where it does not say.

    Watchdog says nothing when the limit of watches is reached within a tree.
    """
    try:
        paths = list(descriptors.iterdir())
    except OSError:
        return None
    total = 0
    for path in paths:
        with suppress(OSError):  # closed meanwhile
            total += sum(line.startswith(b"inotify ") for line in path.read_bytes().splitlines())
    return total
