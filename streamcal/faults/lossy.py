"""A file system in memory that forgets, when the power goes, what was not brought to the disk."""

from __future__ import annotations

import errno
import os
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

BLOCK = 64  # bytes that reach the disk together


class PowerLost(BaseException):
    """The machine is off."""


class File:
    """Content as the processes see it, as the disk holds it, and the writes between the two."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.kept = bytearray()
        self.pending: list[Change] = []

    def apply(self, change: Change) -> None:
        """Make a change that is not on the disk yet."""
        change(self.seen)
        self.pending.append(change)


Change = Callable[[bytearray], object]
Entries = dict[Path, File | None]  # None: a folder


class LossyFiles:
    """`Files` in memory.

    Parameters
    ----------
    dice : random.Random
        Decides what survives `lose_power`: of a file any part of what was written since its last sync, in any order;
        of a folder the first few of the changes since its last sync.
    folder : Path
        The only folder at first, with its parent; they survive.

    Attributes
    ----------
    calls_left : int or None
        So many calls succeed before the power is lost; None: any number.
    opened : dict
        Path and file by descriptor; no file: a folder.
    """

    def __init__(self, dice: random.Random, folder: Path) -> None:
        self.calls_left: int | None = None
        self.opened: dict[int, tuple[Path, File | None]] = {}
        self._dice = dice
        self._seen: Entries = {folder.parent: None, folder: None}
        self._kept = dict(self._seen)
        self._pending: defaultdict[Path, list[Callable[[Entries], object]]] = defaultdict(list)  # by folder

    def _step(self) -> None:
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise PowerLost

    def _find(self, path: Path) -> File | None:
        if path not in self._seen:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return self._seen[path]

    def _find_file(self, path: Path) -> File:
        file = self._find(path)
        if file is None:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        return file

    def _opened_file(self, descriptor: int) -> File:
        path, file = self.opened[descriptor]
        return self._find_file(path) if file is None else file

    def _change_entries(self, folder: Path, change: Callable[[Entries], object]) -> None:
        self._find(folder)
        change(self._seen)
        self._pending[folder].append(change)

    def open(self, path: Path, flags: int) -> int:
        """See `Files.open`."""
        self._step()
        if path not in self._seen and flags & os.O_CREAT:
            made = File()
            self._change_entries(path.parent, lambda entries: entries.__setitem__(path, made))
        file = self._find(path)
        if flags & os.O_TRUNC:
            self._find_file(path).apply(lambda data: data.clear())
        descriptor = max(self.opened, default=2) + 1
        self.opened[descriptor] = (path, file)
        return descriptor

    def close(self, descriptor: int) -> None:
        """See `Files.close`."""
        del self.opened[descriptor]

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        """See `Files.pwrite`."""
        for start in range(0, len(data), BLOCK):  # blocks reach the disk one by one, or not
            self._step()
            self._opened_file(descriptor).apply(write_block(offset + start, bytes(data[start : start + BLOCK])))
        return len(data)

    def truncate(self, descriptor: int, size: int) -> None:
        """See `Files.truncate`."""
        self._step()
        self._opened_file(descriptor).apply(lambda data: data.__delitem__(slice(size, None)))

    def sync(self, descriptor: int) -> None:
        """See `Files.sync`."""
        self._step()
        path, file = self.opened[descriptor]
        if file is not None:
            file.kept, file.pending = bytearray(file.seen), []
        for change in self._pending.pop(path, []) if file is None else []:
            change(self._kept)

    def rename(self, source: Path, target: Path) -> None:
        """See `Files.rename`."""
        self._step()
        self._find(source)
        self._change_entries(source.parent, lambda entries: entries.__setitem__(target, entries.pop(source)))

    def unlink(self, path: Path) -> None:
        """See `Files.unlink`."""
        self._step()
        self._find(path)
        self._change_entries(path.parent, lambda entries: entries.pop(path))

    def make_folder(self, path: Path) -> None:
        """See `Files.make_folder`."""
        self._step()
        self._change_entries(path.parent, lambda entries: entries.__setitem__(path, None))

    def size(self, path: Path) -> int | None:
        """See `Files.size`."""
        if path not in self._seen:
            return None
        file = self._seen[path]
        return 0 if file is None else len(file.seen)

    def read(self, path: Path, offset: int = 0, length: int | None = None) -> bytes:
        """See `Files.read`."""
        data = self._find_file(path).seen
        return bytes(data[offset : None if length is None else offset + length])

    def list(self, folder: Path) -> list[str]:
        """See `Files.list`."""
        self._find(folder)
        return [path.name for path in self._seen if path.parent == folder]

    def lose_power(self) -> None:
        """Forget what is not on the disk, or a part of it, as the dice decide."""
        for changes in self._pending.values():
            for change in changes[: self._dice.randint(0, len(changes))]:
                change(self._kept)
        # in an order of their own, not that of a set: the dice would fall otherwise at each run
        for file in dict.fromkeys(file for file in (*self._seen.values(), *self._kept.values()) if file is not None):
            for write in self._dice.sample(file.pending, self._dice.randint(0, len(file.pending))):
                write(file.kept)
            file.seen, file.pending = bytearray(file.kept), []
        # an entry whose folder was lost is lost with it
        self._seen = {path: file for path, file in self._kept.items() if path.parent in self._kept or file is None}
        self._kept = dict(self._seen)
        self._pending.clear()
        self.opened.clear()
        self.calls_left = None

    def dump(self, folder: Path, target: Path) -> None:
        """Write everything below a folder to a real one."""
        for path, file in self._seen.items():
            if file is not None:
                real = target / path.relative_to(folder)
                real.parent.mkdir(parents=True, exist_ok=True)
                real.write_bytes(file.seen)


def write_block(offset: int, block: bytes) -> Change:
    """Return the change that writes a block; a gap before it reads as zeros."""

    def change(data: bytearray) -> None:
        data.extend(bytes(max(offset - len(data), 0)))
        data[offset : offset + len(block)] = block

    return change
