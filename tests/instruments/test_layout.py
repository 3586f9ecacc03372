"""Detectors are told apart, and amplifiers placed, as the geometry says and the array allows."""

import math

import pytest

from streamcal.errors import ExposureError, NotWhole
from streamcal.instruments.detectors import split_detectors
from streamcal.instruments.layout import place_amplifiers
from streamcal.instruments.lookups import find_first
from streamcal.instruments.model import Lookup
from streamcal.records import ReadoutCorner, Section

PRIMARY = {"SIMPLE": True, "NAXIS": 0}
DECAM = {
    "DATASECA": "[1081:2104,51:4146]",
    "BIASSECA": "[2105:2154,51:4146]",
    "AMPSECA": "[2048:1025,4096:1]",
    "SATURATA": 43266.0,
    "DATASECB": "[57:1080,51:4146]",
    "BIASSECB": "[7:56,51:4146]",
    "AMPSECB": "[1:1024,4096:1]",
    "SATURATB": 44935.0,
}


def image(n_columns=576, n_rows=2048, **keys):
    """Make the header of an image extension."""
    return {"XTENSION": "IMAGE", "NAXIS": 2, "NAXIS1": n_columns, "NAXIS2": n_rows, **keys}


def place(instrument, headers, path="/data/a.fits"):
    """Place the amplifiers of the only detector."""
    (detector,) = split_detectors(instrument, headers, path)
    return place_amplifiers(instrument, headers, detector)


def test_first_key_that_is_present_wins() -> None:
    """Empty values count as absent, and so do those that a pattern does not match."""
    facts = {"A": "", "B": "none", "@NAME": "ESIS1_04803.fit.gz"}
    lookups = ("A", Lookup(key="B", pattern=r"\d+"), Lookup(key="@name", pattern=r"_(\d+)\."), "B")
    assert find_first(lookups, facts) == "04803"


def test_overscan_outside_the_data_section(make_instrument) -> None:
    """LSST writes no BIASSEC: prescan, serial and parallel overscan are what lies around DATASEC."""
    instrument = make_instrument(geometry={"outside": True})
    amplifier = place(instrument, [PRIMARY, image(EXTNAME="Segment10", DATASEC="[11:522,1:2002]")])["Segment10"]
    assert amplifier.data == Section(x0=10, x1=522, y0=0, y1=2002)
    assert amplifier.overscan == {
        "serial": Section(x0=522, x1=576, y0=0, y1=2002),
        "prescan": Section(x0=0, x1=10, y0=0, y1=2002),
        "parallel": Section(x0=10, x1=522, y0=2002, y1=2048),
    }


def test_outside_is_seen_from_the_output(make_instrument) -> None:
    """With the output at the upper right, the prescan is on the right and the parallel overscan below."""
    instrument = make_instrument(geometry={"outside": True, "readout_corner": "UR"})
    amplifier = place(instrument, [PRIMARY, image(EXTNAME="A", DATASEC="[11:522,3:2048]")])["A"]
    assert amplifier.overscan == {
        "serial": Section(x0=0, x1=10, y0=2, y1=2048),
        "prescan": Section(x0=522, x1=576, y0=2, y1=2048),
        "parallel": Section(x0=10, x1=522, y0=0, y1=2),
    }


def test_two_amplifiers_in_one_hdu(make_instrument) -> None:
    """DECam: suffixed keys, corners from the reversed ranges of AMPSEC, several detectors in one file."""
    geometry = {
        "channels": ["A", "B"],
        "name": "#",
        "data": "{DATASEC#}",
        "overscan": {"serial": "{BIASSEC#}"},
        "readout_corner": "{AMPSEC#}",
        "saturation": "{SATURAT#}",
    }
    instrument = make_instrument(geometry=geometry, identify={"detector": ["CCDNUM"]})
    headers = [PRIMARY, image(2160, 4146, CCDNUM=25, **DECAM), image(2160, 4146, CCDNUM=3, **DECAM)]
    detectors = split_detectors(instrument, headers, "a.fits")
    assert [(detector.name, detector.hdus) for detector in detectors] == [("25", (1,)), ("3", (2,))]
    places = place_amplifiers(instrument, headers, detectors[1])
    assert [(name, place.hdu, place.readout_corner.value) for name, place in places.items()] == [
        ("A", 2, "UR"),
        ("B", 2, "UL"),
    ]
    assert places["B"].overscan == {"serial": Section(x0=6, x1=56, y0=50, y1=4146)}
    assert [place.saturation for place in places.values()] == [43266.0, 44935.0]


def test_bounds_as_single_numbers(make_instrument) -> None:
    """HSC: each bound is a header value of its own, four channels in one HDU."""
    keys = {"T_EFMN11": 9, "T_EFMX11": 520, "T_EFMN12": 50, "T_EFMX12": 4225, "T_OSMN11": 521, "T_OSMX11": 536}
    geometry = {
        "channels": ["1", "2"],
        "name": "#",
        "data": "[{T_EFMN#1}:{T_EFMX#1},{T_EFMN#2}:{T_EFMX#2}]",
        "overscan": {"serial": "[{T_OSMN#1}:{T_OSMX#1},{T_EFMN#2}:{T_EFMX#2}]"},
    }
    places = place(make_instrument(geometry=geometry), [{"SIMPLE": True, **image(2144, 4241, **keys)}])
    assert list(places) == ["1"]
    assert places["1"].data == Section(x0=8, x1=520, y0=49, y1=4225)
    assert places["1"].overscan["serial"] == Section(x0=520, x1=536, y0=49, y1=4225)


def test_own_hdu_counts_before_the_primary(make_instrument) -> None:
    """Primary values are inherited, tables last, and neither hides what a detector's own HDU says."""
    headers = [
        PRIMARY | {"FILTER": "r", "EXPID": 1},
        image(EXTNAME="A", DATASEC="[1:2,1:2]", FILTER="g"),
        {"XTENSION": "BINTABLE", "NAXIS": 2, "NAXIS1": 8, "NAXIS2": 1, "EXPID": 2, "TEMP": -100.0},
    ]
    (detector,) = split_detectors(make_instrument(), headers, "a.fits")
    assert (detector.facts["FILTER"], detector.facts["EXPID"], detector.facts["TEMP"]) == ("g", 1, -100.0)


def test_fewer_images_are_not_whole_yet(make_instrument) -> None:
    """A file cut exactly between HDUs looks whole to every library."""
    instrument = make_instrument(geometry={"images": 4})
    with pytest.raises(NotWhole, match="has 3 of 4 image HDUs"):
        split_detectors(instrument, [PRIMARY] + [image()] * 3, "a.fits")


def test_more_images_are_an_error(make_instrument) -> None:
    """Another camera, or another mode."""
    with pytest.raises(ExposureError, match="has 3 image HDUs, the instrument writes 2"):
        split_detectors(make_instrument(geometry={"images": 2}), [PRIMARY] + [image()] * 3, "a.fits")


def test_no_image_is_an_error(make_instrument) -> None:
    """A file with a table only, say."""
    with pytest.raises(ExposureError, match="has no image HDU"):
        split_detectors(make_instrument(), [PRIMARY], "a.fits")


def test_hdus_that_do_not_count(make_instrument) -> None:
    """Guider images are left out by name."""
    instrument = make_instrument(geometry={"images": 1, "hdus": "^segment"})
    headers = [PRIMARY, image(EXTNAME="GUIDER"), image(EXTNAME="Segment00")]
    (detector,) = split_detectors(instrument, headers, "a.fits")
    assert detector.hdus == (2,)


def test_section_outside_the_array(make_instrument) -> None:
    """The array is believed: amplifier, section and shape are named."""
    with pytest.raises(ExposureError) as caught:
        place(make_instrument(), [PRIMARY, image(508, 2000, EXTNAME="C00", DATASEC="[1:509,1:2000]")])
    section = "section [1:509,1:2000] lies outside the array of 508 columns and 2000 rows"
    assert str(caught.value) == f"HDU 1, amplifier 'C00': {section}"


def test_wrong_shape_for_an_explicit_table(make_instrument) -> None:
    """Sections of an unbinned camera may lie inside a binned array, and yet be wrong."""
    instrument = make_instrument(geometry={"shape": [1040, 2152]}, amplifiers=[{"name": "a", "data": "[1:100,1:100]"}])
    with pytest.raises(ExposureError, match=r"HDU 0 has shape \(520, 1076\).*is for \(1040, 2152\)"):
        place(instrument, [image(1076, 520)])


def test_unknown_section_is_an_error(make_instrument) -> None:
    """Without a data section nothing is guessed; what was tried is named."""
    with pytest.raises(ExposureError, match=r"HDU 0 has no data section: none of \{DATASEC\}"):
        place(make_instrument(), [image(DATASEC="UNKNOWN")])


def test_malformed_section_is_an_error(make_instrument) -> None:
    """What the header says is quoted."""
    with pytest.raises(ExposureError, match="'all of it' is not an image section"):
        place(make_instrument(), [image(DATASEC="all of it")])


def test_whole_image_where_no_section_is_known(make_instrument) -> None:
    """An explicit ``[*,*]`` at the end of the list asks for it."""
    instrument = make_instrument(geometry={"data": ["{DATASEC}", "[*,*]"]})
    assert place(instrument, [image(20, 10)])["0"].data == Section(x0=0, x1=20, y0=0, y1=10)


def test_overlap_is_an_error(make_instrument) -> None:
    """Overscan inside the data section means that one of the two is wrong."""
    with pytest.raises(ExposureError, match=r"serial section \[19:20,1:10\] overlaps the data section \[1:20,1:10\]"):
        place(make_instrument(), [image(20, 10, DATASEC="[1:20,1:10]", BIASSEC="[19:20,1:10]")])


def test_serial_overscan_is_cut_to_the_rows_of_the_data(make_instrument) -> None:
    """It is, where it covers them, and left as it is where it does not."""
    instrument = make_instrument(geometry={"overscan": {"serial": "{BIASSEC}", "prescan": "{PRESEC}"}})
    header = image(20, 10, DATASEC="[3:18,3:8]", BIASSEC="[19:20,1:10]", PRESEC="[1:2,5:10]")
    overscan = place(instrument, [header])["0"].overscan
    assert overscan["serial"] == Section(x0=18, x1=20, y0=2, y1=8)
    assert overscan["prescan"] == Section(x0=0, x1=2, y0=4, y1=10)


def test_reversed_data_section_tells_the_corner(make_instrument) -> None:
    """Pixels stay where they are; the flip says where the output sits."""
    amplifier = place(make_instrument(), [image(20, 10, DATASEC="[18:1,1:10]")])["0"]
    assert amplifier.readout_corner is ReadoutCorner.LR
    assert amplifier.data == Section(x0=0, x1=18, y0=0, y1=10)


def test_unknown_corner_is_an_error(make_instrument) -> None:
    """A corner that is written but not understood is not replaced by a guess."""
    instrument = make_instrument(geometry={"readout_corner": "{CORNER}"})
    with pytest.raises(ExposureError, match="readout corner must be one of LL, LR, UL, UR or a section, got 'E'"):
        place(instrument, [image(20, 10, DATASEC="[1:2,1:2]", CORNER="E")])


def test_explicit_amplifiers_inherit_from_geometry(make_instrument) -> None:
    """What one does not say holds from geometry; missing levels are NaN."""
    amplifiers = [
        {"name": "a", "extension": "L", "saturation": 5e4},
        {"name": "b", "extension": 2, "data": "[1:5,1:5]", "readout_corner": "UR"},
    ]
    instrument = make_instrument(geometry={"data": "[1:10,1:10]", "saturation": 6e4}, amplifiers=amplifiers)
    places = place(instrument, [PRIMARY, image(20, 20, EXTNAME="L"), image(20, 20)])
    assert [(p.hdu, p.data.x1, p.saturation, p.readout_corner.value) for p in places.values()] == [
        (1, 10, 5e4, "LL"),
        (2, 5, 6e4, "UR"),
    ]
    assert math.isnan(places["a"].gain)


def test_missing_extension_is_an_error(make_instrument) -> None:
    """An amplifier that is listed must be there."""
    instrument = make_instrument(amplifiers=[{"name": "a", "extension": "L", "data": "[*,*]"}])
    with pytest.raises(ExposureError, match="detector '0' lacks amplifier 'a'"):
        place(instrument, [PRIMARY, image(EXTNAME="R")])


def test_two_amplifiers_of_one_name(make_instrument) -> None:
    """Rows could not be told apart."""
    with pytest.raises(ExposureError, match="two amplifiers named 'A'"):
        place(make_instrument(), [PRIMARY] + [image(EXTNAME="A", DATASEC="[1:2,1:2]")] * 2)


@pytest.mark.parametrize(
    ("value", "bounds"), [("2 2", (25, 537, 0, 260)), ("2,1", (25, 537, 0, 520)), (4, (13, 268, 0, 130))]
)
def test_binned_image_of_an_explicit_table(shipped, value, bounds) -> None:
    """ESIS, read with fewer pixels: columns first; one table serves every binning."""
    columns, rows = {"2 2": (1076, 520), "2,1": (1076, 1040), 4: (538, 260)}[value]
    instrument = shipped({"base": "esis", "geometry": {"binning": ["CCDSUM"]}})
    section = place(instrument, [{"SIMPLE": True, **image(columns, rows, CCDSUM=value)}])["00"].data
    assert (section.x0, section.x1, section.y0, section.y1) == bounds


def test_overscan_that_binning_leaves_nothing_of(shipped) -> None:
    """Two columns of overscan are half a column of four."""
    instrument = shipped({"base": "esis", "geometry": {"binning": ["CCDSUM"]}})
    places = place(instrument, [{"SIMPLE": True, **image(538, 260, CCDSUM="4 4")}])
    assert list(places["11"].overscan) == ["prescan"]


def test_unknown_binning_is_an_error(make_instrument) -> None:
    """It is not taken for one."""
    instrument = make_instrument(geometry={"binning": ["CCDSUM"]})
    with pytest.raises(ExposureError, match="binning must be such as '2 2', '2,2' or 2, got 'fine'"):
        place(instrument, [image(CCDSUM="fine", DATASEC="[1:10,1:10]")])


def test_section_from_a_pattern(make_instrument) -> None:
    """A lookup in the place of a section takes columns from one key and rows from another."""
    pattern = {"key": "{BIASSEC} {DATASEC}", "pattern": r"\[(.+),.+ .+,(.+)\]", "value": r"[\1,\2]"}
    instrument = make_instrument(geometry={"overscan": {"serial": pattern}})
    header = image(20, 10, DATASEC="[3:18,3:8]", BIASSEC="[19:20,1:2]")
    assert place(instrument, [header])["0"].overscan["serial"] == Section(x0=18, x1=20, y0=2, y1=8)


def test_other_numbers_of_images(make_instrument) -> None:
    """What the header says decides how many images there must be; the first rule that matches counts."""
    other = [{"key": "MODE", "pattern": "half", "images": 2}, {"key": "MODE", "pattern": ".", "images": 1}]
    instrument = make_instrument(geometry={"images": 4, "other_images": other})
    for mode, number in ((None, 4), ("half", 2), ("third", 1)):
        with pytest.raises(NotWhole, match=f"has 0 of {number} image HDUs"):
            split_detectors(instrument, [PRIMARY | ({"MODE": mode} if mode else {})], "a.fits")


def test_amplifiers_that_share_pixels_are_an_error(make_instrument) -> None:
    """One of the two sections is wrong."""
    instrument = make_instrument(geometry={"channels": ["A", "B"], "name": "#"})
    header = image(20, 10, DATASECA="[1:10,1:10]", DATASECB="[10:20,1:10]")
    with pytest.raises(ExposureError) as caught:
        place(instrument, [header])
    own, other = "data section [1:10,1:10] of amplifier 'A'", "data section [10:20,1:10] of amplifier 'B'"
    assert str(caught.value) == f"HDU 0: {own} overlaps {other}"


@pytest.mark.parametrize("overscan", ["serial", "prescan", "parallel"])
def test_overscan_on_the_light_of_another_amplifier_is_an_error(make_instrument, overscan) -> None:
    """Its level would be taken for the bias: half of the light, and the light's noise for read noise."""
    amplifiers = [
        {"name": "1", "data": "[1:8,1:10]", "overscan": {overscan: "[14:18,1:10]"}},
        {"name": "2", "data": "[9:16,1:10]"},
    ]
    own, other = rf"{overscan} section \[14:18,1:10\] of amplifier '1'", r"data section \[9:16,1:10\] of amplifier '2'"
    with pytest.raises(ExposureError, match=f"HDU 0: {own} overlaps {other}"):
        place(make_instrument(amplifiers=amplifiers), [image(20, 10)])


def test_overlaps_are_those_of_one_hdu_in_any_order(make_instrument) -> None:
    """The same columns of another HDU are other pixels; which amplifier is listed first makes no difference."""
    amplifiers = [
        {"name": "1", "extension": 1, "data": "[1:8,1:10]"},
        {"name": "2", "extension": 2, "data": "[9:16,1:10]", "overscan": {"serial": "[1:8,1:10]"}},
    ]
    images = [PRIMARY, image(20, 10), image(20, 10)]
    assert list(place(make_instrument(amplifiers=amplifiers), images)) == ["1", "2"]
    amplifiers[1]["extension"] = 1
    with pytest.raises(ExposureError, match=r"\[1:8,1:10\] of amplifier '2' overlaps .* of amplifier '1'"):
        place(make_instrument(amplifiers=amplifiers), images)


def test_outside_beside_other_amplifiers_is_an_error(make_instrument) -> None:
    """What lies outside the light of one of two channels is the light of the other."""
    instrument = make_instrument(geometry={"channels": ["A", "B"], "name": "#", "outside": True})
    header = image(20, 10, DATASECA="[1:8,1:10]", DATASECB="[9:16,1:10]")
    with pytest.raises(ExposureError, match=r"serial section \[9:20,1:10\] of amplifier 'A' overlaps"):
        place(instrument, [header])
