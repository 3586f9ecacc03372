"""Files, as far as they were taken up."""

from __future__ import annotations

import os
from collections.abc import Sequence

from streamcal.journal.database import Database
from streamcal.records import FileStat

# a file that vanished is remembered with this identity, so that it is looked into again when it comes back
VANISHED = FileStat(size=-1, mtime_ns=0, inode=0, device=0)


class Files(Database):
    """What is known of files."""

    def known_files(self, folder: str, names: Sequence[str]) -> dict[str, FileStat]:
        """Return the identity, when they were taken up, of those of these files of a folder that ever were."""
        sql = "SELECT name, size, mtime_ns, inode, device FROM file WHERE folder = ? AND name IN (%s)"
        rows = self.query(sql % ",".join("?" * len(names)), [os.fsencode(text) for text in (folder, *names)])
        return {os.fsdecode(name): _file_stat(values) for name, *values in rows}

    def known_file(self, path: str) -> FileStat | None:
        """Return the identity of a file as it was when it was taken up, or None if it never was."""
        sql = "SELECT size, mtime_ns, inode, device FROM file WHERE folder = ? AND name = ?"
        rows = self.query(sql, _split(path))
        return _file_stat(rows[0]) if rows else None

    def take_file(self, path: str, stat: FileStat) -> None:
        """Remember that this content of a file was dealt with."""
        with self.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?)",
                (*_split(path), stat.size, stat.mtime_ns, stat.inode, stat.device),
            )

    def forget_file(self, path: str) -> None:
        """Make a file look as if it had never been seen, so that it is taken up again."""
        with self.transaction() as db:
            db.execute("DELETE FROM file WHERE folder = ? AND name = ?", _split(path))


def _split(path: str) -> tuple[bytes, bytes]:
    folder, name = os.path.split(os.fsencode(path))
    return folder, name


def _file_stat(values: Sequence[int]) -> FileStat:
    size, mtime_ns, inode, device = values
    return FileStat(size=size, mtime_ns=mtime_ns, inode=inode, device=device)
