"""Messages that carry their own checksum."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import ipc

from streamcal.errors import StateError
from streamcal.sink.messages import decode_batches, encode_batch, encode_schema

BATCH = pa.record_batch({"a": pa.array([1.0, None]), "s": ["x", "y"], "m": [[[1.0], [2.0, 3.0]], None]})
MESSAGE = encode_batch(BATCH, {"seq": "5", "pair_id": "p"})
PATH = Path("live/000001.arrows")


def decode(data, offset=0):
    """Decode all messages."""
    return list(decode_batches(pa.py_buffer(data), BATCH.schema, PATH, offset))


def test_plain_arrow_reads_it():
    """A stream of such messages is an Arrow stream like any other, with the notes in its custom metadata."""
    reader = ipc.open_stream(encode_schema(BATCH.schema) + MESSAGE)
    batch, notes = reader.read_next_batch_with_custom_metadata()
    assert batch.equals(BATCH)
    assert notes[b"seq"] == b"5"
    assert notes[b"pair_id"] == b"p"
    assert notes[b"crc32c"].startswith(b"crc32c:")


def test_decoded_batches_and_where_they_end():
    """Batches come back with the place in the file where each ends."""
    decoded = decode(MESSAGE + MESSAGE, offset=1000)
    assert [end for end, _ in decoded] == [1000 + len(MESSAGE), 1000 + 2 * len(MESSAGE)]
    assert all(batch.equals(BATCH) for _, batch in decoded)


def test_every_flipped_bit_is_noticed():
    """No bit of a message, lengths and metadata included, can flip without an error that names file and offset."""
    for bit in range(len(MESSAGE) * 8):
        damaged = bytearray(MESSAGE)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StateError, match=r"live/000001\.arrows: damaged at byte 64: "):
            decode(bytes(damaged) + MESSAGE, offset=64)


def test_every_cut_is_noticed():
    """A message that ends too early is an error wherever it ends."""
    for size in range(1, len(MESSAGE)):
        with pytest.raises(StateError, match="damaged at byte"):
            decode(MESSAGE[:size])


def test_message_without_checksum():
    """What another program appended is not taken."""
    data = BATCH.serialize().to_pybytes()
    with pytest.raises(StateError, match="no checksum"):
        decode(data)


def test_notes_that_look_like_a_checksum():
    """A key that holds the mark could not be told from the checksum: refused."""
    with pytest.raises(ValueError, match="must not contain 'crc32c:'"):
        encode_batch(BATCH, {"pair_id": "crc32c:00000000"})
