"""Files of a result table: where they lie, how far they may be read, how their content is decoded."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import ipc

from streamcal.errors import StateError
from streamcal.sink.messages import checksum_notes, decode_batches, sign_schema, verify_message
from streamcal.sink.schema import schema_id

_FILE_MAGIC = b"ARROW1\0\0"
_MERGED_ROWS = 65536
_NUMBER = re.compile(r"(\d{6,})\.arrows?")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the files of one table lie."""

    folder: Path

    @property
    def live_folder(self) -> Path:
        """Folder of the segment that grows."""
        return self.folder / "live"

    @property
    def sealed_folder(self) -> Path:
        """Folder of the segments that are complete."""
        return self.folder / "sealed"

    @property
    def current(self) -> Path:
        """How far anybody may read."""
        return self.folder / "CURRENT"

    @property
    def latest(self) -> Path:
        """Snapshot of the newest segment."""
        return self.folder / "latest.arrow"

    def live(self, number: int) -> Path:
        """File of a segment while it grows."""
        return self.live_folder / f"{number:06d}.arrows"

    def sealed(self, number: int) -> Path:
        """File of a segment that is complete."""
        return self.sealed_folder / f"{number:06d}.arrow"


def segment_number(name: str) -> int | None:
    """Return the number in a segment's file name; None if it is no segment."""
    match = _NUMBER.fullmatch(name)
    return int(match[1]) if match else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Current:
    """Content of the file ``CURRENT``."""

    segment: int  # number of the newest segment
    committed_offset: int  # bytes of its live file that hold committed rows
    seq: int  # of the newest commit
    schema_id: str
    rows: int  # committed rows of the whole table

    def to_json(self) -> bytes:
        """Return it as one line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Current | None:
        """Restore what `to_json` gave; None if it is something else, as a loss of power may leave it."""
        try:
            values = json.loads(data)
            return cls(**{name: values[name] for name in cls.__slots__})
        except (ValueError, TypeError, KeyError):
            return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What the file of a segment holds."""

    schema: pa.Schema
    first_row: int
    batches: tuple[pa.RecordBatch, ...]
    end: int  # where in the file the last message ends

    @property
    def sealed(self) -> bool:
        """Whether it is of a sealed file."""
        return b"rows" in self.schema.metadata

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(batch.num_rows for batch in self.batches)


def segment_schema(schema: pa.Schema, *, number: int, first_row: int) -> pa.Schema:
    """Return a schema with the metadata that belong to one segment."""
    own = {b"schema_id": schema_id(schema), b"segment": str(number), b"first_row": str(first_row)}
    return sign_schema(schema.with_metadata({**(schema.metadata or {}), **own}))


def read_header(data: pa.Buffer, path: Path) -> tuple[pa.Schema, int]:
    """Decode the schema at the beginning of a segment's file and check it.

    Parameters
    ----------
    data : pyarrow.Buffer
        The file from its beginning.
    path : Path
        Its name, which holds the segment's number.

    Returns
    -------
    schema : pyarrow.Schema
        With ``segment`` and ``first_row`` in its metadata.
    end : int
        Where the first batch begins.

    Raises
    ------
    StateError
        If the schema is cut, damaged or of another segment.
    """
    start = len(_FILE_MAGIC) if data.slice(0, min(data.size, 8)).to_pybytes() == _FILE_MAGIC else 0
    try:
        reader = pa.BufferReader(data)
        reader.seek(start)
        message = ipc.read_message(reader)
        verify_message(data.slice(start, reader.tell() - start))
        schema = ipc.read_schema(message)
        if int(schema.metadata[b"segment"]) != segment_number(path.name):
            msg = "it is another segment"
            raise ValueError(msg)
    except (pa.ArrowException, OSError, EOFError, KeyError, ValueError) as exc:
        msg = f"{path}: damaged at byte {start}: {exc}"
        raise StateError(msg) from exc
    return schema, reader.tell()


def decode_segment(data: bytes, path: Path) -> Content:
    """Decode the file of a segment, live up to its committed end or sealed, and check every message.

    Raises
    ------
    StateError
        If it is damaged; names file and offset.
    """
    buffer = pa.py_buffer(data)
    schema, end = read_header(buffer, path)
    batches = []
    for message_end, batch in decode_batches(buffer.slice(end), schema, path, end):
        batches.append(batch)
        end = message_end
    content = Content(schema=schema, first_row=int(schema.metadata[b"first_row"]), batches=tuple(batches), end=end)
    _check_complete(content, path, len(data))
    return content


def _check_complete(content: Content, path: Path, size: int) -> None:
    """Refuse an end marker where none was written: zeros on the disk read as one."""
    complete = content.rows == int(content.schema.metadata[b"rows"]) if content.sealed else content.end == size
    if not complete:
        msg = f"{path}: damaged at byte {content.end}: an end marker stands before the end"
        raise StateError(msg)


def encode_file(schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> bytes:
    """Return batches as an Arrow IPC file, merged into fewer and larger ones, each with its checksum."""
    table = pa.Table.from_batches(batches, schema).combine_chunks()
    schema = sign_schema(schema.with_metadata({**schema.metadata, b"rows": str(table.num_rows)}))
    stream = pa.BufferOutputStream()
    with ipc.new_file(stream, schema) as writer:
        for batch in table.replace_schema_metadata(schema.metadata).to_batches(max_chunksize=_MERGED_ROWS):
            writer.write_batch(batch, custom_metadata=checksum_notes(batch, {"rows": str(batch.num_rows)}))
    data: bytes = stream.getvalue().to_pybytes()
    return data
