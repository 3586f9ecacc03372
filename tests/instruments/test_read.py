"""Exposures are read with their pixels cut into amplifiers."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from streamcal.chain import StageContext, stage_log
from streamcal.errors import ExposureError, FileChanged, NotWhole
from streamcal.instruments.read import read_exposure, read_frame
from streamcal.plugins import load_plugins
from streamcal.records import FileStat, ReadoutCorner, Section


@pytest.fixture
def simulated(shipped):
    """Return the simulated camera."""
    return shipped("simulated")


@pytest.mark.parametrize("compressed", [False, True])
def test_amplifiers_of_a_simulated_file(simulated, inspect, simulated_file, limits, compressed) -> None:
    """Data are float32 copies in their place, overscan lies beside them, masks are clean."""
    (info,) = inspect(simulated_file(compressed=compressed), simulated)
    exposure = read_exposure(info, simulated, limits)
    assert list(exposure.amplifiers) == ["C00", "C01", "C10", "C11"]
    amplifier = exposure.amplifiers["C01"]
    stored = (2000 + np.arange(60)).reshape(6, 10)
    np.testing.assert_array_equal(amplifier.data, stored[:, :8])
    np.testing.assert_array_equal(amplifier.overscan["serial"], stored[:, 8:])
    assert (amplifier.data.dtype, amplifier.data.flags.c_contiguous) == (np.float32, True)
    assert (amplifier.mask.shape, amplifier.mask.dtype, amplifier.mask.any()) == ((6, 8), np.uint32, False)
    assert (amplifier.readout_corner, amplifier.saturation) == (ReadoutCorner.LR, 60000)
    assert np.isnan([amplifier.header_gain, amplifier.suspect, amplifier.read_noise]).all()


def test_raw_and_sections_tell_where_data_were_cut(simulated, inspect, simulated_file, limits) -> None:
    """A stage can go back to the stored array."""
    (info,) = inspect(simulated_file(), simulated)
    amplifier = read_exposure(info, simulated, limits).amplifiers["C11"]
    assert (amplifier.raw.shape, amplifier.raw.dtype) == ((6, 10), np.uint16)
    for name, pixels in {"data": amplifier.data, **amplifier.overscan}.items():
        np.testing.assert_array_equal(amplifier.sections[name].cut(amplifier.raw), pixels)
    amplifier.data[:] = 0
    assert amplifier.raw.min() == 4000


def test_headers(simulated, inspect, simulated_file, limits) -> None:
    """The exposure's header is merged, the amplifier's is that of its own HDU."""
    (info,) = inspect(simulated_file(), simulated)
    exposure = read_exposure(info, simulated, limits)
    assert (exposure.info, exposure.header["FLUX"], exposure.header["CORNER"]) == (info, 1000.0, "LL")
    own = exposure.amplifiers["C10"].metadata["header"]
    assert (own["EXTNAME"], own["CORNER"], "FLUX" in own) == ("C10", "UL", False)
    assert not [key for key in exposure.header if key.startswith("@")]


@pytest.mark.parametrize(
    ("dtype", "raw_dtype"), [("uint16", "uint16"), ("int16", "int16"), ("int32", "int32"), ("float32", "float32")]
)
def test_kinds_of_pixels(shipped, inspect, tmp_path, limits, dtype, raw_dtype) -> None:
    """Whatever a camera writes, values and native byte order come out; 32-bit counts of CCDs are exact in float32."""
    pixels = np.array([[0, 1, 32767], [5, 6, 7]]).astype(dtype)
    fits.PrimaryHDU(pixels).writeto(tmp_path / "flat.fits")
    (info,) = inspect(tmp_path / "flat.fits", shipped("simple"))
    amplifier = read_exposure(info, shipped("simple"), limits).amplifiers["0"]
    np.testing.assert_array_equal(amplifier.data, pixels)
    assert amplifier.raw.dtype == np.dtype(raw_dtype)
    assert amplifier.raw.dtype.isnative


def test_gzip_under_a_plain_name(simulated, inspect, simulated_file, tmp_path, limits) -> None:
    """LSST does that."""
    packed = tmp_path / "packed.fits"
    packed.write_bytes(gzip.compress(simulated_file().read_bytes()))
    (info,) = inspect(packed, simulated)
    assert read_exposure(info, simulated, limits).amplifiers["C00"].data[0, 0] == 1000


def test_missing_padding(simulated, inspect, simulated_file, tmp_path, limits) -> None:
    """Some writers leave out the fill of the last block."""
    whole = simulated_file().read_bytes()
    bare = tmp_path / "bare.fits"
    bare.write_bytes(whole[: len(whole) - 2880 + 120])
    (info,) = inspect(bare, simulated)
    assert read_exposure(info, simulated, limits).amplifiers["C11"].data[5, 7] == 4057


def test_file_that_changed_after_it_was_admitted(simulated, inspect, simulated_file, limits) -> None:
    """Its pixels do not count."""
    (info,) = inspect(simulated_file(), simulated)
    changed = replace(info, stat=replace(info.stat, size=1))
    with pytest.raises(FileChanged):
        read_exposure(changed, simulated, limits)


def test_unknown_detector(simulated, inspect, simulated_file, limits) -> None:
    """Those that are there are named."""
    (info,) = inspect(simulated_file(), simulated)
    with pytest.raises(ExposureError, match="has no detector 'S01', only 'S00'"):
        read_exposure(replace(info, detector="S01"), simulated, limits)


def test_frame_known_by_its_path(simulated, simulated_file, limits) -> None:
    """A bias frame needs no exposure id and may be anything."""
    path = simulated_file("bias.fits", IMAGETYP="BIAS", EXPID=None)
    exposure = read_frame(path, simulated, "S00", limits)
    assert (exposure.info.exposure_id, exposure.info.is_flat) == ("bias.fits", False)
    assert exposure.info.stat == FileStat.of(path.stat())
    assert exposure.amplifiers["C00"].sections["data"] == Section(x0=0, x1=8, y0=0, y1=6)


def test_a_frame_has_the_times_of_its_header(simulated, simulated_file, limits) -> None:
    """Exposure time and start are there, though nobody admitted the file."""
    info = read_frame(simulated_file("dark.fits", IMAGETYP="DARK"), simulated, "S00", limits).info
    assert (info.exposure_time, info.mjd_start_utc) == (2.5, pytest.approx(60000.25))
    assert (info.mjd_start - info.mjd_start_utc) * 86400 == pytest.approx(37, abs=1e-4)


def test_darks_are_scaled_by_their_exposure_time(simulated, inspect, simulated_file, tmp_path, limits) -> None:
    """A dark that is as bright as the flat and twice as long takes off half of it: the stage isr, on files."""
    simulated_file("dark.fits", IMAGETYP="DARK", EXPTIME=5.0)
    (info,) = inspect(simulated_file("flat.fits", EXPTIME=2.5), simulated)
    stage = load_plugins().stages["isr"]
    context = StageContext(
        log=stage_log(),
        load_exposure=lambda path: read_frame(path, simulated, "S00", limits),
        folders=(tmp_path,),
    )
    settings = ({}, {"dark": "dark.fits"})
    plain, corrected = (
        stage.run(read_exposure(info, simulated, limits), stage.settings(**values), context) for values in settings
    )
    for name, amplifier in plain.amplifiers.items():
        assert np.ptp(amplifier.data) == 7
        np.testing.assert_allclose(corrected.amplifiers[name].data, amplifier.data / 2)


def test_a_named_frame_may_be_a_link(simulated, simulated_file, limits, tmp_path) -> None:
    """Links are refused where files merely turn up; this one a person named. Its name stands once in an error."""
    link = tmp_path / "latest_bias.fits"
    link.symlink_to(simulated_file("bias.fits"))
    assert not limits.follow_symlinks
    assert read_frame(link, simulated, "S00", limits).info.exposure_id == "latest_bias.fits"
    link.unlink()
    with pytest.raises(ExposureError) as raised:
        read_frame(link, simulated, "S00", limits)
    assert str(raised.value).count("latest_bias.fits") == 1


def test_frames_that_cannot_be_used_are_named(simulated, simulated_file, tmp_path, limits) -> None:
    """The message begins with the path, for the person who wrote it into the configuration."""
    with pytest.raises(ExposureError, match=r"nowhere\.fits: No such file"):
        read_frame(tmp_path / "nowhere.fits", simulated, "S00", limits)
    with pytest.raises(NotWhole, match=r"few\.fits: has 2 of 4 image HDUs"):
        read_frame(simulated_file("few.fits", n_amplifiers=2), simulated, "S00", limits)
