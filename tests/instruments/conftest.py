"""Small instruments and files to look into."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from streamcal.instruments import Instrument, load_instrument
from streamcal.instruments.inspect import inspect_file
from streamcal.records import ExposureInfo, FileStat
from streamcal.source.whole import Limits


@pytest.fixture
def limits():
    """Limits as they are by default."""
    return Limits()


@pytest.fixture
def make_instrument():
    """Make an instrument of a table laid over a least one."""

    def make(**tables):
        least = {
            "name": "cam",
            "identify": {"flat": [{"key": "IMAGETYP", "pattern": "flat"}], "exposure_id": ["EXPID"]},
        }
        identify = least["identify"] | tables.pop("identify", {})
        return Instrument.from_dict(least | {"identify": identify} | tables)

    return make


@pytest.fixture
def shipped(tmp_path):
    """Load an instrument that streamcal ships."""
    return lambda spec: load_instrument(spec, base=tmp_path)


@pytest.fixture
def inspect():
    """Look into a file the way a worker does: JSON in, JSON out."""

    def run(path, instrument, group_keys=(), auxiliary_keys=(), stat=None):
        job = {
            "path": str(path),
            "stat": asdict(stat or FileStat.of(Path(path).stat())),
            "instrument": instrument.to_dict(),
            "limits": asdict(Limits()),
            "group_keys": group_keys,
            "auxiliary_keys": auxiliary_keys,
        }
        answer = json.loads(inspect_file(json.dumps(job).encode()))
        return [ExposureInfo.from_dict(values) for values in answer["exposures"]]

    return run


@pytest.fixture
def simulated_file(tmp_path):
    """Write a file as the simulated camera does: four amplifiers of 6 x 10 pixels, two of them overscan."""

    def write(name="flat.fits", n_amplifiers=4, compressed=False, **keys):
        header = {"IMAGETYP": "FLAT", "EXPTIME": 2.5, "EXPID": 7, "DETECTOR": "S00", "RUNID": "R1", "FILTER": "r"}
        header |= {"FLUX": 1000.0, "MJD-OBS": 60000.25, "DATE-OBS": "2023-02-25T06:00:00", "TIMESYS": "UTC"} | keys
        hdus = [fits.PrimaryHDU(header=fits.Header({key: value for key, value in header.items() if value is not None}))]
        for number, corner in list(enumerate(("LL", "LR", "UL", "UR")))[:n_amplifiers]:
            pixels = (1000 * (number + 1) + np.arange(60)).astype(np.uint16).reshape(6, 10)
            own = fits.Header({"DATASEC": "[1:8,1:6]", "BIASSEC": "[9:10,1:6]", "CORNER": corner, "SATURATE": 60000})
            kind = fits.CompImageHDU if compressed else fits.ImageHDU
            hdus.append(kind(pixels, own, name=f"C{number // 2}{number % 2}"))
        fits.HDUList(hdus).writeto(tmp_path / name)
        return tmp_path / name

    return write
