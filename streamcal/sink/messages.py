"""Schemas and record batches as Arrow IPC messages that carry their own checksum: Arrow has none.

The metadata of each message hold ``crc32c`` = ``crc32c:`` and eight hexadecimal digits: the CRC32C of the whole
message, lengths and metadata included, taken with ``00000000`` in place of the digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import google_crc32c
import pyarrow as pa
from pyarrow import ipc

from streamcal.errors import StateError

MARK = b"crc32c:"
_BLANK = b"00000000"
_END_MARKER_SIZE = 8


def encode_batch(batch: pa.RecordBatch, notes: Mapping[str, str]) -> bytes:
    """Return a batch as an IPC message with its checksum.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        Without dictionaries.
    notes : mapping of str to str
        Further custom metadata.
    """
    return _encode(batch, checksum_notes(batch, notes))


def checksum_notes(batch: pa.RecordBatch, notes: Mapping[str, str]) -> dict[str, str]:
    """Return custom metadata with the checksum of the message that batch and metadata make.

    Raises
    ------
    ValueError
        If the mark of the checksum stands in other metadata, so that nobody could tell which is which.
    """
    blanked = _encode(batch, {**notes, "crc32c": (MARK + _BLANK).decode()})
    return {**notes, "crc32c": _checksum(blanked).decode()}


def sign_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema with the checksum of its message in its metadata; raises as `checksum_notes`."""
    blanked = schema.with_metadata({**(schema.metadata or {}), b"crc32c": MARK + _BLANK})
    return schema.with_metadata({**blanked.metadata, b"crc32c": _checksum(encode_schema(blanked))})


def _checksum(blanked: bytes) -> bytes:
    if _head(pa.py_buffer(blanked)).count(MARK) != 1:
        msg = f"names and metadata of a batch must not contain {MARK.decode()!r}"
        raise ValueError(msg)
    return MARK + b"%08x" % google_crc32c.value(blanked)


def _encode(batch: pa.RecordBatch, notes: Mapping[str, str]) -> bytes:
    stream = pa.BufferOutputStream()
    with ipc.new_stream(stream, batch.schema) as writer:
        writer.write_batch(batch, custom_metadata=notes)
    data: bytes = stream.getvalue().to_pybytes()
    return data[len(encode_schema(batch.schema)) : -_END_MARKER_SIZE]


def encode_schema(schema: pa.Schema) -> bytes:
    """Return a schema as the IPC message that begins a stream."""
    data: bytes = schema.serialize().to_pybytes()
    return data


def decode_batches(
    data: pa.Buffer, schema: pa.Schema, path: Path, offset: int = 0
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Decode messages one after the other and check each.

    Parameters
    ----------
    data : pyarrow.Buffer
        Whole messages, from a message's first byte; an end marker ends them.
    schema : pyarrow.Schema
        Of the stream.
    path : Path
        File that the data were read from, for error messages.
    offset : int
        Where in the file they begin.

    Yields
    ------
    end : int
        Where in the file the message ends.
    batch : pyarrow.RecordBatch
        It refers to ``data`` and copies nothing.

    Raises
    ------
    StateError
        If a message is cut, damaged or has no checksum; names file and offset.
    """
    reader = pa.BufferReader(data)
    while (start := reader.tell()) < data.size:
        try:
            message = ipc.read_message(reader)
            verify_message(data.slice(start, reader.tell() - start))
            batch = ipc.read_record_batch(message, schema)
        except EOFError:
            return
        except (pa.ArrowException, OSError, ValueError) as exc:
            msg = f"{path}: damaged at byte {offset + start}: {exc}"
            raise StateError(msg) from exc
        yield offset + reader.tell(), batch


def verify_message(message: pa.Buffer) -> None:
    """Compare a message with its checksum.

    Raises
    ------
    ValueError
        If they differ, or if it has none.
    """
    head = _head(message)
    digits = head.find(MARK) + len(MARK)
    if digits < len(MARK):
        msg = "the message has no checksum"
        raise ValueError(msg)
    blanked = head[:digits] + _BLANK + head[digits + len(_BLANK) :]
    found = google_crc32c.extend(google_crc32c.value(blanked), message.slice(len(head)))
    if head[digits : digits + len(_BLANK)] != b"%08x" % found:
        msg = f"checksum {found:08x} where {head[digits : digits + len(_BLANK)]!r} is noted"
        raise ValueError(msg)


def _head(message: pa.Buffer) -> bytes:
    """Return what stands before the body: continuation marker, length of the metadata, metadata."""
    length = int.from_bytes(message.slice(4, 4).to_pybytes(), "little")
    head: bytes = message.slice(0, 8 + length).to_pybytes()
    return head
