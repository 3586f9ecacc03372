"""What files hold, remembered by those who read them detector by detector."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from streamcal.instruments.values import Header
from streamcal.records import FileStat
from streamcal.source.structure import HduExtent, Limits

IndexKey = tuple[str, FileStat, Limits]


@dataclass(frozen=True, kw_only=True, slots=True)
class FileIndex:
    """What a file holds.

    Attributes
    ----------
    headers : tuple of mapping
        Plain headers of all HDUs in order; those of tile-compressed images speak of the image.
    extents : tuple of HduExtent
        Where the HDUs lie.
    """

    headers: tuple[Header, ...]
    extents: tuple[HduExtent, ...]


class IndexCache:
    """Indices of the files that were read last: all detectors of a file need its headers, which take long to parse.

    Parameters
    ----------
    most : int
        Files that are remembered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._indices: OrderedDict[IndexKey, FileIndex] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: IndexKey) -> FileIndex | None:
        """Return the index of a file if it is remembered; a file that has changed is another one."""
        with self._lock:
            if key in self._indices:
                self._indices.move_to_end(key)
            return self._indices.get(key)

    def put(self, key: IndexKey, index: FileIndex) -> None:
        """Remember an index, and forget the one that was not asked for the longest time if there are too many."""
        with self._lock:
            self._indices[key] = index
            self._indices.move_to_end(key)
            if len(self._indices) > self._most:
                self._indices.popitem(last=False)
