"""One daemon at a time: an exclusive lock on the state folder, freed by the kernel whatever happens.

It is a lock of the open file (``F_OFD_SETLK``): unlike ``flock`` it can be asked for without being taken, so that
``streamcal status`` never makes a starting daemon fail, and unlike plain POSIX locks it survives another ``close``.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Self

from streamcal.errors import RetryLater, StateError

_FLOCK = struct.Struct("@hhqqi4x")  # struct flock: l_type, l_whence, l_start, l_len, l_pid


class StateLock:
    """The lock of a state folder; a context manager.

    Parameters
    ----------
    state : Path
        Folder of journal and lock.

    Raises
    ------
    StateError
        On entering, if another process holds it; names that process.
    RetryLater
        On entering, if the folder cannot be written now.
    """

    def __init__(self, state: Path) -> None:
        self._path = state / "lock"
        self._descriptor = -1

    def __enter__(self) -> Self:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as exc:
            msg = f"{self._path}: {exc.strerror}"
            raise RetryLater(msg) from exc
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except (BlockingIOError, PermissionError) as exc:
            os.close(descriptor)
            msg = f"{self._path.parent} is in use by process {lock_owner(self._path.parent) or 'unknown'}"
            raise StateError(msg) from exc
        with suppress(OSError):  # a full disk: the lock holds, only its owner goes unnamed
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._descriptor)


def lock_owner(state: Path) -> int | None:
    """Return the process id of the daemon that works on a state folder, or None if there is none."""
    path = state / "lock"
    try:
        with path.open("rb") as file:
            answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))
            owner = file.read(32).decode("ascii", "replace").strip()
    except OSError:
        return None
    if _FLOCK.unpack(answer)[0] == fcntl.F_UNLCK:
        return None
    return int(owner) if owner.isdigit() else -1
