"""Each shipped camera from `streamcal init` to rows: files with its headers, small where its table takes sections."""

import tomllib
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
from astropy.io import fits

from streamcal import results
from streamcal.cli.init import write_configuration
from streamcal.config import parse_config
from streamcal.daemon import run_daemon
from streamcal.instruments import instrument_names

LIGHT, NOISE = 20000.0, 5.0  # e-, ADU
DATE = "2022-05-06T07:08:0{}"  # a brace stands for the number of the exposure
SMALL = {"DATASEC": "[1:110,1:100]", "BIASSEC": "[111:140,1:100]"}
ALL = np.s_[:, :]


@dataclass(frozen=True, kw_only=True)
class Output:
    """An amplifier: its rows' names, its image, where its light lies there, and all its pixels."""

    detector: str
    name: str
    image: str = ""
    light: tuple[slice, slice] = np.s_[:100, :110]
    pixels: tuple[slice, slice] = ALL


@dataclass(frozen=True, kw_only=True)
class Camera:
    """What a camera writes: keys, and shape and keys of each image by EXTNAME, empty for the primary HDU."""

    outputs: list[Output]
    cards: dict
    images: dict[str, tuple[tuple[int, int], dict]]
    kind: type = fits.ImageHDU
    file: str = "flat-{}.fits"


def truth(index):
    """Return bias level (ADU) and gain (e-/ADU) of an output, which no two of a camera share."""
    return 1000.0 + 5 * index, 1.2 + 0.01 * index


def expose(camera, seed):
    """Return the stored images by EXTNAME; what belongs to no output is 0."""
    rng = np.random.default_rng(seed)
    stored = {name: np.zeros(shape) for name, (shape, _) in camera.images.items()}
    for index, output in enumerate(camera.outputs):
        (level, gain), image = truth(index), stored[output.image]
        image[output.pixels] += rng.normal(level, NOISE, image[output.pixels].shape)
        image[output.light] += rng.poisson(LIGHT, image[output.light].shape) / gain
    return {name: np.rint(image).astype(np.uint16) for name, image in stored.items()}


def write_exposure(folder, camera, number, make_cards):
    """Write a flat; the second one has its images in another order."""
    primary = {key: value.format(number) if "{}" in str(value) else value for key, value in camera.cards.items()}
    images = expose(camera, number)
    hdus = [fits.PrimaryHDU(images.pop("", None), make_cards(primary))]
    for name, image in list(images.items())[:: 1 if number == 1 else -1]:
        hdus.append(camera.kind(image, make_cards({"EXTNAME": name} | camera.images[name][1])))
    fits.HDUList(hdus).writeto(folder / camera.file.format(number))


def segmented(detector, names, cards, shape=(100, 140), own=SMALL, **options):
    """Make a camera whose detector has an extension for each output."""
    light = options.pop("light", np.s_[:100, :110])
    return Camera(
        outputs=[Output(detector=detector, name=name, image=name, light=light) for name in names],
        cards=cards | {"EXPTIME": 5.0, "DATE-OBS": DATE},
        images=dict.fromkeys(names, (shape, own)),
        **options,
    )


def simulated():
    """Four extensions, as `streamcal simulate` writes them."""
    cards = {"IMAGETYP": "FLAT", "EXPID": "{}", "DETECTOR": "S00", "RUNID": "R1"}
    return segmented("S00", ["C00", "C01", "C10", "C11"], cards)


def lsst(detector, real):
    """Sixteen tile-compressed segments: overscan is what lies around their light."""
    names = [f"Segment{row}{column}" for row in (1, 0) for column in range(8)]
    cards = real | {"IMGTYPE": "FLAT", "SEQNUM": "{}"}
    own, light = {"DATASEC": "[4:113,1:100]"}, np.s_[:100, 3:113]
    return segmented(detector, names, cards, (110, 143), own, light=light, kind=fits.CompImageHDU)


def decam(real):
    """62 detectors and eight focus detectors in one tile-compressed file, each of two outputs at its upper corners."""
    own = {"DATASECA": "[141:250,11:110]", "BIASSECA": "[251:280,11:110]", "AMPSECA": "[250:141,110:11]"}
    own |= {"DATASECB": "[31:140,11:110]", "BIASSECB": "[1:30,11:110]", "AMPSECB": "[31:140,110:11]"}
    places = {"A": (np.s_[10:110, 140:250], np.s_[:, 140:]), "B": (np.s_[10:110, 30:140], np.s_[:, :140])}
    names = [f"{half}{number}" for half in "NS" for number in range(1, 32)]
    focus = [f"F{half}{number}" for half in "NS" for number in range(1, 5)]
    return Camera(
        outputs=[
            Output(detector=name, name=output, image=name, light=light, pixels=pixels)
            for name in names
            for output, (light, pixels) in places.items()
        ],
        cards={key: value for key, value in real.items() if "SEC" not in key and key not in {"DETPOS", "EXTNAME"}}
        | {"OBSTYPE": "dome flat", "EXPNUM": "{}", "EXPTIME": 5.0, "DATE-OBS": DATE},
        images={name: ((110, 280), own | {"DETPOS": name}) for name in (*names, *focus)},
        kind=fits.CompImageHDU,
        file="flat-{}.fits.fz",
    )


def hsc(real):
    """Four channels side by side, their sections as bounds."""
    cards, outputs = real | {"DATA-TYP": "DOMEFLAT", "EXP-ID": "HSCA90402{}00"}, []
    for number in range(4):
        left = 140 * number
        ends = {"EFMN": (1, 1), "EFMX": (110, 100), "OSMN": (111, 101), "OSMX": (140, 110)}  # columns, rows
        for key, (column, row) in ends.items():
            cards |= {f"T_{key}{number + 1}1": left + column, f"T_{key}{number + 1}2": row}
        light, pixels = np.s_[:100, left : left + 110], np.s_[:, left : left + 140]
        outputs.append(Output(detector="1_12", name=f"ch{number + 1}", light=light, pixels=pixels))
    return Camera(outputs=outputs, cards=cards | {"EXPTIME": 5.0}, images={"": ((110, 560), {})})


def esis():
    """Four taps in one image of full size: fifty columns of prescan at either side, two of overscan in the middle."""
    rows, columns = {"0": np.s_[:520], "1": np.s_[520:]}, {"0": np.s_[:1076], "1": np.s_[1076:]}
    light = {"0": np.s_[50:1074], "1": np.s_[1078:2102]}
    outputs = [
        Output(detector="ESIS1", name=a + b, light=(rows[a], light[b]), pixels=(rows[a], columns[b]))
        for a in "01"
        for b in "01"
    ]
    cards = {"IMG_ISN": "{}", "IMG_EXP": 5000, "IMG_TS": DATE, "CAM_ID": "ESIS1"}
    return Camera(outputs=outputs, cards=cards, images={"": ((1040, 2152), {})}, file="ESIS1_0000{}.fit")


def efosc2():
    """One output in a full image; its parallel overscan is above the light."""
    cards = {"ESO DPR TYPE": "FLAT,LAMP", "ESO DET EXP NO": "{}", "ESO DET CHIP1 NAME": "ccd40", "EXPTIME": 5.0}
    output = Output(detector="ccd40", name="L", light=np.s_[:1024, :1022])
    return Camera(outputs=[output], cards=cards | {"DATE-OBS": DATE}, images={"": ((1030, 1030), {})})


def eso():
    """Two outputs at the lower corners, by widths that count from them."""
    widths = {"PRSCX": 20, "NX": 110, "OVSCX": 30, "PRSCY": 0, "NY": 100, "OVSCY": 0, "Y": 1}
    cards = {f"ESO DET OUT{n} {key}": at for n, x in ((1, 1), (2, 320)) for key, at in (widths | {"X": x}).items()}
    cards |= {"ESO DPR TYPE": "FLAT,LAMP", "ARCFILE": f"CAM.{DATE}.fits", "DATE-OBS": DATE, "EXPTIME": 5.0}
    places = {"OUT1": (np.s_[:, 20:130], np.s_[:, :160]), "OUT2": (np.s_[:, 190:300], np.s_[:, 160:])}
    outputs = [Output(detector="0", name=name, light=at, pixels=pixels) for name, (at, pixels) in places.items()]
    return Camera(outputs=outputs, cards=cards, images={"": ((100, 320), {})})


def lco():
    """Four quadrants, each in an extension of its own, which its number tells apart."""
    images = {f"Q{number}": ((100, 140), SMALL | {"EXTVER": number}) for number in range(1, 5)}
    cards = {"OBSTYPE": "SKYFLAT", "INSTRUME": "fa19", "ORIGNAME": "x-fa19-20220506-000{}-f00"}
    return replace(segmented("fa19", list(images), cards), images=images)


def keck():
    """Two outputs in one image, sections with numbers."""
    cards = {"IMTYPE": "FLATLAMP", "XPOSURE": 5.0, "DATE-OBS": "2022-05-06", "UT": "07:08:0{}", "FRAMENO": "{}"}
    cards |= {"CAMERA": "BLUE", "DSEC1": "[1:110,1:100]", "BSEC1": "[111:140,1:100]"}
    cards |= {"DSEC2": "[171:280,1:100]", "BSEC2": "[141:170,1:100]", "CSEC2": "[280:171,1:100]"}
    places = {"1": (np.s_[:, :110], np.s_[:, :140]), "2": (np.s_[:, 170:], np.s_[:, 140:])}
    outputs = [Output(detector="BLUE", name=name, light=at, pixels=pixels) for name, (at, pixels) in places.items()]
    return Camera(outputs=outputs, cards=cards, images={"": ((100, 280), {})})


MADE_UP = {"simulated": simulated, "esis": esis, "efosc2": efosc2, "eso": eso, "lco": lco, "keck": keck}
REAL = {  # made on a real header
    "comcam": ("comCam-CC_O_20241108_000266_R22_S00.yaml", partial(lsst, "R22_S00")),
    "latiss": ("latiss-AT_O_20240624_000106_R00_S00.yaml", partial(lsst, "R00_S00")),
    "lsstcam": ("lsstCam-MC_O_20250422_000250_R01_S01.yaml", partial(lsst, "R01_S01")),
    "ts8": ("ts8-TS_C_20220711_000174_R22_S00.yaml", partial(lsst, "RTM-004_S00")),
    "decam": ("fitsheader-decam-raw_dec050441_25.yaml", decam),
    "hsc": ("fitsheader-hsc.yaml", hsc),
}


def assert_measured(rows, camera):
    """Check that each output has its row, with its own level, light and gain."""
    assert sorted(rows) == sorted((output.detector, output.name) for output in camera.outputs)
    for index, output in enumerate(camera.outputs):
        (level, gain), row = truth(index), rows[output.detector, output.name]
        assert row["overscan_level"] == pytest.approx(level, abs=1)
        assert row["mean"] == pytest.approx(LIGHT / gain, rel=1e-3)
        assert row["read_noise"] == pytest.approx(NOISE, rel=0.08)
        assert row["gain"] == pytest.approx(gain, abs=5 * row["gain_error"])
        assert row["gain_error"] < 0.02 * gain


def test_every_camera_is_here() -> None:
    """`simple`, whose overscan is that of bias frames, is measured in the tests of commands."""
    assert {*MADE_UP, *REAL, "simple"} == set(instrument_names())


@pytest.mark.parametrize("name", [*MADE_UP, *REAL])
def test_from_init_to_rows(tmp_path, made, quietly, request, name) -> None:
    """What `init` writes measures two flats, output by output."""
    if name in REAL:
        file, make = REAL[name]
        camera = make(request.getfixturevalue("header")(file))
    else:
        camera = MADE_UP[name]()
    path = write_configuration(tmp_path, name, group=["@run"])
    (tmp_path / "incoming").mkdir()
    for number in (1, 2):
        write_exposure(tmp_path / "incoming", camera, number, made.cards)
    values = tomllib.loads(path.read_text()) | {"engine": {"kind": "inline"}}
    run_daemon(parse_config(values, path), once=True)
    rows = results.read(tmp_path / "output").to_pylist()
    assert_measured({(row["detector"], row["amplifier"]): row for row in rows}, camera)
    assert len(rows) == len(camera.outputs)
    assert {row["exposure_time"] for row in rows} == {5.0}
