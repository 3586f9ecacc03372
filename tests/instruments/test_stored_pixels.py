"""Pixels read from where they lie, against astropy."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from streamcal.errors import ExposureError
from streamcal.instruments import fits as reader
from streamcal.instruments.fits import open_hdus, stored_type
from streamcal.records import FileStat
from streamcal.source.whole import Limits, inspect_structure

RNG = np.random.default_rng(0)
STORED = ["u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
SCALED = [{"BSCALE": 0.5}, {"BZERO": 100.0}, {"BSCALE": 2.0, "BZERO": 32768.0}, {"BLANK": -5}]


def any_pixels(dtype, shape=(13, 7)):
    """Random bits as pixels, but no NaN, so that they can be compared."""
    pixels = np.frombuffer(RNG.bytes(np.prod(shape) * np.dtype(dtype).itemsize), dtype).reshape(shape).copy()
    return np.nan_to_num(pixels, nan=1.5) if pixels.dtype.kind == "f" else pixels


def write(path, *hdus):
    """Write an empty primary HDU and these; return what `open_hdus` wants."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return str(path), FileStat.of(path.stat()), Limits()


def astropy_pixels(path, index):
    """Read an image by astropy alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fits.getdata(path, index)


@pytest.mark.parametrize("dtype", STORED)
def test_plain_images_are_read_as_astropy_reads_them(tmp_path, dtype):
    """Every stored type and every unsigned one: same type, same values, native order, writeable."""
    pixels = any_pixels(dtype)
    opened = write(tmp_path / "a.fits", fits.ImageHDU(any_pixels("i2")), fits.ImageHDU(pixels))
    with open_hdus(*opened) as file:
        read = file.pixels(2)
    assert stored_type(inspect_structure(*opened).extents[2]) == read.dtype
    assert read.dtype == np.dtype(dtype)
    assert read.flags.writeable
    np.testing.assert_array_equal(read, pixels)
    np.testing.assert_array_equal(read, astropy_pixels(opened[0], 2))


@pytest.mark.parametrize("cards", SCALED)
def test_scaled_images_are_left_to_astropy(tmp_path, cards):
    """BSCALE, an odd BZERO and BLANK are its business."""
    hdu = fits.ImageHDU(any_pixels("i2"))
    path = tmp_path / "a.fits"
    write(path, hdu)
    with fits.open(path, "update", do_not_scale_image_data=True) as hdus:
        hdus[1].header.update(cards)
    with open_hdus(str(path), FileStat.of(path.stat()), Limits()) as file:
        read = file.pixels(1)
    np.testing.assert_array_equal(read, astropy_pixels(path, 1))


def test_compressed_and_gzipped_images_are_the_same(tmp_path):
    """Rice and gzip hold the same pixels."""
    pixels = any_pixels("u2", (40, 30))
    rice = write(tmp_path / "a.fits.fz", fits.CompImageHDU(pixels, compression_type="RICE_1"))
    gzipped = write(tmp_path / "a.fits.gz", fits.ImageHDU(pixels))
    for opened in (rice, gzipped):
        with open_hdus(*opened) as file:
            np.testing.assert_array_equal(file.pixels(1), pixels)


@pytest.mark.parametrize("tile", [(1, 30), (7, 30), (40, 30), (8, 10)])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4"])
def test_rice_tiles_are_read_as_astropy_reads_them(tmp_path, dtype, tile):
    """Tiles of one row, of several (the last one cut), of all rows, and of parts of rows; smooth pixels and noise."""
    pixels = any_pixels(dtype, (40, 30))
    pixels[:20] = np.arange(30)
    opened = write(tmp_path / "a.fits.fz", fits.CompImageHDU(pixels, compression_type="RICE_1", tile_shape=tile))
    with open_hdus(*opened) as file:
        read = file.pixels(1)
    assert read.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read, pixels)
    np.testing.assert_array_equal(read, astropy_pixels(opened[0], 1))


def test_only_whole_rows_of_rice_are_decompressed_without_astropy(tmp_path, monkeypatch):
    """What cameras write does not pass through astropy; what it alone understands does."""
    pixels = any_pixels("u2", (40, 30))
    rows, parts, gzipped = (
        write(tmp_path / f"{name}.fits.fz", fits.CompImageHDU(pixels, compression_type=kind, tile_shape=tile))
        for name, kind, tile in (("a", "RICE_1", (1, 30)), ("b", "RICE_1", (8, 10)), ("c", "GZIP_1", (1, 30)))
    )
    by_astropy = []
    monkeypatch.setattr(reader, "read_scaled", lambda file, extent: by_astropy.append(file.name))
    for opened in (rows, parts, gzipped):
        with open_hdus(*opened) as file:
            file.pixels(1)
    assert by_astropy == [parts[0], gzipped[0]]


@pytest.mark.parametrize(("position", "value"), [(4, b"\x7f\xff\xff\xff"), (0, b"\xff\xff\xff\xff"), (0, b"\0\0\0\1")])
def test_a_damaged_rice_tile_is_an_error(tmp_path, position, value):
    """A tile that lies outside of its table, has a negative length, or ends too early."""
    path = tmp_path / "a.fits.fz"
    opened = write(path, fits.CompImageHDU(any_pixels("u2", (40, 30)), compression_type="RICE_1"))
    with fits.open(path, disable_image_compression=True) as hdus:
        offset = hdus[1].fileinfo()["datLoc"]
    with path.open("r+b") as file:
        file.seek(offset + position)
        file.write(value)
    opened = str(path), FileStat.of(path.stat()), Limits()
    with pytest.raises(ExposureError, match="pixels of HDU 1 cannot be read"), open_hdus(*opened) as file:
        file.pixels(1)


def test_pixels_and_headers_may_be_read_in_any_order(tmp_path):
    """Reading pixels does not disturb the reader of headers."""
    images = [any_pixels("u2", (5, 6)) for _ in range(4)]
    opened = write(tmp_path / "a.fits", *map(fits.ImageHDU, images))
    with open_hdus(*opened) as file:
        for index in (4, 1, 3, 2):
            np.testing.assert_array_equal(file.pixels(index), images[index - 1])
        assert len(file.headers) == 5


def test_a_file_cut_while_it_is_open_is_an_error(tmp_path):
    """Never pixels that are not there: the file is refused, in words."""
    opened = write(tmp_path / "a.fits", fits.ImageHDU(any_pixels("u2", (900, 50))))
    with pytest.raises(ExposureError), open_hdus(*opened) as file:  # noqa: PT012 - the file changes in between
        assert len(file.headers) == 2
        with Path(opened[0]).open("r+b") as other:
            other.truncate(4000)
        file.pixels(1)
