"""Masks that the stage isr sets."""

import numpy as np
import pytest

from streamcal.errors import StageError
from streamcal.flags import MaskBit, RowFlag
from streamcal.records import Section
from streamcal.testing import RecordingContext


def masked(amplifier, bit):
    """Return which pixels have a bit, as a list of (row, column)."""
    return [tuple(int(index) for index in place) for place in np.argwhere(amplifier.mask & np.uint32(bit))]


def test_levels_are_judged_on_raw_values(isr, made):
    """Pixels at and above a level are masked before the overscan is taken off."""
    amplifier = made.amplifier([[999, 1000, 800, 799]], [[500] * 4], saturation=1000, suspect=800)
    reduced = isr(made.exposure(amplifier)).amplifiers["A"]
    assert masked(reduced, MaskBit.SAT) == [(0, 1)]
    assert masked(reduced, MaskBit.SUSPECT) == [(0, 0), (0, 1), (0, 2)]
    np.testing.assert_array_equal(reduced.data, [[499, 500, 300, 299]])


@pytest.mark.parametrize("level", [900, {"A": 900, "B": 1}])
def test_settings_overrule_the_instrument(isr, made, level):
    """A level of the settings counts before that of the instrument, as one number or by amplifier."""
    amplifiers = [made.amplifier([[999, 899]], saturation=1000, name=name) for name in "AB"]
    reduced = isr(made.exposure(*amplifiers), overscan="none", saturation=level).amplifiers["A"]
    assert masked(reduced, MaskBit.SAT) == [(0, 0)]
    assert reduced.saturation == 900


@pytest.mark.parametrize("key", ["saturation", "suspect", "noise_adu"])
def test_a_table_names_amplifiers_of_the_exposure(isr, made, key):
    """A misspelled one would be passed over in silence: it fails, with the names there are."""
    exposure = made.exposure(*(made.amplifier([[1]], name=name) for name in "AB"))
    with pytest.raises(StageError, match=f"{key}: 'C0' is no amplifier, known: A, B"):
        isr(exposure, overscan="none", **{key: {"A": 900, "C0": 1}})


def test_unknown_levels_mask_nothing(isr, made):
    """NaN means that no level is known."""
    reduced = isr(made.exposure(made.amplifier([[65535, 1]])), overscan="none").amplifiers["A"]
    assert not reduced.mask.any()


def test_pixels_that_are_no_numbers_are_masked_and_flagged(isr, made):
    """NaN and infinite pixels get the bit NONFINITE, and the row its flag."""
    amplifier = made.amplifier([[np.nan, 1, np.inf, -np.inf]])
    reduced = isr(made.exposure(amplifier), overscan="none").amplifiers["A"]
    assert masked(reduced, MaskBit.NONFINITE) == [(0, 0), (0, 2), (0, 3)]
    assert reduced.metadata["flags"] & RowFlag.NONFINITE_PIXELS


def test_bad_pixels_from_text(isr, made, tmp_path):
    """A text file lists an amplifier and a section on each line."""
    (tmp_path / "bad_d0.txt").write_text("# hot\nA [2:3,1]\nA [1,*]  # a column\n\nB [1:1,2:2]\n")
    exposure = made.exposure(*(made.amplifier(np.zeros((2, 3)), name=name) for name in "AB"))
    context = RecordingContext("isr", folders=(tmp_path,))
    amplifiers = isr(exposure, context, overscan="none", bad_pixels="bad_{detector}.txt").amplifiers
    assert masked(amplifiers["A"], MaskBit.BAD) == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert masked(amplifiers["B"], MaskBit.BAD) == [(1, 0)]


def test_bad_pixels_from_fits(isr, made, tmp_path):
    """A FITS file laid out like an exposure: what is not 0 is bad."""
    path = tmp_path / "bad.fits"
    path.write_bytes(b"stands for a file")
    frame = made.exposure(made.amplifier([[0, 1, 0], [0, 0, -5]]))
    context = RecordingContext("isr", folders=(tmp_path,), exposures={path: frame})
    exposure = made.exposure(made.amplifier(np.zeros((2, 3))))
    reduced = isr(exposure, context, overscan="none", bad_pixels="bad.fits").amplifiers["A"]
    assert masked(reduced, MaskBit.BAD) == [(0, 1), (1, 2)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("C [1,1]", "line 2: unknown amplifier 'C', known: A"),
        ("A [9,1]", r"line 2: section \[9,1\] lies outside the array of 3 columns and 2 rows"),
        ("A 1 2 3 4", "line 2: unknown amplifier 'A 1 2 3 4'"),
    ],
)
def test_a_wrong_line_is_named(isr, made, tmp_path, line, reason):
    """File and line are in the message."""
    (tmp_path / "bad.txt").write_text(f"# comment\n{line}\n")
    context = RecordingContext("isr", folders=(tmp_path,))
    with pytest.raises(StageError, match=rf"bad\.txt, {reason}"):
        isr(made.exposure(made.amplifier(np.zeros((2, 3)))), context, overscan="none", bad_pixels="bad.txt")


def test_bad_pixel_frame_of_another_layout_is_an_error(isr, made, tmp_path):
    """Amplifiers and shapes must be those of the exposure."""
    path = tmp_path / "bad.fits"
    path.write_bytes(b"stands for a file")
    frame = made.exposure(made.amplifier(np.zeros((1, 1))))
    context = RecordingContext("isr", folders=(tmp_path,), exposures={path: frame})
    with pytest.raises(StageError, match=r"bad\.fits has amplifiers \{'A': \(1, 1\)\}, the exposure"):
        isr(made.exposure(made.amplifier(np.zeros((2, 3)))), context, overscan="none", bad_pixels="bad.fits")


def test_edges_of_each_amplifier(isr, made):
    """All four sides of every amplifier are masked."""
    exposure = made.exposure(made.amplifier(np.zeros((4, 5))))
    reduced = isr(exposure, overscan="none", edge=1).amplifiers["A"]
    inner = [(y, x) for y in (1, 2) for x in (1, 2, 3)]
    assert [place for place in np.ndindex(4, 5) if place not in masked(reduced, MaskBit.EDGE)] == inner


def test_an_edge_wider_than_the_amplifier_masks_all(isr, made):
    """Nothing wraps around."""
    reduced = isr(made.exposure(made.amplifier(np.zeros((4, 5)))), overscan="none", edge=9).amplifiers["A"]
    assert len(masked(reduced, MaskBit.EDGE)) == 20


def test_edges_of_a_detector_in_one_array(isr, made):
    """Amplifiers that share a stored array: only sides that no neighbour touches are edges."""
    tall = [made.amplifier(np.zeros((3, 3)), name=name) for name in "AB"]
    tall[0].raw = tall[1].raw = np.zeros((3, 6), np.float32)
    tall[1].sections = {"data": Section(x0=3, x1=6, y0=0, y1=3)}
    amplifiers = isr(made.exposure(*tall), overscan="none", edge=1, edge_level="DETECTOR").amplifiers
    assert [x for y, x in masked(amplifiers["A"], MaskBit.EDGE) if y == 1] == [0]
    assert [x for y, x in masked(amplifiers["B"], MaskBit.EDGE) if y == 1] == [2]


def test_edges_of_a_detector_by_detsec(isr, made):
    """One HDU per amplifier: DETSEC tells the place, a reversed range that the stored image is mirrored."""
    places = {"A": "[1:3,1:3]", "B": "[6:4,1:3]"}
    amplifiers = [
        made.amplifier(np.zeros((3, 3)), name=name, metadata={"header": {"DETSEC": text}})
        for name, text in places.items()
    ]
    reduced = isr(made.exposure(*amplifiers), overscan="none", edge=1, edge_level="DETECTOR").amplifiers
    assert [x for y, x in masked(reduced["A"], MaskBit.EDGE) if y == 1] == [0]
    assert [x for y, x in masked(reduced["B"], MaskBit.EDGE) if y == 1] == [0]


def test_edges_of_a_detector_of_unknown_places_are_an_error(isr, made):
    """Without places there is no telling which edges are the detector's."""
    exposure = made.exposure(*(made.amplifier(np.zeros((3, 3)), name=name) for name in "AB"))
    with pytest.raises(StageError, match="needs the place of each amplifier: 'A' has no DETSEC"):
        isr(exposure, overscan="none", edge=1, edge_level="DETECTOR")
