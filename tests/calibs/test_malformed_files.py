"""Files that say nonsense are refused by the name of what is wrong; what a format cannot hold is not written."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table, vstack

from streamcal.calibs import CrosstalkCalib


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metadata: [1]", "metadata must be a mapping, got list"),
        ("interChip: [1]", "interChip must be a mapping, got list"),
        ("coeffs: {a: 1}", "coeffs must be numbers, got {'a': 1}"),
        ("coeffs: [[0, 1], [2]]", r"coeffs must be numbers, got \[\[0, 1\], \[2\]\]"),
        ("coeffErr: [0, x, 0, 0]", r"coeffErr must be numbers, got \[0, 'x', 0, 0\]"),
        ("coeffNum: [0, .nan, 0, 0]", "coeffNum must be whole numbers"),
        ("coeffNum: [0, 1.5, 0, 0]", "coeffNum must be whole numbers"),
        ("coeffValid: ['False', 'False', 'False', 'False']", "coeffValid must be true or false"),
        ("coeffValid: [0, 2, 0, 0]", "coeffValid must be true or false"),
        ("hasCrosstalk: 'False'", "hasCrosstalk must be true or false, got 'False'"),
        ("nAmp: two", "nAmp must be whole numbers, got 'two'"),
        ("nAmp: [2]", r"nAmp must be a number of amplifiers, got \[2\]"),
        ("crosstalkRatiosUnits: electrons", "crosstalkRatiosUnits must be 'adu' or 'electron', got 'electrons'"),
        ("metadata: {CROSSTALK_VERSION: abc}", "CROSSTALK_VERSION must be numbers, got 'abc'"),
        ("metadata: {INSTRUME: [a]}", r"metadata INSTRUME must be a text or a number, got \['a'\]"),
        ("metadata: !<lsst.daf.base.PropertyList> [1]", "a PropertyList must hold"),
    ],
)
def test_wrong_value_is_refused_by_its_name(tmp_path, text, message):
    """With the file's name before it, as a ValueError and nothing else."""
    path = tmp_path / "x.yaml"
    path.write_text(text if "coeffs" in text else f"coeffs: [0, 1, 1, 0]\n{text}")
    with pytest.raises(ValueError, match=rf"x\.yaml: {message}"):
        CrosstalkCalib.read_text(path)


def test_numbers_may_be_written_as_plain_yaml_takes_for_texts(tmp_path):
    """``1e-4`` without a point is a text to YAML 1.1; 1 and 0 are true and false."""
    (tmp_path / "x.yaml").write_text("coeffs: [0, 1e-4, 2e-4, 0]\ncoeffValid: [0, 1, 1, 0]\nhasCrosstalk: 1")
    calib = CrosstalkCalib.read_text(tmp_path / "x.yaml")
    assert calib.coeffs.tolist() == [[0, 2e-4], [1e-4, 0]]
    assert calib.coeff_valid.tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize("rows", [0, 2])
def test_first_table_has_one_row(rows):
    """Two calibrations in a file are not one of them."""
    table = CrosstalkCalib(n_amp=2).to_table()[0]
    with pytest.raises(ValueError, match=f"a first table of one row must be there, got {rows} rows"):
        CrosstalkCalib.from_table([vstack([table, table], metadata_conflicts="silent")[:rows]])
    with pytest.raises(ValueError, match="got no table"):
        CrosstalkCalib.from_table([])


def test_a_detector_is_a_source_once():
    """Of two matrices for one detector none is left out silently."""
    chips = Table({"IC_SOURCE_DET": ["N2", "N2"], "IC_COEFFS": np.zeros((2, 4))})
    with pytest.raises(ValueError, match="IC_SOURCE_DET must name each detector once, got 'N2' twice"):
        CrosstalkCalib.from_table([Table({"CT_COEFFS": np.zeros((1, 4))}), chips])


@pytest.mark.parametrize("ending", ["fits", "ecsv", "yaml"])
def test_a_file_with_one_byte_changed_is_read_or_refused(tmp_path, ending):
    """Never another error than ValueError, whichever byte it is."""
    path, rng = tmp_path / f"x.{ending}", np.random.default_rng(1)
    calib = CrosstalkCalib(n_amp=2)
    calib.write_fits(path) if ending == "fits" else calib.write_text(path)
    content, messages = path.read_bytes(), []
    for place in rng.integers(0, len(content.rstrip(b"\0")), 60):
        changed = bytearray(content)
        changed[place] = rng.integers(1, 256)
        try:
            CrosstalkCalib.from_bytes(bytes(changed), path)
        except ValueError as exc:
            messages.append(str(exc))
    assert messages
    assert all(message.startswith(f"{path}: ") for message in messages)


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, "é"])
def test_metadata_that_fits_cannot_hold_are_not_dropped(tmp_path, value):
    """Lists were left out silently; only the shape, which the number of amplifiers implies, may be."""
    calib = CrosstalkCalib(n_amp=2)
    calib.write_fits(tmp_path / "x.fits")
    before = (tmp_path / "x.fits").read_bytes()
    calib.update_metadata(RUNS=value)
    with pytest.raises(ValueError, match="metadata RUNS cannot be kept in a FITS header"):
        calib.write_fits(tmp_path / "x.fits")
    assert [path.name for path in tmp_path.iterdir()] == ["x.fits"]
    assert (tmp_path / "x.fits").read_bytes() == before


@pytest.mark.parametrize(("name", "message"), [("é1", "FITS holds ASCII only and cannot hold 'é1'"), ("N2 ", "blanks")])
def test_names_that_fits_cannot_hold_are_refused(tmp_path, name, message):
    """Of other detectors: they would come back as others, or not at all."""
    calib = CrosstalkCalib(n_amp=2)
    calib.inter_chip[name] = np.zeros((2, 2))
    with pytest.raises(ValueError, match=message):
        calib.write_fits(tmp_path / "x.fits")


@pytest.mark.parametrize("ending", ["fits", "ecsv", "yaml"])
def test_a_file_is_replaced_when_it_is_whole(tmp_path, ending, monkeypatch):
    """A disk that fills up leaves the old file as it was, and nothing beside it."""
    path, calib = tmp_path / f"x.{ending}", CrosstalkCalib(n_amp=2)
    write = calib.write_fits if ending == "fits" else calib.write_text
    write(path)
    before = path.read_bytes()

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    calib.update_metadata(CALIB_ID="new")
    with pytest.raises(OSError, match="No space left"):
        write(path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == before


@pytest.mark.parametrize("ending", ["ecsv", "yaml"])
def test_metadata_that_are_nan_equal_themselves(tmp_path, ending):
    """So that a round trip can be checked."""
    calib = CrosstalkCalib(n_amp=2)
    calib.update_metadata(TEMP=float("nan"), TEMPS=[1.5, float("nan")])
    assert CrosstalkCalib.read_text(calib.write_text(tmp_path / f"x.{ending}")) == calib
    other = CrosstalkCalib(n_amp=2)
    other.update_metadata(TEMP=0.0, TEMPS=[1.5, float("nan")])
    assert other != calib
