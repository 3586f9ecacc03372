"""Folders become a stream of files that have come to rest: listings are the truth, events are hints."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import structlog

from streamcal.config import SourceConfig
from streamcal.paths import show_path
from streamcal.records import Candidate, FileStat
from streamcal.source.listing import Listing, Selection
from streamcal.source.settle import Look, SettleQueue
from streamcal.source.watch import Hint, Hints, OverflowListener, count_watches
from streamcal.source.watched import WatchedFolder, WatchMode

log = structlog.get_logger(__name__)

LOOKS_PER_POLL = 2000  # names: some 10 ms on a local disk
MAX_SETTLING = 10_000  # files; a listing pauses while so many wait


class Ledger(Protocol):
    """What is known of files; the journal."""

    def known_files(self, folder: str, names: Sequence[str]) -> Mapping[str, FileStat]:
        """Return those of these files of a folder that were ever recorded, by name, as they were then."""

    def known_file(self, path: str) -> FileStat | None:
        """Return what a file was when last recorded; None if it never was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceStatus:
    """How the source is doing, for logs and metrics.

    Attributes
    ----------
    watch_mode : dict of str to str
        By folder: ``events``, ``poll`` (listed often) or ``missing``.
    scans : int
        Complete listings of a watched folder.
    last_scan_seconds : float
        What the last one cost.
    files_found_without_hint : int
        Files that only a listing found although events should have told of them.
    overflows : int
        How often events were lost because there were too many.
    unreadable : int
        Folders and files that the last listings could not look at.
    short_of_watches : bool
        Whether the kernel watches fewer folders than there are, so that they are listed often instead.
    n_settling, n_handed_out : int
        Files that may still be growing, and files in the caller's hands.
    oldest_settling : tuple of (str, float) or None
        The file that has waited longest for rest, and for how long (s).
    """

    watch_mode: dict[str, WatchMode]
    scans: int
    last_scan_seconds: float
    files_found_without_hint: int
    overflows: int
    unreadable: int
    short_of_watches: bool
    n_settling: int
    n_handed_out: int
    oldest_settling: tuple[str, float] | None


class DirectorySource:
    """Files of the configured folders, each handed out when it has come to rest and is not known as it is.

    It promises that every regular file of a fitting name that stays in a watched folder is handed out at least once,
    and again whenever it has changed, whether or not an event told of it. A file in the caller's hands is not handed
    out; `forget` gives it back, and it is handed out again unless the ledger knows it as it then is. So the caller
    first records what became of a file, with the `FileStat` of its candidate, and then calls `forget`.

    Either `start`, `poll` again and again, `stop`; or `scan_once`.

    All methods are for one thread. Memory holds the files in the caller's hands, some `MAX_SETTLING` others, and a
    portion of the names of the folder being listed, however many there are.

    Parameters
    ----------
    config : SourceConfig
        Folders, names, periods.
    ledger : Ledger
        What is known of files already.
    clock : callable
        Seconds, never going backwards.
    wake : callable
        Called in another thread when there is something to `poll` before `next_due`.
    exclude : tuple of Path
        Folders inside the watched ones to leave out, such as those for results.
    """

    def __init__(
        self,
        config: SourceConfig,
        ledger: Ledger,
        *,
        clock: Callable[[], float] = time.monotonic,
        wake: Callable[[], None] = lambda: None,
        exclude: tuple[Path, ...] = (),
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._clock = clock
        self._hints = Hints(wake)
        self._overflow_listener = OverflowListener(self._hints)
        self._selection = _select(config, exclude)
        self._queue = SettleQueue(config.settle_seconds, MAX_SETTLING)
        self._listings: deque[tuple[Listing, WatchedFolder | None]] = deque()
        self._roots = [WatchedFolder(folder, config, self._hints) for folder in dict.fromkeys(config.folders)]
        self._handed_out: set[str] = set()
        self._left: dict[str, FileStat] = {}  # given back, and of no interest as long as they stay like this
        self._watching = False
        self._overflows = self._unhinted = self._shortfalls = 0
        self._last_scan_seconds = 0.0

    def start(self) -> None:
        """Subscribe to events; what was there before is found by the listing that follows."""
        self._watching = True
        self._overflow_listener.start()
        for root in self._roots:
            root.refresh(subscribe=True)
        self.rescan()

    def stop(self) -> None:
        """End all subscriptions and wait for their threads."""
        self._watching = False
        self._overflow_listener.stop()
        for root in self._roots:
            root.stop()
        for listing, _ in self._listings:
            listing.close()
        self._listings.clear()

    def rescan(self) -> None:
        """List all folders anew, from the next `poll` on."""
        for root in self._roots:
            root.due = -math.inf

    def forget(self, path: str, unless: FileStat | None = None) -> None:
        """Take a file back from the caller's hands: it is looked at once more and compared with the ledger.

        Parameters
        ----------
        path : str
            Of a candidate.
        unless : FileStat or None
            As long as the file is like this it is not handed out again, although the ledger does not know it: for
            files that are not whole yet. (Of very many such files the first are handed out again.)
        """
        self._handed_out.discard(path)
        self._left.pop(path, None)
        if unless is not None:
            self._left[path] = unless
            if len(self._left) > MAX_SETTLING:
                del self._left[next(iter(self._left))]
        if self._watching:
            self._hints.add(path, Hint.CREATED)

    def poll(self, limit: int = LOOKS_PER_POLL) -> list[Candidate]:
        """Do what is due, without waiting: take hints, go on with listings, look whether files have come to rest.

        Parameters
        ----------
        limit : int
            Hand out at most so many files; others keep.

        Returns
        -------
        list of Candidate
            Files at rest, now in the caller's hands.
        """
        now = self._clock()
        if not self._queue.is_full:
            self._take_hints(now)
        self._advance_listings(now)
        return list(islice(self._files_at_rest(), limit))

    def next_due(self) -> float:
        """Return the clock's time (s) at which to `poll` next, if `wake` is not called before.

        It lies in the past while there is work, also while a `poll` had a limit and left files behind.
        """
        if self._queue.is_full:
            return self._queue.next_due
        if self._hints or self._listings:
            return -math.inf
        return min((self._queue.next_due, *(root.due for root in self._roots)))

    def scan_once(self) -> Iterator[Candidate | None]:
        """Yield each file that is there and not known, once, when it has come to rest.

        A file that has not come to rest within ``incomplete_timeout`` is left out, with a warning.

        Yields
        ------
        Candidate or None
            None while the files that are left have not come to rest: ask again at `next_due`.
        """
        self.rescan()
        while True:
            self._advance_listings(self._clock())
            yield from self._files_at_rest()
            unlisted = bool(self._listings) or any(root.due == -math.inf for root in self._roots)
            if unlisted and not self._queue.is_full:
                continue
            if len(self._queue) == 0:
                return
            yield None

    def status(self) -> SourceStatus:
        """Return how the source is doing."""
        oldest = self._queue.oldest
        return SourceStatus(
            watch_mode={root.path: root.mode for root in self._roots},
            scans=sum(root.n_scans for root in self._roots),
            last_scan_seconds=self._last_scan_seconds,
            files_found_without_hint=self._unhinted,
            overflows=self._overflows,
            unreadable=sum(len(root.unreadable) for root in self._roots),
            short_of_watches=self._is_short_of_watches,
            n_settling=len(self._queue),
            n_handed_out=len(self._handed_out),
            oldest_settling=None if oldest is None else (oldest[0], self._clock() - oldest[1]),
        )

    # hints

    def _take_hints(self, now: float) -> None:
        hints, overflowed = self._hints.take()
        if overflowed:
            self._overflows += 1
            self.rescan()
        for path, hint in hints.items():
            if not any(self._selection.reaches(root.path, path) for root in self._roots):
                continue
            if hint is Hint.FOLDER:
                if self._selection.enters(path):
                    self._listings.append((self._list(path, hinted=True), None))
            elif self._selection.takes_name(path.rpartition(os.sep)[2]):
                self._look_at(path, now, closed=hint is Hint.CLOSED)

    def _look_at(self, path: str, now: float, *, closed: bool) -> None:
        if path in self._handed_out:
            return
        stat = self._selection.stat_file(path)
        if stat is not None and not self._is_known(path, stat):
            self._queue.add(path, stat, now, closed=closed, hinted=True)

    # listings

    def _advance_listings(self, now: float) -> None:
        room = LOOKS_PER_POLL
        while room > 0 and not self._queue.is_full:
            if not self._listings and not self._begin_listing(now):
                return
            room -= self._advance_listing(*self._listings[0], room, now)

    def _advance_listing(self, listing: Listing, root: WatchedFolder | None, room: int, now: float) -> int:
        """Look at so many names more, or fewer at the end; return how many it was, at least 1."""
        began = self._clock()
        n_names, found = listing.advance(room)
        listing.seconds += self._clock() - began
        for candidate in found:
            if candidate.path not in self._handed_out and self._left.get(candidate.path) != candidate.stat:
                self._queue.add(candidate.path, candidate.stat, now, closed=False, hinted=listing.hinted)
        if listing.done:
            self._listings.popleft()
            if root is not None:
                self._end_listing(listing, root)
        return max(1, n_names)

    def _begin_listing(self, now: float) -> bool:
        """Begin to list the next folder that is due; tell whether there was one."""
        for root in self._roots:
            if root.due > now:
                continue
            root.due = math.inf
            root.refresh(subscribe=self._watching)
            if root.mode == "missing":
                root.plan_listing(now, 0.0, often=True)
                continue
            # What the first listing finds was there before, and where no events are expected none is missing.
            hinted = root.n_scans == 0 or root.mode == "poll"
            self._listings.append((self._list(root.path, hinted=hinted), root))
            return True
        return False

    def _list(self, folder: str, *, hinted: bool) -> Listing:
        return Listing(folder, self._selection, self._ledger.known_files, hinted=hinted)

    def _end_listing(self, listing: Listing, root: WatchedFolder) -> None:
        self._last_scan_seconds = listing.seconds
        root.note_listing(listing)
        if self._watching:
            self._compare_watches()
            root.plan_listing(self._clock(), listing.seconds, often=self._is_short_of_watches)

    def _compare_watches(self) -> None:
        """Notice folders that no event can come from: watchdog does not say that it met the limit of watches."""
        n_folders = sum(root.n_folders for root in self._roots if root.mode == "events")
        n_watches = count_watches() if n_folders else None
        if n_watches is None or n_watches >= n_folders:
            self._shortfalls = 0
            return
        self._shortfalls += 1
        if self._shortfalls == 2:  # once may be a folder that has just come
            log.warning("some folders are not watched, listing often", n_folders=n_folders, n_watches=n_watches)

    @property
    def _is_short_of_watches(self) -> bool:
        return self._shortfalls > 0

    # files

    def _files_at_rest(self) -> Iterator[Candidate]:
        now = self._clock()
        while (due := self._queue.pop_due(now)) is not None:
            path, look = due
            stat = self._selection.stat_file(path)
            # The listing that found it may be older than what the ledger was told since.
            if stat is None or path in self._handed_out or self._is_known(path, stat):
                continue
            if stat != look.stat:
                if self._may_wait(path, look, now):
                    self._queue.postpone(path, look, stat, now)
                continue
            if not look.hinted:
                self._note_unhinted(path)
            self._left.pop(path, None)
            self._handed_out.add(path)
            yield Candidate(path=path, stat=stat)

    def _note_unhinted(self, path: str) -> None:
        self._unhinted += 1
        for root in self._roots:
            if not self._is_short_of_watches and Path(path).is_relative_to(root.path):
                root.doubt()

    def _is_known(self, path: str, stat: FileStat) -> bool:
        return self._left.get(path) == stat or self._ledger.known_file(path) == stat

    def _may_wait(self, path: str, look: Look, now: float) -> bool:
        """Tell whether a file that had changed at its look may stay in the queue."""
        if self._watching:
            # Files that never rest must not keep out others; a listing finds them again.
            return len(self._queue) + 1 < MAX_SETTLING
        if now - look.since <= self._config.incomplete_timeout:
            return True
        log.warning("file still changing is left out", path=show_path(path))
        return False


def _select(config: SourceConfig, exclude: tuple[Path, ...]) -> Selection:
    roots = [Path(os.path.realpath(folder)) for folder in config.folders]
    inside = tuple(
        folder for folder in exclude if not any(root.is_relative_to(os.path.realpath(folder)) for root in roots)
    )
    return Selection(config.names, recursive=config.recursive, follow_symlinks=config.follow_symlinks, exclude=inside)
