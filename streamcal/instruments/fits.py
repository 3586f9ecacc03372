"""Headers and pixels of an admitted FITS file by astropy, whose many ways to fail become one error with words."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcal.errors import ExposureError, StreamcalError
from streamcal.instruments.values import plain_header
from streamcal.records import FileStat
from streamcal.source.whole import Limits, open_fits


class FitsFile:
    """An open FITS file.

    Parameters
    ----------
    hdus : astropy.io.fits.HDUList
        Opened without memory map: a file that is truncated under a map ends the process.
    """

    def __init__(self, hdus: Any) -> None:
        self._hdus = hdus

    def headers(self) -> list[dict[str, Any]]:
        """Return the plain headers of all HDUs in order; those of tile-compressed images speak of the image."""
        with _worded("its headers cannot be read"):
            return [plain_header(_read_cards(hdu.header)) for hdu in self._hdus]

    def pixels(self, index: int) -> NDArray[Any]:
        """Return the pixels of an HDU in native byte order, with BZERO and BSCALE applied, axes of length one left out.

        Returns
        -------
        (rows, columns) ndarray
            Unsigned integers where BZERO means them, else as stored, else floats.
        """
        with _worded(f"the pixels of HDU {index} cannot be read"):
            data = np.asarray(self._hdus[index].data)
            data = data.reshape(data.shape[-2:]) if math.prod(data.shape[:-2]) == 1 else data
            return data.astype(data.dtype.newbyteorder("="), copy=False)


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
    from astropy.io import fits

    with open_fits(path, stat, limits) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd cards are the camera's habit; what matters was checked by the walk
        with _worded("it cannot be opened"):
            hdus = fits.open(file, memmap=False)
        try:
            yield FitsFile(hdus)
        finally:
            hdus.close(output_verify="ignore")


@contextmanager
def _worded(what: str) -> Iterator[None]:
    try:
        yield
    except StreamcalError:
        raise
    except Exception as exc:  # on malformed files astropy raises whatever it meets: AttributeError, TypeError, ...
        msg = f"{what}: {type(exc).__name__}: {exc}"
        raise ExposureError(msg) from exc
