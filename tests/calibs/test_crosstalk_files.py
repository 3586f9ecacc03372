"""Files of crosstalk calibrations: exact round trips, deployed and legacy forms, refusals."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table

from streamcal.calibs import Calib, CrosstalkCalib, Detector, DetectorAmplifier

COLUMNS = ["CT_COEFFS", "CT_ERRORS", "CT_COUNTS", "CT_VALID"]
COLUMNS += ["CT_COEFFS_SQR", "CT_ERRORS_SQR", "CT_AMP_GAIN_RATIOS", "CT_FIT_GAINS"]


def make_calib(n_amp=3):
    """Return a calibration with awkward numbers everywhere."""
    rng = np.random.default_rng(n_amp)
    amplifiers = tuple(DetectorAmplifier(name=f"C{n}", gain=1.4 + n / 7) for n in range(n_amp))
    detector = Detector(amplifiers=amplifiers, name="R22_S11", detector_id=94, serial="E2V-382", instrument="LSSTCam")
    calib = CrosstalkCalib.from_detector(detector, rng.normal(0, 1e-4, (n_amp, n_amp)), rng.normal(0, 1e-10, n_amp**2))
    calib.crosstalk_ratios_units = "electron"
    calib.coeffs[0, -1] = calib.coeff_err[-1, 0] = np.nan
    calib.coeff_num[0, 0] = 2**40
    calib.coeff_valid[-1, 0] = False
    calib.amp_gain_ratios = rng.normal(1, 0.01, (n_amp, n_amp))
    calib.update_metadata(SEQNAME=None, CALIB_ID="instrument=LSSTCam " + "long " * 20, LAMP_CURRENT_LONGNAME="x" * 80)
    return calib


@pytest.mark.parametrize("n_amp", [1, 2, 3, 16])
@pytest.mark.parametrize("ending", ["fits", "ecsv", "yaml", "yml"])
def test_round_trip_is_exact(tmp_path, ending, n_amp):
    """Every attribute and all metadata come back, NaN included, and a second trip changes nothing."""
    calib = make_calib(n_amp)
    for n in range(2):
        path = tmp_path / f"{n}.{ending}"
        if ending == "fits":
            calib.write_fits(path)
            back = CrosstalkCalib.read_fits(path)
        else:
            assert calib.write_text(path) == str(path)
            back = CrosstalkCalib.read_text(path)
        assert back == calib
        assert back.coeffs.dtype == np.float64
        assert (back.coeff_num.dtype, back.coeff_valid.dtype) == (np.int64, bool)
        calib = back


@pytest.mark.parametrize("ending", ["fits", "yaml"])
def test_inter_chip_round_trip_is_exact(tmp_path, ending):
    """Matrices of several source detectors come back under their names."""
    calib = make_calib()
    calib.inter_chip = {"N2": np.array([[0, 1e-5, np.nan], [2, 0, 3], [4, 5, 0]]), "a longer name": np.eye(3)}
    path = tmp_path / f"x.{ending}"
    back = (
        (calib.write_fits(path), CrosstalkCalib.read_fits(path))
        if ending == "fits"
        else (calib.write_text(path), CrosstalkCalib.read_text(path))
    )
    assert back[1] == calib


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        *(("x.fits", key, 7) for key in ("NAXIS2", "TFIELDS", "PCOUNT", "TTYPE1", "TNULL1")),
        ("x.fits", "COMMENT", "text"),
        ("x.fits", "HISTORY", "text"),
        ("x.ecsv", "NOTE", "two\nlines"),
    ],
)
def test_metadata_that_a_format_would_lose_or_change_are_refused(tmp_path, name, key, value):
    """The key is named, nothing is written; YAML holds it."""
    calib = make_calib()
    calib.update_metadata(**{key: value})
    with pytest.raises(ValueError, match=f"metadata {key} cannot be kept in"):
        calib.write_fits(tmp_path / name) if name.endswith(".fits") else calib.write_text(tmp_path / name)
    assert not list(tmp_path.iterdir())
    assert CrosstalkCalib.read_text(calib.write_text(tmp_path / "x.yaml")) == calib


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"CROSSTALK_VERSION": 2.0}, "schema 'Gen3 Crosstalk', version 2 is read as 'Gen3 Crosstalk', 1.2"),
        ({"CROSSTALK_SCHEMA": "Gen4 Crosstalk"}, "schema 'Gen4 Crosstalk', version 1.2 is read as"),
        ({"CROSSTALK_VERSION": 1.0}, ""),
        ({}, ""),
    ],
)
def test_newer_version_or_other_schema_is_warned_of(caplog, metadata, said):
    """It is read all the same; older ones are known."""
    calib = CrosstalkCalib.from_dict({"metadata": metadata, "coeffs": [0, 1e-4, 0, 0]})
    assert calib.coeffs[1, 0] == 1e-4
    assert said in caplog.text
    assert bool(caplog.text) == bool(said)


def test_comments_of_a_fits_file_are_no_metadata(tmp_path):
    """A file that somebody has annotated is read as before, and can be written again."""
    calib = make_calib()
    calib.write_fits(tmp_path / "x.fits")
    with fits.open(tmp_path / "x.fits", mode="update") as hdus:
        hdus[1].header["COMMENT"], hdus[1].header["HISTORY"] = "looks fine", "made by hand"
    back = CrosstalkCalib.read_fits(tmp_path / "x.fits")
    assert back == calib
    back.write_fits(tmp_path / "y.fits")
    assert CrosstalkCalib.read_fits(tmp_path / "y.fits") == calib


def test_ecsv_refuses_inter_chip(tmp_path):
    """It names the formats that can, and writes nothing."""
    calib = make_calib()
    calib.inter_chip = {"N2": np.eye(3)}
    with pytest.raises(ValueError, match=r"ECSV .* cannot hold inter-chip coefficients; write FITS or YAML"):
        calib.write_text(tmp_path / "x.ecsv")
    assert not list(tmp_path.iterdir())


def test_equality_sees_every_attribute():
    """One number, one mark or one entry of the metadata more is another calibration."""
    assert make_calib() == make_calib()
    for name in CrosstalkCalib.required_attributes - {"has_crosstalk", "n_amp", "crosstalk_shape"}:
        other = make_calib()
        value = getattr(other, name)
        if name == "inter_chip":
            value["N2"] = np.eye(3)
        elif name == "crosstalk_ratios_units":
            other.crosstalk_ratios_units = "adu"
        else:
            value[(1,) * value.ndim] = not value[(1,) * value.ndim]
        assert other != make_calib(), name
    other = make_calib()
    other.get_metadata()["NOTE"] = "x"
    assert other != make_calib()


@pytest.mark.parametrize(
    ("ending", "kind", "used"), [("txt", "yaml", "yaml"), ("txt", "ecsv", "ecsv"), ("yml", "yaml", "yml")]
)
def test_text_format_sets_the_ending(tmp_path, ending, kind, used):
    """The name used is returned, and the file is there."""
    name = make_calib().write_text(tmp_path / f"x.{ending}", format=kind)
    assert name == str(tmp_path / f"x.{used}")
    assert CrosstalkCalib.read_text(name) == make_calib()


def test_other_endings_and_formats_are_refused(tmp_path):
    """Reading and writing."""
    with pytest.raises(ValueError, match=r"x.txt: the name must end in .ecsv, .yaml or .yml"):
        make_calib().write_text(tmp_path / "x.txt")
    with pytest.raises(ValueError, match=r"the name must end in .ecsv, .yaml or .yml"):
        CrosstalkCalib.read_text(tmp_path / "x.json")
    with pytest.raises(ValueError, match="format must be 'auto', 'ecsv' or 'yaml', got 'json'"):
        make_calib().write_text(tmp_path / "x.yaml", format="json")


def test_fits_has_the_peers_names(tmp_path):
    """An empty primary HDU, one table of one row, the metadata in its header."""
    make_calib().write_fits(tmp_path / "x.fits")
    with fits.open(tmp_path / "x.fits") as hdus:
        assert (len(hdus), hdus[0].data, len(hdus[1].data)) == (2, None, 1)
        assert hdus[1].columns.names == COLUMNS
        assert hdus[1].columns.formats == ["9D", "9D", "9K", "9L", "9D", "9D", "9D", "3D"]
        header = hdus[1].header
    assert (header["OBSTYPE"], header["CROSSTALK_SCHEMA"], header["CROSSTALK_VERSION"]) == (
        "CROSSTALK",
        "Gen3 Crosstalk",
        1.2,
    )
    assert (header["INSTRUME"], header["DET_NAME"], header["DETECTOR"], header["NAMP"]) == ("LSSTCam", "R22_S11", 94, 3)
    assert header["CALIBCLS"] == "lsst.ip.isr.crosstalk.CrosstalkCalib"
    assert (header["HAS_CROSSTALK"], header["CROSSTALK_RATIOS_UNITS"], header["SEQNAME"]) == (True, "electron", "")


def test_dict_has_the_peers_keys():
    """Plain values only, so that any YAML reader has them."""
    dictionary = make_calib().to_dict()
    keys = (
        "metadata hasCrosstalk nAmp crosstalkShape crosstalkRatiosUnits coeffs coeffErr coeffNum coeffValid coeffsSqr"
    )
    assert set(dictionary) == {*keys.split(), "coeffErrSqr", "ampGainRatios", "fitGains", "interChip"}
    assert yaml.safe_load(yaml.safe_dump(dictionary))["nAmp"] == 3


@pytest.mark.parametrize(
    ("key", "value"), [("LEVEL", float("nan")), ("OBSERVER", "Čapek"), ("WEIGHT", 1.2345678901234567e-100)]
)
def test_metadata_that_a_header_cannot_hold_are_refused(tmp_path, key, value):
    """Nothing is cut or rounded silently."""
    calib = make_calib()
    calib.update_metadata(**{key: value})
    with pytest.raises(ValueError, match=f"metadata {key} cannot be kept in a FITS header"):
        calib.write_fits(tmp_path / "x.fits")


def test_only_coefficients_are_required():
    """The rest is zero, valid, in adu."""
    calib = CrosstalkCalib.from_table([Table({"CT_COEFFS": [[0.0, 1e-4, 2e-4, 0.0]]})])
    assert (calib.n_amp, calib.has_crosstalk, calib.crosstalk_ratios_units) == (2, True, "adu")
    assert calib.coeffs.tolist() == [[0, 2e-4], [1e-4, 0]]
    assert calib.coeff_valid.all()
    assert not calib.fit_gains.any()


def test_missing_coefficients_are_named():
    """In dicts and tables."""
    with pytest.raises(ValueError, match=r"coeffs \(CT_COEFFS in tables\) is required"):
        CrosstalkCalib.from_dict({"nAmp": 2})


@pytest.mark.parametrize(("version", "units"), [(1.0, "adu"), (1.1, "electron"), (1.2, "electron")])
def test_unit_before_version_1_1_is_adu(version, units):
    """Whatever the file says."""
    metadata = {"CROSSTALK_VERSION": version, "CROSSTALK_RATIOS_UNITS": "electron"}
    assert CrosstalkCalib.from_dict({"metadata": metadata, "coeffs": [0] * 4}).crosstalk_ratios_units == units


def test_single_fit_gain_means_unknown():
    """A legacy form; of one amplifier it is its gain; other lengths are wrong."""
    assert CrosstalkCalib.from_dict({"coeffs": [0] * 4, "fitGains": [1.5]}).fit_gains.tolist() == [0, 0]
    assert CrosstalkCalib.from_dict({"coeffs": [0], "fitGains": [1.5]}).fit_gains.tolist() == [1.5]
    with pytest.raises(ValueError, match="fitGains must hold 2 values, got 3"):
        CrosstalkCalib.from_dict({"coeffs": [0] * 4, "fitGains": [1, 2, 3]})


def test_stated_number_of_amplifiers_must_fit():
    """Nine coefficients are not of four amplifiers."""
    with pytest.raises(ValueError, match="coeffs must hold 4 x 4 values, got 9"):
        CrosstalkCalib.from_dict({"nAmp": 4, "coeffs": [0] * 9})


def test_detector_is_known_by_its_old_names():
    """At top level and in camel case."""
    calib = CrosstalkCalib.from_dict({"coeffs": [0] * 4, "detectorName": "N1", "detectorSerial": "s", "detectorId": 3})
    metadata = calib.get_metadata()
    assert [metadata[key] for key in ("DETECTOR_NAME", "DET_NAME", "DET_SER", "DETECTOR")] == ["N1", "N1", "s", 3]


@pytest.mark.parametrize("ending", ["fits", "ecsv", "yaml"])
def test_calibration_of_another_kind_is_refused_by_name(tmp_path, ending):
    """A PTC is no crosstalk, in any format; the file is named too."""
    path = tmp_path / f"ptc.{ending}"
    if ending == "yaml":
        path.write_text("metadata: {OBSTYPE: PTC}\n")
    else:
        Table({"GAIN": [1.5]}, meta={"OBSTYPE": "PTC"}).write(path)
    read = CrosstalkCalib.read_fits if ending == "fits" else CrosstalkCalib.read_text
    with pytest.raises(ValueError, match=r"ptc\..*OBSTYPE must be 'CROSSTALK', got 'PTC'"):
        read(path)


def test_class_is_chosen_by_the_metadata(tmp_path):
    """By OBSTYPE, else by the class name; reading through the base class does it."""
    assert Calib.determine_calib_class({"OBSTYPE": "crosstalk"}) is CrosstalkCalib
    assert Calib.determine_calib_class({"CALIBCLS": "lsst.ip.isr.crosstalk.CrosstalkCalib"}) is CrosstalkCalib
    make_calib().write_fits(tmp_path / "x.fits")
    assert Calib.read_fits(tmp_path / "x.fits") == make_calib()


@pytest.mark.parametrize("metadata", [{}, {"OBSTYPE": "PTC"}, {"CALIBCLS": "lsst.ip.isr.IsrCalib"}])
def test_no_class_beyond_the_base_is_an_error(metadata):
    """It says what there is and what was found."""
    with pytest.raises(ValueError, match=r"x.yaml: OBSTYPE must be one of CROSSTALK, got"):
        Calib.determine_calib_class(metadata, "x.yaml")


def test_yaml_runs_nothing(tmp_path):
    """A tag that would call a function is refused."""
    path = tmp_path / "x.yaml"
    path.write_text("coeffs: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ValueError, match=r"x.yaml: not the YAML of a calibration"):
        CrosstalkCalib.read_text(path)
    path.write_text("- 1\n")
    with pytest.raises(ValueError, match="must be a mapping, got list"):
        CrosstalkCalib.read_text(path)


def test_damaged_second_table_is_an_error(tmp_path):
    """Inter-chip coefficients are not lost silently."""
    calib = make_calib()
    calib.inter_chip = {"N2": np.eye(3)}
    calib.write_fits(tmp_path / "x.fits")
    content = (tmp_path / "x.fits").read_bytes()
    (tmp_path / "x.fits").write_bytes(content.replace(b"IC_COEFFS", b"IC_XXXXXX"))
    with pytest.raises(ValueError, match=r"x.fits: .*IC_COEFFS"):
        CrosstalkCalib.read_fits(tmp_path / "x.fits")


@pytest.mark.parametrize("size", [0, 100, 5000, 5800, 12000, 15000])
def test_cut_file_is_an_error(tmp_path, size):
    """Wherever a file is cut it is refused, and named."""
    calib = make_calib()
    calib.inter_chip = {"N2": np.eye(3)}
    calib.write_fits(tmp_path / "x.fits")
    content = (tmp_path / "x.fits").read_bytes()
    assert size < len(content)
    (tmp_path / "x.fits").write_bytes(content[:size])
    with pytest.raises(ValueError, match=r"x.fits: "):
        CrosstalkCalib.read_fits(tmp_path / "x.fits")


def test_compressed_file_is_read(tmp_path):
    """As some archives deliver it; one that is cut is refused."""
    make_calib().write_fits(tmp_path / "x.fits")
    packed = gzip.compress((tmp_path / "x.fits").read_bytes())
    (tmp_path / "x.fits.gz").write_bytes(packed)
    assert CrosstalkCalib.read_fits(tmp_path / "x.fits.gz") == make_calib()
    for damaged in (packed[:-40], packed[:20] + b"zz" + packed[22:]):
        with pytest.raises(ValueError, match=r"x\.fits\.gz: cannot be read as FITS: "):
            CrosstalkCalib.from_bytes(damaged, "x.fits.gz")


def test_missing_file_is_an_oserror(tmp_path):
    """It is not taken for a damaged one."""
    with pytest.raises(FileNotFoundError):
        CrosstalkCalib.read_fits(tmp_path / "none.fits")
    with pytest.raises(FileNotFoundError):
        CrosstalkCalib.read_text(tmp_path / "none.ecsv")
