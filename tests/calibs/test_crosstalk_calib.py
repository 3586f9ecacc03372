"""Construction, metadata and checks of a `CrosstalkCalib`."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from streamcal.calibs import Calib, CrosstalkCalib
from streamcal.flags import MaskBit

NAMES = """
has_crosstalk n_amp crosstalk_shape coeffs coeff_err coeff_num coeff_valid coeffs_sqr coeff_err_sqr amp_gain_ratios
fit_gains crosstalk_ratios_units inter_chip required_attributes log get_metadata set_metadata from_detector from_dict
to_dict from_table to_table read_fits write_fits read_text write_text calib_info_from_dict determine_calib_class
validate update_metadata update_metadata_from_exposures extract_amp calculate_background subtract_crosstalk apply
"""


@pytest.mark.parametrize("name", NAMES.split())
def test_every_promised_name_is_there_and_explained(name):
    """Attributes in the docstrings of the classes, methods in their own."""
    assert hasattr(CrosstalkCalib(n_amp=1), name)
    member = getattr(CrosstalkCalib, name, None)
    explained = member.__doc__ if callable(member) else f"{CrosstalkCalib.__doc__} {Calib.__doc__}"
    assert callable(member) or re.search(rf"\b{name}\b[^\n]* : ", explained)
    assert explained


def test_detector_gives_size_identity_and_gains(detector):
    """Everything else is zero and valid; without coefficients there is no crosstalk."""
    calib = CrosstalkCalib.from_detector(detector)
    assert (calib.n_amp, calib.crosstalk_shape, calib.has_crosstalk) == (2, (2, 2), False)
    assert calib.fit_gains.tolist() == [1.5, 2.0]
    metadata = calib.get_metadata()
    assert [metadata[key] for key in ("INSTRUME", "DETECTOR", "DETECTOR_NAME", "DET_SER")] == ["Cam", 7, "D1", "S-7"]


def test_detector_with_both_vectors(detector):
    """Linear and quadratic coefficients, flat or square."""
    calib = CrosstalkCalib.from_detector(detector, [0, 1e-4, 2e-4, 0], [[0, 1e-9], [0, 0]])
    assert calib.has_crosstalk
    assert calib.coeffs.tolist() == [[0, 1e-4], [2e-4, 0]]
    assert calib.coeffs_sqr[0, 1] == 1e-9


def test_detector_with_a_vector_of_a_wrong_size(detector):
    """It is named."""
    with pytest.raises(ValueError, match="coeffs must hold 2 x 2 values, got 3"):
        CrosstalkCalib.from_detector(detector, [0, 1, 2])


def test_metadata_are_live_and_set_as_a_copy():
    """What is changed in `get_metadata` is changed; what was passed to `set_metadata` is not."""
    calib, given = CrosstalkCalib(n_amp=2), {"seqname": "x", "NESTED": [1]}
    calib.get_metadata()["NOTE"] = "y"
    assert calib.get_metadata()["NOTE"] == "y"
    live = calib.get_metadata()
    calib.set_metadata(given)
    calib.get_metadata()["NESTED"].append(2)
    assert given == {"seqname": "x", "NESTED": [1]}
    assert (calib.get_metadata()["SEQNAME"], "NOTE" in calib.get_metadata()) == ("x", False)
    assert calib.get_metadata()["OBSTYPE"] == "CROSSTALK"
    assert "NOTE" in live


def test_dict_shares_nothing_with_the_calibration():
    """Not even the lists in its metadata."""
    calib = CrosstalkCalib(n_amp=2)
    calib.update_metadata(NESTED=[1])
    dictionary = calib.to_dict()
    dictionary["metadata"]["NESTED"].append(2)
    dictionary["coeffs"][0] = 1.0
    assert calib.get_metadata()["NESTED"] == [1]
    assert not calib.coeffs.any()


def test_update_metadata_describes_the_content():
    """Attributes win over what stood there; None becomes empty."""
    calib = CrosstalkCalib(n_amp=2)
    calib.crosstalk_ratios_units, calib.has_crosstalk = "electron", True
    calib.update_metadata(filter=None, NAMP=99, run=np.int64(5))
    metadata = calib.get_metadata()
    assert (metadata["CROSSTALK_RATIOS_UNITS"], metadata["HAS_CROSSTALK"], metadata["NAMP"]) == ("electron", True, 2)
    assert (metadata["CROSSTALK_SHAPE"], metadata["FILTER"], metadata["RUN"]) == ([2, 2], "", 5)
    assert type(metadata["RUN"]) is int


def test_date_is_set_only_when_asked_for():
    """In UTC, in three keys."""
    calib = CrosstalkCalib(n_amp=2)
    assert "CALIB_CREATION_DATE" not in calib.get_metadata()
    before = datetime.now(UTC).replace(tzinfo=None)
    calib.update_metadata(set_date=True)
    metadata = calib.get_metadata()
    created = datetime.fromisoformat(f"{metadata['CALIB_CREATION_DATE']}T{metadata['CALIB_CREATION_TIME']}")
    assert before <= created <= datetime.now(UTC).replace(tzinfo=None)
    assert metadata["CALIBDATE"] == created.isoformat()


def test_exposures_leave_their_provenance(make_exposure, caplog):
    """Who they are, what their headers agree on; a difference is warned of and the first counts."""
    calib = CrosstalkCalib(n_amp=1)
    header = {"SEQNAME": "spots", "FILTER": "r", "OBJECT": "x"}
    first = make_exposure([[1.0]], header=header, exposure_id="100", exposure_time=15.0, mjd_start=60000.5)
    second = make_exposure([[1.0]], header=header | {"FILTER": "i"}, exposure_id="101")
    calib.update_metadata_from_exposures([first, second])
    metadata = calib.get_metadata()
    assert (metadata["INSTRUME"], metadata["DETECTOR_NAME"], metadata["SEQNAME"]) == ("cam", "D1", "spots")
    assert (metadata["CPP_INPUT_0"], metadata["CPP_INPUT_DATE_0"], metadata["CPP_INPUT_EXPT_0"]) == ("100", 60000.5, 15)
    assert metadata["CPP_INPUT_1"] == "101"
    assert "CPP_INPUT_DATE_1" not in metadata
    assert "OBJECT" not in metadata
    calib.update_metadata_from_exposures([make_exposure([[1.0]], header={"INSTRUME": "LSSTCam"})])
    assert calib.get_metadata()["INSTRUME"] == "LSSTCam"
    assert metadata["FILTER"] == "r"
    assert "exposures differ in FILTER: 'r' and 'i'" in caplog.text


def test_exposures_of_two_detectors_are_refused(make_exposure):
    """A calibration is of one detector."""
    exposures = [make_exposure([[1.0]], detector=name) for name in ("D1", "D2")]
    with pytest.raises(ValueError, match="exposures differ in DETECTOR_NAME: 'D1' and 'D2'"):
        CrosstalkCalib(n_amp=1).update_metadata_from_exposures(exposures)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("crosstalk_ratios_units", "e-", "crosstalk_ratios_units must be 'adu' or 'electron', got 'e-'"),
        ("coeffs", np.zeros((2, 3)), r"coeffs must have shape \(2, 2\), got \(2, 3\)"),
        ("coeff_valid", np.zeros(4), r"coeff_valid must have shape \(2, 2\), got \(4,\)"),
        ("fit_gains", np.zeros(3), r"fit_gains must have shape \(2,\), got \(3,\)"),
        ("crosstalk_shape", (3, 3), r"crosstalk_shape must be \(2, 2\), got \(3, 3\)"),
        ("coeffs", np.array([[0, 1], [np.nan, 0]]), "coeffs must be finite .* got nan at target 1, source 0"),
        ("coeffs_sqr", np.array([[0, np.inf], [0, 0]]), "coeffs_sqr must be finite .* got inf at target 0, source 1"),
        ("coeffs", [[0, 1], [0, 0]], "coeffs must be an array of numbers, got list"),
        ("coeff_err", np.full((2, 2), "x"), "coeff_err must be an array of numbers, got <U1"),
        (
            "coeff_err",
            np.array([[0, 0], [-1e-6, 0]]),
            "coeff_err must not be negative, got -1e-06 at target 1, source 0",
        ),
        ("coeff_num", np.array([[0, -1], [0, 0]]), "coeff_num must not be negative, got -1 at target 0, source 1"),
        ("inter_chip", {"N2": np.zeros(4)}, r"inter_chip\['N2'\] must have shape \(2, 2\), got \(4,\)"),
        ("inter_chip", {"N2": np.full((2, 2), np.nan)}, r"inter_chip\['N2'\] must be finite"),
    ],
)
def test_validate_names_what_is_wrong(detector, attribute, value, message):
    """Unit, shapes, numbers."""
    calib = CrosstalkCalib.from_detector(detector, np.zeros(4))
    assert calib.validate(detector)
    setattr(calib, attribute, value)
    with pytest.raises(ValueError, match=message):
        calib.validate()


def test_coefficient_that_is_marked_invalid_need_not_be_finite():
    """As in deployed files."""
    calib = CrosstalkCalib(n_amp=2)
    calib.coeffs[0, 1], calib.coeff_valid[0, 1] = np.nan, False
    assert calib.validate()


def test_validate_against_an_exposure(detector, make_exposure):
    """Number of amplifiers, and the detector under any of its names."""
    calib = CrosstalkCalib.from_detector(detector)
    for name in ("D1", "7", "S-7", ""):
        assert calib.validate(make_exposure([[1.0]], [[1.0]], detector=name))
    with pytest.raises(ValueError, match="n_amp must be that of the calibration, 2, got 1"):
        calib.validate(make_exposure([[1.0]]))
    with pytest.raises(ValueError, match="detector must be that of the calibration, '7 or D1 or S-7', got 'D2'"):
        calib.validate(make_exposure([[1.0]], [[1.0]], detector="D2"))


@pytest.mark.parametrize(
    ("instrument", "header"),
    [("LSSTCam", "lsstCam"), ("LSSTComCam", "ComCam"), ("LATISS", "LATISS"), ("HSC", "Hyper Suprime-Cam"), ("x", None)],
)
def test_validate_knows_the_camera_by_its_names(make_exposure, instrument, header):
    """As real headers and deployed calibrations call it; an exposure that does not say is not asked."""
    calib = CrosstalkCalib(n_amp=1)
    calib.update_metadata(INSTRUME=instrument)
    assert calib.validate(make_exposure([[1.0]], header={} if header is None else {"INSTRUME": header}))


def test_validate_refuses_the_calibration_of_another_camera(make_exposure):
    """Both are named; what the configuration calls the camera counts too."""
    calib, exposure = CrosstalkCalib(n_amp=1), make_exposure([[1.0]], header={"INSTRUME": "DECam"})
    calib.update_metadata(INSTRUME="LSSTCam")
    with pytest.raises(ValueError, match="instrument must be that of the calibration, 'lsstcam', got 'cam or decam'"):
        calib.validate(exposure)
    calib.update_metadata(INSTRUME="Cam")
    assert calib.validate(exposure)


def test_validate_knows_the_order_of_the_amplifiers(detector, make_exposure):
    """Where both have names: coefficients of A, B are not those of B, A."""
    calib, exposure = CrosstalkCalib.from_detector(detector), make_exposure([[1.0]], [[1.0]])
    exposure.amplifiers = dict(reversed(exposure.amplifiers.items()))
    with pytest.raises(ValueError, match="amplifiers must be that of the calibration, 'A,B', got 'B,A'"):
        calib.validate(exposure)
    with pytest.raises(ValueError, match="amplifiers must be that of the calibration, 'A,B', got 'B,A'"):
        calib.validate(replace(detector, amplifiers=detector.amplifiers[::-1]))
    calib.get_metadata().pop("AMPLIFIERS")  # as in deployed files
    assert calib.validate(exposure)


def test_validate_against_something_else(detector):
    """It says against what it can."""
    with pytest.raises(ValueError, match="against a Detector, an Exposure or another one, got str"):
        CrosstalkCalib.from_detector(detector).validate("D1")


@pytest.mark.parametrize("name", ["coeffs", "coeffs_sqr"])
def test_coefficients_without_has_crosstalk_do_not_validate(name):
    """They would not be subtracted."""
    calib = CrosstalkCalib(n_amp=2)
    getattr(calib, name)[0, 1] = 1e-4
    with pytest.raises(ValueError, match="has_crosstalk must be set where a coefficient is not zero"):
        calib.validate()


def test_validate_against_a_calibration(detector):
    """Units must be the same too, and the instrument."""
    calib, other = CrosstalkCalib.from_detector(detector), CrosstalkCalib.from_detector(detector)
    assert calib.validate(other)
    other.update_metadata(INSTRUME="Other")
    with pytest.raises(ValueError, match="instrument must be that of the calibration, 'cam', got 'other'"):
        calib.validate(other)
    other.crosstalk_ratios_units = "electron"
    other.update_metadata(INSTRUME="CAM")
    with pytest.raises(
        ValueError, match="crosstalk_ratios_units must be that of the calibration, 'adu', got 'electron'"
    ):
        calib.validate(other)


def test_background_is_the_median_of_good_pixels():
    """NaN and masked pixels do not count; without any there is none."""
    pixels = np.array([1.0, 2.0, 3.0, np.nan, 100.0])
    mask = np.array([0, 0, MaskBit.SAT, 0, MaskBit.BAD])
    assert CrosstalkCalib.calculate_background(pixels) == 2.5
    assert CrosstalkCalib.calculate_background(pixels, mask) == 2
    assert CrosstalkCalib.calculate_background(pixels, mask, ["BAD", "SAT"]) == 1.5
    assert np.isnan(CrosstalkCalib.calculate_background(pixels[3:4]))


def test_background_of_a_large_image_is_sampled():
    """Every n-th row of half a million pixels has the median to 1/400 of the scatter."""
    pixels = np.random.default_rng(1).normal(1000, 10, (1000, 600))
    assert CrosstalkCalib.calculate_background(pixels) == pytest.approx(1000, abs=5 * 1.25 * 10 / np.sqrt(2e5))


def test_import_is_cheap():
    """Tables and YAML are imported when a file is read or written."""
    code = "import sys, streamcal.calibs; print([m for m in ('astropy', 'yaml', 'scipy', 'numba') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
