"""Frames survive being cut anywhere, and nothing else passes for one."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcal.engine.frames import HEADER_SIZE, AnswerReader, FrameError, FrameKind, pack_frame
from streamcal.engine.outcome import RESULT_LIMIT


def test_layout():
    """Magic, kind, number and length, in network order; then the payload."""
    frame = pack_frame(FrameKind.RESULT, 258, b"abc")
    assert frame == b"scf1\x02" + struct.pack(">QQ", 258, 3) + b"abc"
    assert len(frame) == HEADER_SIZE + 3


@given(payload=st.binary(max_size=100), number=st.integers(0, 2**64 - 1), data=st.data())
def test_any_pieces(payload, number, data):
    """However the pipe cuts a frame, it comes out whole, and only with its last byte."""
    frame = pack_frame(FrameKind.ERROR, number, payload)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(frame) - 1))))
    pieces = [frame[start:end] for start, end in zip([0, *cuts], [*cuts, len(frame)], strict=True)]
    reader = AnswerReader(number)
    assert [reader.feed(piece) for piece in pieces] == [None] * len(cuts) + [(FrameKind.ERROR, payload)]


@given(garbage=st.binary(min_size=HEADER_SIZE))
def test_garbage(garbage):
    """What does not begin as a frame is refused."""
    if not garbage.startswith(b"scf1"):
        with pytest.raises(FrameError, match="frame must begin with"):
            AnswerReader(1).feed(garbage)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (pack_frame(FrameKind.RESULT, 2, b""), "must answer job 1"),
        (pack_frame(FrameKind.JOB, 1, b""), "must answer job 1"),
        (b"scf1\x04" + bytes(16), "a known kind"),
        (b"scf1\x02" + struct.pack(">QQ", 1, RESULT_LIMIT + 1), "at most 67108864 bytes"),
        (pack_frame(FrameKind.RESULT, 1, b"a") + b"bc", "must end after 1 bytes, got 2 more"),
    ],
)
def test_wrong_answer(frame, text):
    """A frame that is not the one answer to the job is refused."""
    with pytest.raises(FrameError, match=text):
        AnswerReader(1).feed(frame)
