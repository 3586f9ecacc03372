"""Every kind of pixel, and files that are written carelessly, are read as what they mean."""

import numpy as np
import pytest
from astropy.io import fits

from streamcal.errors import NotWhole
from streamcal.instruments.read import read_exposure

BLOCK = 2880
KEYS = {"IMAGETYP": "Flat Field", "EXPTIME": 3.0, "DATE-OBS": "2024-05-06T07:08:09"}


@pytest.fixture
def read(shipped, inspect, limits):
    """Look into a file of the camera `simple` and return the pixels of its one amplifier."""

    def run(path):
        (info,) = inspect(path, shipped("simple"))
        assert info.is_flat
        assert info.exposure_time == 3.0
        return read_exposure(info, shipped("simple"), limits).amplifiers["0"].data

    return run


@pytest.fixture
def write(tmp_path):
    """Write an array with the keys of a flat."""

    def run(pixels, compressed=False, **keys):
        header = fits.Header(KEYS | keys)
        path = tmp_path / "flat.fits"
        if compressed:
            fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels, header)]).writeto(path)
        else:
            fits.PrimaryHDU(pixels, header).writeto(path)
        return path

    return run


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_pixel_types(read, write, kind, compressed) -> None:
    """The largest and the smallest number of each kind that float32 holds exactly; floats as they are."""
    limits = np.iinfo(kind) if kind[0] != "f" else None
    low, high = (max(limits.min, -(2**24)), min(limits.max, 2**24)) if limits else (-0.5, 70000.25)
    pixels = np.full((8, 10), low, kind)
    pixels[3, 4] = high
    data = read(write(pixels, compressed))
    assert data.dtype == np.float32
    assert data[3, 4] == np.float32(high)
    assert np.count_nonzero(data == np.float32(low)) == 79


def test_bytes_of_every_uint16(read, write) -> None:
    """BZERO is 32768, and no value is lost at either end."""
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(read(write(pixels)), pixels)


def test_scaled_pixels(read, write) -> None:
    """BSCALE and BZERO of any value are applied."""
    path = write(np.arange(80, dtype=np.int16).reshape(8, 10))
    content = path.read_bytes()
    cards = b"BSCALE  =                  0.5".ljust(80) + b"BZERO   =                100.0".ljust(80)
    end = content.index(b"END" + b" " * 77)
    path.write_bytes(content[:end] + cards + content[end : BLOCK - len(cards)] + content[BLOCK:])
    np.testing.assert_array_equal(read(path), 100 + np.arange(80).reshape(8, 10) / 2)


@pytest.mark.parametrize("n_axes", [3, 4])
def test_axes_of_length_one(read, write, n_axes) -> None:
    """A cube of one plane is an image."""
    pixels = np.arange(80, dtype=np.uint16).reshape(8, 10)
    np.testing.assert_array_equal(read(write(pixels.reshape((1,) * (n_axes - 2) + (8, 10)))), pixels)


def test_a_cube_is_no_image(shipped, inspect, write) -> None:
    """Several planes are several exposures or amplifiers: nobody knows which."""
    with pytest.raises(NotWhole, match="has 0 of 1 image HDUs"):
        inspect(write(np.zeros((2, 8, 10), np.uint16)), shipped("simple"))


def test_no_padding(read, write) -> None:
    """A file that ends with its last pixel is whole."""
    pixels = np.arange(80, dtype=np.uint16).reshape(8, 10)
    path = write(pixels)
    path.write_bytes(path.read_bytes()[: BLOCK + pixels.nbytes])
    np.testing.assert_array_equal(read(path), pixels)


def test_null_bytes_behind_the_end_of_the_header(read, write) -> None:
    """Some programs fill the last block of the header with zeros, behind the last card."""
    pixels = np.arange(80, dtype=np.uint16).reshape(8, 10)
    path = write(pixels)
    content = path.read_bytes()
    end = content.index(b"END" + b" " * 77) + 80
    path.write_bytes(content[:end] + bytes(BLOCK - end) + content[BLOCK:])
    np.testing.assert_array_equal(read(path), pixels)


def test_null_bytes_in_a_value(read, write) -> None:
    """Texts that end with the zero of a C string do no harm."""
    pixels = np.arange(80, dtype=np.uint16).reshape(8, 10)
    path = write(pixels, OBJECT="panelXXXX")
    path.write_bytes(path.read_bytes().replace(b"panelXXXX", b"panel\0\0\0\0"))
    np.testing.assert_array_equal(read(path), pixels)


def test_null_bytes_in_a_value_that_counts(read, write) -> None:
    """The zeros are no part of the value."""
    pixels = np.arange(80, dtype=np.uint16).reshape(8, 10)
    path = write(pixels, IMAGETYP="FLATXXXX")
    path.write_bytes(path.read_bytes().replace(b"FLATXXXX", b"FLAT\0\0\0\0"))
    np.testing.assert_array_equal(read(path), pixels)


def test_cards_that_are_no_fits_are_absent(read, write) -> None:
    """A camera's odd card costs nobody the exposure."""
    pixels = np.arange(80, dtype=np.uint16).reshape(8, 10)
    path = write(pixels, CCDTEMP=-100.5)
    path.write_bytes(path.read_bytes().replace(b"   -100.5", b"-100,5 oC"))
    np.testing.assert_array_equal(read(path), pixels)
