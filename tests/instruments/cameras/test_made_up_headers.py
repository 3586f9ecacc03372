"""ESO, LCO, Keck and laboratory cameras: headers made after their documents (no real ones are at hand), true pixels."""

import numpy as np
import pytest
from astropy.io import fits

from streamcal.errors import ExposureError
from streamcal.records import Section

LCO_SECTIONS = {"DATASEC": "[1:400,1:500]", "BIASSEC": "[401:430,1:500]", "TRIMSEC": "[1:400,1:500]"}
KCWI = {  # two amplifiers on the left and right: the right one is read from its right edge
    "DSEC1": "[5:404,1:500]",
    "BSEC1": "[405:440,1:500]",
    "CSEC1": "[1:400,1:500]",
    "DSEC2": "[477:876,1:500]",
    "BSEC2": "[441:476,1:500]",
    "CSEC2": "[800:401,1:500]",
}
ESO = {"PRSCX": 10, "NX": 400, "OVSCX": 30, "PRSCY": 0, "NY": 500, "OVSCY": 6, "CONAD": 0.8, "NAME": "W1"}


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
    """Quadrants are told by EXTVER, all are called SCI; the name of the file holds day and number."""
    place = {"rows": (0, 500), "columns": (0, 400), "overscan": (400, 430), "corner": "LL"}
    amplifiers = made.truth([made.amplifier(name=f"Q{number}", hdu=str(number), **place) for number in range(1, 5)])

    def write(number, images):
        keys = {"OBSTYPE": "SKYFLAT", "EXPTIME": 4.0, "DATE-OBS": f"2024-05-06T07:0{number}:00", "INSTRUME": "fa19"}
        hdus = [fits.PrimaryHDU(header=fits.Header(keys))]
        for version, image in images.items():
            own = fits.Header(LCO_SECTIONS | {"SATURATE": 60000.0, "MAXLIN": 55000.0})
            hdus.append(fits.ImageHDU(image, own, name="SCI", ver=int(version)))
        return hdus

    infos = pair("lco", dict.fromkeys("1234", (500, 430)), amplifiers, write)
    assert [(info.exposure_id, info.detector) for info in infos] == [("202405060000", "fa19"), ("202405060001", "fa19")]
    assert infos[0].exposure_time == 4.0
    assert infos[0].mjd_start_utc == pytest.approx(60436 + 7 / 24)


@pytest.mark.parametrize("word", ["UNKNOWN", "N/A", ""])
def test_lco_without_sections(identities, shipped, word) -> None:
    """Words in the place of sections mean the whole image."""
    keys = {"NAXIS": 2, "NAXIS1": 40, "NAXIS2": 50, "OBSTYPE": "LAMPFLAT", "DATASEC": word, "TRIMSEC": word}
    (info,) = identities(shipped("lco"), [{"NAXIS": 0}, keys | {"BIASSEC": word, "INSTRUME": "kb71"}], "/data/a.fits")
    assert (info.is_flat, info.exposure_id) == (True, "a")


def test_keck(pair, made) -> None:
    """Numbered sections in one image; the corner comes from reversed ranges of CSECn."""
    rows = {"rows": (0, 500)}
    amplifiers = made.truth(
        [
            made.amplifier(name="1", columns=(4, 404), overscan=(404, 440), corner="LL", **rows),
            made.amplifier(name="2", columns=(476, 876), overscan=(440, 476), corner="LR", **rows),
        ]
    )

    def write(number, images):
        keys = {"IMTYPE": "FLATLAMP", "XPOSURE": 6.0, "DATE-OBS": "2024-05-06", "FRAMENO": 7 + number, "CAMERA": "BLUE"}
        return [fits.PrimaryHDU(images[""], fits.Header(keys | {"UT": "07:00:00", "NVIDINP": 2} | KCWI))]

    infos = pair("keck", {"": (500, 880)}, amplifiers, write)
    assert [info.exposure_id for info in infos] == ["2024-05-06_00007", "2024-05-06_00008"]
    assert (infos[0].exposure_time, infos[0].detector) == (6.0, "BLUE")
    assert infos[0].mjd_start_utc == pytest.approx(60436 + 7 / 24)


def test_keck_sections_of_unbinned_pixels(identities, shipped) -> None:
    """LRIS gives them for binned images too: refused, section and array named."""
    keys = {"NAXIS": 2, "NAXIS1": 440, "NAXIS2": 250, "OBJECT": "dome flat", "KOAID": "LR.1", **KCWI}
    expected = r"amplifier '1': section \[5:404,1:500\] lies outside the array of 440 columns and 250 rows"
    with pytest.raises(ExposureError, match=expected):
        identities(shipped("keck"), [keys])


def test_eso(pair, made) -> None:
    """Widths instead of sections; what is 0 wide is not there; CONAD is the gain that is claimed."""
    place = {"rows": (0, 500), "columns": (10, 410), "overscan": (410, 440), "corner": "LL"}
    amplifiers = made.truth([made.amplifier(name="W1", **place)])

    def write(number, images):
        keys = {f"HIERARCH ESO DET OUT1 {key}": value for key, value in ESO.items()}
        keys |= {"HIERARCH ESO DPR TYPE": "FLAT,LAMP", "EXPTIME": 2.0, "EXTNAME": "CHIP1"}
        keys |= {"ARCFILE": f"FORS2.2024-05-06T07:08:09.00{number}.fits", "MJD-OBS": 60436.25}
        return [fits.PrimaryHDU(images[""], fits.Header(keys))]

    infos = pair("eso", {"": (506, 440)}, amplifiers, write)
    assert [info.exposure_id for info in infos] == ["2024-05-06T07:08:09.000", "2024-05-06T07:08:09.001"]
    assert infos[0].detector == "CHIP1"


def eso_image(**changes):
    """Return the header of an image with one output."""
    keys = {f"ESO DET OUT1 {key}": value for key, value in (ESO | changes).items()}
    return {"NAXIS": 2, "NAXIS1": 440, "NAXIS2": 506, "ESO DPR TYPE": "FLAT", "ARCFILE": "A.2024-05-06T1.fits", **keys}


def test_eso_widths_of_zero(places, shipped) -> None:
    """Neither prescan nor parallel overscan."""
    place = places(shipped("eso"), [eso_image(PRSCX=0, NX=410, OVSCY=0)])["W1"]
    assert place.data == Section(x0=0, x1=410, y0=0, y1=500)
    assert place.overscan == {"serial": Section(x0=410, x1=440, y0=0, y1=500)}
    assert place.gain == 0.8


def test_eso_several_outputs(places, shipped) -> None:
    """Four outputs meet in the middle, each with its prescan at the edge: places are sums, as documented."""
    muse = {"PRSCX": 32, "NX": 2048, "OVSCX": 32, "PRSCY": 32, "NY": 2056, "OVSCY": 32}
    header = {f"ESO DET OUT{number} {key}": value for number in (1, 2) for key, value in muse.items()}
    header |= {"NAXIS": 2, "NAXIS1": 4224, "NAXIS2": 4240}
    right = (
        "[{ESO DET OUT1 PRSCX}+{ESO DET OUT1 NX}+{ESO DET OUT1 OVSCX}+{ESO DET OUT2 OVSCX}+1:"
        "{NAXIS1}-{ESO DET OUT2 PRSCX},{ESO DET OUT2 PRSCY}+1:{ESO DET OUT2 PRSCY}+{ESO DET OUT2 NY}]"
    )
    amplifier = {"name": "lower right", "data": right, "readout_corner": "LR"}
    instrument = shipped({"base": "eso", "geometry": {"overscan": {"serial": "{BIASSEC}"}}, "amplifiers": [amplifier]})
    assert places(instrument, [header])["lower right"].data == Section(x0=2144, x1=4192, y0=32, y1=2088)


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
    assert (info.is_flat, info.exposure_time, info.exposure_id) == (is_flat, 3.0, "img-0001")
