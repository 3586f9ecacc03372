"""What can be done to the segments of one table: extend, cut and read the live one, seal it."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass

import google_crc32c

from streamcal.errors import StateError
from streamcal.sink.files import Files, opened, replace_file, retry_when_away, sync_file, sync_folder, write_all
from streamcal.sink.register import Register, Segment
from streamcal.sink.segments import Content, Current, Layout, decode_segment, encode_file


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """Files of one table and what the journal knows of them."""

    files: Files
    layout: Layout
    register: Register

    def extend_live(self, segment: Segment, data: bytes) -> None:
        """Write behind the committed end of the live file and bring it to the disk.

        Raises
        ------
        RetryLater
            If the disk is full or away; `cut_live` takes back what was written.
        StateError
            If committed bytes are missing, or the disk reports a failure when it should have everything.
        """
        path = self.layout.live(segment.number)
        with retry_when_away(path):
            if segment.committed == 0:
                self._create_live(segment, data)
                return
            self.cut_live(segment)
            with opened(self.files, path, os.O_WRONLY) as descriptor:
                write_all(self.files, descriptor, data, segment.committed)
                sync_file(self.files, descriptor, path)

    def _create_live(self, segment: Segment, data: bytes) -> None:
        path = self.layout.live(segment.number)
        with opened(self.files, path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as descriptor:
            write_all(self.files, descriptor, data)
            sync_file(self.files, descriptor, path)
        sync_folder(self.files, path.parent)

    def cut_live(self, segment: Segment) -> int:
        """Cut what stands behind the committed end of the live file; return the number of bytes.

        Raises
        ------
        StateError
            If committed bytes are missing.
        OSError
            If the file cannot be reached.
        """
        path = self.layout.live(segment.number)
        size = self.files.size(path)
        if size is None and self.files.size(path.parent) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
        if size is None or size < segment.committed:
            there = "is gone" if size is None else f"has {size} bytes"
            msg = f"missing data: {path} {there}, the journal committed {segment.committed} bytes"
            raise StateError(msg)
        if size > segment.committed:
            with opened(self.files, path, os.O_WRONLY) as descriptor:
                self.files.truncate(descriptor, segment.committed)
                sync_file(self.files, descriptor, path)
        return size - segment.committed

    def read_current(self) -> Current | None:
        """Return what ``CURRENT`` says; None if it says nothing, as a loss of power may leave it."""
        path = self.layout.current
        return None if self.files.size(path) is None else Current.from_json(self.files.read(path))

    def read_live(self, segment: Segment) -> Content:
        """Decode the committed part of the live file.

        Raises
        ------
        StateError
            If it is damaged or other than the journal says.
        """
        path = self.layout.live(segment.number)
        content = decode_segment(self.files.read(path, 0, segment.committed), path)
        if (content.end, content.rows) != (segment.committed, segment.rows):
            msg = (
                f"missing data: {path} holds {content.rows} rows in {content.end} bytes,"
                f" the journal committed {segment.rows} in {segment.committed}"
            )
            raise StateError(msg)
        return content

    def read_newest(self, segment: Segment) -> Content:
        """Decode a segment, live or sealed."""
        if segment.live:
            return self.read_live(segment)
        path = self.layout.sealed(segment.number)
        return decode_segment(self.files.read(path), path)

    def is_sealing(self, segment: Segment) -> bool:
        """Tell whether an earlier `seal` of a live segment ended on its way."""
        path = self.layout.sealed(segment.number)
        with retry_when_away(path):
            return segment.live and self.files.size(path) is not None

    def seal(self, segment: Segment) -> None:
        """Turn the live segment into a sealed one; a second call finishes what a first one could not.

        First the sealed file is on the disk and read back, then the journal knows, then the live file goes: at each
        moment one of the two is complete.

        Raises
        ------
        RetryLater
            If the disk is full or away.
        StateError
            If the live segment is damaged, or the disk reports a failure.
        """
        path = self.layout.sealed(segment.number)
        with retry_when_away(path):
            if not self.is_sealing(segment):
                self.cut_live(segment)
                content = self.read_live(segment)
                replace_file(self.files, path, encode_file(content.schema, content.batches), durable=True)
            data = self.files.read(path)
            sync_folder(self.files, path.parent)  # an earlier try may have ended just after the rename
        if decode_segment(data, path).rows != segment.rows:
            msg = f"missing data: {path} does not hold the {segment.rows} rows of the live file; it may be removed"
            raise StateError(msg)
        self.register.seal_segment(segment.number, size=len(data), crc32c=google_crc32c.value(data))
        with suppress(OSError):  # recovery removes it
            self.remove_live(segment.number)

    def remove_live(self, number: int) -> None:
        """Remove a live file that holds nothing the journal counts on."""
        path = self.layout.live(number)
        self.files.unlink(path)
        sync_folder(self.files, path.parent)
