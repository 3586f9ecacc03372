"""IRAF image sections such as ``[1:1024,3:50]``: one-based, both ends included, a reversed range meaning a flip."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from streamcal.errors import ExposureError
from streamcal.records import ReadoutCorner, Section

_RANGE = r"\s*(-?\*|[0-9]{1,9}(?:\s*:\s*[0-9]{1,9})?)\s*"
ANY_SHAPE = (10**9, 10**9)  # for sections in other coordinates than the array's
_SECTION = re.compile(rf"\s*\[{_RANGE},{_RANGE}\]\s*")


@dataclass(frozen=True, kw_only=True, slots=True)
class OrientedSection:
    """A rectangle of an array, and whether its ranges were written backwards."""

    section: Section
    flip_x: bool = False
    flip_y: bool = False

    @property
    def corner(self) -> ReadoutCorner:
        """Corner at which the ranges begin: lower left unless flipped."""
        return ReadoutCorner(("U" if self.flip_y else "L") + ("R" if self.flip_x else "L"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What the sections of an image refer to.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns of the stored array.
    binning : tuple of int
        How many rows and columns in a section are one of the array.
    from_output : bool
        Whether sections count from the corner of the array that is read first, not from its first pixel.
    """

    shape: tuple[int, int]
    binning: tuple[int, int] = (1, 1)
    from_output: bool = False

    def place(self, text: str, corner: ReadoutCorner) -> OrientedSection | None:
        """Return where a section lies in the array; None where binning leaves no whole pixel of it.

        Parameters
        ----------
        text : str
            The section.
        corner : ReadoutCorner
            The corner that sections may count from.

        Raises
        ------
        ExposureError
            If this is no section, or it does not lie inside the array.
        """
        # the camera has dropped what was too little for one more binned pixel
        n_rows, n_columns = ((n + 1) * step - 1 for n, step in zip(self.shape, self.binning, strict=True))
        oriented = parse_section(text, (n_rows, n_columns))
        section = _bin(oriented.section, self.binning)
        if self.from_output:
            section = _mirror(section, self.shape, corner)
        return replace(oriented, section=section) if min(section.shape) > 0 else None


def _bin(section: Section, binning: tuple[int, int]) -> Section:
    """Return the binned pixels that lie in a section wholly."""
    rows, columns = binning
    return Section(
        x0=-(-section.x0 // columns), x1=section.x1 // columns, y0=-(-section.y0 // rows), y1=section.y1 // rows
    )


def _mirror(section: Section, shape: tuple[int, int], corner: ReadoutCorner) -> Section:
    """Return the section that lies, seen from a corner of the array, as this one does from the lower left."""
    n_rows, n_columns = shape
    if corner.endswith("R"):
        section = replace(section, x0=n_columns - section.x1, x1=n_columns - section.x0)
    if corner.startswith("U"):
        section = replace(section, y0=n_rows - section.y1, y1=n_rows - section.y0)
    return section


def is_section(text: str) -> bool:
    """Tell whether a text has the form of a section, whatever array it may be meant for."""
    return _SECTION.fullmatch(text) is not None


def parse_section(text: str, shape: tuple[int, int]) -> OrientedSection:
    """Read an IRAF section of an array.

    Parameters
    ----------
    text : str
        ``[x1:x2,y1:y2]``, one-based and inclusive. A single number is one column or row, ``*`` the whole axis, ``-*``
        the whole axis flipped; spaces do not matter.
    shape : tuple of int
        Rows and columns of the array.

    Raises
    ------
    ExposureError
        If this is no section, or it does not lie inside the array; the message names both.
    """
    match = _SECTION.fullmatch(text)
    if match is None:
        msg = f"{text!r} is not an image section such as '[1:1024,1:512]'"
        raise ExposureError(msg)
    n_rows, n_columns = shape
    (x0, x1, flip_x), (y0, y1, flip_y) = _parse_range(match[1], n_columns), _parse_range(match[2], n_rows)
    if min(x0, y0) < 0 or x1 > n_columns or y1 > n_rows:
        msg = f"section {text.strip()} lies outside the array of {n_columns} columns and {n_rows} rows"
        raise ExposureError(msg)
    return OrientedSection(section=Section(x0=x0, x1=x1, y0=y0, y1=y1), flip_x=flip_x, flip_y=flip_y)


def _parse_range(text: str, length: int) -> tuple[int, int, bool]:
    """Return half-open, zero-based bounds and whether the range is reversed."""
    if text.endswith("*"):
        return 0, length, text.startswith("-")
    first, _, last = text.partition(":")
    low, high = sorted((int(first), int(last or first)))
    return low - 1, high, int(first) > int(last or first)


def format_section(oriented: OrientedSection) -> str:
    """Write a section the way `parse_section` reads it."""
    section = oriented.section
    x = _format_range(section.x0, section.x1, flip=oriented.flip_x)
    y = _format_range(section.y0, section.y1, flip=oriented.flip_y)
    return f"[{x},{y}]"


def _format_range(low: int, high: int, *, flip: bool) -> str:
    return f"{high}:{low + 1}" if flip else f"{low + 1}:{high}"


def overlap(first: Section, second: Section) -> bool:
    """Tell whether two rectangles of one array have pixels in common."""
    return first.x0 < second.x1 and second.x0 < first.x1 and first.y0 < second.y1 and second.y0 < first.y1
