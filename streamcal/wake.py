"""What the main loop sleeps on: woken from other threads and from signal handlers, and with a time limit."""

from __future__ import annotations

import contextlib
import os
import select

PORTION = 4096  # bytes, one for each news


class Wake:
    """A flag that one thread waits for and anybody sets.

    A `threading.Event` will not do: set in a signal handler while the same thread is inside one of its methods, it
    waits for a lock that it holds itself.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def set(self) -> None:
        """Wake the waiting thread, now or at its next `wait`."""
        with contextlib.suppress(BlockingIOError, OSError):  # a full pipe wakes as well; a closed one needs nobody
            os.write(self._writer, b"\0")

    def wait(self, seconds: float) -> bool:
        """Sleep until set, at most so long; return whether it was set, and clear it."""
        ready, _, _ = select.select([self._reader], [], [], seconds)
        if ready:
            while len(os.read(self._reader, PORTION)) == PORTION and select.select([self._reader], [], [], 0)[0]:
                pass
        return bool(ready)

    def close(self) -> None:
        """Release both ends."""
        os.close(self._reader)
        os.close(self._writer)
