"""IRAF sections: one-based and inclusive outside, half-open and zero-based inside."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcal.errors import ExposureError
from streamcal.instruments.sections import Frame, OrientedSection, format_section, is_section, parse_section
from streamcal.records import ReadoutCorner, Section

SHAPE = (2048, 576)
ranges = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


def test_one_based_inclusive_becomes_half_open() -> None:
    """The NOAO section of an LSST segment is columns 10 to 521 and rows 0 to 2001 of the array."""
    assert parse_section("[11:522,1:2002]", SHAPE) == OrientedSection(section=Section(x0=10, x1=522, y0=0, y1=2002))


def test_reversed_ranges_are_flips() -> None:
    """A reversed range names the same pixels, and says that they are read from the other side."""
    oriented = parse_section("[509:1,2000:1]", SHAPE)
    assert oriented == OrientedSection(section=Section(x0=0, x1=509, y0=0, y1=2000), flip_x=True, flip_y=True)
    assert oriented.corner is ReadoutCorner.UR


@pytest.mark.parametrize(
    ("text", "section"),
    [
        ("[*,*]", Section(x0=0, x1=576, y0=0, y1=2048)),
        ("[5,7:9]", Section(x0=4, x1=5, y0=6, y1=9)),
        (" [ 1 : 10 , 2:3 ] ", Section(x0=0, x1=10, y0=1, y1=3)),
    ],
)
def test_short_forms_and_spaces(text: str, section: Section) -> None:
    """A star is the whole axis, a number one column or row, spaces do not matter."""
    assert parse_section(text, SHAPE) == OrientedSection(section=section)


def test_flipped_star() -> None:
    """``-*`` is the whole axis, reversed."""
    assert parse_section("[-*,*]", SHAPE).corner is ReadoutCorner.LR


@pytest.mark.parametrize("text", ["UNKNOWN", "N/A", "", "[1:2]", "[1:10:2,1:2]", "[a:b,1:2]", "[1:2,1:2", "[-1:2,1:2]"])
def test_what_is_no_section_is_an_error(text: str) -> None:
    """The text that was found is named, with an example of what was expected."""
    assert not is_section(text)
    with pytest.raises(ExposureError, match="is not an image section"):
        parse_section(text, SHAPE)


@pytest.mark.parametrize("text", ["[1:577,1:10]", "[1:10,1:2049]", "[0:10,1:10]", "[1:10,0:10]", "[577,1]"])
def test_outside_the_array_is_an_error_naming_both(text: str) -> None:
    """The array is believed, not the section."""
    with pytest.raises(ExposureError) as caught:
        parse_section(text, SHAPE)
    assert str(caught.value) == f"section {text} lies outside the array of 576 columns and 2048 rows"


@given(ranges, ranges)
def test_round_trip(x: tuple[int, int], y: tuple[int, int]) -> None:
    """What is parsed and written again is parsed to the same, flips included."""
    text = f"[{x[0]}:{x[1]},{y[0]}:{y[1]}]"
    oriented = parse_section(text, (5000, 5000))
    assert parse_section(format_section(oriented), (5000, 5000)) == oriented
    assert format_section(oriented) == text


@given(ranges, ranges, st.tuples(st.integers(1, 5000), st.integers(1, 5000)))
def test_inside_or_error(x: tuple[int, int], y: tuple[int, int], shape: tuple[int, int]) -> None:
    """A section is cut with its full size exactly when the array holds it."""
    text = f"[{x[0]}:{x[1]},{y[0]}:{y[1]}]"
    array = np.broadcast_to(np.uint8(0), shape)
    if max(x) > shape[1] or max(y) > shape[0]:
        with pytest.raises(ExposureError, match="outside"):
            parse_section(text, shape)
    else:
        section = parse_section(text, shape).section
        assert section.cut(array).shape == section.shape == (abs(y[1] - y[0]) + 1, abs(x[1] - x[0]) + 1)


def placed(text, corner=ReadoutCorner.LL, **frame):
    """Place a section in an array of 10 rows and 20 columns; return its columns and rows."""
    oriented = Frame(shape=(10, 20), **frame).place(text, corner)
    section = oriented and oriented.section
    return section and (section.x0, section.x1, section.y0, section.y1)


@pytest.mark.parametrize(
    ("corner", "bounds"),
    [("LL", (2, 5, 1, 4)), ("LR", (15, 18, 1, 4)), ("UL", (2, 5, 6, 9)), ("UR", (15, 18, 6, 9))],
)
def test_sections_that_count_from_the_output(corner, bounds) -> None:
    """Columns 3 to 5 and rows 2 to 4, seen from each corner."""
    assert placed("[3:5,2:4]", ReadoutCorner(corner), from_output=True) == bounds


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("[1:40,1:30]", (0, 20, 0, 10)),  # all of it
        ("[2:7,1:3]", (1, 3, 0, 1)),  # columns 2 and 7 are but halves of a binned one
        ("[1:41,1:32]", (0, 20, 0, 10)),  # the camera leaves out what does not fill a binned pixel
        ("[4:4,1:30]", None),
    ],
)
def test_sections_of_unbinned_pixels(text, bounds) -> None:
    """With two columns and three rows in one, what lies wholly in the section counts."""
    assert placed(text, binning=(3, 2)) == bounds


def test_binned_section_outside_the_array() -> None:
    """It would need a binned column more."""
    with pytest.raises(ExposureError, match="outside the array"):
        placed("[1:42,1:30]", binning=(3, 2))
