"""Reading a table while it is being written: committed rows only, each once, whatever moves meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from streamcal.errors import StateError
from streamcal.sink.files import SystemFiles
from streamcal.sink.messages import decode_batches
from streamcal.sink.schema import without_segment
from streamcal.sink.segments import Content, Current, Layout, decode_segment, read_header

T = TypeVar("T")

_FILES = SystemFiles()
_HEADER_BYTES = 1 << 20  # more than any schema takes
PATIENCE = 10.0  # s; a network disk may show CURRENT before it shows the bytes that it speaks of
_PAUSE = 0.05  # s


class NotThere(Exception):  # noqa: N818 - no fault: a segment is just being sealed, or a network disk lags
    """A segment, or bytes of it, cannot be seen at this moment."""


class TableReader:
    """Reads the segments of one table; it needs no journal and takes no lock.

    Parameters
    ----------
    folder : Path
        Folder of the table.
    """

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder)

    def current(self) -> Current | None:
        """Return how far the table may be read; None before the first commit.

        Raises
        ------
        StateError
            If ``CURRENT`` is there and cannot be understood.
        """
        path = self.layout.current
        data = _read_if_there(path)
        if data is None:
            return None
        current = Current.from_json(data)
        if current is None:
            msg = f"{path}: damaged; the daemon writes it anew when it starts"
            raise StateError(msg)
        return current

    def is_live(self, number: int) -> bool:
        """Tell whether a segment has no sealed file yet."""
        return _FILES.size(self.layout.sealed(number)) is None

    def read_schema(self, number: int, current: Current) -> pa.Schema:
        """Return the schema of a segment, with the metadata of that segment; raises as `read_segment`."""
        return _wait_for(lambda: self.try_schema(number, current))

    def read_segment(self, number: int, current: Current) -> Content:
        """Return the committed content of a segment.

        Raises
        ------
        StateError
            If it is missing or damaged; names file and offset.
        """
        return _wait_for(lambda: self.try_segment(number, current))

    def read_segments(self, current: Current) -> Iterator[Content]:
        """Return the committed content of all segments, one after the other.

        Raises
        ------
        StateError
            If one is missing or damaged, or if they do not follow one another; names file and offset.
        """
        row = 0
        for number in range(1, current.segment + 1):
            content = self.read_segment(number, current)
            if content.first_row != row:
                msg = f"{self.layout.folder}: segment {number} begins at row {content.first_row}, expected row {row}"
                raise StateError(msg)
            yield content
            row += content.rows

    def try_schema(self, number: int, current: Current) -> pa.Schema:
        """Do as `read_schema`, but raise `NotThere` at once."""
        path = self.layout.sealed(number)
        data = _read_if_there(path, length=_HEADER_BYTES)
        if data is None:
            path, data = self.layout.live(number), self.read_live(number, current, stop=_HEADER_BYTES)
        return read_header(pa.py_buffer(data), path)[0]

    def try_segment(self, number: int, current: Current) -> Content:
        """Do as `read_segment`, but raise `NotThere` at once."""
        sealed = self.layout.sealed(number)
        if (data := _read_if_there(sealed)) is not None:
            return decode_segment(data, sealed)
        return decode_segment(self.read_live(number, current), self.layout.live(number))

    def read_live(self, number: int, current: Current, start: int = 0, stop: int | None = None) -> bytes:
        """Return committed bytes of a live segment's file; raise `NotThere` at once if they cannot be seen."""
        if number < current.segment:  # it must be sealed: CURRENT does not say how far its live file was written
            raise NotThere(str(self.layout.sealed(number)))
        path = self.layout.live(number)
        stop = min(current.committed_offset, stop or current.committed_offset)
        data = _read_if_there(path, start, stop - start)
        if data is None or start + len(data) < stop:
            msg = f"{path}, of which {current.committed_offset} bytes are committed"
            raise NotThere(msg)
        return data


def _read_if_there(path: Path, offset: int = 0, length: int | None = None) -> bytes | None:
    try:
        return _FILES.read(path, offset, length)
    except FileNotFoundError:
        return None


def _wait_for(attempt: Callable[[], T]) -> T:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return attempt()
        except NotThere as exc:
            if time.monotonic() >= deadline:
                msg = f"missing data: {exc}"
                raise StateError(msg) from exc
        time.sleep(_PAUSE)


class Tail:
    """Reads on from a row, again and again.

    Parameters
    ----------
    folder : Path
        Folder of the table; it need not exist yet.
    row : int or None
        First row to read; None: the next one to come.
    """

    def __init__(self, folder: Path, row: int | None) -> None:
        self._reader = TableReader(folder)
        if row is None:
            current = self._reader.current()
            row = current.rows if current else 0
        self.row = row  # the next one
        self._number = 0  # segment that holds it; 0: not known yet
        self._schema: pa.Schema | None = None  # of that segment while it is live and was read up to _offset
        self._offset = 0
        self._missing_since: float | None = None

    def poll(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Read what was committed since the last time.

        Yields
        ------
        row : int
            Number of the batch's first row in the whole table.
        batch : pyarrow.RecordBatch
            Committed rows.

        Raises
        ------
        StateError
            If they are damaged, or were missing for `PATIENCE` seconds; names file and offset.
        """
        try:
            yield from self._new_batches()
            self._missing_since = None
        except NotThere as exc:
            now = time.monotonic()
            self._missing_since = now if self._missing_since is None else self._missing_since
            if now - self._missing_since >= PATIENCE:
                msg = f"missing data: {exc}"
                raise StateError(msg) from exc

    def _new_batches(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        current = self._reader.current()
        if current is None or current.rows <= self.row:
            return
        self._number = self._number or self._find_segment(current)
        while True:
            for first_row, batch in self._read_on(current):
                skipped = max(self.row - first_row, 0)
                if skipped < batch.num_rows:
                    self.row = first_row + batch.num_rows
                    yield first_row + skipped, _strip(batch.slice(skipped))
            if self._number >= current.segment:
                return
            self._number, self._schema = self._number + 1, None

    def _find_segment(self, current: Current) -> int:
        if self.row == 0:
            return 1
        number = current.segment
        while number > 1 and int(self._reader.try_schema(number, current).metadata[b"first_row"]) > self.row:
            number -= 1
        return number

    def _read_on(self, current: Current) -> Iterator[tuple[int, pa.RecordBatch]]:
        if self._schema and self._number == current.segment and self._reader.is_live(self._number):
            yield from self._read_grown(current, self._schema)
            return
        self._schema = None
        content = self._reader.try_segment(self._number, current)
        row = content.first_row
        for batch in content.batches:
            yield row, batch
            row += batch.num_rows
        if not content.sealed:
            self._schema, self._offset = content.schema, content.end

    def _read_grown(self, current: Current, schema: pa.Schema) -> Iterator[tuple[int, pa.RecordBatch]]:
        data = pa.py_buffer(self._reader.read_live(self._number, current, self._offset))
        path = self._reader.layout.live(self._number)
        for end, batch in decode_batches(data, schema, path, self._offset):
            self._offset = end
            yield self.row, batch
        if self._offset != current.committed_offset:
            msg = f"{path}: damaged at byte {self._offset}: an end marker stands before the end"
            raise StateError(msg)


def _strip(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.replace_schema_metadata(without_segment(batch.schema).metadata)
