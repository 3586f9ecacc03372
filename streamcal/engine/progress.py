"""What a worker is doing now, where its parent can still read it after the worker has died: memory that both share.

The parent makes a board and hands its descriptor to the worker, which writes on it; a process that was handed none, as
with the inline engine, writes nowhere.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

SIZE = 512  # bytes; longer names are cut
_F_SEAL_FUTURE_WRITE = 0x10  # <linux/fcntl.h>: a job that writes into every descriptor it finds does not reach it


class Doing(NamedTuple):
    """What is being done."""

    stage: str = ""
    plugin: str = ""  # that offers the stage


class _Board:
    """The worker's end."""

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None
        self._doing = Doing()

    def attach(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, SIZE)
        with suppress(OSError):  # a kernel before 5.1
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _F_SEAL_FUTURE_WRITE)
        os.close(descriptor)

    @contextmanager
    def show(self, doing: Doing) -> Iterator[None]:
        before = self._doing
        self._write(doing)
        try:
            yield
        finally:
            self._write(before)

    def _write(self, doing: Doing) -> None:
        self._doing = doing
        if self._memory is not None:
            text = "\0".join(doing).encode(errors="backslashreplace")
            self._memory[:] = text[:SIZE].ljust(SIZE, b"\0")


_board = _Board()
attach = _board.attach  # to the board whose descriptor this process was handed; closes the descriptor
show = _board.show  # what a block does, and after it what was shown before


def make_board() -> int:
    """Make a board, empty, and return its descriptor."""
    descriptor = os.memfd_create("streamcal-progress", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, SIZE)
    return descriptor


def read_board(descriptor: int) -> Doing:
    """Return what the worker was doing when it last told."""
    stage, plugin, *_ = (*os.pread(descriptor, SIZE, 0).split(b"\0"), b"")
    return Doing(stage.decode(errors="replace"), plugin.decode(errors="replace"))
