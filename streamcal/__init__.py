"""streamcal: flat-field pairs measured as a stream, a row per amplifier, into Arrow."""

from streamcal.flags import MaskBit, RowFlag, decode_flags
from streamcal.hookspecs import Column, InstrumentTable, Settings, Stage, hookimpl
from streamcal.records import Amplifier, Exposure, Pair

__version__ = "0.1.0"

__all__ = [
    "Amplifier",
    "Column",
    "Exposure",
    "InstrumentTable",
    "MaskBit",
    "Pair",
    "RowFlag",
    "Settings",
    "Stage",
    "decode_flags",
    "hookimpl",
]
