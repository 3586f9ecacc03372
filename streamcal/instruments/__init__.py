"""Instruments: what an exposure is, by its header, and where its amplifiers lie; data first, one TOML file a camera."""

from streamcal.instruments.catalog import instrument_names, load_instrument
from streamcal.instruments.inspect import inspect_file
from streamcal.instruments.model import Instrument
from streamcal.instruments.read import read_exposure, read_frame

__all__ = ["Instrument", "inspect_file", "instrument_names", "load_instrument", "read_exposure", "read_frame"]
