"""The structure of a FITS file, walked by hand and within limits: no header makes us allocate, hang or guess.

Libraries believe headers: an absurd one made them ask for terabytes, crash or scan for minutes. This walk reads
nothing but header blocks, keeps nothing but structural keywords, and skips over data by seeking forward, so it works
on a decompressing stream as well as on a file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Self

from streamcal.config import SourceConfig
from streamcal.errors import ExposureError, NotWhole

BLOCK = 2880  # bytes; every FITS header and data unit fills a whole number of these
CARD = 80
PRIMARY = b"SIMPLE  ="
EXTENSION = b"XTENSION"
MAX_NAXIS = 9  # axes; the FITS standard allows 999, no camera uses them
BITPIX = (8, 16, 32, 64, -32, -64)

_STRUCTURAL = re.compile(
    rb"(?:SIMPLE|XTENSION|BITPIX|Z?NAXIS[1-9]?|PCOUNT|GCOUNT|GROUPS|ZIMAGE|ZBITPIX|ZTILE[1-9]|BSCALE|BZERO|EXTNAME) *"
)
_STRING = re.compile(rb" *'((?:[^']|'')*)'")
_INTEGER = re.compile(rb"[+-]?[0-9]+")
_REAL = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[ED][+-]?[0-9]+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a file may at most ask of us."""

    max_file_bytes: int = 4_096_000_000  # bytes as stored
    max_expanded_bytes: int = 8_192_000_000  # bytes of a file, or of its images, when decompressed
    max_hdus: int = 300
    max_cards: int = 4000  # header cards of one HDU
    follow_symlinks: bool = False

    @classmethod
    def from_config(cls, config: SourceConfig) -> Self:
        """Take the limits from the configuration."""
        return cls(
            max_file_bytes=int(config.max_file_megabytes * 1_000_000),
            max_expanded_bytes=int(config.max_expanded_megabytes * 1_000_000),
            max_hdus=config.max_hdus,
            max_cards=config.max_cards,
            follow_symlinks=config.follow_symlinks,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class HduExtent:
    """Where one HDU lies in the (decompressed) file, and what it says it holds.

    Attributes
    ----------
    index : int
        Number in the file; the primary HDU is 0.
    kind : str
        ``PRIMARY``, or the value of ``XTENSION``: ``IMAGE``, ``BINTABLE``, ``TABLE``, or a foreign one.
    header_offset, data_offset, data_length : int
        Bytes; the length is without the padding to whole blocks.
    naxis : tuple of int
        Lengths of the axes in FITS order, x first. Of a tile-compressed image: those of the image.
    bitpix : int
        Of a tile-compressed image: that of the image.
    bscale, bzero : float
        ``value = bscale * stored + bzero``.
    compressed : bool
        A tile-compressed image, stored as a table.
    """

    index: int
    kind: str
    header_offset: int
    data_offset: int
    data_length: int
    naxis: tuple[int, ...]
    bitpix: int
    bscale: float = 1.0
    bzero: float = 0.0
    extname: str = ""
    compressed: bool = False

    @property
    def is_image(self) -> bool:
        """Whether it holds a two-dimensional image with at least one pixel."""
        holds_pixels = self.compressed or self.kind in {"PRIMARY", "IMAGE"}
        return holds_pixels and len(self.naxis) == 2 and all(self.naxis)

    @property
    def next_offset(self) -> int:
        """Where the next HDU begins, if there is one: the end of the data, padded to whole blocks."""
        return self.data_offset + -(-self.data_length // BLOCK) * BLOCK


def count_images(extents: Iterable[HduExtent]) -> int:
    """Return the number of two-dimensional images with pixels, tile-compressed ones included.

    A file cut exactly between two HDUs looks whole; only this number, held against the one that the instrument always
    writes, tells.
    """
    return sum(extent.is_image for extent in extents)


def walk(file: BinaryIO, limits: Limits) -> tuple[HduExtent, ...]:
    """Walk the HDUs of a FITS file and make sure that the bytes they announce are there.

    Missing padding after the last HDU is accepted, and so is anything behind it that does not begin with
    ``XTENSION``, as the standard allows.

    Parameters
    ----------
    file : binary file
        At its beginning; it is read and sought forward only.
    limits : Limits
        What the file may ask of us.

    Returns
    -------
    tuple of HduExtent
        In order of the file; at least the primary HDU.

    Raises
    ------
    NotWhole
        If bytes that a header announces, or the rest of a header, are not there (yet).
    ExposureError
        If this is not FITS, a header makes no sense, or a limit is exceeded.
    """
    block = file.read(BLOCK)
    require_fits(block)
    extents = [_read_hdu(file, block, 0, 0, limits)]
    while True:
        offset = extents[-1].next_offset
        file.seek(offset)
        block = file.read(BLOCK)
        if not block or not _agrees(block, EXTENSION):
            return tuple(extents)
        if len(extents) == limits.max_hdus:
            msg = f"the file has more than max_hdus = {limits.max_hdus} HDUs"
            raise ExposureError(msg)
        extents.append(_read_hdu(file, block, len(extents), offset, limits))
        _limit_images(extents, limits)


def require_fits(start: bytes) -> None:
    """Raise unless a file that begins with these bytes can be FITS.

    Raises
    ------
    NotWhole
        If there are too few bytes to tell.
    ExposureError
        If it is not FITS.
    """
    if not _agrees(start, PRIMARY):
        msg = f"not a FITS file: it begins with {start[:16]!r}"
        raise ExposureError(msg)
    if len(start) < len(PRIMARY):
        msg = f"only {len(start)} bytes are there"
        raise NotWhole(msg)


def _agrees(start: bytes, magic: bytes) -> bool:
    """Tell whether bytes begin with a magic, or could once more of them are there."""
    return start.startswith(magic) or magic.startswith(start)


def _read_hdu(file: BinaryIO, block: bytes, index: int, offset: int, limits: Limits) -> HduExtent:
    try:
        cards, n_blocks = _read_header(file, block, limits)
        extent = _describe(cards, index, (offset, offset + n_blocks * BLOCK), limits)
    except ExposureError as exc:
        msg = f"HDU {index}: {exc}"
        raise ExposureError(msg) from None
    except NotWhole as exc:
        msg = f"HDU {index}: {exc}"
        raise NotWhole(msg) from None
    _require_data(file, extent, limits)
    return extent


def _read_header(file: BinaryIO, block: bytes, limits: Limits) -> tuple[dict[str, bytes], int]:
    """Return the value fields of structural keywords (the first of each counts) and the number of blocks."""
    cards: dict[str, bytes] = {}
    for n_blocks in range(1, -(-limits.max_cards * CARD // BLOCK) + 1):
        if len(block) < BLOCK:
            msg = "the header is not complete"
            raise NotWhole(msg)
        for start in range(0, BLOCK, CARD):
            card = block[start : start + CARD]
            if card[:8].rstrip(b" \0") == b"END":  # some writers fill the last block with zeros
                return cards, n_blocks
            if card[8:10] == b"= " and _STRUCTURAL.fullmatch(card, 0, 8):
                cards.setdefault(card[:8].decode().rstrip(), card[10:])
        block = file.read(BLOCK)
    msg = f"the header has no END within max_cards = {limits.max_cards} cards"
    raise ExposureError(msg)


def _describe(cards: Mapping[str, bytes], index: int, offsets: tuple[int, int], limits: Limits) -> HduExtent:
    if index == 0 and not _logical(cards, "SIMPLE"):
        msg = "SIMPLE must be T: this is not standard FITS"
        raise ExposureError(msg)
    kind = _text(cards, "XTENSION") if index else "PRIMARY"
    if not kind:
        msg = "XTENSION must be a character string"
        raise ExposureError(msg)
    naxis, bitpix = _axes(cards, "NAXIS"), _bitpix(cards, "BITPIX")
    length = _data_length(cards, naxis, bitpix)
    compressed = kind == "BINTABLE" and _logical(cards, "ZIMAGE")
    if compressed:
        n_tiles, rows = _count_tiles(cards, limits), naxis[1] if len(naxis) == 2 else 0
        if rows < n_tiles:
            msg = f"a compressed image of {n_tiles} tiles must have as many table rows, got {rows}"
            raise ExposureError(msg)
        naxis, bitpix = _axes(cards, "ZNAXIS"), _bitpix(cards, "ZBITPIX")
    return HduExtent(
        index=index,
        kind=kind,
        header_offset=offsets[0],
        data_offset=offsets[1],
        data_length=length,
        naxis=naxis,
        bitpix=bitpix,
        bscale=_real(cards, "BSCALE", 1.0),
        bzero=_real(cards, "BZERO", 0.0),
        extname=_text(cards, "EXTNAME"),
        compressed=compressed,
    )


def _data_length(cards: Mapping[str, bytes], naxis: tuple[int, ...], bitpix: int) -> int:
    """Return ``|BITPIX| / 8 * GCOUNT * (PCOUNT + NAXIS1 * ... * NAXISn)`` bytes (FITS standard 4.0, eq. 2)."""
    if not naxis:
        return 0
    if naxis[0] == 0 and _logical(cards, "GROUPS"):
        naxis = naxis[1:]  # random groups: the first axis is a marker, not a size
    parameters = _integer(cards, "PCOUNT", minimum=0, default=0)
    groups = _integer(cards, "GCOUNT", minimum=0, default=1)
    return abs(bitpix) // 8 * groups * (parameters + math.prod(naxis))


def _count_tiles(cards: Mapping[str, bytes], limits: Limits) -> int:
    """Return the number of tiles of a compressed image; by default each row is a tile."""
    naxis = _axes(cards, "ZNAXIS")
    defaults = (*naxis[:1], *(1 for _ in naxis[1:]))
    tile = [_integer(cards, f"ZTILE{n}", minimum=0, default=length) or 1 for n, length in enumerate(defaults, 1)]
    # A tile may be larger than its image (astropy writes that), but readers allocate it.
    n_bytes = math.prod(tile) * abs(_bitpix(cards, "ZBITPIX")) // 8
    if n_bytes > limits.max_expanded_bytes:
        msg = f"tiles of {n_bytes} bytes are over max_expanded_bytes = {limits.max_expanded_bytes}"
        raise ExposureError(msg)
    return math.prod(-(-length // tile_length) for length, tile_length in zip(naxis, tile, strict=True))


def _limit_images(extents: Iterable[HduExtent], limits: Limits) -> None:
    """Refuse compressed images that would together be too large; plain data are limited by the bytes of the file."""
    total = sum(math.prod(extent.naxis) * abs(extent.bitpix) // 8 for extent in extents if extent.compressed)
    if total > limits.max_expanded_bytes:
        msg = f"compressed images of {total} bytes are over max_expanded_bytes = {limits.max_expanded_bytes}"
        raise ExposureError(msg)


def _require_data(file: BinaryIO, extent: HduExtent, limits: Limits) -> None:
    end = extent.data_offset + extent.data_length
    if end > limits.max_expanded_bytes:
        msg = f"HDU {extent.index}: data up to byte {end} are over max_expanded_bytes = {limits.max_expanded_bytes}"
        raise ExposureError(msg)
    if extent.data_length == 0:
        return
    file.seek(end - 1)  # seeking beyond the end is no error, reading there gives nothing
    if not file.read(1):
        msg = f"HDU {extent.index}: its data should reach byte {end}, the file is shorter"
        raise NotWhole(msg)


def _axes(cards: Mapping[str, bytes], key: str) -> tuple[int, ...]:
    """Return the lengths of the axes that ``NAXIS`` or ``ZNAXIS`` counts."""
    n_axes = _integer(cards, key, minimum=0)
    if n_axes > MAX_NAXIS:
        msg = f"{key} must be at most {MAX_NAXIS}, got {n_axes}"
        raise ExposureError(msg)
    return tuple(_integer(cards, f"{key}{n}", minimum=0) for n in range(1, n_axes + 1))


def _bitpix(cards: Mapping[str, bytes], key: str) -> int:
    value = _integer(cards, key)
    if value not in BITPIX:
        msg = f"{key} must be one of {BITPIX}, got {value}"
        raise ExposureError(msg)
    return value


def _integer(cards: Mapping[str, bytes], key: str, *, minimum: int | None = None, default: int | None = None) -> int:
    if key not in cards and default is not None:
        return default
    text = _bare(cards, key)
    if not _INTEGER.fullmatch(text):
        raise _malformed(key, "an integer", text)
    value = int(text)
    if minimum is not None and value < minimum:
        msg = f"{key} must be at least {minimum}, got {value}"
        raise ExposureError(msg)
    return value


def _real(cards: Mapping[str, bytes], key: str, default: float) -> float:
    if key not in cards:
        return default
    text = _bare(cards, key).upper()
    if not _REAL.fullmatch(text):
        raise _malformed(key, "a number", text)
    return float(text.replace(b"D", b"E"))


def _logical(cards: Mapping[str, bytes], key: str) -> bool:
    return key in cards and _bare(cards, key) == b"T"


def _text(cards: Mapping[str, bytes], key: str) -> str:
    """Return a character string without its trailing blanks; an absent or malformed one is empty."""
    match = _STRING.match(cards.get(key, b""))
    return match[1].replace(b"''", b"'").decode("ascii", "backslashreplace").rstrip() if match else ""


def _bare(cards: Mapping[str, bytes], key: str) -> bytes:
    """Return a value that is not a string, without its comment."""
    if key not in cards:
        msg = f"the header has no {key}"
        raise ExposureError(msg)
    return cards[key].partition(b"/")[0].strip()


def _malformed(key: str, expected: str, text: bytes) -> ExposureError:
    return ExposureError(f"{key} must be {expected}, got {text.decode('ascii', 'backslashreplace')!r}")
