"""Is a file a whole FITS file, the one that was admitted, and what are its bytes? Opened safely, gzip included."""

from __future__ import annotations

import errno
import gzip
import os
import stat as mode
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

import xxhash

from streamcal.errors import ExposureError, FileChanged, NotWhole, ReadFailed
from streamcal.paths import show_path
from streamcal.records import FileStat
from streamcal.source.structure import HduExtent, Limits, count_images, require_fits, walk

__all__ = [
    "HduExtent",
    "Limits",
    "Structure",
    "count_images",
    "digest_file",
    "inspect_structure",
    "open_fits",
    "open_stored",
    "walk",
]

CHUNK = 1 << 20  # bytes read at once
OF_THE_FILE = frozenset(  # errors that come again at each try; others are of its storage
    {errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENXIO, errno.ENAMETOOLONG, errno.EINVAL}
)
GZIP = b"\x1f\x8b"
UNSUPPORTED = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"\x1f\x9d": "compress (.Z)",
    b"\x04\x22\x4d\x18": "lz4",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """What a whole FITS file is made of.

    Attributes
    ----------
    extents : tuple of HduExtent
        Its HDUs in order; offsets count in the decompressed file.
    digest : str
        xxh3-128 of the file's bytes as stored, hexadecimal.
    gzipped : bool
        Whether the whole file is gzip, whatever its name says.
    """

    extents: tuple[HduExtent, ...]
    digest: str
    gzipped: bool = False

    @property
    def n_images(self) -> int:
        """Number of two-dimensional images, to be held against what the instrument always writes."""
        return count_images(self.extents)


def inspect_structure(path: str, stat: FileStat, limits: Limits) -> Structure:
    """Find out whether a file is whole, within limits; pixels are not looked at, memory stays constant.

    Parameters
    ----------
    path : str
        As ``os.fsdecode`` gives it.
    stat : FileStat
        What the file was when it was admitted.
    limits : Limits
        What the file may ask of us.

    Returns
    -------
    Structure
        Its HDUs and the digest of its bytes.

    Raises
    ------
    NotWhole
        If bytes are missing (yet).
    FileChanged
        If it is not, or does not stay, the admitted file.
    ExposureError
        If it never will be a usable FITS file.
    """
    with open_stored(path, stat, limits) as file:
        gzipped = _is_gzip(file)
        extents = _walk_gzip(file, limits) if gzipped else walk(file, limits)
        return Structure(extents=extents, digest=digest_file(file.fileno()), gzipped=gzipped)


@contextmanager
def open_fits(path: str, stat: FileStat, limits: Limits) -> Iterator[BinaryIO]:
    """Open a file as plain FITS, for ``astropy.io.fits.open(file, memmap=False)``.

    A gzipped file is expanded into memory. On leaving, the file must still be the admitted one: use what was read
    only after the ``with`` block. An `OSError` raised within the block becomes an `ExposureError`.

    Parameters
    ----------
    path, stat, limits
        As for `inspect_structure`.

    Yields
    ------
    binary file
        Seekable, at its beginning; it begins as FITS does.

    Raises
    ------
    NotWhole, FileChanged, ExposureError
        As for `inspect_structure`.
    """
    with open_stored(path, stat, limits) as stored:
        file = _expand_gzip(stored, limits) if _is_gzip(stored) else stored
        require_fits(file.read(CHUNK))
        file.seek(0)
        yield file


@contextmanager
def open_stored(path: str, stat: FileStat, limits: Limits) -> Iterator[BinaryIO]:
    """Open the admitted file, and no other, for reading its bytes as stored.

    Parameters
    ----------
    path, stat, limits
        As for `inspect_structure`.

    Yields
    ------
    binary file
        At its beginning.

    Raises
    ------
    FileChanged
        If on entering or leaving it is not the admitted file, whatever else went wrong in between.
    ReadFailed
        If the storage does not give its bytes.
    ExposureError
        If it is no regular file, too large, or cannot be read.
    """
    try:
        with _open_regular(path, limits) as file:
            _require_same(path, os.fstat(file.fileno()), stat)
            if stat.size > limits.max_file_bytes:
                msg = f"the file has {stat.size} bytes, over max_file_bytes = {limits.max_file_bytes}"
                raise ExposureError(msg)
            try:
                yield file
            finally:
                # By path: astropy closes what it was given, and a file renamed over this one counts too.
                _require_same(path, Path(path).stat(follow_symlinks=limits.follow_symlinks), stat)
    except OSError as exc:
        raise _explain(path, exc) from exc


def digest_file(descriptor: int) -> str:
    """Return the xxh3-128 of all bytes of an open file, hexadecimal; its position stays."""
    digest, offset = xxhash.xxh3_128(), 0
    while chunk := os.pread(descriptor, CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def _open_regular(path: str, limits: Limits) -> BinaryIO:
    # O_NONBLOCK: opening a named pipe without a writer would hang.
    flags = os.O_NONBLOCK | os.O_CLOEXEC | (0 if limits.follow_symlinks else os.O_NOFOLLOW)
    file = open(path, "rb", opener=lambda name, base: os.open(name, base | flags))  # noqa: SIM115 - the caller closes it
    if not mode.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        msg = "not a regular file"
        raise ExposureError(msg)
    return file


def _require_same(path: str, status: os.stat_result, stat: FileStat) -> None:
    now = FileStat.of(status)
    if now != stat:
        msg = f"{show_path(path)} has changed: {_describe_change(stat, now)}"
        raise FileChanged(msg)


def _describe_change(before: FileStat, now: FileStat) -> str:
    if (before.inode, before.device) != (now.inode, now.device):
        return "it is another file of that name"
    if before.size != now.size:
        return f"its size was {before.size} bytes, now {now.size}"
    return "its size is the same, its time stamp is not"


def _explain(path: str, exc: OSError) -> ExposureError:
    if exc.errno in {errno.ENOENT, errno.ENOTDIR, errno.ESTALE}:
        return FileChanged(f"{show_path(path)} has gone")
    if exc.errno == errno.ELOOP:
        return ExposureError(f"{show_path(path)} is a symbolic link, and follow_symlinks is off")
    kind = ExposureError if exc.errno is None or exc.errno in OF_THE_FILE else ReadFailed
    return kind(f"{show_path(path)} cannot be read: {exc.strerror or exc}")


def _is_gzip(file: BinaryIO) -> bool:
    """Tell by content whether a file is gzip; go back to its beginning."""
    start = file.read(16)
    file.seek(0)
    for magic, name in UNSUPPORTED.items():
        if start.startswith(magic):
            msg = f"compressed by {name}: only plain, tile-compressed and gzip files are read"
            raise ExposureError(msg)
    if start == GZIP[:1]:
        msg = "only 1 byte is there"
        raise NotWhole(msg)
    return start.startswith(GZIP)


def _walk_gzip(file: BinaryIO, limits: Limits) -> tuple[HduExtent, ...]:
    with _gunzip(file) as expanded:
        extents = walk(expanded, limits)
        for _ in _read_chunks(expanded, limits):  # to the end: only there gzip tells whether it was complete
            pass
        return extents


def _expand_gzip(file: BinaryIO, limits: Limits) -> BinaryIO:
    plain = BytesIO()
    with _gunzip(file) as expanded:
        for chunk in _read_chunks(expanded, limits):
            plain.write(chunk)
    plain.seek(0)
    return plain


@contextmanager
def _gunzip(file: BinaryIO) -> Iterator[BinaryIO]:
    try:
        with gzip.GzipFile(fileobj=file) as expanded:
            yield cast("BinaryIO", expanded)
    except EOFError:
        msg = "the gzip stream is not complete"
        raise NotWhole(msg) from None
    except (gzip.BadGzipFile, zlib.error) as exc:
        msg = f"damaged gzip: {exc}"
        raise ExposureError(msg) from exc


def _read_chunks(file: BinaryIO, limits: Limits) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        if file.tell() > limits.max_expanded_bytes:
            msg = f"expands to more than max_expanded_bytes = {limits.max_expanded_bytes}"
            raise ExposureError(msg)
        yield chunk
