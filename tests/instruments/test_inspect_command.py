"""`streamcal inspect`: what a file is to streamcal, and a draft for a camera that it does not know."""

import json
import sys
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from streamcal.cli.main import app
from streamcal.errors import ConfigError
from streamcal.instruments import Instrument
from streamcal.instruments.detectors import split_detectors
from streamcal.instruments.draft import draft_instrument
from streamcal.instruments.layout import place_amplifiers
from streamcal.records import ReadoutCorner, Section
from streamcal.simulate import DEFAULT_CAMERA, simulate_run


def inspect_command(*arguments):
    """Run the command in this process; return exit code, output and messages."""
    result = CliRunner().invoke(app, ["inspect", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def lines_with(text, word):
    """Return the words of the lines that hold a word."""
    return [line.split() for line in text.splitlines() if word in line.split()]


def test_known_instrument(simulated_file) -> None:
    """Type, keys, amplifiers with sections and levels, and nothing is missing."""
    code, text, _ = inspect_command(simulated_file(), "--instrument", "simulated")
    assert code == 0
    assert "Detector S00 as instrument simulated: a flat" in text
    assert lines_with(text, "exposure_id") == [["exposure_id", "EXPID", "7"]]
    assert lines_with(text, "C01")[-1] == ["C01", "LR", "data", "[1:8,1:6]", "2028.50", "22.24", "60000", "nan"]
    assert ["serial", "[9:10,1:6]", "1033.50", "22.24"] in lines_with(text, "serial")
    assert text.rstrip().endswith("missing: nothing")


def test_what_is_missing(simulated_file) -> None:
    """Keys that were looked for and overscans that are not there are named."""
    path = simulated_file(RUNID=None, EXPTIME=None)
    table = path.with_name("cam.toml")
    table.write_text('base = "simulated"\n[geometry]\noverscan = { serial = "{NOSEC}", prescan = "{PRESEC}" }\n')
    _, text, _ = inspect_command(path, "--instrument", table)
    missing = text.split("missing: ")[1]
    assert "exposure_time (none of EXPTIME); run (none of RUNID); overscan" in missing
    assert "of all amplifiers" in missing


def test_no_flat(simulated_file) -> None:
    """The reason is the one that the journal would hold; amplifiers are shown all the same."""
    code, text, _ = inspect_command(simulated_file(IMAGETYP="BIAS"), "--instrument", "simulated")
    assert code == 0
    assert "not a flat: IMAGETYP = 'BIAS'" in text
    assert lines_with(text, "C11")


def test_a_draft_can_be_used(simulated_file) -> None:
    """What is printed for an unknown camera is a table that reads the file."""
    code, text, _ = inspect_command(simulated_file())
    assert code == 0
    assert "Instruments whose table fits this file: " in text
    assert "simulated" in text.split("fits this file: ")[1].splitlines()[0].split(", ")
    table = tomllib.loads(text[text.index("[instrument]") : text.index("Detector ")])["instrument"]
    instrument = Instrument.from_dict(table)
    assert instrument.geometry.images == 4
    assert instrument.identify.exposure_id[0] == "EXPID"
    assert "Detector S00 as instrument camera: a flat" in text


def test_a_saved_draft_is_an_instrument_file(tmp_path) -> None:
    """It is edited, looked at again, and measured with, as the one TOML file that a new camera needs."""
    camera = replace(DEFAULT_CAMERA, shape=(128, 96), prescan=4, overscan=16)
    simulate_run(tmp_path, camera, [2000.0])
    first, second = sorted(tmp_path.glob("*.fits"))
    _, text, _ = inspect_command(first)
    table = tmp_path / "mycam.toml"
    draft = text[text.index("[instrument]") : text.index("Detector ")]
    table.write_text(draft.replace('name = "simulated"', 'name = "mine"'))
    assert "as instrument mine: a flat" in inspect_command(first, "--instrument", table)[1]
    done = CliRunner().invoke(app, ["measure", str(first), str(second), "--instrument", str(table), "--json"])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["instrument"], row["amplifier"]) for row in rows] == [
        ("mine", truth.name) for truth in camera.amplifiers
    ]
    for row, truth in zip(rows, camera.amplifiers, strict=True):
        assert row["gain"] == pytest.approx(truth.gain, abs=5 * row["gain_error"])


@pytest.mark.parametrize("content", [b"", b"no FITS at all\n" * 300])
def test_no_fits(tmp_path, content) -> None:
    """One line, and the exit code of what is rejected."""
    (tmp_path / "x.fits").write_bytes(content)
    code, text, message = inspect_command(tmp_path / "x.fits")
    assert (code, text) == (3, "")
    assert message.count("\n") == 1
    assert "x.fits" in message


def test_no_images(tmp_path) -> None:
    """A table is FITS, but there is nothing to measure in it."""
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([fits.Column("A", "D", array=[1.0])])]).writeto(
        tmp_path / "x.fits"
    )
    code, text, message = inspect_command(tmp_path / "x.fits")
    assert (code, "BINTABLE" in text) == (3, True)
    assert "has no image HDU" in message


def test_wrong_instrument(simulated_file) -> None:
    """The file does not have what the instrument writes."""
    code, text, message = inspect_command(simulated_file(), "--instrument", "lsstcam")
    assert (code, "HDU  name" in text) == (3, True)
    assert "has no image HDU" in message or "has 0 of 16 image HDUs" in message


def test_unknown_instrument(simulated_file) -> None:
    """That is a slip of the user."""
    with pytest.raises(ConfigError, match="did you mean 'simulated'"):
        inspect_command(simulated_file(), "--instrument", "simulatd")


def test_picture(simulated_file, tmp_path) -> None:
    """A picture is written, in the format that its name says."""
    pytest.importorskip("matplotlib")
    path = simulated_file()
    for name, start in (("a.png", b"\x89PNG"), ("a.pdf", b"%PDF")):
        code, _, _ = inspect_command(path, "--instrument", "simulated", "--picture", tmp_path / name)
        assert code == 0
        assert (tmp_path / name).read_bytes().startswith(start)


def test_levels_of_pixels_that_are_no_numbers(tmp_path) -> None:
    """They are left out and counted; where nothing is left the level is nan."""
    pixels = np.full((4, 6), 7.0, np.float32)
    pixels[0, :2] = np.nan
    pixels[:, 5] = np.inf
    header = fits.Header({"IMAGETYP": "flat", "EXPTIME": 1.0, "DATASEC": "[1:5,1:4]", "BIASSEC": "[6:6,1:4]"})
    fits.PrimaryHDU(pixels, header).writeto(tmp_path / "x.fits")
    _, text, _ = inspect_command(tmp_path / "x.fits", "--instrument", "simple")
    assert lines_with(text, "data") == [["0", "LL", "data", "[1:5,1:4]", "7.00", "0.00", "nan", "nan"]]
    assert lines_with(text, "serial") == [["serial", "[6:6,1:4]", "nan", "nan"]]
    assert "finite values in 6 pixels of 0" in text.split("missing: ")[1]


def test_link_that_a_person_names(simulated_file, tmp_path) -> None:
    """The daemon follows no links unless configured; whoever names one means it."""
    (tmp_path / "link.fits").symlink_to(simulated_file())
    code, text, _ = inspect_command(tmp_path / "link.fits", "--instrument", "simulated")
    assert (code, "a flat" in text) == (0, True)


def test_header_keys(simulated_file) -> None:
    """All keys with their values, HDU by HDU, for a camera whose table is to be written."""
    path = simulated_file()
    _, text, _ = inspect_command(path, "--header")
    assert "HDU 0" in text
    assert ["EXPTIME", "2.5"] in lines_with(text, "EXPTIME")
    assert lines_with(text, "DATASEC") == [["DATASEC", "[1:8,1:6]"]] * 4
    assert lines_with(inspect_command(path)[1], "DATASEC") == []


def test_picture_in_a_folder_that_is_not_there(simulated_file, tmp_path) -> None:
    """Said before anything is read, in one line."""
    pytest.importorskip("matplotlib")
    with pytest.raises(ConfigError, match=r"--picture: .*/none is no folder"):
        inspect_command(simulated_file(), "--picture", tmp_path / "none" / "a.png")


def test_picture_of_pixels_that_are_no_numbers(tmp_path) -> None:
    """Grey tones are those of finite pixels; where there are none the sections are drawn all the same."""
    pytest.importorskip("matplotlib")
    pixels = np.full((4, 6), np.nan, np.float32)
    for number in range(2):
        fits.PrimaryHDU(pixels, fits.Header({"IMAGETYP": "flat"})).writeto(tmp_path / f"{number}.fits")
        picture = tmp_path / f"{number}.png"
        assert inspect_command(tmp_path / f"{number}.fits", "--instrument", "simple", "--picture", picture)[0] == 0
        assert picture.stat().st_size > 0
        pixels[:2] = [[7.0], [np.inf]]


def test_picture_of_another_ending(simulated_file, tmp_path) -> None:
    """Said before anything is read."""
    pytest.importorskip("matplotlib")
    with pytest.raises(ConfigError, match=r"--picture must end in one of \.png, \.pdf, \.svg, got '.*a\.txt'"):
        inspect_command(simulated_file(), "--picture", tmp_path / "a.txt")


def test_picture_without_matplotlib(simulated_file, tmp_path, monkeypatch) -> None:
    """What to install is said."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'streamcal\[plot\]'"):
        inspect_command(simulated_file(), "--picture", tmp_path / "a.png")


def image(**keys):
    """Make the header of an image."""
    return {"XTENSION": "IMAGE", "NAXIS": 2, "NAXIS1": 2112, "NAXIS2": 4644, **keys}


def places(headers):
    """Draft a table, and place the amplifiers of all detectors by it."""
    instrument = Instrument.from_dict(draft_instrument(headers))
    detectors = split_detectors(instrument, headers, "/data/x.fits")
    return {detector.name: place_amplifiers(instrument, headers, detector) for detector in detectors}


def test_draft_of_suffixed_sections() -> None:
    """MegaPrime: two amplifiers in each image, keys that begin otherwise, a bare BIASSEC that says none."""
    keys = {"DATASEC": "[33:2080,1:4612]", "BIASSEC": "[0:0,0:0]", "DSECA": "[33:1056,1:4612]"}
    keys |= {"DSECB": "[1057:2080,1:4612]", "BSECA": "[1:32,1:4644]", "BSECB": "[2081:2112,1:4644]", "GAINA": 1.57}
    headers = [{"NAXIS": 0, "OBSTYPE": "FLAT"}, image(EXTNAME="ccd02", **keys)]
    ((a, b),) = (found.values() for found in places(headers).values())
    assert (a.data, b.data) == (Section(x0=32, x1=1056, y0=0, y1=4612), Section(x0=1056, x1=2080, y0=0, y1=4612))
    assert b.overscan == {"serial": Section(x0=2080, x1=2112, y0=0, y1=4612)}
    assert a.gain == 1.57


def test_draft_of_several_detectors() -> None:
    """The key that differs between images tells them apart."""
    own = {"DATASEC": "[1:2000,1:4000]", "BIASSEC": "[2001:2112,1:4000]", "INSTRUME": "Mosaic"}
    headers = [{"NAXIS": 0}, image(CCDNUM=7, **own), image(CCDNUM=3, **own)]
    assert list(places(headers)) == ["7", "3"]


def test_draft_of_reversed_sections() -> None:
    """Corners are taken from the key that tells the order of the readout."""
    keys = {"DATASECA": "[1:10,1:10]", "BIASSECA": "[11:12,1:10]", "AMPSECA": "[10:1,10:1]"}
    (found,) = places([image(**keys)]).values()
    assert found["A"].readout_corner is ReadoutCorner.UR


def test_draft_of_channels_without_overscan() -> None:
    """What lies outside the light of one is no overscan but the light of the others; ten comes after nine."""
    keys = {f"DATASEC{channel}": f"[{10 * channel - 9}:{10 * channel},1:50]" for channel in range(1, 12)}
    (found,) = places([image(**keys)]).values()
    assert list(found) == [str(channel) for channel in range(1, 12)]
    assert all(place.overscan == {} for place in found.values())


def test_draft_of_nothing() -> None:
    """The whole image is light, and the name of the file tells exposures and flats apart."""
    (found,) = places([{"SIMPLE": True, "NAXIS": 2, "NAXIS1": 20, "NAXIS2": 10}]).values()
    (amplifier,) = found.values()
    assert amplifier.data == Section(x0=0, x1=20, y0=0, y1=10)
    assert amplifier.overscan == {}


@pytest.mark.parametrize("folder", ["esis", "efosc2", "lsst_raw"])
def test_real_files_get_a_draft(reference, folder) -> None:
    """One of each camera: whatever it is, the command shows it."""
    path = min((reference / folder).iterdir())
    code, text, message = inspect_command(path)
    assert (code, message) == (0, "")
    assert "[instrument.geometry]" in text


def test_odd_names_are_shown_safely(simulated_file, tmp_path) -> None:
    """Control characters do not reach the terminal."""
    path = simulated_file().rename(tmp_path / "a\x1b[2Jb.fits")
    _, text, _ = inspect_command(path, "--instrument", "simulated")
    assert "\x1b" not in text
    assert r"a\x1b[2Jb.fits" in text


def test_a_header_cannot_write_on_the_terminal(tmp_path) -> None:
    """Values are shown as text, not as markup."""
    header = fits.Header({"IMAGETYP": "flat", "EXPID": "[bold]7[/bold]", "EXPTIME": 1.0})
    fits.PrimaryHDU(np.zeros((4, 5), np.uint16), header).writeto(tmp_path / "x.fits")
    _, text, _ = inspect_command(tmp_path / "x.fits", "--instrument", "simple")
    assert "[bold]7[/bold]" in text


def test_instruments_that_fit(tmp_path) -> None:
    """Those by whose keys the kind of an exposure can be told; not all that would take the whole image for light."""
    header = fits.Header({"IMAGETYP": "Light Frame", "EXPTIME": 1.0})
    fits.PrimaryHDU(np.zeros((4, 5), np.uint16), header).writeto(tmp_path / "x.fits")
    _, text, _ = inspect_command(tmp_path / "x.fits")
    assert "Instruments whose table fits this file: simple\n" in text
