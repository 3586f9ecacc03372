"""Several detectors in one file, or one file a detector: the same rows, and each detector pairs for itself."""

import json
from importlib import resources

import numpy as np
import pytest
from astropy.io import fits

from streamcal import results
from streamcal.config import parse_config
from streamcal.daemon import run_daemon
from streamcal.status import list_files

DETECTORS = ("N4", "S1", "S31")
OF_THE_RUN = {"pair_id", "seq", "path_1", "path_2", "measured_at", "timings"}
SECTIONS = {
    "DATASECA": "[121:220,11:210]",
    "BIASSECA": "[221:240,11:210]",
    "AMPSECA": "[200:101,200:1]",
    "DATASECB": "[21:120,11:210]",
    "BIASSECB": "[1:20,11:210]",
    "AMPSECB": "[1:100,200:1]",
    "SATURATA": 60000.0,
    "SATURATB": 60000.0,
}


def make_images(seed):
    """Two flats of 210 rows by 240 columns for each detector, by number and name."""
    rng = np.random.default_rng(seed)
    images = {}
    for number in (1, 2):
        for name in DETECTORS:
            image = rng.normal(500, 4, (210, 240))
            image[10:, 20:220] += rng.poisson(8000, (200, 200))
            images[number, name] = np.rint(image).astype(np.uint16)
    return images


def write_file(path, number, images):
    """Write one file of DECam's kind with these detectors."""
    primary = {"OBSTYPE": "dome flat", "EXPNUM": number, "EXPTIME": 5.0, "DATE-OBS": f"2024-05-06T07:08:0{number}.5"}
    hdus = [fits.PrimaryHDU(header=fits.Header(primary | {"TIMESYS": "UTC", "PROPID": "2024A-1"}))]
    for name, image in images.items():
        hdus.append(fits.ImageHDU(image, fits.Header(SECTIONS | {"DETPOS": name}), name=name))
    path.parent.mkdir(exist_ok=True)
    fits.HDUList(hdus).writeto(path)


@pytest.fixture
def process(tmp_path):
    """Run everything in a folder once; return the output's folder."""

    def run(name, n_images):
        text = (resources.files("streamcal.instruments") / "decam.toml").read_text()
        (tmp_path / "cam.toml").write_text(text.replace("images = 62\n", f"images = {n_images}\n" if n_images else ""))
        values = {
            "instrument": "cam.toml",
            "source": {"folders": [str(tmp_path / name)], "settle_seconds": 0.01},
            "output": {"folder": str(tmp_path / f"{name}-results")},
            "engine": {"kind": "inline"},
            "stages": {"covariance": {"max_lag": 2}},
            "pairing": {"group": ["@run"]},
        }
        run_daemon(parse_config(values, tmp_path / "streamcal.toml"), once=True)
        return tmp_path / f"{name}-results"

    return run


def rows_of(output):
    """Return rows by detector and amplifier, without what differs from run to run."""
    rows = results.read(output).to_pylist()
    kept = [{key: value for key, value in row.items() if key not in OF_THE_RUN} for row in rows]
    return {(row["detector"], row["amplifier"]): json.dumps(row, default=str, sort_keys=True) for row in kept}


def test_the_same_rows(tmp_path, process) -> None:
    """One file a detector gives what all detectors in one file give, in whatever order they stand there."""
    images = make_images(5)
    for number, order in ((1, DETECTORS), (2, DETECTORS[::-1])):
        write_file(tmp_path / "together" / f"{number}.fits", number, {name: images[number, name] for name in order})
        for name in DETECTORS:
            write_file(tmp_path / "apart" / f"{number}-{name}.fits", number, {name: images[number, name]})
    output = process("together", 3)
    assert results.read(output)["gain"].to_pylist() == pytest.approx([1.0] * 6, rel=0.05)
    together, apart = rows_of(output), rows_of(process("apart", 1))
    assert sorted(together) == [(name, amplifier) for name in sorted(DETECTORS) for amplifier in "AB"]
    assert together == apart


def test_each_detector_has_its_own_disposition(tmp_path, process) -> None:
    """A frame that lacks a detector costs that detector its pair; a file is the sum of its detectors."""
    images = make_images(6)
    write_file(tmp_path / "in" / "1.fits", 1, {name: images[1, name] for name in DETECTORS})
    write_file(tmp_path / "in" / "2.fits", 2, {name: images[2, name] for name in DETECTORS[:2]})
    output = process("in", None)
    found = {(file["path"].rsplit("/", 1)[1], file["detector"]): file["disposition"] for file in list_files(output)}
    assert found == {
        ("1.fits", "N4"): "paired",
        ("1.fits", "S1"): "paired",
        ("1.fits", "S31"): "orphan",
        ("2.fits", "N4"): "paired",
        ("2.fits", "S1"): "paired",
    }
    assert {detector for detector, _ in rows_of(output)} == {"N4", "S1"}
