"""The instrument that comes with streamcal reads what the simulated camera writes."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from streamcal.instruments import load_instrument
from streamcal.instruments.inspect import inspect_file
from streamcal.instruments.read import read_exposure
from streamcal.records import ExposureInfo, FileStat
from streamcal.simulate import DEFAULT_CAMERA, plan_run, simulate_run
from streamcal.source.whole import Limits
from streamcal.testing import make_exposure

CAMERA = replace(DEFAULT_CAMERA, shape=(32, 24), overscan=8)


def inspect(path, instrument):
    """Return what a worker says of a file."""
    job = {
        "path": str(path),
        "stat": asdict(FileStat.of(path.stat())),
        "instrument": instrument.to_dict(),
        "limits": asdict(Limits()),
        "group_keys": (),
        "auxiliary_keys": (),
    }
    answer = json.loads(inspect_file(json.dumps(job).encode()))
    return [ExposureInfo.from_dict(values) for values in answer["exposures"]]


@pytest.fixture
def instrument(tmp_path):
    """Give the instrument by its name."""
    return load_instrument("simulated", base=tmp_path)


def test_header_says_what_the_camera_did(tmp_path, instrument):
    """Identity, time, level and start are those that `make_exposure` gives without a file."""
    simulate_run(tmp_path, CAMERA, [1234.5], detectors=("S01",))
    (info,) = inspect(tmp_path / "SIM0001_000002_S01.fits", instrument)
    shot = replace(plan_run(CAMERA, [1234.5])[1], detector="S01")
    made = make_exposure(shot, np.random.default_rng(1), CAMERA).info
    same = ("instrument", "detector", "exposure_id", "is_flat", "exposure_time", "flux")
    assert {name: getattr(info, name) for name in same} == {name: getattr(made, name) for name in same}
    assert info.mjd_start == pytest.approx(made.mjd_start, abs=1e-8)
    assert info.mjd_start_utc == pytest.approx(made.mjd_start_utc, abs=1e-8)


def test_bias_frame_is_no_flat(tmp_path, instrument):
    """Its kind is told by the header."""
    simulate_run(tmp_path, CAMERA, [1000.0], biases=1)
    flats = [inspect(path, instrument)[0].is_flat for path in sorted(tmp_path.glob("*.fits"))]
    assert flats == [False, True, True]


@pytest.mark.parametrize("suffix", [".fits", ".fits.fz", ".fits.gz"])
def test_amplifiers_are_those_of_the_camera(tmp_path, instrument, suffix):
    """Sections, corners and saturation of all four are the truth's."""
    simulate_run(tmp_path, CAMERA, [1000.0], suffix=suffix)
    (info,) = inspect(tmp_path / f"SIM0001_000001_S00{suffix}", instrument)
    exposure = read_exposure(info, instrument, Limits())
    assert list(exposure.amplifiers) == ["C00", "C01", "C10", "C11"]
    for truth in CAMERA.amplifiers:
        amplifier, sections = exposure.amplifiers[truth.name], CAMERA.sections(truth)
        assert amplifier.readout_corner == truth.corner
        assert amplifier.saturation == pytest.approx(truth.saturation, abs=0.05)
        assert amplifier.sections["data"] == sections["data"]
        assert amplifier.sections["serial"] == sections["serial"]
