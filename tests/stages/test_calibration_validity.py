"""Which of several calibration files holds: by date, in folders and by wildcards."""

import math
from dataclasses import replace

import pytest

from streamcal.calibs.crosstalk import CrosstalkCalib
from streamcal.errors import StageError
from streamcal.stages.crosstalk import CrosstalkSettings
from streamcal.stages.crosstalk_files import load_calib
from streamcal.stages.validity import NoCalibrationError, find_date, find_valid_file
from streamcal.testing import RecordingContext

MJD_2024 = 60310.0  # 2024-01-01


@pytest.fixture
def info(made):
    """Return an exposure that began at noon of 2024-01-01."""
    return made.info(detector="R22_S11", mjd_start_utc=MJD_2024 + 0.5)


@pytest.fixture
def find(tmp_path, info):
    """Find the file for an exposure by the dates in the names; return its name."""

    def search(pattern, **changes):
        path = find_valid_file(pattern, replace(info, **changes), (tmp_path,), by_name)
        return str(path.relative_to(tmp_path))

    return search


def by_name(path):
    """Return the date in a file's name."""
    date = find_date(path.name)
    return -math.inf if date is None else date


def put(folder, *names):
    """Make empty files."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("text", "mjd"),
    [
        ("19700101T000000.ecsv", 40587.0),
        ("ct_2024-01-01.fits", MJD_2024),
        ("2024-01-01T12:00:00.250", MJD_2024 + 43200.25 / 86400),
        ("2024-01-01 12:00:00", MJD_2024 + 0.5),
        ("20240101T1200Z.ecsv", MJD_2024 + 0.5),
        ("20240101T12.ecsv", MJD_2024 + 0.5),
        ("20240101_12345678.fits", MJD_2024),
        ("ITL-38000101.fits", None),
        ("20231231_20240101.yaml", MJD_2024),
        ("20240101T060000.fits.gz", MJD_2024 + 0.25),
        ("r22_s11.ecsv", None),
        ("20241301.ecsv", None),
        ("120240101.ecsv", None),
        ("", None),
    ],
)
def test_dates_in_texts(text, mjd):
    """The last one counts, with its time of day; what is no day of the calendar, or a serial number, is no date."""
    assert find_date(text) == mjd


def test_newest_file_that_holds_already(tmp_path, find):
    """Not the newest of all, and not the oldest."""
    put(tmp_path, "R22_S11/19700101T000000.ecsv", "R22_S11/20231101T000000.ecsv", "R22_S11/20240102T000000.ecsv")
    assert find("{detector}") == "R22_S11/20231101T000000.ecsv"
    assert find("{detector}", mjd_start_utc=MJD_2024 + 1.0) == "R22_S11/20240102T000000.ecsv"
    assert find("{detector}/*.ecsv", mjd_start_utc=50000.0) == "R22_S11/19700101T000000.ecsv"


def test_wildcards_and_lower_case(tmp_path, find):
    """As LSST's folders are named; other endings, hidden files and folders do not count."""
    put(tmp_path, "lsstCam/r22_s11/19700101T000000.ecsv", "lsstCam/r22_s11/20240101.txt", "lsstCam/r22_s11/.x.ecsv")
    put(tmp_path, "lsstCam/r22_s11/20230101.ecsv/inside")
    assert find("lsstCam/{detector}") == "lsstCam/r22_s11/19700101T000000.ecsv"
    put(tmp_path, "cam/R22_S11.fits")
    assert find("{instrument}/{detector}.fits") == "cam/R22_S11.fits"
    assert find("*/{detector}/19*.ecsv") == "lsstCam/r22_s11/19700101T000000.ecsv"


def test_absolute_patterns(tmp_path, find):
    """They need no folder."""
    put(tmp_path, "R22_S11/20230101.fits")
    assert find(f"{tmp_path}/{{detector}}") == "R22_S11/20230101.fits"


def test_a_file_that_is_named_as_a_whole_is_taken(tmp_path, find):
    """Whatever its date."""
    put(tmp_path, "20990101.fits")
    assert find("20990101.fits") == "20990101.fits"


def test_a_header_cannot_be_a_wildcard(tmp_path, find):
    """A detector named "*" is not every detector."""
    put(tmp_path, "R22_S11/20230101.fits")
    with pytest.raises(NoCalibrationError, match=r"no file '\*' \(relative names are looked for in: "):
        find("{detector}", detector="*")


def test_a_folder_without_a_calibration_says_what_counts(tmp_path, find):
    """Other files may lie in it."""
    put(tmp_path, "R22_S11/readme.txt")
    with pytest.raises(NoCalibrationError, match=r"no file 'R22_S11' .*; in a folder files count that end in \.fits, "):
        find("{detector}")


@pytest.mark.parametrize("text", ["observer: somebody\n", "metadata: {OBSTYPE: PTC}\n"])
def test_files_that_are_no_calibration_do_not_count(tmp_path, info, text):
    """Notes beside the calibrations; alone they are none."""
    (tmp_path / "notes.yaml").write_text(text)
    settings, context = CrosstalkSettings(file="*.yaml"), RecordingContext("crosstalk", folders=(tmp_path,))
    with pytest.raises(NoCalibrationError, match=r"none of 1 files such as .*notes\.yaml is such a calibration"):
        load_calib(info, settings, context)
    CrosstalkCalib(n_amp=1).write_text(tmp_path / "x.yaml")
    assert load_calib(info, settings, context).origin == str(tmp_path / "x.yaml")


@pytest.mark.parametrize("text", ["coeffs: [0, 1,", "metadata: {OBSTYPE: CROSSTALK}\n"])
def test_a_damaged_calibration_is_an_error(tmp_path, info, text):
    """An older one must not take its place unnoticed."""
    CrosstalkCalib(n_amp=1).write_text(tmp_path / "20200101.yaml")
    (tmp_path / "x.yaml").write_text(text)
    context = RecordingContext("crosstalk", folders=(tmp_path,))
    with pytest.raises(StageError, match=r"x\.yaml: "):
        load_calib(info, CrosstalkSettings(file="*.yaml"), context)


def test_no_file_holds_yet(tmp_path, find):
    """The message says that there are files, and which exposure."""
    put(tmp_path, "R22_S11/20250101.fits")
    with pytest.raises(
        NoCalibrationError, match=r"all of 1 files such as .* hold from after the start of exposure cam/R"
    ):
        find("{detector}")


def test_unclear_choices_are_errors(tmp_path, find):
    """Two of one date; and an exposure that does not say when it began."""
    put(tmp_path, "R22_S11/20230101.fits", "R22_S11/a_20230101.fits")
    with pytest.raises(StageError, match="hold from the same time: give them different dates"):
        find("{detector}")
    with pytest.raises(StageError, match="exposure cam/R22_S11/1 has no start time by which to choose among 2 files"):
        find("{detector}", mjd_start_utc=math.nan)


def test_dates_in_metadata_count_where_names_have_none(tmp_path, info):
    """CALIBDATE; without one a file holds from ever; the name comes first."""
    for name, date in (
        ("old", ""),
        ("new", "2023-06-01T00:00:00"),
        ("later", "2024-06-01"),
        ("19800101", "2023-12-31"),
    ):
        calib = CrosstalkCalib(n_amp=1)
        calib.update_metadata(CALIBDATE=date)
        calib.write_text(tmp_path / f"{name}.yaml")
    settings, context = CrosstalkSettings(file="*.yaml"), RecordingContext("crosstalk", folders=(tmp_path,))
    found = [load_calib(replace(info, mjd_start_utc=mjd), settings, context) for mjd in (MJD_2024, 40000.0)]
    assert [loaded.origin for loaded in found] == [str(tmp_path / "new.yaml"), str(tmp_path / "old.yaml")]


def test_a_detector_without_a_file_that_holds_is_skipped_only_when_configured(tmp_path, info):
    """As one without any file."""
    put(tmp_path, "R22_S11/20250101.fits")
    context = RecordingContext("crosstalk", folders=(tmp_path,))
    assert load_calib(info, CrosstalkSettings(file="{detector}", missing="skip"), context) is None
    with pytest.raises(NoCalibrationError):
        load_calib(info, CrosstalkSettings(file="{detector}"), context)
