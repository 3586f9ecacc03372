"""streamcal: flat-field pairs measured as a stream, a row per amplifier, into Arrow."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamcal.flags import MaskBit, RowFlag, decode_flags
    from streamcal.hookspecs import CheckContext, Column, InstrumentTable, Settings, Stage, hookimpl
    from streamcal.records import Amplifier, Exposure, Pair

__version__ = "0.1.0"

_HOMES = {
    "streamcal.flags": ("MaskBit", "RowFlag", "decode_flags"),
    "streamcal.hookspecs": ("CheckContext", "Column", "InstrumentTable", "Settings", "Stage", "hookimpl"),
    "streamcal.records": ("Amplifier", "Exposure", "Pair"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Amplifier",
    "CheckContext",
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


def __getattr__(name: str) -> Any:
    """Import what plugins need only when it is asked for: the command line must be instant."""
    if name not in _HOME_OF:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOME_OF[name]), name)
