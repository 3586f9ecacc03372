"""Python is [target, source], every file is [source][target]: held format by format, on HSC's published numbers."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table

from streamcal.calibs import CrosstalkCalib, Detector, DetectorAmplifier, axes

# 1e-6; only the first row and column of each order are quoted in the literature, the rest is filled to be asymmetric
HSC_SOURCE_TARGET = 1e-6 * np.array(
    [[0, -124, -171, -157], [-125, 0, -134, -151], [-149, -132, 0, -137], [-156, -157, -153, 0]]
)
TARGET_ROW = pytest.approx(1e-6 * np.array([0, -125, -149, -156]))


@pytest.fixture
def hsc():
    """HSC's coefficients, given as Python has them."""
    amplifiers = tuple(DetectorAmplifier(name=name) for name in "ABCD")
    calib = CrosstalkCalib.from_detector(Detector(amplifiers=amplifiers, name="1_53"), HSC_SOURCE_TARGET.T)
    calib.inter_chip["1_54"] = HSC_SOURCE_TARGET.T
    return calib


def test_python_row_is_a_target(hsc):
    """What amplifier 0 receives is 0, -125, -149, -156."""
    assert hsc.coeffs[0] == TARGET_ROW


def test_flat_vector_of_a_detector_is_target_by_target(hsc):
    """``from_detector`` takes the same order flat."""
    amplifiers = tuple(DetectorAmplifier(name=name) for name in "ABCD")
    calib = CrosstalkCalib.from_detector(Detector(amplifiers=amplifiers), HSC_SOURCE_TARGET.T.ravel())
    assert calib.coeffs[0] == TARGET_ROW


def test_dict_is_source_by_source(hsc):
    """A dict holds what amplifier 0 gives, -124, -171, -157, first; between chips too."""
    dictionary = hsc.to_dict()
    for flat in (dictionary["coeffs"], dictionary["interChip"]["1_54"]):
        assert flat == HSC_SOURCE_TARGET.ravel().tolist()
    assert CrosstalkCalib.from_dict(dictionary).coeffs[0] == TARGET_ROW
    assert CrosstalkCalib.from_dict(dictionary).inter_chip["1_54"][0] == TARGET_ROW


def test_table_is_source_by_source(hsc):
    """So are table cells."""
    first, second = hsc.to_table()
    assert first["CT_COEFFS"][0].tolist() == second["IC_COEFFS"][0].tolist() == HSC_SOURCE_TARGET.ravel().tolist()
    assert CrosstalkCalib.from_table([first, second]).coeffs[0] == TARGET_ROW


def test_fits_is_source_by_source(hsc, tmp_path):
    """Seen by plain astropy."""
    hsc.write_fits(tmp_path / "hsc.fits")
    with fits.open(tmp_path / "hsc.fits") as hdus:
        assert hdus[1].data["CT_COEFFS"][0].tolist() == HSC_SOURCE_TARGET.ravel().tolist()
        assert hdus[1].header["CROSSTALK_AXES"] == "source,target"
    assert CrosstalkCalib.read_fits(tmp_path / "hsc.fits").coeffs[0] == TARGET_ROW


def test_ecsv_is_source_by_source(hsc, tmp_path):
    """Seen by plain astropy."""
    hsc.inter_chip.clear()
    hsc.write_text(tmp_path / "hsc.ecsv")
    table = Table.read(tmp_path / "hsc.ecsv", format="ascii.ecsv")
    assert np.array(table["CT_COEFFS"][0]).tolist() == HSC_SOURCE_TARGET.ravel().tolist()
    assert table.meta["CROSSTALK_AXES"] == "source,target"
    assert CrosstalkCalib.read_text(tmp_path / "hsc.ecsv").coeffs[0] == TARGET_ROW


def test_yaml_is_source_by_source(hsc, tmp_path):
    """Seen by plain PyYAML."""
    hsc.write_text(tmp_path / "hsc.yaml")
    document = yaml.safe_load((tmp_path / "hsc.yaml").read_text())
    assert document["coeffs"] == document["interChip"]["1_54"] == HSC_SOURCE_TARGET.ravel().tolist()
    assert document["metadata"]["CROSSTALK_AXES"] == "source,target"
    assert CrosstalkCalib.read_text(tmp_path / "hsc.yaml").coeffs[0] == TARGET_ROW


def test_every_matrix_is_turned():
    """Errors, counts, validity, quadratic terms and gain ratios go with the coefficients."""
    calib = CrosstalkCalib(n_amp=2)
    names = ("coeff_err", "coeff_num", "coeff_valid", "coeffs_sqr", "coeff_err_sqr", "amp_gain_ratios")
    for name in names:
        getattr(calib, name)[...] = [[0, 1], [0, 0]]
    dictionary = calib.to_dict()
    for key in ("coeffErr", "coeffNum", "coeffValid", "coeffsSqr", "coeffErrSqr", "ampGainRatios"):
        assert dictionary[key] == [0, 0, 1, 0]
    for name in names:
        assert getattr(CrosstalkCalib.from_dict(dictionary), name).tolist() == [[0, 1], [0, 0]]


def test_file_that_says_target_first_is_read_so():
    """The metadata decide, and another order is refused."""
    dictionary = {"metadata": {"CROSSTALK_AXES": "target,source"}, "coeffs": HSC_SOURCE_TARGET.T.ravel()}
    assert CrosstalkCalib.from_dict(dictionary).coeffs[0] == TARGET_ROW
    dictionary["metadata"]["CROSSTALK_AXES"] = "column,row"
    with pytest.raises(ValueError, match="CROSSTALK_AXES must be 'source,target' or 'target,source', got 'column,row'"):
        CrosstalkCalib.from_dict(dictionary)


# DECam's N11: what its detector receives from N10, by the published table of victims and sources, e.g. B from A 6.74e-5
DECAM_FROM_N10 = [[3.94e-5, 0.0], [6.74e-5, 2.82e-5]]  # [target, source], and the order of the deployed file


@pytest.mark.parametrize("instrument", ["DECam", "decam"])
def test_matrices_between_chips_of_deployed_decam_files_are_target_by_target(instrument):
    """Those within the chip are not: the script that made the files turned them alone."""
    deployed = {
        "metadata": {"INSTRUME": instrument, "OBSTYPE": "CROSSTALK"},
        "coeffs": [0, 1e-4, 2e-4, 0],
        "interChip": {"N10": np.ravel(DECAM_FROM_N10).tolist()},
    }
    calib = CrosstalkCalib.from_dict(deployed)
    assert calib.inter_chip["N10"].tolist() == DECAM_FROM_N10
    assert calib.coeffs.tolist() == [[0, 2e-4], [1e-4, 0]]
    written = calib.to_dict()
    assert written["interChip"]["N10"] == [3.94e-5, 6.74e-5, 0.0, 2.82e-5]
    assert CrosstalkCalib.from_dict(written) == calib


def test_decam_file_that_states_its_axes_is_read_so():
    """What streamcal has written, or somebody has repaired, is not turned again."""
    stated = {"INSTRUME": "DECam", "CROSSTALK_AXES": "source,target"}
    calib = CrosstalkCalib.from_dict(
        {"metadata": stated, "coeffs": np.zeros(4), "interChip": {"N10": np.ravel(np.transpose(DECAM_FROM_N10))}}
    )
    assert calib.inter_chip["N10"].tolist() == DECAM_FROM_N10


def test_matrix_of_a_wrong_size_is_named():
    """The error says which one."""
    with pytest.raises(ValueError, match="coeffErr must hold 2 x 2 values, got 3"):
        axes.from_file([1, 2, 3], 2, "coeffErr", float)
