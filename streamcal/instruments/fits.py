"""Headers and pixels of an admitted FITS file by astropy, whose many ways to fail become one error with words."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from streamcal.errors import ExposureError, StreamcalError
from streamcal.instruments.index import FileIndex, IndexCache
from streamcal.instruments.tiles import read_rice
from streamcal.instruments.values import Header, plain_header
from streamcal.records import FileStat
from streamcal.source.whole import HduExtent, Limits, open_fits, walk

MOST_INDICES = 8  # files; those of a pair, their calibration frames, and a pair more

_CACHE = IndexCache(MOST_INDICES)


class FitsFile:
    """An open FITS file.

    Parameters
    ----------
    file : binary file
        Plain FITS.
    index : FileIndex
        What it holds.
    """

    def __init__(self, file: BinaryIO, index: FileIndex) -> None:
        self._file = file
        self._index = index

    @property
    def headers(self) -> tuple[Header, ...]:
        """Plain headers of all HDUs in order; those of tile-compressed images speak of the image."""
        return self._index.headers

    def pixels(self, number: int) -> NDArray[Any]:
        """Return the pixels of an HDU in native byte order, with BZERO and BSCALE applied, axes of length one left out.

        Returns
        -------
        (rows, columns) ndarray
            Unsigned integers where BZERO means them, else as stored, else floats.
        """
        with _worded(f"the pixels of HDU {number} cannot be read"):
            extent = self._index.extents[number]
            dtype = None if "BLANK" in self.headers[number] else stored_type(extent)
            stored = None if dtype is None else read_stored(self._file, extent)
            if dtype is None or stored is None:
                return read_scaled(self._file, extent)
            return shift_stored(stored, dtype)


def stored_type(extent: HduExtent) -> np.dtype[Any] | None:
    """Return the type of the pixels of an image that needs no scaling; None for any other HDU.

    Parameters
    ----------
    extent : HduExtent
        Of the HDU. A BZERO of half the range of its integers means unsigned ones (of bytes: signed).
    """
    if not extent.is_image or extent.bscale != 1:
        return None
    kind, size = "i" if extent.bitpix > 0 else "f", abs(extent.bitpix) // 8
    if extent.bzero == 0:
        return np.dtype("u1" if size == 1 else f"{kind}{size}")
    if kind == "i" and size > 1 and extent.bzero == 1 << (extent.bitpix - 1):
        return np.dtype(f"u{size}")
    return None


def read_stored(file: BinaryIO, extent: HduExtent) -> NDArray[Any] | None:
    """Read the pixels of an image as they are stored.

    Parameters
    ----------
    file : binary file
        Plain FITS.
    extent : HduExtent
        Where they lie.

    Returns
    -------
    (rows, columns) ndarray or None
        Native byte order, signed (bytes: unsigned); None if they are compressed in a way that is left to astropy.

    Raises
    ------
    ValueError
        If the file is shorter than it was, or its compressed image is damaged.
    """
    if extent.compressed:
        return read_rice(file, extent)
    kind = "f" if extent.bitpix < 0 else "u" if extent.bitpix == 8 else "i"
    pixels = np.empty(extent.naxis[1::-1], f"{kind}{abs(extent.bitpix) // 8}")
    file.seek(extent.data_offset)
    n_bytes = cast("BufferedReader", file).readinto(pixels.data.cast("B"))
    if n_bytes != pixels.nbytes:
        msg = f"{n_bytes} bytes instead of {pixels.nbytes}"
        raise ValueError(msg)
    if sys.byteorder == "little":
        pixels.byteswap(inplace=True)
    return pixels


def shift_stored(pixels: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Add half the range, modulo the range, where integers stored with a sign are unsigned; in place."""
    unsigned = pixels.view(dtype)
    if dtype != pixels.dtype:
        unsigned ^= dtype.type(1 << (8 * dtype.itemsize - 1))
    return unsigned


def read_scaled(file: BinaryIO, extent: HduExtent) -> NDArray[Any]:
    """Have astropy read any other image, alone: it would parse all headers before it as well.

    Parameters
    ----------
    file : binary file
        Plain FITS.
    extent : HduExtent
        Where its HDU lies in the file.

    Returns
    -------
    (rows, columns) ndarray
        Native byte order, axes of length one left out.
    """
    from astropy.io import fits

    file.seek(extent.header_offset)
    length = extent.next_offset - extent.header_offset
    content = file.read(length).ljust(length, b"\0")  # the last padding may be missing
    before = fits.PrimaryHDU().header.tostring().encode() if extent.index else b""
    with fits.open(BytesIO(before + content), memmap=False) as hdus:
        data = np.asarray(hdus[1 if before else 0].data)
    data = data.reshape(data.shape[-2:]) if math.prod(data.shape[:-2]) == 1 else data
    return data.astype(data.dtype.newbyteorder("="), copy=False)


def _read_index(file: BinaryIO, limits: Limits) -> FileIndex:
    from astropy.io import fits

    extents = walk(file, limits)
    file.seek(0)
    with _worded("its headers cannot be read"):
        hdus = fits.open(file, memmap=False)
        try:
            headers = tuple(plain_header(_read_cards(hdu.header)) for hdu in hdus)
        finally:
            hdus.close(output_verify="ignore", closed=False)
    return FileIndex(headers=headers, extents=extents)


def _read_cards(header: Any) -> list[tuple[str, Any]]:
    return [(card.keyword, _read_card(card)) for card in header.cards]


def _read_card(card: Any) -> Any:
    """Return the value of a card, bytes of zero taken for blanks; None if it is no FITS all the same."""
    from astropy.io import fits

    try:
        return card.value
    except fits.VerifyError:
        pass
    try:
        return fits.Card.fromstring(card._image.replace("\0", " ")).value  # noqa: SLF001 - no other way to what it says
    except fits.VerifyError:
        return None


@contextmanager
def open_hdus(path: str, stat: FileStat, limits: Limits) -> Iterator[FitsFile]:
    """Open the admitted file; on leaving it must still be the same: use what was read only after the ``with`` block.

    Raises
    ------
    NotWhole, FileChanged, ExposureError
        As `streamcal.source.whole.open_fits`; also when astropy stumbles.
    """
    key = path, stat, limits
    with open_fits(path, stat, limits) as file:
        index = _CACHE.get(key) or _read_index(file, limits)
        yield FitsFile(file, index)
    _CACHE.put(key, index)  # only now: the file was the admitted one to the end


@contextmanager
def _worded(what: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd cards are the camera's habit; what matters was checked by the walk
            yield
    except StreamcalError:
        raise
    except Exception as exc:  # on malformed files astropy raises whatever it meets: AttributeError, TypeError, ...
        msg = f"{what}: {type(exc).__name__}: {exc}"
        raise ExposureError(msg) from exc
