"""ESO, LCO, Keck and laboratory cameras: headers made after their documents (no real ones are at hand), true pixels."""

import numpy as np
import pytest
from astropy.io import fits

from streamcal.errors import ExposureError, NotWhole
from streamcal.records import Section

SINISTRO = {  # lower quadrants, upper quadrants: with the middle row, which the overscan's section leaves out
    "12": {"DATASEC": "[1:2048,1:2048]", "BIASSEC": "[2055:2080,1:2048]"},
    "34": {"DATASEC": "[1:2048,2:2049]", "BIASSEC": "[2055:2080,1:2048]"},
}
KCWI = {  # all four amplifiers, each read toward its own corner
    "DSEC1": "[1:2048,1:2056]",
    "BSEC1": "[2049:2208,1:2056]",
    "CSEC1": "[1:2048,1:2056]",
    "DSEC2": "[2369:4416,1:2056]",
    "BSEC2": "[2209:2368,1:2056]",
    "CSEC2": "[4096:2049,1:2056]",
    "DSEC3": "[1:2048,2057:4112]",
    "BSEC3": "[2049:2208,2057:4112]",
    "CSEC3": "[1:2048,4112:2057]",
    "DSEC4": "[2369:4416,2057:4112]",
    "BSEC4": "[2209:2368,2057:4112]",
    "CSEC4": "[4096:2049,4112:2057]",
}
FORS2 = {
    "PRSCX": 0,
    "NX": 2048,
    "OVSCX": 0,
    "PRSCY": 5,
    "NY": 1024,
    "OVSCY": 5,
    "CONAD": 0.8,
    "NAME": "A",
    "X": 1,
    "Y": 1,
}
MUSE = {"PRSCX": 32, "NX": 2048, "OVSCX": 32, "PRSCY": 32, "NY": 2056, "OVSCY": 32}
MUSE_OUTPUTS = [(1, 1), (4096, 1), (4096, 4112), (1, 4112)]  # X and Y


@pytest.fixture
def pair(made, measure, inspect, shipped, tmp_path, quietly):
    """Measure two simulated exposures that `write` makes of images by EXTNAME; returns their identities."""

    def run(name, shapes, amplifiers, write):
        rng, instrument, infos = np.random.default_rng(3), shipped(name), []
        for number in range(2):
            path = tmp_path / f"cam1m003-fa19-20240506-000{number}-f00.fits"
            images = made.simulate(rng, shapes, amplifiers)
            fits.HDUList(write(number, {key: image.astype(np.uint16) for key, image in images.items()})).writeto(path)
            infos += inspect(path, instrument)
        made.assert_measured(*measure(*infos, instrument, len(amplifiers)), amplifiers)
        return infos

    return run


def test_lco(pair, made) -> None:
    """A full Sinistro: quadrants by EXTVER, all called SCI; the name of the file holds day and number."""
    place = {"columns": (0, 2048), "overscan": (2054, 2080), "corner": "LL"}
    rows = {"1": (0, 2048), "2": (0, 2048), "3": (1, 2049), "4": (1, 2049)}
    amplifiers = made.truth([made.amplifier(name=f"Q{n}", hdu=n, rows=bounds, **place) for n, bounds in rows.items()])

    def write(number, images):
        keys = {"OBSTYPE": "SKYFLAT", "EXPTIME": 4.0, "DATE-OBS": f"2024-05-06T07:0{number}:00", "INSTRUME": "fa19"}
        hdus = [fits.PrimaryHDU(header=fits.Header(keys))]
        for version, image in images.items():
            sections = next(sections for quadrants, sections in SINISTRO.items() if version in quadrants)
            own = fits.Header(sections | {"SATURATE": 60000.0, "MAXLIN": 55000.0})
            hdus.append(fits.ImageHDU(image, own, name="SCI", ver=int(version)))
        return hdus

    infos = pair("lco", dict.fromkeys("1234", (2049, 2080)), amplifiers, write)
    assert [(info.exposure_id, info.detector) for info in infos] == [("202405060000", "fa19"), ("202405060001", "fa19")]
    assert infos[0].exposure_time == 4.0
    assert infos[0].mjd_start_utc == pytest.approx(60436 + 7 / 24)


def test_lco_overscan_has_the_rows_of_the_light(places, shipped) -> None:
    """The header's section begins a row lower in the upper quadrants."""
    image = {"NAXIS": 2, "NAXIS1": 2080, "NAXIS2": 2049, "EXTVER": 3, **SINISTRO["34"]}
    place = places(shipped({"base": "lco", "geometry": {"other_images": []}}), [{"INSTRUME": "fa19", **image}])["Q3"]
    assert place.overscan == {"serial": Section(x0=2054, x1=2080, y0=1, y1=2049)}


def test_lco_file_cut_between_quadrants(identities, shipped) -> None:
    """A Sinistro writes four of them, other cameras one."""
    image = {"NAXIS": 2, "NAXIS1": 2080, "NAXIS2": 2049, "OBSTYPE": "BIAS", **SINISTRO["12"]}
    with pytest.raises(NotWhole, match="has 3 of 4 image HDUs"):
        identities(shipped("lco"), [{"NAXIS": 0, "INSTRUME": "fa19"}, *[image] * 3])
    (info,) = identities(shipped("lco"), [{"NAXIS": 0, "INSTRUME": "kb71"}, image])
    assert info.detector == "kb71"


@pytest.mark.parametrize("word", ["UNKNOWN", "N/A", ""])
def test_lco_without_sections(identities, shipped, word) -> None:
    """Words in the place of sections mean the whole image."""
    keys = {"NAXIS": 2, "NAXIS1": 40, "NAXIS2": 50, "OBSTYPE": "LAMPFLAT", "DATASEC": word, "TRIMSEC": word}
    (info,) = identities(shipped("lco"), [{"NAXIS": 0}, keys | {"BIASSEC": word, "INSTRUME": "kb71"}], "/data/a.fits")
    assert (info.is_flat, info.exposure_id) == (True, "a")


def test_keck(pair, made) -> None:
    """A full KCWI frame: numbered sections in one image; corners come from reversed ranges of CSECn."""
    lower, upper = {"rows": (0, 2056)}, {"rows": (2056, 4112)}
    left = {"columns": (0, 2048), "overscan": (2048, 2208)}
    right = {"columns": (2368, 4416), "overscan": (2208, 2368)}
    amplifiers = made.truth(
        [
            made.amplifier(name="1", corner="LL", **lower, **left),
            made.amplifier(name="2", corner="LR", **lower, **right),
            made.amplifier(name="3", corner="UL", **upper, **left),
            made.amplifier(name="4", corner="UR", **upper, **right),
        ]
    )

    def write(number, images):
        keys = {"IMTYPE": "FLATLAMP", "XPOSURE": 6.0, "DATE-OBS": "2024-05-06", "FRAMENO": 7 + number, "CAMERA": "BLUE"}
        return [fits.PrimaryHDU(images[""], fits.Header(keys | {"UT": "07:00:00", "NVIDINP": 4} | KCWI))]

    infos = pair("keck", {"": (4112, 4416)}, amplifiers, write)
    assert [info.exposure_id for info in infos] == ["2024-05-06_00007", "2024-05-06_00008"]
    assert (infos[0].exposure_time, infos[0].detector) == (6.0, "BLUE")
    assert infos[0].mjd_start_utc == pytest.approx(60436 + 7 / 24)


def test_keck_sections_of_unbinned_pixels(identities, places, shipped) -> None:
    """LRIS gives them for binned images too: refused with section and array, or divided when the table says so."""
    keys = {
        "NAXIS": 2,
        "NAXIS1": 2208,
        "NAXIS2": 2056,
        "OBJECT": "dome flat",
        "KOAID": "LR.1",
        "BINNING": "2,2",
        **KCWI,
    }
    expected = r"amplifier '2': section \[2369:4416,1:2056\] lies outside the array of 2208 columns and 2056 rows"
    with pytest.raises(ExposureError, match=expected):
        identities(shipped("keck"), [keys])
    binned = places(shipped({"base": "keck", "geometry": {"binning": ["BINNING"]}}), [keys])
    assert binned["4"].data == Section(x0=1184, x1=2208, y0=1028, y1=2056)
    assert binned["4"].overscan == {"serial": Section(x0=1104, x1=1184, y0=1028, y1=2056)}


def eso_outputs(**outputs):
    """Return the keys of outputs: ``OUT1={...}``."""
    return {f"ESO DET {output} {key}": value for output, keys in outputs.items() for key, value in keys.items()}


def eso_cards(number, **outputs):
    """Return the header of a flat of one exposure."""
    keys = {f"HIERARCH {key}": value for key, value in eso_outputs(**outputs).items()}
    keys |= {"HIERARCH ESO DPR TYPE": "FLAT,LAMP", "EXPTIME": 2.0, "EXTNAME": "CHIP1"}
    return fits.Header(keys | {"ARCFILE": f"CAM.2024-05-06T07:08:09.00{number}.fits", "MJD-OBS": 60436.25})


@pytest.mark.parametrize(
    ("x", "columns", "overscan", "corner"),
    [(1, (50, 1074), (1074, 1106), "LL"), (2048, (32, 1056), (0, 32), "LR")],
)
def test_eso(pair, made, x, columns, overscan, corner) -> None:
    """One output at either side: widths count from it; CONAD is the gain that is claimed."""
    amplifiers = made.truth(
        [made.amplifier(name="W1", rows=(0, 500), columns=columns, overscan=overscan, corner=corner)]
    )
    keys = {"PRSCX": 50, "NX": 1024, "OVSCX": 32, "PRSCY": 0, "NY": 500, "OVSCY": 6, "NAME": "W1", "X": x, "Y": 1}

    def write(number, images):
        return [fits.PrimaryHDU(images[""], eso_cards(number, OUT1=keys))]

    infos = pair("eso", {"": (506, 1106)}, amplifiers, write)
    assert [info.exposure_id for info in infos] == ["2024-05-06T07:08:09.000", "2024-05-06T07:08:09.001"]
    assert infos[0].detector == "CHIP1"


def test_eso_four_outputs(pair, made) -> None:
    """A full channel of MUSE: each output has prescan and overscan of its own, counted from its corner."""
    lower, upper = {"rows": (32, 2088)}, {"rows": (2152, 4208)}
    left = {"columns": (32, 2080), "overscan": (2080, 2112)}
    right = {"columns": (2144, 4192), "overscan": (2112, 2144)}
    places = [("LL", lower | left), ("LR", lower | right), ("UR", upper | right), ("UL", upper | left)]
    amplifiers = made.truth(
        [made.amplifier(name=f"NO{n}", hdu="CHAN01", corner=c, **place) for n, (c, place) in enumerate(places, 1)]
    )
    outputs = {f"OUT{n}": {**MUSE, "NAME": f"NO{n}", "X": x, "Y": y} for n, (x, y) in enumerate(MUSE_OUTPUTS, 1)}

    def write(number, images):
        return [fits.PrimaryHDU(), fits.ImageHDU(images["CHAN01"], eso_cards(number, **outputs), name="CHAN01")]

    infos = pair("eso", {"CHAN01": (4240, 4224)}, amplifiers, write)
    assert infos[0].detector == "CHAN01"


def test_eso_widths_of_zero(places, shipped) -> None:
    """Neither prescan nor serial overscan, as FORS2 writes them; the gain is CONAD."""
    image = {"NAXIS": 2, "NAXIS1": 2048, "NAXIS2": 1034, **eso_outputs(OUT1=FORS2)}
    place = places(shipped("eso"), [image])["A"]
    assert place.data == Section(x0=0, x1=2048, y0=5, y1=1029)
    assert place.overscan == {"parallel": Section(x0=0, x1=2048, y0=1029, y1=1034)}
    assert place.gain == 0.8


def test_eso_output_of_another_number(places, shipped) -> None:
    """The second chip of a camera is read by OUT2, and its header has no OUT1."""
    image = {"NAXIS": 2, "NAXIS1": 2048, "NAXIS2": 1034, **eso_outputs(OUT2=FORS2 | {"NAME": "B"})}
    assert list(places(shipped("eso"), [image])) == ["B"]


def test_eso_outputs_that_are_not_of_this_image(places, shipped) -> None:
    """Where the header of an image names the outputs of other chips too, two would share pixels: refused."""
    image = {"NAXIS": 2, "NAXIS1": 2048, "NAXIS2": 1034}
    image |= eso_outputs(OUT1=FORS2, OUT2=FORS2 | {"NAME": "B"})
    with pytest.raises(ExposureError, match=r"\[1:2048,6:1029\] of amplifier 'A' overlaps data section \[1:"):
        places(shipped("eso"), [image])


@pytest.mark.parametrize(
    ("keys", "folder", "is_flat"),
    [
        ({"IMAGETYP": "Flat Field", "EXPTIME": 3.0}, "night", True),
        ({"IMAGETYP": "Light Frame", "EXPOSURE": 3.0}, "flats", True),
        ({"IMAGETYP": "Light Frame", "EXPTIME": 3.0}, "m31", False),
        ({"IMAGETYP": "Dark Frame", "EXPTIME": 3.0}, "flats", False),
    ],
)
def test_laboratory_cameras(identities, shipped, keys, folder, is_flat) -> None:
    """Flats that call themselves light frames are told by their folder; darks in it are none."""
    image = {"NAXIS": 2, "NAXIS1": 40, "NAXIS2": 50, "DATE-OBS": "2024-05-06T07:00:00", **keys}
    (info,) = identities(shipped("simple"), [image], f"/data/{folder}/img-0001.fit")
    assert (info.is_flat, info.exposure_time, info.exposure_id) == (is_flat, 3.0, "2024-05-06T07:00:00_img-0001")
