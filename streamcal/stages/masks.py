"""Pixels that must not be used: by level, by list, by place, or because they are no numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamcal.errors import ExposureError, StageError
from streamcal.flags import MaskBit, RowFlag
from streamcal.hookspecs import Context
from streamcal.instruments.sections import OrientedSection, parse_section
from streamcal.records import Amplifier, Exposure, Section
from streamcal.stages.files import FileCache, find_file, is_fits

EdgeLevel = Literal["AMP", "DETECTOR"]
MaskName = Literal["BAD", "SAT", "SUSPECT", "NO_DATA", "EDGE", "CROSSTALK", "NONFINITE"]
BadPixels = Mapping[str, tuple[np.ndarray, ...]]  # by amplifier, as np.nonzero gives them

_ANYWHERE = (10**9, 10**9)  # DETSEC counts the pixels of the whole focal plane in some cameras
_bad_pixels: FileCache[BadPixels] = FileCache(size=16)


def mask_levels(amplifier: Amplifier, saturation: float, suspect: float) -> None:
    """Mask pixels at and above two levels as SAT and SUSPECT, in place.

    Parameters
    ----------
    amplifier : Amplifier
        Its ``data`` still in raw ADU.
    saturation, suspect : float
        ADU; NaN: no pixel.
    """
    for level, bit in ((saturation, MaskBit.SAT), (suspect, MaskBit.SUSPECT)):
        if not math.isnan(level):
            above = amplifier.data >= level
            if above.any():
                amplifier.mask[above] |= np.uint32(bit)


def mask_nonfinite(amplifier: Amplifier) -> int:
    """Mask NaN and infinite pixels as NONFINITE, in place, and return the row flag that tells of them."""
    finite = np.isfinite(amplifier.data)
    if finite.all():
        return 0
    amplifier.mask[~finite] |= np.uint32(MaskBit.NONFINITE)
    return int(RowFlag.NONFINITE_PIXELS)


def count_pixels(mask: NDArray[np.uint32], bits: Iterable[MaskBit]) -> dict[MaskBit, int]:
    """Count the pixels that have a bit, for each of several."""
    present = int(np.bitwise_or.reduce(mask, axis=None))  # usually none, which needs no array
    return {bit: int(np.count_nonzero(mask & np.uint32(bit))) if present & bit else 0 for bit in bits}


def mask_bad_pixels(exposure: Exposure, pattern: str, context: Context) -> None:
    """Mask the pixels that a file lists as BAD, in place.

    Parameters
    ----------
    exposure : Exposure
        All its amplifiers.
    pattern : str
        The file. FITS: laid out like an exposure of this camera, pixels that are not 0 are bad. Any other: text, see
        `read_boxes`.
    context : Context
        Of the running stage.

    Raises
    ------
    StageError
        If the file does not fit the exposure.
    """
    path = find_file(pattern, exposure.info, context.folders)
    shapes = {name: amplifier.data.shape for name, amplifier in exposure.amplifiers.items()}
    key = (exposure.info.instrument, exposure.info.detector, tuple(shapes.items()))
    bad = _bad_pixels.get((path,), key, lambda: _read_bad_pixels(path, shapes, context))
    for name, pixels in bad.items():
        exposure.amplifiers[name].mask[pixels] |= np.uint32(MaskBit.BAD)


def _read_bad_pixels(path: Path, shapes: Mapping[str, tuple[int, ...]], context: Context) -> BadPixels:
    planes = {name: np.zeros(shape, dtype=np.bool_) for name, shape in shapes.items()}
    if is_fits(path):
        for name, amplifier in _check_layout(context.load_exposure(path), shapes, path).items():
            planes[name] |= amplifier.data != 0
    else:
        for name, section in read_boxes(path, shapes):
            section.cut(planes[name])[...] = True
    return {name: np.nonzero(plane) for name, plane in planes.items()}


def _check_layout(frame: Exposure, shapes: Mapping[str, tuple[int, ...]], path: Path) -> dict[str, Amplifier]:
    found = {name: amplifier.data.shape for name, amplifier in frame.amplifiers.items()}
    if found != dict(shapes):
        msg = f"{path} has amplifiers {found}, the exposure {dict(shapes)}"
        raise StageError(msg)
    return frame.amplifiers


def read_boxes(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, Section]]:
    """Read a list of bad pixels: on each line an amplifier and a section of its image; ``#`` begins a comment.

    ::

        # columns, rows: one-based, both ends included, of the image without its overscan
        C00 [101:102,1:2048]
        C07 [512,*]

    Parameters
    ----------
    path : Path
        The file.
    shapes : mapping of str to (int, int)
        Rows and columns of each amplifier's image.

    Yields
    ------
    str, Section
        Amplifier and box.

    Raises
    ------
    StageError
        If a line is something else, or its box lies outside; names file and line.
    """
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        name, bracket, section = line.partition("#")[0].strip().partition("[")
        if not name:
            continue
        name = name.strip()
        if name not in shapes:
            msg = f"{path}, line {number}: unknown amplifier {name!r}, known: {', '.join(shapes)}"
            raise StageError(msg)
        try:
            ny, nx = shapes[name]
            yield name, parse_section(bracket + section, (ny, nx)).section
        except ExposureError as exc:
            msg = f"{path}, line {number}: {exc}"
            raise StageError(msg) from exc


class _Sides(NamedTuple):
    """Which sides of an amplifier's stored image are meant."""

    left: bool = True
    right: bool = True
    bottom: bool = True
    top: bool = True


def mask_edges(exposure: Exposure, width: int, level: EdgeLevel) -> None:
    """Mask the pixels closer than ``width`` to an edge as EDGE, in place.

    Parameters
    ----------
    exposure : Exposure
        For ``DETECTOR`` its amplifiers must share one stored array (``raw``), or each tell its place by ``DETSEC``.
    width : int
        Pixels; 0: none.
    level : {"AMP", "DETECTOR"}
        Edges of each amplifier, or only those that are edges of the detector.

    Raises
    ------
    StageError
        If ``DETECTOR`` is asked for and the places of the amplifiers are not known.
    """
    if width == 0:
        return
    everywhere = dict.fromkeys(exposure.amplifiers, _Sides())
    for name, sides in (everywhere if level == "AMP" else _outer_sides(exposure)).items():
        mask = exposure.amplifiers[name].mask
        ny, nx = mask.shape
        bands = (
            Section(x0=0, x1=min(width, nx), y0=0, y1=ny),
            Section(x0=max(nx - width, 0), x1=nx, y0=0, y1=ny),
            Section(x0=0, x1=nx, y0=0, y1=min(width, ny)),
            Section(x0=0, x1=nx, y0=max(ny - width, 0), y1=ny),
        )
        for is_edge, band in zip(sides, bands, strict=True):
            if is_edge:
                band.cut(mask)[...] |= np.uint32(MaskBit.EDGE)


def _outer_sides(exposure: Exposure) -> dict[str, _Sides]:
    places = _places(exposure)
    boxes = [place.section for place in places.values()]
    x0, x1 = min(box.x0 for box in boxes), max(box.x1 for box in boxes)
    y0, y1 = min(box.y0 for box in boxes), max(box.y1 for box in boxes)
    sides = {}
    for name, place in places.items():
        across = (place.section.x0 == x0, place.section.x1 == x1)
        along = (place.section.y0 == y0, place.section.y1 == y1)
        sides[name] = _Sides(*across[:: -1 if place.flip_x else 1], *along[:: -1 if place.flip_y else 1])
    return sides


def _places(exposure: Exposure) -> dict[str, OrientedSection]:
    """Return where on the detector each amplifier lies, and whether its stored image is flipped there."""
    amplifiers = exposure.amplifiers
    if len({id(amplifier.raw) for amplifier in amplifiers.values() if amplifier.raw is not None}) == 1:
        return {name: OrientedSection(section=amplifier.sections["data"]) for name, amplifier in amplifiers.items()}
    texts = {name: amplifier.metadata.get("header", {}).get("DETSEC") for name, amplifier in amplifiers.items()}
    unknown = [name for name, text in texts.items() if not text]
    if unknown:
        msg = f'edge_level = "DETECTOR" needs the place of each amplifier: {unknown[0]!r} has no DETSEC, use "AMP"'
        raise StageError(msg)
    return {name: parse_section(str(text), _ANYWHERE) for name, text in texts.items()}
