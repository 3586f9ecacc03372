"""Astropy tables to the bytes of FITS and ECSV files and back, nothing masked, nothing rounded, nothing cut."""

from __future__ import annotations

import gzip
import io
import re
import warnings
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from streamcal.calibs.values import KindError

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.table import Table

# What astropy's parsers have been seen to raise over files with a few bytes changed.
STUMBLES = (
    ArithmeticError,
    AttributeError,
    LookupError,
    NameError,
    OSError,
    TypeError,
    ValueError,
    EOFError,
    zlib.error,
)
GZIP = b"\x1f\x8b"
COMMENTARY = ("COMMENT", "comments", "HISTORY")  # cards of FITS, under astropy's names: texts about a file
COLUMN_KEY = re.compile(r"T(TYPE|FORM|UNIT|NULL|SCAL|ZERO|DISP|BCOL|DIM|HEAP)[0-9]*")


def load_fits(content: bytes) -> list[Table]:
    """Return all binary tables of a FITS file.

    Parameters
    ----------
    content : bytes
        The file, which gzip may have compressed.

    Returns
    -------
    list of Table
        In the order of the file; header values in ``meta``, undefined ones as "", without comments and history. NaN
        stays NaN.

    Raises
    ------
    KindError
        If there are images but no table.
    ValueError
        If the file is cut or damaged: no table is left out silently.
    """
    from astropy.io import fits
    from astropy.table import Table

    with (
        _no_damage("FITS"),
        fits.open(io.BytesIO(_uncompress(content)), memmap=False, lazy_load_hdus=False) as hdus,
    ):
        tables = [Table.read(hdu, mask_invalid=False) for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
        empty = len(hdus) == 1 and not hdus[0].header["NAXIS"]
    if not tables:
        msg = "the FITS file holds no binary table"
        raise (ValueError if empty else KindError)(msg)  # with nothing else in it, it may be cut
    for table in tables:
        undefined = [key for key, value in table.meta.items() if isinstance(value, fits.card.Undefined)]
        table.meta.update(dict.fromkeys(undefined, ""))
        for key in COMMENTARY:
            table.meta.pop(key, None)
    return tables


def _uncompress(content: bytes) -> bytes:
    return gzip.decompress(content) if content.startswith(GZIP) else content


@contextmanager
def _no_damage(kind: str) -> Iterator[None]:
    """Turn what astropy only warns of, and what its parsers stumble over, into one kind of error."""
    from astropy.io.fits import VerifyError
    from astropy.utils.exceptions import AstropyUserWarning

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="File may have been truncated", category=AstropyUserWarning)
            warnings.filterwarnings("error", message="Error validating header", category=AstropyUserWarning)
            yield
    except (AstropyUserWarning, VerifyError, *STUMBLES) as exc:
        msg = f"cannot be read as {kind}: {exc}"
        raise ValueError(msg) from exc


def dump_fits(tables: Sequence[Table], left_out: Collection[str] = ()) -> bytes:
    """Return a FITS file with tables as its extensions.

    Parameters
    ----------
    tables : sequence of Table
        ``meta`` goes to the headers.
    left_out : collection of str
        Keys of ``meta`` that a header need not hold.

    Raises
    ------
    ValueError
        If a value would not be read back as it is.
    """
    from astropy.io import fits

    hdus: list[Any] = [fits.PrimaryHDU()]
    for table in tables:
        try:
            hdu = fits.BinTableHDU(table.as_array())
        except UnicodeEncodeError as exc:
            msg = f"FITS holds ASCII only and cannot hold {str(exc.object)!r}; YAML can"
            raise ValueError(msg) from exc
        meta = {key: value for key, value in table.meta.items() if key not in left_out}
        hdu.header.extend(_cards(meta, reserved=(*hdu.header, *COMMENTARY)))
        hdus.append(hdu)
    stream = io.BytesIO()
    fits.HDUList(hdus).writeto(stream)
    return stream.getvalue()


def _cards(meta: Mapping[str, Any], reserved: Collection[str]) -> list[fits.Card]:
    from astropy.io import fits

    cards = []
    for key, value in meta.items():
        if key in reserved or COLUMN_KEY.fullmatch(key):
            msg = f"metadata {key} cannot be kept in a FITS header, where it means something else; YAML can hold it"
            raise ValueError(msg)
        keyword = key if len(key) <= 8 else f"HIERARCH {key}"
        try:
            card = fits.Card(keyword, value)
            same = fits.Card.fromstring(str(card)).value == value
        except (TypeError, ValueError):  # lists, NaN, characters outside ASCII, too long
            same = False
        if not same:
            msg = f"metadata {key} cannot be kept in a FITS header: {value!r}; YAML and ECSV can hold it"
            raise ValueError(msg)
        cards.append(card)
    return cards


def load_ecsv(text: str) -> Table:
    """Return the table of an ECSV file.

    Raises
    ------
    ValueError
        If it is none.
    """
    from astropy.table import Table

    with _no_damage("ECSV"):
        return Table.read(text.split("\n"), format="ascii.ecsv", fill_values=None)


def dump_ecsv(table: Table) -> str:
    """Return an ECSV file; floats are read back exactly."""
    stream = io.StringIO()
    table.write(stream, format="ascii.ecsv")
    return stream.getvalue()
