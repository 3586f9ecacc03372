"""LSSTCam, ComCam, LATISS and test stand 8: real files and headers, pixels of known truth."""

import gzip
import io
import json

import numpy as np
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from streamcal.cli.main import app
from streamcal.errors import NotWhole
from streamcal.instruments.read import read_exposure

SEGMENTS = [f"Segment{name}" for name in (*range(10, 18), *("07", "06", "05", "04", "03", "02", "01", "00"))]
E2V, ITL = {"rows": (0, 2002), "columns": (10, 522)}, {"rows": (0, 2000), "columns": (3, 512)}
FLAT_E2V = "30211212000310-R22-S22-det098.fits"
FLAT_ITL = "3019032200002-R10-S22-det035.fits"


def segments(made, place):
    """Sixteen amplifiers, each stored in the order of its readout."""
    end = place["columns"][1]
    return made.truth(
        [made.amplifier(name=name, hdu=name, corner="LL", overscan=(end, 576), **place) for name in SEGMENTS]
    )


def write_like(source, target, images, seqnum, *, compressed):
    """Write a file with the HDUs of another one in which images and number are new."""
    with gzip.open(source) as packed, fits.open(io.BytesIO(packed.read())) as hdus:
        primary = hdus[0].header.copy()
        primary["SEQNUM"] = seqnum
        kind = fits.CompImageHDU if compressed else fits.ImageHDU
        written = [fits.PrimaryHDU(header=primary)]
        for hdu in hdus[1:]:
            if hdu.name.capitalize() in images:
                written.append(kind(images[hdu.name.capitalize()].astype(np.int32), hdu.header))
            else:
                written.append(hdu.copy())
        fits.HDUList(written).writeto(target)
    return target


@pytest.mark.parametrize(
    ("name", "place", "compressed", "first_id"),
    [(FLAT_E2V, E2V, False, 3021121200310), (FLAT_ITL, ITL, True, 3019032200002)],
)
@pytest.mark.slow
def test_full_size_pair(
    made, measure, inspect, shipped, reference, tmp_path, quietly, name, place, compressed, first_id
) -> None:
    """Names, corners, gains, read noises and crosstalk of all sixteen segments, in a true file of each vendor."""
    rng, instrument = np.random.default_rng(7), shipped("lsstcam")
    amplifiers, shapes = segments(made, place), dict.fromkeys(SEGMENTS, (2048, 576))
    infos = []
    for number in range(2):
        images = made.simulate(rng, shapes, amplifiers)
        path = tmp_path / f"{number}.fits"
        write_like(reference / "lsst_raw" / name, path, images, first_id % 100000 + number, compressed=compressed)
        infos += inspect(path, instrument)
    assert [int(info.exposure_id) for info in infos] == [first_id, first_id + 1]
    made.assert_measured(*measure(*infos, instrument, 16), amplifiers)


def test_two_segments_by_the_command(made, shipped, reference, tmp_path, quietly) -> None:
    """`streamcal measure` on full-size files of the test stand, two of whose segments the table asks for."""
    rng, source = np.random.default_rng(11), reference / "lsst_raw" / "201807241028453-RTM-010-S11-det067.fits"
    amplifiers = [amplifier for amplifier in segments(made, E2V) if amplifier.name in {"Segment13", "Segment02"}]
    for number in range(2):
        images = made.simulate(rng, {amplifier.name: (2048, 576) for amplifier in amplifiers}, amplifiers)
        path = tmp_path / f"20180724102845{number}-RTM-010-S11-det067.fits"
        write_like(source, path, images, number, compressed=False)
    (tmp_path / "two.toml").write_text('base = "ts8"\n[geometry]\nimages = 2\nhdus = "^Segment(13|02)$"\n')
    files = [str(path) for path in sorted(tmp_path.glob("*.fits"))]
    result = CliRunner().invoke(app, ["measure", *files, "--instrument", str(tmp_path / "two.toml"), "--json"])
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["detector"], row["amplifier"]) for row in rows] == [("RTM-010_S11", a.name) for a in amplifiers]
    for row, true in zip(rows, amplifiers, strict=True):
        assert row["exposure_time"] == 21.913
        assert row["gain"] == pytest.approx(true.gain, rel=0.007)
        assert row["read_noise"] == pytest.approx(np.hypot(true.read_noise, 12**-0.5), rel=0.02)


@pytest.mark.parametrize(
    ("name", "instrument", "exposure_id", "detector", "run", "is_flat"),
    [
        (FLAT_E2V, "lsstcam", "3021121200310", "R22_S22", "13162", True),
        (FLAT_ITL, "lsstcam", "3019032200002", "R10_S22", "6489D", True),
        ("3019031900001-R22-S21-det097.fits", "lsstcam", "3019031900001", "R22_S21", "None", False),
        ("201807241028453-RTM-010-S11-det067.fits", "ts8", "201807241028453", "RTM-010_S11", "6006D", True),
    ],
)
def test_real_files(inspect, shipped, reference, name, instrument, exposure_id, detector, run, is_flat) -> None:
    """Ids are those that the observatory's archive put into the names of the files."""
    (info,) = inspect(reference / "lsst_raw" / name, shipped(instrument), auxiliary_keys=["@run"])
    assert (info.exposure_id, info.detector, str(info.auxiliary["@run"])) == (exposure_id, detector, run)
    assert info.is_flat is is_flat


SEGMENT_HEADERS = [{"EXTNAME": name, "NAXIS": 2, "NAXIS1": 576, "NAXIS2": 2048} for name in SEGMENTS]


HEADERS = {  # file -> instrument, exposure id, detector, start (MJD, TAI), run, filter
    "comCam-CC_O_20241108_000266_R22_S00.yaml": (
        *("comcam", "2024110800266", "R22_S00", 60623.27408938669, "PP-SURVEY", "g_01"),
    ),
    "latiss-AT_O_20240624_000106_R00_S00.yaml": (
        *("latiss", "2024062400106", "R00_S00", 60486.06105509261, "cwfs", "SDSSr_65mm~empty_1"),
    ),
    "lsstCam-MC_C_20231107_000078_R01_S01.json": (
        *("lsstcam", "2023110700078", "R01_S01", 60256.06039262749, "13518", "ph_05"),
    ),
    "lsstCam-MC_O_20250422_000250_R01_S01.yaml": (
        *("lsstcam", "2025042200250", "R01_S01", 60788.17165165162, "BLOCK-T417", "r_57"),
    ),
}


@pytest.mark.parametrize("name", HEADERS)
def test_real_headers(header, shipped, identities, name) -> None:
    """Starts are TAI; the same controller counts differently before and after October 2023."""
    instrument, exposure_id, detector, start, run, filter_name = HEADERS[name]
    keys = ["@run", "@filter"]
    (info,) = identities(shipped(instrument), [header(name), *SEGMENT_HEADERS], auxiliary_keys=keys)
    assert (info.exposure_id, info.detector) == (exposure_id, detector)
    assert info.mjd_start == pytest.approx(start, abs=1e-9)
    assert (info.mjd_start - info.mjd_start_utc) * 86400 == pytest.approx(37, abs=1e-4)
    assert info.auxiliary == {"@run": run, "@filter": filter_name}
    assert not info.is_flat


def test_ts8_starts_are_utc(header, shipped, identities) -> None:
    """The test stand kept UTC and wrote when the exposure of 210 s ended; raft and slot name the detector."""
    real = header("ts8-TS_C_20220711_000174_R22_S00.yaml")
    (info,) = identities(shipped("ts8"), [real, *SEGMENT_HEADERS])
    assert (info.exposure_id, info.detector) == ("202207111714459", "RTM-004_S00")
    assert info.mjd_start_utc == pytest.approx(59771.71858790517 - 210 / 86400, abs=1e-9)
    (info,) = identities(shipped("ts8"), [real | {"DATE-TRG": "2022-07-11T17:18:16.123"}, *SEGMENT_HEADERS])
    assert info.mjd_start_utc == pytest.approx(59771.71858790517, abs=1e-9)


@pytest.mark.parametrize(
    ("day", "number", "exposure_id"),
    [
        (20230524, 905, "202305242259591"),
        (20230524, 906, "3023052400906"),
        (20230524, 1000, "3023052401000"),
        (20230531, 1, "3023053100001"),
        (20231004, 42, "3023100400042"),
        (20231005, 42, "2023100500042"),
        (20240229, 42, "2024022900042"),
    ],
)
def test_numbers_of_ts8(shipped, identities, day, number, exposure_id) -> None:
    """The digits of the date, until its numbers became those of the camera."""
    primary = {"IMGTYPE": "BIAS", "OBSID": f"TS_C_{day}_{number:06d}", "DATE-OBS": "2023-05-24T22:59:59.123"}
    (info,) = identities(shipped("ts8"), [primary, *SEGMENT_HEADERS])
    assert info.exposure_id == exposure_id


@pytest.mark.parametrize(
    ("controller", "day", "exposure_id"),
    [
        ("O", 20190319, "2019031900042"),
        ("C", 20231004, "3023100400042"),
        ("C", 20231005, "2023100500042"),
        ("C", 20240101, "2024010100042"),
        ("H", 20240101, "4024010100042"),
        ("P", 20250417, "5025041700042"),
        ("P", 20250418, "2025041800042"),
        ("Q", 20250417, "6025041700042"),
        ("S", 20251001, "2025100100042"),
        ("S", 20240229, "7024022900042"),
    ],
)
def test_controllers(shipped, identities, controller, day, exposure_id) -> None:
    """A thousand years for each place in OCHPQS, until the controllers count together."""
    primary = {"IMGTYPE": "BIAS", "DAYOBS": str(day), "SEQNUM": 42, "CONTRLLR": controller, "OBSID": "x"}
    (info,) = identities(shipped("lsstcam"), [primary, *SEGMENT_HEADERS])
    assert info.exposure_id == exposure_id


@pytest.mark.parametrize(("slot", "count"), [("SW0", 8), ("SW1", 8), ("SG0", 16), ("S11", 16)])
def test_corner_rafts(shipped, identities, slot, count) -> None:
    """Wavefront sensors have eight segments, guiders are science detectors; with fewer a file is not whole."""
    primary = {"IMGTYPE": "BIAS", "RAFTBAY": "R00", "CCDSLOT": slot}
    (info,) = identities(shipped("lsstcam"), [primary, *SEGMENT_HEADERS[:count]])
    assert info.detector == f"R00_{slot}"
    with pytest.raises(NotWhole, match=f"has {count - 1} of {count} image HDUs"):
        identities(shipped("lsstcam"), [primary, *SEGMENT_HEADERS[: count - 1]])


def test_full_size_wavefront_sensor(made, measure, inspect, shipped, reference, tmp_path, quietly) -> None:
    """Half of an ITL file, as a wavefront sensor writes it: eight segments are measured."""
    rng, instrument, infos = np.random.default_rng(12), shipped("lsstcam"), []
    amplifiers = segments(made, ITL)[:8]
    for number in range(2):
        images = made.simulate(rng, dict.fromkeys(SEGMENTS[:8], (2048, 576)), amplifiers)
        path = tmp_path / f"{number}.fits"
        write_like(reference / "lsst_raw" / FLAT_ITL, path, images, number, compressed=False)
        with fits.open(path, "update") as hdus:
            hdus[0].header.update(CCDSLOT="SW0", RAFTBAY="R00")
            for name in SEGMENTS[8:]:
                del hdus[name]
        infos += inspect(path, instrument)
    assert {info.detector for info in infos} == {"R00_SW0"}
    made.assert_measured(*measure(*infos, instrument, 8), amplifiers)


def test_outside_is_overscan(inspect, shipped, reference, limits) -> None:
    """Prescan, serial and parallel overscan of a real file, whose section keys name the light only."""
    path = reference / "lsst_raw" / "201807241028453-RTM-010-S11-det067.fits"
    (info,) = inspect(path, shipped("ts8"))
    amplifiers = read_exposure(info, shipped("ts8"), limits).amplifiers
    assert list(amplifiers) == SEGMENTS
    segment = amplifiers["Segment00"]
    shapes = {name: pixels.shape for name, pixels in segment.overscan.items()}
    assert shapes == {"serial": (2002, 54), "prescan": (2002, 10), "parallel": (46, 512)}
    assert np.isnan(segment.header_gain)  # CCDGAIN is a placeholder
    assert np.median(segment.overscan["serial"]) == pytest.approx(27026, abs=2)
