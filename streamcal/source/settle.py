"""Files that may still be growing, and when to look at them again; on our own clock, never by the time they carry."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from streamcal.records import FileStat


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What a file was when last looked at."""

    stat: FileStat
    since: float  # s on the source's clock: when it was noticed
    due: float  # s on the source's clock: when to look again
    hinted: bool  # whether an event told of it


class SettleQueue:
    """Files noticed but not yet handed out, in order of when their next look is due.

    Parameters
    ----------
    settle_seconds : float
        How long a file must stay the same, in seconds.
    capacity : int
        From this many files on it is full: whoever fills it should stop.
    """

    def __init__(self, settle_seconds: float, capacity: int) -> None:
        self._settle_seconds = settle_seconds
        self._capacity = capacity
        self._closed: dict[str, Look] = {}  # due at once
        self._settling: dict[str, Look] = {}  # in order of due, since each waits equally long

    def __len__(self) -> int:
        return len(self._closed) + len(self._settling)

    @property
    def is_full(self) -> bool:
        """Whether no more should be added for now."""
        return len(self) >= self._capacity

    @property
    def next_due(self) -> float:
        """When the next look is due (s); infinite if nothing waits."""
        if self._closed:
            return -math.inf
        return next(iter(self._settling.values())).due if self._settling else math.inf

    @property
    def oldest(self) -> tuple[str, float] | None:
        """The file that has waited longest, and since when (s)."""
        looks = {**self._closed, **self._settling}
        path = min(looks, key=lambda path: looks[path].since, default=None)
        return None if path is None else (path, looks[path].since)

    def add(self, path: str, stat: FileStat, now: float, *, closed: bool, hinted: bool) -> None:
        """Notice a file; if it waits already, only what is new about it counts.

        Parameters
        ----------
        path, stat
            The file.
        now : float
            Time on the source's clock, in seconds.
        closed : bool
            Whether it was seen being closed or renamed in, so that it need not prove that it rests.
        hinted : bool
            Whether an event told of it.
        """
        earlier = self._closed.get(path) or self._settling.get(path)
        since = earlier.since if earlier else now
        hinted = hinted or (earlier is not None and earlier.hinted)
        if closed:
            self._settling.pop(path, None)
            self._closed[path] = Look(stat=stat, since=since, due=now, hinted=hinted)
        elif earlier is None:
            self._settling[path] = Look(stat=stat, since=since, due=now + self._settle_seconds, hinted=hinted)
        elif path in self._settling:
            self._settling[path] = replace(earlier, hinted=hinted)

    def postpone(self, path: str, look: Look, stat: FileStat, now: float) -> None:
        """Take back a file that had changed at its look: it must rest anew."""
        self._settling[path] = replace(look, stat=stat, due=now + self._settle_seconds)

    def pop_due(self, now: float) -> tuple[str, Look] | None:
        """Remove and return the next file whose look is due."""
        if self.next_due > now:
            return None
        looks = self._closed or self._settling
        path = next(iter(looks))
        return path, looks.pop(path)
