"""Astropy tables to FITS and ECSV files and back, nothing masked, nothing rounded, nothing cut."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.table import Table


def read_fits_tables(path: Path) -> list[Table]:
    """Read all binary tables of a FITS file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    list of Table
        In the order of the file; header values in ``meta``, undefined ones as "". NaN stays NaN.

    Raises
    ------
    ValueError
        If there is no table, or the file is cut or damaged: no table is left out silently.
    OSError
        If the file cannot be opened.
    """
    from astropy.io import fits
    from astropy.table import Table

    with path.open("rb") as stream, _no_damage(), fits.open(stream, memmap=False, lazy_load_hdus=False) as hdus:
        tables = [Table.read(hdu, mask_invalid=False) for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
    if not tables:
        msg = "the FITS file holds no binary table"
        raise ValueError(msg)
    for table in tables:
        undefined = [key for key, value in table.meta.items() if isinstance(value, fits.card.Undefined)]
        table.meta.update(dict.fromkeys(undefined, ""))
    return tables


@contextmanager
def _no_damage() -> Iterator[None]:
    """Turn what astropy only warns of, or says without errno, into errors."""
    from astropy.utils.exceptions import AstropyUserWarning

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="File may have been truncated", category=AstropyUserWarning)
            warnings.filterwarnings("error", message="Error validating header", category=AstropyUserWarning)
            yield
    except AstropyUserWarning as exc:
        raise ValueError(str(exc)) from exc
    except OSError as exc:
        if exc.errno is not None:
            raise
        raise ValueError(str(exc)) from exc


def write_fits_tables(path: Path, tables: Sequence[Table]) -> None:
    """Write tables as the extensions of a FITS file, replacing an older one.

    Parameters
    ----------
    path : Path
        The file.
    tables : sequence of Table
        ``meta`` goes to the headers; lists in it are left out, as a header cannot hold them.

    Raises
    ------
    ValueError
        If a header value would not be read back as it is.
    """
    from astropy.io import fits

    hdus: list[Any] = [fits.PrimaryHDU()]
    for table in tables:
        hdu = fits.BinTableHDU(table.as_array())
        hdu.header.extend(_cards(table.meta))
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path, overwrite=True)


def _cards(meta: Mapping[str, Any]) -> list[fits.Card]:
    from astropy.io import fits

    cards = []
    for key, value in meta.items():
        if isinstance(value, list):
            continue
        keyword = key if len(key) <= 8 else f"HIERARCH {key}"
        try:
            card = fits.Card(keyword, value)
            same = fits.Card.fromstring(str(card)).value == value
        except ValueError:  # NaN, characters outside ASCII, too long
            same = False
        if not same:
            msg = f"metadata {key} cannot be kept in a FITS header: {value!r}; YAML and ECSV can hold it"
            raise ValueError(msg)
        cards.append(card)
    return cards


def read_ecsv_table(path: Path) -> Table:
    """Read an ECSV file.

    Raises
    ------
    ValueError
        If it is none.
    """
    from astropy.io.ascii import InconsistentTableError
    from astropy.table import Table

    try:
        return Table.read(path, format="ascii.ecsv", fill_values=None)
    except InconsistentTableError as exc:
        raise ValueError(str(exc)) from exc


def write_ecsv_table(path: Path, table: Table) -> None:
    """Write an ECSV file, replacing an older one; floats are read back exactly."""
    table.write(path, format="ascii.ecsv", overwrite=True)
