"""Which HDUs of a file are a detector, and whether all are there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streamcal.errors import ExposureError, NotWhole
from streamcal.instruments.lookups import find_first, matches
from streamcal.instruments.model import GeometryTable, IdentifyTable, Instrument
from streamcal.instruments.values import Header, as_text, file_facts


@dataclass(frozen=True, kw_only=True, slots=True)
class Detector:
    """One detector of a file."""

    name: str
    hdus: tuple[int, ...]  # numbers of its image HDUs
    facts: Header  # what headers and file name say of it; its own first HDU counts before the primary and all others


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
    images = _select_images(instrument.geometry, headers, path)
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


def _select_images(geometry: GeometryTable, headers: Sequence[Header], path: str) -> list[int]:
    pattern = re.compile(geometry.hdus, re.IGNORECASE)
    images = [
        index
        for index, header in enumerate(headers)
        if is_image(header) and pattern.search(as_text(header.get("EXTNAME", "")))
    ]
    expected = _count_expected(geometry, {**file_facts(path), **headers[0]})
    if expected is not None and len(images) < expected:
        msg = f"has {len(images)} of {expected} image HDUs"
        raise NotWhole(msg)
    if expected is not None and len(images) > expected:
        msg = f"has {len(images)} image HDUs, the instrument writes {expected}"
        raise ExposureError(msg)
    if not images:
        msg = "has no image HDU"
        raise ExposureError(msg)
    return images


def _count_expected(geometry: GeometryTable, facts: Header) -> int | None:
    return next((rule.images for rule in geometry.other_images if matches(rule, facts)), geometry.images)


def is_image(header: Header) -> bool:
    """Tell whether a header is that of an image with pixels: two axes, further ones of length one at most."""
    lengths = [header.get(f"NAXIS{axis}", 0) for axis in range(1, header.get("NAXIS", 0) + 1)]
    plane = len(lengths) >= 2 and min(lengths) > 0 and all(length == 1 for length in lengths[2:])
    return plane and header.get("XTENSION", "IMAGE") == "IMAGE"
