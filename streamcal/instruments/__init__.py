"""Instruments: what an exposure is, by its header, and where its amplifiers lie; data first, one TOML file a camera."""

from streamcal.instruments.catalog import instrument_names, load_instrument
from streamcal.instruments.model import Instrument

__all__ = ["Instrument", "instrument_names", "load_instrument"]
