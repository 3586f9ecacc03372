"""Headers say what an exposure is; a worker looks into a file and says it in JSON."""

import json
import math
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from streamcal.errors import ConfigError, ExposureError, FileChanged, NotWhole
from streamcal.instruments.identify import check_facts, identify, why_not_flat
from streamcal.instruments.inspect import inspect_file
from streamcal.instruments.lookups import find_first
from streamcal.records import FileStat

STAT = FileStat(size=1, mtime_ns=2, inode=3, device=4)
IMAGE = {"SIMPLE": True, "NAXIS": 2, "NAXIS1": 20, "NAXIS2": 10}


def look(instrument, header, path="/data/flat_001.fits", **keys):
    """Identify a file of one HDU and one detector."""
    (info,) = identify(instrument, [IMAGE | header], path, STAT, "00", **keys)
    return info


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ({"IMAGETYP": "Flat Field"}, "a.fits"),
        ({"IMAGETYP": "FLAT"}, "a.fits"),
        ({"OBSTYPE": "dome flat"}, "a.fits"),
        ({"IMAGETYP": "Light Frame"}, "flat-001.fits"),
        ({"IMAGETYP": "Light Frame"}, "night_skyflats.fit"),
        ({"IMAGETYP": "Light Frame"}, "Flats/a.fits"),
        ({"IMAGETYP": "Light Frame", "OBJECT": "FlatWizard"}, "a.fits"),
        ({"IMAGETYP": "Light Frame"}, "AutoFlat-001.fit"),
        ({"IMAGETYP": "Light Frame"}, "LFlat.fit"),
        ({"IMAGETYP": "Light Frame"}, "twilightflat1.fits"),
        ({"IMAGETYP": "Light Frame"}, "2026-01-02_FlatWizard_001.fits"),
    ],
)
def test_what_the_simple_camera_takes_for_a_flat(shipped, header, name) -> None:
    """Header first; light frames by name or folder."""
    assert look(shipped("simple"), header, f"/data/{name}").is_flat


@pytest.mark.parametrize(
    ("header", "name", "reason"),
    [
        ({"IMAGETYP": "Bias Frame"}, "flat.fits", "not a flat: IMAGETYP = 'Bias Frame'"),
        ({"IMAGETYP": "Dark Flat"}, "a.fits", "not a flat: IMAGETYP = 'Dark Flat'"),
        ({}, "flats/bias_1.fits", "not a flat: @name = 'bias_1.fits'"),
        ({}, "flats/DarkFlat_001.fits", "not a flat: @name = 'DarkFlat_001.fits'"),
        ({}, "flats/flatdark1.fits", "not a flat: @name = 'flatdark1.fits'"),
        ({}, "flats/MasterFlat.fits", "not a flat: @name = 'MasterFlat.fits'"),
        ({}, "flats_dark/a.fit", "not a flat: @folder = 'flats_dark'"),
        ({}, "darks/flat_1s.fit", "not a flat: @folder = 'darks'"),
        ({"OBJECT": "Dark Flat"}, "a.fit", "not a flat: OBJECT = 'Dark Flat'"),
    ],
)
def test_what_it_does_not(shipped, header, name, reason) -> None:
    """What a header denies no name can claim; the reason quotes it."""
    info = look(shipped("simple"), header, f"/data/{name}")
    assert (info.is_flat, info.reason) == (False, reason)


def test_light_frame_elsewhere_is_no_flat(shipped) -> None:
    """Names that merely contain the letters do not count."""
    assert not look(shipped("simple"), {"IMAGETYP": "Light Frame"}, "/flats_of_2024/m31/inflated.fits").is_flat


def test_reason_without_any_key(make_instrument) -> None:
    """The keys that were looked for are named."""
    assert why_not_flat(make_instrument().identify, {}) == "not a flat: the header has none of IMAGETYP"


def test_id_of_a_file_name_without_its_endings(shipped) -> None:
    """The simple camera falls back to the name."""
    assert look(shipped("simple"), {}, "/data/flat.10s.002.fits.gz").exposure_id == "flat.10s.002"


def test_names_that_begin_anew_each_night(shipped) -> None:
    """The date tells one night's first file from another's, the name one of a second's files from the next."""
    instrument = shipped("simple")
    ids = [
        look(instrument, {"DATE-OBS": date}, f"/data/{name}").exposure_id
        for date in ("2026-01-02T18:00:01", "2026-01-03T18:00:01")
        for name in ("flat-0001.fit", "flat-0002.fit.gz")
    ]
    assert ids[:2] == ["2026-01-02T18:00:01_flat-0001", "2026-01-02T18:00:01_flat-0002"]
    assert len(set(ids)) == 4


def test_id_of_an_lsst_file_whose_number_is_text(shipped) -> None:
    """What does not fit is passed over: the next key gives the id."""
    facts = {"CONTRLLR": "O", "DAYOBS": "20260102", "SEQNUM": "x", "OBSID": "MC_O_20260102_000042"}
    table = shipped("lsstcam").identify
    assert find_first(table.exposure_id, facts) == "MC_O_20260102_000042"
    assert find_first(table.exposure_id, facts | {"SEQNUM": "42"}) == "2026010200042"


def test_start_whose_time_is_empty_falls_through(shipped) -> None:
    """A later key that holds one counts."""
    header = {"DATE-OBS": "2026-01-02", "TIME-OBS": "", "UT": "06:00:00"}
    assert look(shipped("simple"), header).mjd_start_utc == pytest.approx(61042.25)


def test_missing_id_of_a_flat_is_an_error(make_instrument) -> None:
    """It names what was tried."""
    instrument = make_instrument(identify={"exposure_id": ["EXPID", {"key": "@name", "pattern": "x(.)"}]})
    with pytest.raises(ExposureError, match=r"no exposure id: none of EXPID, @name ~ 'x\(\.\)'"):
        look(instrument, {"IMAGETYP": "flat", "DATASEC": "[*,*]"})


def test_what_is_no_flat_needs_neither_id_nor_geometry(make_instrument) -> None:
    """It is ignored, not rejected."""
    info = look(make_instrument(), {"IMAGETYP": "bias"})
    assert (info.exposure_id, info.is_flat) == ("", False)


def test_flat_without_time_stays_a_flat(make_instrument) -> None:
    """Pairing rejects it with a reason of its own."""
    info = look(make_instrument(), {"IMAGETYP": "flat", "EXPID": 5, "DATASEC": "[*,*]"})
    assert info.is_flat
    assert all(math.isnan(value) for value in (info.exposure_time, info.flux, info.mjd_start))


def test_flat_of_impossible_geometry_is_an_error(make_instrument) -> None:
    """Better now than when its partner would be lost with it."""
    with pytest.raises(ExposureError, match="outside the array of 20 columns and 10 rows"):
        look(make_instrument(), {"IMAGETYP": "flat", "EXPID": 5, "DATASEC": "[1:21,1:10]"})


def test_unit_of_the_exposure_time(make_instrument) -> None:
    """Milliseconds become seconds."""
    instrument = make_instrument(identify={"exposure_time": ["IMG_EXP"], "exposure_time_unit": "ms"})
    assert look(instrument, {"IMG_EXP": 1999}).exposure_time == pytest.approx(1.999)


def test_scale_from_the_header(make_instrument) -> None:
    """TIMESYS is honoured where the table says so."""
    header = {"MJD-OBS": 60000.0, "TIMESYS": "TAI"}
    assert look(make_instrument(identify={"start_scale_key": "TIMESYS"}), header).mjd_start == pytest.approx(60000.0)
    assert look(make_instrument(), header).mjd_start_utc == pytest.approx(60000.0)


def test_start_from_the_end(make_instrument) -> None:
    """Of cameras that write when an exposure ended: it less the exposure time, whatever stands as start."""
    instrument = make_instrument(identify={"end": ["MJD-END"]})
    header = {"MJD-OBS": 50000.0, "EXPTIME": 21.6}
    assert look(instrument, header).mjd_start_utc == pytest.approx(50000.0)
    assert look(instrument, header | {"MJD-END": 60000.0}).mjd_start_utc == pytest.approx(60000.0 - 0.00025, abs=1e-9)
    assert math.isnan(look(instrument, {"MJD-END": 60000.0}).mjd_start)


def test_group_and_auxiliary(make_instrument) -> None:
    """Groups are text, missing keys leave a gap; auxiliary values keep their type."""
    instrument = make_instrument(identify={"run": ["RUNNUM"], "filter": ["FILT1", "FILT2"]})
    info = look(
        instrument,
        {"RUNNUM": 12.0, "FILT2": "r", "TEMP": -100.5},
        group_keys=("@run", "@filter", "HIERARCH NIGHT"),
        auxiliary_keys=("TEMP", "NONE"),
    )
    assert info.group == "@run=12;@filter=r;HIERARCH NIGHT="
    assert info.auxiliary == {"TEMP": -100.5, "NONE": None}


@pytest.mark.parametrize("keys", [["@run", "@FILTER", "@name"], ["{@folder}_{NIGHT}"], ["anything"]])
def test_known_facts_can_be_asked_for(keys) -> None:
    """In any case, and inside templates; what a header holds nobody knows before."""
    check_facts(keys)


@pytest.mark.parametrize(("key", "named"), [("@rn", "@rn"), ("{NIGHT}_{@fold}", "@fold"), ("{NIGHT", "expected '}'")])
def test_unknown_facts_are_refused(key, named) -> None:
    """They would be empty in every exposure."""
    with pytest.raises(ConfigError, match=named):
        check_facts(["@run", key])


@pytest.mark.parametrize("compressed", [False, True])
def test_simulated_file(shipped, inspect, simulated_file, compressed) -> None:
    """The simulator's files are understood whole, tile-compressed ones too."""
    path = simulated_file(compressed=compressed)
    (info,) = inspect(path, shipped("simulated"), group_keys=["RUNID"], auxiliary_keys=["FILTER"])
    assert (info.detector, info.exposure_id, info.is_flat, info.group) == ("S00", "7", True, "RUNID=R1")
    assert (info.exposure_time, info.flux, info.mjd_start_utc) == (2.5, 1000.0, pytest.approx(60000.25))
    assert (info.path, len(info.digest), info.auxiliary) == (str(path), 32, {"FILTER": "r"})


def test_file_cut_between_hdus_is_not_whole(shipped, inspect, simulated_file) -> None:
    """Only the expected number of images tells."""
    with pytest.raises(NotWhole, match="has 3 of 4 image HDUs"):
        inspect(simulated_file(n_amplifiers=3), shipped("simulated"))


def test_file_cut_within_an_hdu_is_not_whole(shipped, inspect, simulated_file, tmp_path) -> None:
    """The bytes that a header announces are missing."""
    whole = simulated_file().read_bytes()
    (tmp_path / "cut.fits").write_bytes(whole[: len(whole) - 2880])
    with pytest.raises(NotWhole):
        inspect(tmp_path / "cut.fits", shipped("simulated"))


def test_name_of_any_bytes(shipped, inspect, simulated_file, tmp_path) -> None:
    """Bytes that are not UTF-8, and newlines, survive the way through JSON."""
    name = os.fsdecode(b"flat\xff\n[1].fits")
    shutil.copy(simulated_file(), tmp_path / name)
    (info,) = inspect(tmp_path / name, shipped("simulated"))
    assert os.fsencode(info.path).endswith(b"/flat\xff\n[1].fits")


def test_another_file_of_the_same_name(shipped, inspect, simulated_file) -> None:
    """What was admitted is what is looked into."""
    path = simulated_file()
    with pytest.raises(FileChanged):
        inspect(path, shipped("simulated"), stat=replace(FileStat.of(path.stat()), mtime_ns=1))


def test_header_that_astropy_cannot_read(shipped, inspect, simulated_file, monkeypatch) -> None:
    """Whatever astropy meets becomes one error with words."""
    path = simulated_file()

    def stumble(*args, **kwargs):
        return args[0].no_such_thing

    monkeypatch.setattr(fits, "open", stumble)
    with pytest.raises(ExposureError, match=r"its headers cannot be read: AttributeError: .*no_such_thing"):
        inspect(path, shipped("simulated"))


@pytest.mark.parametrize("seed", range(40))
def test_mutated_headers_never_raise_anything_else(shipped, simulated_file, tmp_path, seed) -> None:
    """A file with damaged header bytes is identified, not whole, or refused with a reason."""
    random = np.random.default_rng(seed)
    content = bytearray(simulated_file().read_bytes())
    for position in random.integers(0, 2880 * 3, 30):
        content[position] = random.integers(0, 256)
    path = Path(tmp_path / "mutated.fits")
    path.write_bytes(content)
    job = {"path": str(path), "stat": asdict(FileStat.of(path.stat())), "instrument": shipped("simulated").to_dict()}
    job |= {"limits": {}, "group_keys": ["RUNID"], "auxiliary_keys": ["FLUX"]}
    with suppress(ExposureError, NotWhole):
        answer = json.loads(inspect_file(json.dumps(job).encode()))
        assert len(answer["exposures"]) == 1
