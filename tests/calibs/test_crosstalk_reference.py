"""Deployed calibrations of four cameras, read as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from streamcal.calibs import Calib, CrosstalkCalib, Detector, DetectorAmplifier

ECSV = ["lsstcam/r22_s11", "lsstcam/r03_s11", "lsstcam/r10_s00", "comcam/r22_s11", "latiss/rxx_s00"]


@pytest.mark.parametrize("name", ECSV)
def test_ecsv_is_read_as_it_is(reference, name):
    """Cell by cell as astropy reads it, turned to [target, source]; validity as stored."""
    path = reference / "crosstalk" / f"{name}.ecsv"
    calib, row = Calib.read_text(path), Table.read(path, format="ascii.ecsv")[0]
    assert isinstance(calib, CrosstalkCalib)
    for column, matrix in (
        ("CT_COEFFS", calib.coeffs),
        ("CT_ERRORS", calib.coeff_err),
        ("CT_COUNTS", calib.coeff_num),
        ("CT_VALID", calib.coeff_valid),
        ("CT_COEFFS_SQR", calib.coeffs_sqr),
    ):
        assert np.array_equal(matrix, np.reshape(row[column], (16, 16)).T, equal_nan=column == "CT_ERRORS")
    assert calib.validate()


@pytest.mark.parametrize("name", ECSV)
@pytest.mark.parametrize("ending", ["ecsv", "yaml", "fits"])
def test_deployed_file_survives_every_format(reference, tmp_path, name, ending):
    """Nothing of content and metadata is lost, NaN errors of LATISS included."""
    calib = CrosstalkCalib.read_text(reference / "crosstalk" / f"{name}.ecsv")
    path = tmp_path / f"x.{ending}"
    if ending == "fits":
        calib.write_fits(path)
        assert CrosstalkCalib.read_fits(path) == calib
    else:
        assert CrosstalkCalib.read_text(calib.write_text(path)) == calib


def test_lsstcam_is_of_its_detector(reference):
    """Units, gains, the known first coefficient (source 0 onto target 1), and who it is."""
    calib = CrosstalkCalib.read_text(reference / "crosstalk" / "lsstcam" / "r22_s11.ecsv")
    assert (calib.n_amp, calib.crosstalk_ratios_units) == (16, "electron")
    assert calib.coeffs[1, 0] == 0.00023459230349434464
    assert calib.coeffs[0, 1] == 0.00020311693999043291
    assert calib.fit_gains[0] == 1.4111360362314262
    assert np.allclose(calib.amp_gain_ratios, calib.fit_gains[:, None] / calib.fit_gains)
    amplifiers = tuple(DetectorAmplifier(name=f"C{n}") for n in range(16))
    assert calib.validate(Detector(amplifiers=amplifiers, name="R22_S11", instrument="LSSTCam"))
    with pytest.raises(
        ValueError, match=r"detector must be that of the calibration, '94 or E2V.*R22_S11', got 'R22_S12'"
    ):
        calib.validate(Detector(amplifiers=amplifiers, name="R22_S12", instrument="LSSTCam"))


def test_coefficients_of_latiss_that_are_stored_as_invalid_are_not_used(reference):
    """127 of 256 are valid."""
    calib = CrosstalkCalib.read_text(reference / "crosstalk" / "latiss" / "rxx_s00.ecsv")
    assert calib.crosstalk_ratios_units == "adu"
    assert np.count_nonzero(calib.usable) == 127
    assert np.isnan(np.diagonal(calib.coeff_err)).all()


@pytest.mark.parametrize(
    ("name", "onto_first", "onto_second", "number"), [("n1", 3.4e-4, -8.28e-4, 32), ("n10", 4.44e-4, 1.52e-4, 41)]
)
def test_decam_yaml_with_its_tags(reference, name, onto_first, onto_second, number):
    """Second number of the file: from the first amplifier onto the second. Version 1.0: adu."""
    calib = CrosstalkCalib.read_text(reference / "crosstalk" / "decam" / f"{name}.yaml")
    assert calib.coeffs.tolist() == [[0, onto_first], [onto_second, 0]]
    assert calib.crosstalk_ratios_units == "adu"
    assert calib.get_metadata()["DETECTOR"] == number
    assert calib.get_metadata()["INSTRUME"] == "DECam"
    assert calib.validate()


def test_ecsv_is_written_as_deployed(reference, tmp_path):
    """Columns, types and numbers to the last digit; the metadata differ by the axes alone."""
    path = reference / "crosstalk" / "lsstcam" / "r22_s11.ecsv"
    written = Path(CrosstalkCalib.read_text(path).write_text(tmp_path / "x.ecsv"))
    ours, theirs = (each.read_text(encoding="utf-8").splitlines() for each in (written, path))
    assert ours[:11] == theirs[:11]
    assert ours[-2:] == theirs[-2:]
    meta = dict(Table.read(written, format="ascii.ecsv").meta)
    assert meta.pop("CROSSTALK_AXES") == "source,target"
    assert meta == Table.read(path, format="ascii.ecsv").meta
