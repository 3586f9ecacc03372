"""Every system call of the sink that touches a file, behind one object: tests put a failing disk in its place."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from streamcal.errors import RetryLater, StateError

AWAY = frozenset(
    {
        # the disk is full, or may not grow
        errno.ENOSPC, errno.EDQUOT, errno.EFBIG,
        # it is gone, or cannot be written for now
        errno.ENOENT, errno.ENOTDIR, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENODEV, errno.ENXIO,
        # a network disk is away
        errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ECONNABORTED,
        # this machine is short of something
        errno.EMFILE, errno.ENFILE, errno.ENOMEM,
    }
)  # fmt: skip
"""Errors of a write that pass by themselves or by an operator's hand; any other is a bug."""

_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.EBADF, errno.ENOTSUP})
"""What network disks answer that cannot sync a folder; there is nothing that we could do better then."""


class Files(Protocol):
    """The system calls, one method each; all raise `OSError`."""

    def open(self, path: Path, flags: int) -> int:
        """Return a descriptor."""

    def close(self, descriptor: int) -> None:
        """Give the descriptor back."""

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        """Write at an offset; return the number of bytes taken, which may be fewer than given."""

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file."""

    def sync(self, descriptor: int) -> None:
        """Bring content and size to the disk (a folder: its entries)."""

    def rename(self, source: Path, target: Path) -> None:
        """Replace the target, atomically."""

    def unlink(self, path: Path) -> None:
        """Remove a file."""

    def make_folder(self, path: Path) -> None:
        """Create a folder; its parent must exist."""

    def size(self, path: Path) -> int | None:
        """Return the size of a file or folder in bytes; None: there is none."""

    def read(self, path: Path, offset: int = 0, length: int | None = None) -> bytes:
        """Read a file, or up to ``length`` bytes from ``offset``."""

    def list(self, folder: Path) -> list[str]:
        """Return the names in a folder."""


class SystemFiles:
    """`Files` of the operating system."""

    def open(self, path: Path, flags: int) -> int:
        """See `Files.open`."""
        return os.open(path, flags | os.O_CLOEXEC, 0o644)

    def close(self, descriptor: int) -> None:
        """See `Files.close`."""
        os.close(descriptor)

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        """See `Files.pwrite`."""
        return os.pwrite(descriptor, data, offset)

    def truncate(self, descriptor: int, size: int) -> None:
        """See `Files.truncate`."""
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        """See `Files.sync`."""
        os.fdatasync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """See `Files.rename`."""
        os.replace(source, target)  # noqa: PTH105 - after each pair; that of pathlib makes a path of the target anew

    def unlink(self, path: Path) -> None:
        """See `Files.unlink`."""
        path.unlink()

    def make_folder(self, path: Path) -> None:
        """See `Files.make_folder`."""
        path.mkdir()

    def size(self, path: Path) -> int | None:
        """See `Files.size`."""
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return None

    def read(self, path: Path, offset: int = 0, length: int | None = None) -> bytes:
        """See `Files.read`."""
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            return _read_fully(file.fileno(), length)

    def list(self, folder: Path) -> list[str]:
        """See `Files.list`."""
        return [path.name for path in folder.iterdir()]


def _read_fully(descriptor: int, length: int | None) -> bytes:
    parts: list[bytes] = []
    left = os.fstat(descriptor).st_size if length is None else length
    while left > 0 and (part := os.read(descriptor, min(left, 1 << 24))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


@contextmanager
def opened(files: Files, path: Path, flags: int) -> Iterator[int]:
    """Open a file for a block."""
    descriptor = files.open(path, flags)
    try:
        yield descriptor
    finally:
        files.close(descriptor)


@contextmanager
def retry_when_away(path: Path) -> Iterator[None]:
    """Turn the errors of a full or absent disk into a request to try again.

    Raises
    ------
    RetryLater
        In place of an `OSError` whose number is in `AWAY`.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno not in AWAY:
            raise
        msg = f"{path}: {exc.strerror}; nothing is lost, trying again"
        raise RetryLater(msg) from exc


def write_all(files: Files, descriptor: int, data: bytes, offset: int = 0) -> None:
    """Write all of ``data`` at ``offset``: a nearly full disk takes a part and says so only by a number."""
    view = memoryview(data)
    while view:
        written = files.pwrite(descriptor, view, offset)
        if written == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        view, offset = view[written:], offset + written


def sync_file(files: Files, descriptor: int, path: Path, *, ignore: frozenset[int] = frozenset()) -> None:
    """Bring a file or folder to the disk, once: after a failure the kernel may have dropped what it could not write.

    Raises
    ------
    StateError
        If the operating system reports a failure.
    """
    try:
        files.sync(descriptor)
    except OSError as exc:
        if exc.errno in ignore:
            return
        msg = f"{path}: fdatasync failed ({exc.strerror}): the last write may be lost; stop, a restart recovers"
        raise StateError(msg) from exc


def sync_folder(files: Files, folder: Path) -> None:
    """Bring the entries of a folder to the disk, after a file was created, renamed or removed in it; as `sync_file`."""
    with opened(files, folder, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        sync_file(files, descriptor, folder, ignore=_NO_FOLDER_SYNC)


def replace_file(files: Files, path: Path, data: bytes, *, durable: bool) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Parameters
    ----------
    files : Files
        The system calls.
    path : Path
        The file; it is written under a hidden name beside it, then renamed.
    data : bytes
        Its content.
    durable : bool
        Whether it must survive a loss of power; if not, it may then be old, empty or absent.
    """
    hidden = hidden_path(path)
    try:
        with opened(files, hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as descriptor:
            write_all(files, descriptor, data)
            if durable:
                sync_file(files, descriptor, hidden)
        files.rename(hidden, path)
    except OSError:
        with suppress(OSError):  # it takes room on a disk that may be full
            files.unlink(hidden)
        raise
    if durable:
        sync_folder(files, path.parent)


def hidden_path(path: Path) -> Path:
    """Return the name under which `replace_file` writes; the leading dot hides it from data set readers."""
    return path.with_name(f".{path.name}.tmp")
