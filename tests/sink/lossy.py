"""A file system in memory that forgets, when the power goes, what was not brought to the disk."""

import errno
import os
from collections import defaultdict


class PowerLost(BaseException):
    """The machine is off."""


class File:
    """Content as the processes see it, as the disk holds it, and the writes between the two."""

    def __init__(self):
        self.seen = bytearray()
        self.kept = bytearray()
        self.pending = []

    def apply(self, change):
        """Make a change that is not on the disk yet."""
        change(self.seen)
        self.pending.append(change)


class LossyFiles:
    """`Files` in memory.

    Parameters
    ----------
    dice : random.Random
        Decides what survives `lose_power`: of a file any part of what was written since its last sync, in any order;
        of a folder the first few of the changes since its last sync.
    folder : Path
        The only folder at first, with its parent; they survive.
    """

    def __init__(self, dice, folder):
        self.dice = dice
        self.seen = {folder.parent: None, folder: None}  # by path; None: a folder
        self.kept = dict(self.seen)
        self.pending = defaultdict(list)  # changes of entries by folder
        self.opened = {}
        self.calls_left = None

    def _step(self):
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise PowerLost

    def _find(self, path):
        if path not in self.seen:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return self.seen[path]

    def _change_entries(self, folder, change):
        self._find(folder)
        change(self.seen)
        self.pending[folder].append(change)

    def open(self, path, flags):
        """See `Files.open`."""
        self._step()
        if path not in self.seen and flags & os.O_CREAT:
            file = File()
            self._change_entries(path.parent, lambda entries: entries.__setitem__(path, file))
        file = self._find(path)
        if flags & os.O_TRUNC:
            file.apply(lambda data: data.clear())
        descriptor = max(self.opened, default=2) + 1
        self.opened[descriptor] = (path, file)
        return descriptor

    def close(self, descriptor):
        """See `Files.close`."""
        del self.opened[descriptor]

    def pwrite(self, descriptor, data, offset):
        """See `Files.pwrite`."""
        data = bytes(data)
        for start in range(0, len(data), 64):  # blocks reach the disk one by one, or not
            self._step()
            self.opened[descriptor][1].apply(write_block(offset + start, data[start : start + 64]))
        return len(data)

    def truncate(self, descriptor, size):
        """See `Files.truncate`."""
        self._step()
        self.opened[descriptor][1].apply(lambda data: data.__delitem__(slice(size, None)))

    def sync(self, descriptor):
        """See `Files.sync`."""
        self._step()
        path, file = self.opened[descriptor]
        if file is not None:
            file.kept, file.pending = bytearray(file.seen), []
        for change in self.pending.pop(path, []) if file is None else []:
            change(self.kept)

    def rename(self, source, target):
        """See `Files.rename`."""
        self._step()
        self._find(source)
        self._change_entries(source.parent, lambda entries: entries.__setitem__(target, entries.pop(source)))

    def unlink(self, path):
        """See `Files.unlink`."""
        self._step()
        self._find(path)
        self._change_entries(path.parent, lambda entries: entries.pop(path))

    def make_folder(self, path):
        """See `Files.make_folder`."""
        self._step()
        self._change_entries(path.parent, lambda entries: entries.__setitem__(path, None))

    def size(self, path):
        """See `Files.size`."""
        if path not in self.seen:
            return None
        return 0 if self.seen[path] is None else len(self.seen[path].seen)

    def read(self, path, offset=0, length=None):
        """See `Files.read`."""
        data = self._find(path).seen
        return bytes(data[offset : None if length is None else offset + length])

    def list(self, folder):
        """See `Files.list`."""
        self._find(folder)
        return [path.name for path in self.seen if path.parent == folder]

    def lose_power(self):
        """Forget what is not on the disk, or a part of it, as the dice decide."""
        for changes in self.pending.values():
            for change in changes[: self.dice.randint(0, len(changes))]:
                change(self.kept)
        files = {file for file in (*self.seen.values(), *self.kept.values()) if file is not None}
        for file in files:
            for change in self.dice.sample(file.pending, self.dice.randint(0, len(file.pending))):
                change(file.kept)
            file.seen, file.pending = bytearray(file.kept), []
        # an entry whose folder was lost is lost with it
        self.seen = {path: file for path, file in self.kept.items() if path.parent in self.kept or file is None}
        self.kept = dict(self.seen)
        self.pending.clear()
        self.opened.clear()
        self.calls_left = None

    def dump(self, folder, target):
        """Write everything below a folder to a real one."""
        for path, file in self.seen.items():
            if file is not None:
                real = target / path.relative_to(folder)
                real.parent.mkdir(parents=True, exist_ok=True)
                real.write_bytes(file.seen)


def write_block(offset, block):
    """Return the change that writes a block; a gap before it reads as zeros."""

    def change(data):
        data.extend(bytes(max(offset - len(data), 0)))
        data[offset : offset + len(block)] = block

    return change
