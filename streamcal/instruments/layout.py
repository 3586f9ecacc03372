"""Where the amplifiers of a detector lie in its images: the geometry table applied to headers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

from streamcal.errors import ExposureError
from streamcal.instruments.detectors import Detector
from streamcal.instruments.lookups import find_first, look_up
from streamcal.instruments.model import CHANNEL, AmplifierTable, GeometryTable, Instrument, Lookup
from streamcal.instruments.sections import (
    ANY_SHAPE,
    Frame,
    OrientedSection,
    format_section,
    is_section,
    overlap,
    parse_section,
)
from streamcal.instruments.values import Header, as_number, as_text, expand, file_facts, read_section
from streamcal.records import ReadoutCorner, Section

_BESIDE = ("serial", "prescan")  # overscans that belong to the rows of the data

Texts = str | Lookup | tuple[str | Lookup, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where an amplifier lies, and what header or table claim of it."""

    name: str
    hdu: int
    data: Section
    overscan: dict[str, Section] = field(default_factory=dict)
    readout_corner: ReadoutCorner = ReadoutCorner.LL
    saturation: float = math.nan  # ADU
    suspect: float = math.nan  # ADU
    gain: float = math.nan  # e-/ADU


def place_amplifiers(instrument: Instrument, headers: Sequence[Header], detector: Detector) -> dict[str, Place]:
    """Find where the amplifiers of a detector lie.

    Parameters
    ----------
    instrument : Instrument
        Its table.
    headers : sequence of mapping
        Plain headers of all HDUs in order.
    detector : Detector
        One of `streamcal.instruments.detectors.split_detectors`.

    Returns
    -------
    dict of str to Place
        In order of HDUs, and within one of the table.

    Raises
    ------
    ExposureError
        If an amplifier is not there, two have one name, a section lies outside its array, or one lies on the light of
        another amplifier; the message names amplifiers, sections and shape.
    """
    places: dict[str, Place] = {}
    for index in detector.hdus:
        facts = {**headers[0], **headers[index], **file_facts(detector.facts["@PATH"]), "@HDU": index}
        frame = _make_frame(instrument.geometry, facts, index)
        for table in _tables(instrument, facts, index):
            if table.name in places:
                msg = f"detector {detector.name!r} has two amplifiers named {table.name!r}"
                raise ExposureError(msg)
            try:
                places[table.name] = _place(table, instrument.geometry, facts, frame)
            except ExposureError as exc:
                msg = f"HDU {index}, amplifier {table.name!r}: {exc}"
                raise ExposureError(msg) from None
    _check_apart(places.values())
    missing = {table.name for table in instrument.amplifiers} - set(places)
    if missing or not places:
        msg = f"detector {detector.name!r} lacks amplifier {', '.join(map(repr, sorted(missing)))}"
        raise ExposureError(msg)
    return places


def _check_apart(places: Iterable[Place]) -> None:
    for first, second in permutations(places, 2):
        if first.hdu != second.hdu:
            continue
        for name, section in {"data": first.data, **first.overscan}.items():
            if overlap(section, second.data):
                own, other = _describe(first, name, section), _describe(second, "data", second.data)
                msg = f"HDU {first.hdu}: {own} overlaps {other}"
                raise ExposureError(msg)


def _describe(place: Place, name: str, section: Section) -> str:
    return f"{name} section {format_section(OrientedSection(section=section))} of amplifier {place.name!r}"


def _make_frame(geometry: GeometryTable, facts: Header, index: int) -> Frame:
    shape, binning = (facts["NAXIS2"], facts["NAXIS1"]), _find_binning(geometry, facts)
    expected = geometry.shape and tuple(n // step for n, step in zip(geometry.shape, binning, strict=True))
    if expected not in (None, shape):
        msg = f"HDU {index} has shape {shape} (rows, columns), the instrument's geometry is for {expected}"
        raise ExposureError(msg)
    return Frame(shape=shape, binning=binning, from_output=geometry.origin == "output")


def _find_binning(geometry: GeometryTable, facts: Header) -> tuple[int, int]:
    """Return how many rows and columns of the detector make one of the image."""
    value = find_first(geometry.binning, facts)
    if value is None:
        return 1, 1
    numbers = re.fullmatch(r"\s*([1-9]\d?)(?:\s*[ ,xX]\s*([1-9]\d?))?\s*", as_text(value))
    if numbers is None:
        msg = f"binning must be such as '2 2', '2,2' or 2, got {value!r}"
        raise ExposureError(msg)
    columns = int(numbers[1])
    return int(numbers[2] or columns), columns


def _tables(instrument: Instrument, facts: Header, index: int) -> Iterator[AmplifierTable]:
    """Yield the amplifiers that lie in an HDU: those listed, or one for each channel whose data section is there."""
    if instrument.amplifiers:
        here = (None, index, facts.get("EXTNAME"))
        yield from (table for table in instrument.amplifiers if table.extension in here)
        return
    tables = [_channel_table(instrument.geometry, channel, facts) for channel in instrument.geometry.channels]
    present = [table for table in tables if any(_read_section(text, facts) for text in _texts(table.data))]
    if not present:
        tried = ", ".join(_name_texts(table.data) for table in tables)
        msg = f"HDU {index} has no data section: none of {tried}"
        raise ExposureError(msg)
    yield from present


def _channel_table(geometry: GeometryTable, channel: str, facts: Header) -> AmplifierTable:
    def fill(text: Any) -> Any:
        if isinstance(text, tuple):
            return tuple(fill(item) for item in text)
        if isinstance(text, Lookup):
            return text.model_copy(update={"key": fill(text.key)})
        return text.replace(CHANNEL, channel) if isinstance(text, str) else text

    templates = geometry.name if isinstance(geometry.name, tuple) else (geometry.name,)
    names = (expand(fill(template), facts) for template in templates)
    overscan = {"serial": "{BIASSEC#}"} if geometry.overscan is None else geometry.overscan
    return AmplifierTable(
        name=next((name for name in names if name), channel or "0"),
        data=fill(geometry.data or "{DATASEC#}"),
        overscan={name: fill(text) for name, text in overscan.items()},
        readout_corner=fill(geometry.readout_corner),
        saturation=fill(geometry.saturation),
        suspect=fill(geometry.suspect),
        gain=fill(geometry.gain),
    )


def _place(table: AmplifierTable, geometry: GeometryTable, facts: Header, frame: Frame) -> Place:
    def setting(key: str) -> Any:
        own = getattr(table, key)
        return getattr(geometry, key) if own is None else own

    corner = _find_corner(setting("readout_corner"), facts)
    data = _find_section(setting("data"), facts, frame, corner or ReadoutCorner.LL)
    if data is None:
        msg = f"none of {_name_texts(setting('data'))} gives a data section"
        raise ExposureError(msg)
    corner = corner or data.corner
    named = {name: _find_section(texts, facts, frame, corner) for name, texts in (setting("overscan") or {}).items()}
    overscan = {name: oriented.section for name, oriented in named.items() if oriented}
    if geometry.outside:
        overscan = _outside(data.section, frame.shape, corner) | overscan
    return Place(
        name=table.name,
        hdu=facts["@HDU"],
        data=data.section,
        overscan={name: _fit_overscan(name, section, data.section) for name, section in overscan.items()},
        readout_corner=corner,
        saturation=_level(setting("saturation"), facts),
        suspect=_level(setting("suspect"), facts),
        gain=_level(setting("gain"), facts),
    )


def _find_section(texts: Texts, facts: Header, frame: Frame, corner: ReadoutCorner) -> OrientedSection | None:
    """Return the first section whose keys are present, as it lies in the array; None where nothing is left of it."""
    expanded = (_read_section(text, facts) for text in _texts(texts))
    text = next((text for text in expanded if text is not None), None)
    return None if text is None else frame.place(text, corner)


def _read_section(text: str | Lookup, facts: Header) -> str | None:
    value = look_up(text, facts) if isinstance(text, Lookup) else expand(text, facts)
    return None if value is None else read_section(value)


def _find_corner(texts: Texts | None, facts: Header) -> ReadoutCorner | None:
    for text in _texts(texts):
        value = look_up(text, facts) if isinstance(text, Lookup) else expand(text, facts)
        if value is None:
            continue
        if is_section(value):
            return parse_section(value, ANY_SHAPE).corner
        if value.upper() not in ReadoutCorner.__members__:
            msg = f"readout corner must be one of {', '.join(ReadoutCorner)} or a section, got {value!r}"
            raise ExposureError(msg)
        return ReadoutCorner(value.upper())
    return None


def _outside(data: Section, shape: tuple[int, int], corner: ReadoutCorner) -> dict[str, Section]:
    """Return what lies around the data, as seen from the output: before its rows, behind them, and above them."""
    n_rows, n_columns = shape
    left = Section(x0=0, x1=data.x0, y0=data.y0, y1=data.y1)
    right = Section(x0=data.x1, x1=n_columns, y0=data.y0, y1=data.y1)
    below = Section(x0=data.x0, x1=data.x1, y0=0, y1=data.y0)
    above = Section(x0=data.x0, x1=data.x1, y0=data.y1, y1=n_rows)
    prescan, serial = (left, right) if corner.endswith("L") else (right, left)
    around = {"serial": serial, "prescan": prescan, "parallel": above if corner.startswith("L") else below}
    return {name: section for name, section in around.items() if math.prod(section.shape)}


def _fit_overscan(name: str, section: Section, data: Section) -> Section:
    """Cut what lies beside the data to the data's rows, where it covers them."""
    if overlap(section, data):
        texts = [format_section(OrientedSection(section=rectangle)) for rectangle in (section, data)]
        msg = f"{name} section {texts[0]} overlaps the data section {texts[1]}"
        raise ExposureError(msg)
    if name in _BESIDE and section.y0 <= data.y0 and section.y1 >= data.y1:
        return Section(x0=section.x0, x1=section.x1, y0=data.y0, y1=data.y1)
    return section


def _level(value: float | str | None, facts: Header) -> float:
    return as_number(expand(value, facts) if isinstance(value, str) else value)


def _texts(texts: Texts | None) -> tuple[str | Lookup, ...]:
    return texts if isinstance(texts, tuple) else () if texts is None else (texts,)


def _name_texts(texts: Texts | None) -> str:
    return ", ".join(text.key if isinstance(text, Lookup) else text for text in _texts(texts))
