"""What a folder holds: the truth about which files there are, found folder by folder and interruptible anywhere."""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import stat as mode
from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from streamcal.records import Candidate, FileStat

TEMPORARY = ("*.tmp", "*.part", "*.filepart", "*~")
MAX_UNREADABLE = 1000  # paths remembered
PORTION = 1000  # names that the ledger is asked for at once


class Selection:
    """Which names, folders and kinds of file count.

    Parameters
    ----------
    names : tuple of str
        Patterns, upper or lower case; hidden and temporary names never count.
    recursive : bool
        Whether folders inside a watched folder count.
    follow_symlinks : bool
        Whether symbolic links count.
    exclude : tuple of Path
        Folders that never count, nor anything in them.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        *,
        recursive: bool = True,
        follow_symlinks: bool = False,
        exclude: tuple[Path, ...] = (),
    ) -> None:
        self._taken = _compile(names)
        self._temporary = _compile(TEMPORARY)
        self._exclude = tuple(os.path.realpath(folder) for folder in exclude)
        self._resolve = functools.lru_cache(maxsize=256)(os.path.realpath)  # asked for each event of each file
        self.recursive = recursive
        self.follow_symlinks = follow_symlinks

    def takes_name(self, name: str) -> bool:
        """Tell whether a file of this name may be an exposure."""
        lower = name.lower()
        return not name.startswith(".") and bool(self._taken(lower)) and not self._temporary(lower)

    def enters(self, folder: str) -> bool:
        """Tell whether to look into a folder that lies in one that counts."""
        return self.recursive and not folder.rpartition(os.sep)[2].startswith(".") and not self.excludes(folder)

    def excludes(self, folder: str) -> bool:
        """Tell whether a folder is, or lies in, an excluded one, by whatever path."""
        if not self._exclude:
            return False
        real = self._resolve(folder)
        return any(real == excluded or real.startswith(excluded + os.sep) for excluded in self._exclude)

    def reaches(self, root: str, path: str) -> bool:
        """Tell whether a listing of ``root`` could come to ``path``, by the names of the folders between."""
        folder = path.rpartition(os.sep)[0]
        if not f"{folder}{os.sep}".startswith(root.rstrip(os.sep) + os.sep):
            return False
        inside = folder[len(root.rstrip(os.sep)) :]
        return (self.recursive or not inside) and f"{os.sep}." not in inside and not self.excludes(folder)

    def stat_file(self, path: str) -> FileStat | None:
        """Return what a file is now; None if it has gone or is no file that counts."""
        try:
            status = os.stat(path, follow_symlinks=self.follow_symlinks)  # noqa: PTH116 - for each event of each file
        except OSError:
            return None
        return FileStat.of(status) if mode.S_ISREG(status.st_mode) else None


class Listing:
    """One pass over a tree of folders; memory is that of a portion of one folder's names.

    Parameters
    ----------
    root : str
        The folder to begin with, absolute.
    selection : Selection
        What counts.
    known_files : callable
        Given a folder and names in it, gives the files that need not be found again, by name.
    hinted : bool
        Whether an event told of ``root``.

    Attributes
    ----------
    done : bool
        Whether all was looked at.
    n_folders : int
        Folders listed so far.
    seconds : float
        What it has cost, for the caller to add up.
    unreadable : dict of str to str
        Folders and files that could not be looked at, with the system's reason.
    """

    def __init__(
        self,
        root: str,
        selection: Selection,
        known_files: Callable[[str, Sequence[str]], Mapping[str, FileStat]],
        *,
        hinted: bool = False,
    ) -> None:
        self.root = root
        self.hinted = hinted
        self.done = False
        self.n_folders = 0
        self.seconds = 0.0
        self.unreadable: dict[str, str] = {}
        self._selection = selection
        self._known_files = known_files
        self._folders = [root]
        self._visited: set[tuple[int, int]] = set()  # only where links could lead in a circle
        self._entries = self._examine_all()

    def advance(self, n_names: int) -> tuple[int, list[Candidate]]:
        """Look at so many more names, fewer at the end.

        Returns
        -------
        int
            How many names were looked at.
        list of Candidate
            Those regular files among them that count and are not known as they are now.
        """
        looked_at = list(islice(self._entries, n_names))
        self.done = len(looked_at) < n_names
        return len(looked_at), [candidate for candidate in looked_at if candidate is not None]

    def close(self) -> None:
        """Leave the folder that is being listed."""
        self._entries.close()

    def _examine_all(self) -> Generator[Candidate | None]:
        while self._folders:
            folder = self._folders.pop()
            try:
                if self._has_visited(folder):
                    continue
                with os.scandir(folder) as entries:
                    self.n_folders += 1
                    while portion := list(islice(entries, PORTION)):
                        known = self._known_files(folder, [entry.name for entry in portion])
                        for entry in portion:
                            yield self._examine(entry, known)
            except OSError as exc:
                self._note(folder, exc)

    def _examine(self, entry: os.DirEntry[str], known: Mapping[str, FileStat]) -> Candidate | None:
        try:
            if entry.is_symlink() and not self._selection.follow_symlinks:
                return None
            if entry.is_dir():
                if self._selection.enters(entry.path):
                    self._folders.append(entry.path)
                return None
            if not self._selection.takes_name(entry.name):
                return None
            status = entry.stat()
        except OSError as exc:
            self._note(entry.path, exc)
            return None
        stat = FileStat.of(status)
        if not mode.S_ISREG(status.st_mode) or known.get(entry.name) == stat:
            return None
        return Candidate(path=entry.path, stat=stat)

    def _has_visited(self, folder: str) -> bool:
        if not self._selection.follow_symlinks:
            return False
        identity = identify_folder(folder)
        if identity is None or identity in self._visited:
            return True
        self._visited.add(identity)
        return False

    def _note(self, path: str, exc: OSError) -> None:
        if not isinstance(exc, FileNotFoundError) and len(self.unreadable) < MAX_UNREADABLE:
            self.unreadable[path] = exc.strerror or str(exc)


def identify_folder(folder: str) -> tuple[int, int] | None:
    """Return device and inode of a folder; None if there is none of this name."""
    try:
        status = Path(folder).stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if mode.S_ISDIR(status.st_mode) else None


def _compile(patterns: tuple[str, ...]) -> Callable[[str], re.Match[str] | None]:
    return re.compile("|".join(fnmatch.translate(pattern.lower()) for pattern in patterns)).match
