"""A copy of the newest rows as one Arrow file, for tools that know nothing of segments."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from streamcal.sink.files import Files, replace_file

_LEAST_INTERVAL = 1.0  # s
_LARGEST_SHARE = 0.05  # of the time spent on writing it
_MOST_INTERVAL = 600.0  # s, also where the clock was set forward meanwhile


class Snapshot:
    """Writes ``latest.arrow``: at most once a second, and rarer where writing takes long.

    It promises nothing: where the disk is full it stays as it was until it can be written again.

    Parameters
    ----------
    files : Files
        The system calls.
    path : Path
        The file.
    clock : callable
        Time in seconds.
    """

    def __init__(self, files: Files, path: Path, clock: Callable[[], float]) -> None:
        self._files = files
        self._path = path
        self._clock = clock
        self._seq = -1
        self._written_at = float("-inf")
        self._interval = _LEAST_INTERVAL

    def refresh(self, seq: int, encode: Callable[[], bytes], *, now: bool = False) -> None:
        """Write the snapshot if rows were committed since and the time has come.

        Parameters
        ----------
        seq : int
            Number of the newest commit.
        encode : callable
            Returns the file's content.
        now : bool
            Do not wait for the time.
        """
        waited = self._clock() - self._written_at
        # a clock that was set back must not stop it
        if seq == self._seq or (0 <= waited < self._interval and not now):
            return
        began = self._clock()
        with suppress(OSError):
            replace_file(self._files, self._path, encode(), durable=False)
            self._seq = seq
        self._written_at = self._clock()
        taken = self._written_at - began
        self._interval = min(max(_LEAST_INTERVAL, taken / _LARGEST_SHARE), _MOST_INTERVAL)
