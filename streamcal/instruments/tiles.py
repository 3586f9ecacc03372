"""Images whose tiles are whole rows of Rice-compressed integers, as cameras and ``fpack`` write them.

A raw exposure has a tile a row, tens of thousands of them, and what astropy does around each takes longer than the
decompression. Any other compressed image is astropy's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from streamcal.source.whole import HduExtent


@dataclass(frozen=True, kw_only=True, slots=True)
class RiceTiles:
    """How the tiles of one image lie in its table (FITS standard 4.0, section 10).

    Attributes
    ----------
    n_columns, n_rows : int
        Of the image.
    rows_per_tile : int
        The last tile may have fewer.
    block_size : int
        Pixels that are coded alike.
    size : int
        Bytes of a pixel.
    descriptor : dtype
        Of the length and the offset in the heap of each tile.
    heap_offset : int
        Bytes from the beginning of the table.
    """

    n_columns: int
    n_rows: int
    rows_per_tile: int
    block_size: int
    size: int
    descriptor: np.dtype[Any]
    heap_offset: int

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> Self | None:
        """Return the layout that the table's header tells of; None if it is not of this kind.

        Parameters
        ----------
        header : mapping
            Of the table, `ZIMAGE` and all.
        """
        parameters = {header.get(f"ZNAME{n}"): header.get(f"ZVAL{n}") for n in (1, 2)}
        size = abs(header["ZBITPIX"]) // 8
        plain = (
            header.get("ZCMPTYPE") in {"RICE_1", "RICE_ONE"}
            and header["ZBITPIX"] in {8, 16, 32}
            and header["ZNAXIS"] == 2
            and parameters.get("BYTEPIX", 4) == size
            and header.get("ZTILE1", header["ZNAXIS1"]) == header["ZNAXIS1"]
            and (header["TFIELDS"], header.get("TTYPE1")) == (1, "COMPRESSED_DATA")  # no scales, nulls, other coders
            and "ZBLANK" not in header
        )
        form = str(header.get("TFORM1")).lstrip("01")[:2]
        if not plain or form not in {"PB", "QB"}:
            return None
        descriptor = np.dtype(">i4" if form == "PB" else ">i8")
        return cls(
            n_columns=header["ZNAXIS1"],
            n_rows=header["ZNAXIS2"],
            rows_per_tile=header.get("ZTILE2", 1),
            block_size=parameters.get("BLOCKSIZE") or 32,
            size=size,
            descriptor=descriptor,
            heap_offset=header.get("THEAP", header["NAXIS1"] * header["NAXIS2"]),
        )


def read_rice(file: BinaryIO, extent: HduExtent) -> NDArray[Any] | None:
    """Read the stored integers of a compressed image.

    Parameters
    ----------
    file : binary file
        Plain FITS.
    extent : HduExtent
        Where its HDU lies in the file.

    Returns
    -------
    (rows, columns) ndarray or None
        Native integers, BZERO not applied; None if the image is not of the kind that `RiceTiles` tells of.

    Raises
    ------
    ValueError
        If the table does not hold what it announces.
    """
    from astropy.io import fits

    file.seek(extent.header_offset)
    header = fits.Header.fromstring(file.read(extent.data_offset - extent.header_offset))
    tiles = RiceTiles.of(header)
    return decompress(tiles, file.read(extent.data_length)) if tiles else None


def decompress(tiles: RiceTiles, table: bytes) -> NDArray[Any]:
    """Return the integers of all tiles; parameters and errors as `read_rice`.

    Parameters
    ----------
    tiles : RiceTiles
        How they lie.
    table : bytes
        The table and its heap.
    """
    decode = load_decoder()
    n_tiles = -(-tiles.n_rows // tiles.rows_per_tile)
    descriptors = np.frombuffer(table, tiles.descriptor, 2 * n_tiles).reshape(n_tiles, 2)
    if np.any(descriptors < 0) or np.any(descriptors.sum(axis=1) > len(table) - tiles.heap_offset):
        msg = "a tile lies outside its table"
        raise ValueError(msg)
    pixels = np.empty((tiles.n_rows, tiles.n_columns), f"u{tiles.size}")
    for number, (length, offset) in enumerate(descriptors.tolist()):
        rows = pixels[number * tiles.rows_per_tile : (number + 1) * tiles.rows_per_tile]
        start = tiles.heap_offset + offset
        decode(table[start : start + length], nblock=tiles.block_size, out=rows)
    return pixels if tiles.size == 1 else pixels.view(f"i{tiles.size}")


def load_decoder() -> Callable[..., Any]:
    """Return the function that decompresses a tile; its library loads it when it is first asked for."""
    import imagecodecs

    decode: Callable[..., Any] = imagecodecs.rcomp_decode
    return decode
