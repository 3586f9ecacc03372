"""Files as cameras write them, made once."""

import gzip
import threading
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from streamcal.records import FileStat


@pytest.fixture(autouse=True)
def _no_leaked_threads():
    """No test leaves a thread behind."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def _pixels(n):
    return np.random.default_rng(n).integers(0, 65535, (21, 40)).astype(np.uint16)


def _write(path, hdus):
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return path.read_bytes()


@pytest.fixture(scope="session")
def stored(tmp_path_factory):
    """Return the bytes of whole files, by kind; each holds three images but ``single``, which holds one."""
    folder = tmp_path_factory.mktemp("stored")
    plain = _write(folder / "plain.fits", [fits.ImageHDU(_pixels(n), name=f"AMP{n}") for n in range(3)])
    tiles = _write(folder / "tiles.fits", [fits.CompImageHDU(_pixels(n), name=f"AMP{n}") for n in range(3)])
    fits.PrimaryHDU(_pixels(7)).writeto(folder / "single.fits")
    single = (folder / "single.fits").read_bytes()
    return {"plain": plain, "tiles": tiles, "single": single, "gzip": gzip.compress(plain, mtime=0)}


@pytest.fixture
def put(tmp_path):
    """Return a function that writes bytes to a file and returns the path and stat of it."""

    def write(content, name="exposure.fits"):
        path = Path(tmp_path, name)
        path.write_bytes(content)
        return str(path), FileStat.of(path.stat())

    return write
