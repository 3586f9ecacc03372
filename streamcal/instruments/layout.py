"""Which HDUs are a detector, and where its amplifiers lie in them: the geometry table applied to headers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamcal.errors import ExposureError, NotWhole
from streamcal.instruments.model import (
    CHANNEL,
    AmplifierTable,
    GeometryTable,
    IdentifyTable,
    Instrument,
    Lookup,
    Lookups,
)
from streamcal.instruments.sections import OrientedSection, format_section, is_section, parse_section
from streamcal.instruments.values import Header, as_number, as_text, expand, expand_section, file_facts, get_value
from streamcal.records import ReadoutCorner, Section

_ANY_SHAPE = (10**9, 10**9)  # a section that only tells an orientation may be in other coordinates than the array's
_BESIDE = ("serial", "prescan")  # overscans that belong to the rows of the data

Texts = str | tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Detector:
    """One detector of a file."""

    name: str
    hdus: tuple[int, ...]  # numbers of its image HDUs
    facts: Header  # what headers and file name say of it; its own first HDU counts before the primary and all others


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


def find_first(lookups: Lookups, facts: Header) -> Any:
    """Return the value of the first key that is present and, if it has a pattern, matches; else None."""
    for lookup in lookups:
        value = _look_up(lookup, facts)
        if value not in (None, ""):
            return value
    return None


def _look_up(lookup: str | Lookup, facts: Header) -> Any:
    if isinstance(lookup, str):
        return get_value(lookup, facts)
    value = get_value(lookup.key, facts)
    match = None if value is None else re.search(lookup.pattern, as_text(value), re.IGNORECASE)
    if match is None or lookup.value is None:
        return match and match[1 if match.re.groups else 0]
    return match.expand(lookup.value)


def split_detectors(instrument: Instrument, headers: Sequence[Header], path: str) -> list[Detector]:
    """Tell the detectors in a file apart.

    Parameters
    ----------
    instrument : Instrument
        Its table.
    headers : sequence of mapping
        Plain headers of all HDUs in order.
    path : str
        As ``os.fsdecode`` gives it.

    Returns
    -------
    list of Detector
        In the order in which the file has them.

    Raises
    ------
    NotWhole
        If there are fewer image HDUs than the instrument writes.
    ExposureError
        If there are more, or none.
    """
    images = _select_images(instrument.geometry, headers)
    others = [header for index, header in enumerate(headers) if index not in images]
    hdus: dict[str, list[int]] = {}
    for index in images:
        facts = {**file_facts(path), **headers[0], **headers[index]}
        hdus.setdefault(_name_detector(instrument.identify, facts), []).append(index)
    return [
        Detector(name=name, hdus=tuple(numbers), facts=_merge(path, headers, numbers, others))
        for name, numbers in hdus.items()
    ]


def _name_detector(table: IdentifyTable, facts: Header) -> str:
    value = find_first(table.detector, facts)
    return table.detector_name if value is None else table.detector_names.get(as_text(value), as_text(value))


def _merge(path: str, headers: Sequence[Header], own: list[int], others: list[Header]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for header in (*reversed(others), *(headers[index] for index in reversed(own)), headers[0], headers[own[0]]):
        merged |= header
    return merged | file_facts(path)


def _select_images(geometry: GeometryTable, headers: Sequence[Header]) -> list[int]:
    pattern = re.compile(geometry.hdus, re.IGNORECASE)
    images = [
        index
        for index, header in enumerate(headers)
        if is_image(header) and pattern.search(as_text(header.get("EXTNAME", "")))
    ]
    if geometry.images is not None and len(images) < geometry.images:
        msg = f"has {len(images)} of {geometry.images} image HDUs"
        raise NotWhole(msg)
    if geometry.images is not None and len(images) > geometry.images:
        msg = f"has {len(images)} image HDUs, the instrument writes {geometry.images}"
        raise ExposureError(msg)
    if not images:
        msg = "has no image HDU"
        raise ExposureError(msg)
    return images


def is_image(header: Header) -> bool:
    """Tell whether a header is that of an image with pixels: two axes, further ones of length one at most."""
    lengths = [header.get(f"NAXIS{axis}", 0) for axis in range(1, header.get("NAXIS", 0) + 1)]
    plane = len(lengths) >= 2 and min(lengths) > 0 and all(length == 1 for length in lengths[2:])
    return plane and header.get("XTENSION", "IMAGE") == "IMAGE"


def place_amplifiers(instrument: Instrument, headers: Sequence[Header], detector: Detector) -> dict[str, Place]:
    """Find where the amplifiers of a detector lie.

    Parameters
    ----------
    instrument : Instrument
        Its table.
    headers : sequence of mapping
        Plain headers of all HDUs in order.
    detector : Detector
        One of `split_detectors`.

    Returns
    -------
    dict of str to Place
        In order of HDUs, and within one of the table.

    Raises
    ------
    ExposureError
        If an amplifier is not there, two have one name, or a section lies outside its array; the message names the
        amplifier, the section and the shape.
    """
    places: dict[str, Place] = {}
    for index in detector.hdus:
        facts = {**headers[0], **headers[index], **file_facts(detector.facts["@PATH"]), "@HDU": index}
        shape = _image_shape(instrument.geometry, headers[index], index)
        for table in _tables(instrument, facts, index):
            if table.name in places:
                msg = f"detector {detector.name!r} has two amplifiers named {table.name!r}"
                raise ExposureError(msg)
            try:
                places[table.name] = _place(table, instrument.geometry, facts, shape)
            except ExposureError as exc:
                msg = f"HDU {index}, amplifier {table.name!r}: {exc}"
                raise ExposureError(msg) from None
    missing = {table.name for table in instrument.amplifiers} - set(places)
    if missing or not places:
        msg = f"detector {detector.name!r} lacks amplifier {', '.join(map(repr, sorted(missing)))}"
        raise ExposureError(msg)
    return places


def _image_shape(geometry: GeometryTable, header: Header, index: int) -> tuple[int, int]:
    shape = header["NAXIS2"], header["NAXIS1"]
    if geometry.shape not in (None, shape):
        msg = f"HDU {index} has shape {shape} (rows, columns), the instrument's geometry is for {geometry.shape}"
        raise ExposureError(msg)
    return shape


def _tables(instrument: Instrument, facts: Header, index: int) -> Iterator[AmplifierTable]:
    """Yield the amplifiers that lie in an HDU: those listed, or one for each channel whose data section is there."""
    if instrument.amplifiers:
        here = (None, index, facts.get("EXTNAME"))
        yield from (table for table in instrument.amplifiers if table.extension in here)
        return
    tables = [_channel_table(instrument.geometry, channel, facts) for channel in instrument.geometry.channels]
    present = [table for table in tables if any(expand_section(text, facts) for text in _texts(table.data))]
    if not present:
        tried = ", ".join(text for table in tables for text in _texts(table.data))
        msg = f"HDU {index} has no data section: none of {tried}"
        raise ExposureError(msg)
    yield from present


def _channel_table(geometry: GeometryTable, channel: str, facts: Header) -> AmplifierTable:
    def fill(text: Any) -> Any:
        if isinstance(text, tuple):
            return tuple(fill(item) for item in text)
        return text.replace(CHANNEL, channel) if isinstance(text, str) else text

    names = (expand(text, facts) for text in _texts(fill(geometry.name)))
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


def _place(table: AmplifierTable, geometry: GeometryTable, facts: Header, shape: tuple[int, int]) -> Place:
    def setting(key: str) -> Any:
        own = getattr(table, key)
        return getattr(geometry, key) if own is None else own

    data = _find_section(setting("data"), facts, shape)
    if data is None:
        msg = f"none of {', '.join(_texts(setting('data')))} gives a data section"
        raise ExposureError(msg)
    corner = _find_corner(setting("readout_corner"), facts, data.corner)
    named = {name: _find_section(texts, facts, shape) for name, texts in (setting("overscan") or {}).items()}
    overscan = {name: oriented.section for name, oriented in named.items() if oriented}
    if geometry.outside:
        overscan = _outside(data.section, shape, corner) | overscan
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


def _find_section(texts: Texts, facts: Header, shape: tuple[int, int]) -> OrientedSection | None:
    expanded = (expand_section(text, facts) for text in _texts(texts))
    text = next((text for text in expanded if text is not None), None)
    return None if text is None else parse_section(text, shape)


def _find_corner(texts: Texts | None, facts: Header, default: ReadoutCorner) -> ReadoutCorner:
    for text in _texts(texts):
        value = expand(text, facts)
        if value is None:
            continue
        if is_section(value):
            return parse_section(value, _ANY_SHAPE).corner
        if value.upper() not in ReadoutCorner.__members__:
            msg = f"readout corner must be one of {', '.join(ReadoutCorner)} or a section, got {value!r}"
            raise ExposureError(msg)
        return ReadoutCorner(value.upper())
    return default


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
    if section.x0 < data.x1 and data.x0 < section.x1 and section.y0 < data.y1 and data.y0 < section.y1:
        texts = [format_section(OrientedSection(section=rectangle)) for rectangle in (section, data)]
        msg = f"{name} section {texts[0]} overlaps the data section {texts[1]}"
        raise ExposureError(msg)
    if name in _BESIDE and section.y0 <= data.y0 and section.y1 >= data.y1:
        return Section(x0=section.x0, x1=section.x1, y0=data.y0, y1=data.y1)
    return section


def _level(value: float | str | None, facts: Header) -> float:
    return as_number(expand(value, facts) if isinstance(value, str) else value)


def _texts(texts: Texts | None) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else texts or ()
