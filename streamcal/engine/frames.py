"""Frames: how jobs and outcomes travel through the two pipes of a worker."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from streamcal.engine.outcome import RESULT_LIMIT

_HEADER = struct.Struct(">4sBQQ")  # magic, kind, number of the job, length of what follows in bytes
_MAGIC = b"scf1"


class FrameKind(IntEnum):
    """What a frame holds."""

    JOB = 1  # name of the function, a zero byte, its argument
    RESULT = 2
    ERROR = 3


class FrameError(ValueError):
    """What came through the pipe is not the frame that was awaited."""


@dataclass(frozen=True, slots=True)
class Header:
    """The beginning of a frame."""

    kind: FrameKind
    number: int
    length: int  # bytes of payload


HEADER_SIZE = _HEADER.size


def pack_frame(kind: FrameKind, number: int, payload: bytes) -> bytes:
    """Make a frame of a payload."""
    return _HEADER.pack(_MAGIC, kind, number, len(payload)) + payload


def unpack_header(data: bytes | bytearray) -> Header:
    """Read the beginning of a frame.

    Raises
    ------
    FrameError
        If it is not one.
    """
    magic, kind, number, length = _HEADER.unpack_from(data)
    if magic != _MAGIC or kind not in set(FrameKind):
        msg = f"frame must begin with {_MAGIC!r} and a known kind, got {bytes(data[:HEADER_SIZE])!r}"
        raise FrameError(msg)
    return Header(FrameKind(kind), number, length)


class AnswerReader:
    """Puts together, from what comes through the pipe piece by piece, the one frame that answers a job.

    Parameters
    ----------
    number : int
        Number of the job.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._data = bytearray()

    def feed(self, piece: bytes) -> tuple[FrameKind, bytes] | None:
        """Take the next piece; return kind and payload as soon as the frame is whole.

        Raises
        ------
        FrameError
            If this cannot become the answer to the job: not a frame, another number, too long, or more than one.
        """
        self._data += piece
        if len(self._data) < HEADER_SIZE:
            return None
        header = unpack_header(self._data)
        if header.number != self._number or header.kind is FrameKind.JOB or header.length > RESULT_LIMIT:
            msg = f"frame must answer job {self._number} with at most {RESULT_LIMIT} bytes, got {header}"
            raise FrameError(msg)
        missing = HEADER_SIZE + header.length - len(self._data)
        if missing < 0:
            msg = f"frame must end after {header.length} bytes, got {-missing} more"
            raise FrameError(msg)
        return None if missing else (header.kind, bytes(memoryview(self._data)[HEADER_SIZE:]))
