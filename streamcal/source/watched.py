"""One watched folder: how news of it reaches us, when to list it next, and what the last listing met."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import structlog

from streamcal.config import SourceConfig
from streamcal.paths import show_path
from streamcal.source.listing import Listing, identify_folder
from streamcal.source.mounts import is_silent
from streamcal.source.watch import FolderWatch, Hints

log = structlog.get_logger(__name__)

WatchMode = Literal["events", "poll", "missing"]

LISTING_SHARE = 100  # a listing may take one part in so many of the time
POLLING_SHARE = 10  # the same, where events do not reach


class WatchedFolder:
    """A folder of the configuration.

    Parameters
    ----------
    folder : Path
        It need not exist yet.
    config : SourceConfig
        Mode and periods.
    hints : Hints
        Where its events go.

    Attributes
    ----------
    path : str
        Absolute.
    mode : str
        ``events``, ``poll`` (listed often) or ``missing``.
    due : float
        When to list it, in seconds of the source's clock; infinite while it is being listed.
    n_scans, n_folders : int
        Complete listings so far, and folders that the last one met.
    unreadable : dict of str to str
        What the last listing could not look at, with the reason.
    """

    def __init__(self, folder: Path, config: SourceConfig, hints: Hints) -> None:
        self.path = str(folder.absolute())
        self.mode: WatchMode = "missing"
        self.due = -math.inf
        self.n_scans = 0
        self.n_folders = 0
        self.unreadable: dict[str, str] = {}
        self._config = config
        self._told_mode: WatchMode | None = None
        self._doubted = False
        self._watch = FolderWatch(self.path, hints, recursive=config.recursive)

    def refresh(self, *, subscribe: bool) -> None:
        """Bring mode and subscription in line with what the folder is now.

        Parameters
        ----------
        subscribe : bool
            Whether events are wanted at all.
        """
        if self._doubted:
            self._watch.stop()
        self._doubted = False
        identity = identify_folder(self.path)
        mode: WatchMode = "missing" if identity is None else "poll"
        if identity is None or not subscribe or not self._wants_events(identity[0]):
            self._watch.stop()
        elif self._watch.ensure(identity):
            mode = "events"
        self.mode = mode
        if mode != self._told_mode and mode == "missing":
            log.warning("folder is missing", folder=show_path(self.path))
        elif mode != self._told_mode and subscribe:
            log.info("folder is watched", folder=show_path(self.path), mode=mode)
        self._told_mode = mode

    def stop(self) -> None:
        """End the subscription and wait for its threads."""
        self._watch.stop()

    def doubt(self) -> None:
        """Renew the subscription at the next `refresh`: a file came of which no event told.

        Watchdog has threads that die unseen; nothing but their silence tells.
        """
        self._doubted = True

    def note_listing(self, listing: Listing) -> None:
        """Remember what a complete listing met; say once what it could not look at."""
        self.n_scans += 1
        self.n_folders = listing.n_folders
        for path in listing.unreadable.keys() - self.unreadable.keys():
            log.warning("cannot be looked at", path=show_path(path), reason=listing.unreadable[path])
        self.unreadable = listing.unreadable

    def plan_listing(self, now: float, seconds: float, *, often: bool) -> None:
        """Say when to list it next, unless another listing was asked for while this one went on.

        Parameters
        ----------
        now : float
            Time on the source's clock, in seconds.
        seconds : float
            What the last listing cost.
        often : bool
            Whether events are known not to reach all of it.
        """
        if self.due != math.inf:
            return
        if often or self.mode != "events":
            self.due = now + max(self._config.poll_seconds, POLLING_SHARE * seconds)
        else:
            self.due = now + max(self._config.rescan_seconds, LISTING_SHARE * seconds)

    def _wants_events(self, device: int) -> bool:
        return self._config.watch == "events" or (self._config.watch == "auto" and not is_silent(device))
