"""Opening the admitted file, and no other, as plain FITS within limits."""

import errno
import gzip
import os
import random
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xxhash
from astropy.io import fits

from streamcal.errors import ExposureError, FileChanged, NotWhole, ReadFailed
from streamcal.records import FileStat
from streamcal.source.whole import Limits, inspect_structure, open_fits

LIMITS = Limits(max_file_bytes=10**6, max_expanded_bytes=10**6, max_hdus=20, max_cards=400)


@pytest.mark.parametrize("kind", ["plain", "tiles", "gzip"])
def test_a_whole_file_is_described(stored, put, kind):
    """A whole file has its images counted and its stored bytes digested, gzip under a plain name included."""
    structure = inspect_structure(*put(stored[kind]), LIMITS)
    assert structure.n_images == 3
    assert structure.gzipped == (kind == "gzip")
    assert structure.digest == xxhash.xxh3_128_hexdigest(stored[kind])


@pytest.mark.parametrize("kind", ["plain", "tiles", "gzip"])
def test_astropy_reads_what_open_fits_yields(stored, put, kind):
    """The file object serves astropy, which finds the pixels that were written."""
    expected = np.random.default_rng(1).integers(0, 65535, (21, 40)).astype(np.uint16)
    with open_fits(*put(stored[kind]), LIMITS) as file, fits.open(file, memmap=False) as hdus:
        assert hdus["AMP1"].data.dtype == np.uint16
        assert np.array_equal(hdus["AMP1"].data, expected)


def test_a_truncated_gzip_file_is_not_whole(stored, put):
    """Wherever a gzip file is cut, in its trailer too, it is not whole."""
    content = stored["gzip"]
    cuts = {*range(12), *range(len(content) - 12, len(content)), *random.Random(2).sample(range(len(content)), 60)}
    for cut in cuts:
        with pytest.raises(NotWhole):
            inspect_structure(*put(content[:cut]), LIMITS)


def test_a_damaged_gzip_file_is_refused(stored, put):
    """A wrong checksum of the content is an error."""
    content = bytearray(stored["gzip"])
    content[-8] ^= 1
    with pytest.raises(ExposureError, match="damaged gzip: CRC check failed"):
        inspect_structure(*put(content), LIMITS)


def test_mutated_gzip_files_have_two_outcomes_besides_success(stored, put):
    """Whatever bytes of a gzip file are wrong, nothing but the announced exceptions comes out."""
    generator = random.Random(3)
    for _ in range(200):
        content = bytearray(stored["gzip"])
        content[generator.randrange(len(content))] = generator.randrange(256)
        with suppress(NotWhole, ExposureError):
            assert inspect_structure(*put(content), LIMITS).n_images == 3


@pytest.mark.parametrize("opened", [inspect_structure, lambda *file: open_fits(*file).__enter__()])
def test_a_gzip_bomb_stops_at_the_limit(put, opened):
    """A small file that expands beyond the limit is refused."""
    bomb = gzip.compress(fits.PrimaryHDU().header.tostring().encode() + bytes(3_000_000))
    with pytest.raises(ExposureError, match="expands to more than max_expanded_bytes = 1000000"):
        opened(*put(bomb), LIMITS)


def test_gzip_within_gzip_is_refused(stored, put):
    """The library never sees compressed bytes that it would expand without a limit."""
    twice = put(gzip.compress(stored["gzip"]))
    with pytest.raises(ExposureError, match="not a FITS file"), open_fits(*twice, LIMITS):
        pass


@pytest.mark.parametrize(
    ("start", "name"),
    [(b"BZh9", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PK\3\4", "zip"), (b"\x1f\x9d", "Z")],
)
def test_other_compressions_are_named(put, start, name):
    """A file compressed in another way is refused with the name of that way."""
    with pytest.raises(ExposureError, match=f"compressed by .*{name}"):
        inspect_structure(*put(start + bytes(100)), LIMITS)


def test_a_file_over_the_limit_is_refused(put):
    """A file that is too large is not read."""
    with pytest.raises(ExposureError, match="the file has 1000001 bytes, over max_file_bytes = 1000000"):
        inspect_structure(*put(bytes(1_000_001)), LIMITS)


def test_another_file_than_the_admitted_one_is_not_read(stored, put):
    """A file that was replaced or extended since it was admitted has changed."""
    path, _ = put(stored["plain"])
    _, other = put(stored["plain"], "other.fits")
    with pytest.raises(FileChanged, match=r"/exposure\.fits has changed: it is another file of that name$"):
        inspect_structure(path, other, LIMITS)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"size": 7}, "its size was 7 bytes, now "), ({"mtime_ns": 7}, "its size is the same, its time stamp is not")],
)
def test_what_has_changed_is_said(stored, put, change, words):
    """In words, with the file's name."""
    path, stat = put(stored["plain"])
    with pytest.raises(FileChanged) as raised:
        inspect_structure(path, replace(stat, **change), LIMITS)
    assert str(raised.value).startswith(f"{path} has changed: {words}")


def test_a_file_replaced_while_it_is_read_has_changed(stored, put):
    """What was read does not count when another file has taken the name meanwhile."""
    path, stat = put(stored["plain"])
    with pytest.raises(FileChanged), open_fits(path, stat, LIMITS):
        Path(put(stored["plain"], "next.fits")[0]).replace(path)


def test_an_error_in_a_changed_file_is_its_change(stored, put):
    """Nonsense read from a file that is being written is no reason to reject it."""
    path, stat = put(stored["plain"])
    opened = open_fits(path, stat, LIMITS)
    opened.__enter__()
    os.utime(path, ns=(1, 1))
    with pytest.raises(FileChanged):
        opened.__exit__(ExposureError, ExposureError("nonsense"), None)


def test_a_vanished_file_has_changed(stored, put):
    """A file that has gone before it could be read is no unusable exposure."""
    path, stat = put(stored["plain"])
    Path(path).unlink()
    with pytest.raises(FileChanged, match=r"\.fits has gone$"):
        inspect_structure(path, stat, LIMITS)


def test_symbolic_links_are_followed_only_when_configured(stored, put, tmp_path):
    """A link in place of the file is refused, unless links are allowed."""
    path, stat = put(stored["plain"])
    link = tmp_path / "link.fits"
    link.symlink_to(path)
    with pytest.raises(ExposureError, match=r"link\.fits is a symbolic link, and follow_symlinks is off"):
        inspect_structure(str(link), stat, LIMITS)
    assert inspect_structure(str(link), stat, Limits(follow_symlinks=True)).n_images == 3


def test_a_named_pipe_neither_hangs_nor_counts(tmp_path):
    """A pipe without a writer is refused at once."""
    pipe = tmp_path / "pipe.fits"
    os.mkfifo(pipe)
    with pytest.raises(ExposureError, match="not a regular file"):
        inspect_structure(str(pipe), FileStat.of(pipe.stat()), LIMITS)


def test_a_socket_is_refused(tmp_path, monkeypatch):
    """Something that cannot be opened as a file is refused with the system's words."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.fits")
        with pytest.raises(ExposureError, match="cannot be read: No such device or address"):
            inspect_structure("s.fits", FileStat.of(Path("s.fits").stat()), LIMITS)


def test_an_error_of_the_library_is_an_error_of_the_exposure(stored, put):
    """An OSError while the file is open, as libraries raise it, becomes the reason to reject it."""
    with pytest.raises(ExposureError, match="cannot be read: Invalid argument"):  # noqa: SIM117
        with open_fits(*put(stored["plain"]), LIMITS) as file:
            file.seek(-1)


def test_names_are_bytes(stored, put):
    """A name that is not UTF-8, or holds quotes, brackets or a newline, is a name like any other."""
    for name in (os.fsdecode(b"flat\xff.fits"), "a\n'b\".fits", "c(out.fits)[1].fits", "http:x.fits"):
        assert inspect_structure(*put(stored["plain"], name), LIMITS).n_images == 3


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EIO, ReadFailed), (errno.ETIMEDOUT, ReadFailed), (errno.EACCES, ExposureError)]
)
def test_failing_storage_is_told_from_a_file_that_may_not_be_read(stored, put, monkeypatch, number, kind):
    """What says nothing of the file is an error of its own, to be tried again."""

    def fail(*_args):
        raise OSError(number, os.strerror(number))

    path, stat = put(stored["plain"])
    monkeypatch.setattr("streamcal.source.whole.digest_file", fail)
    with pytest.raises(ExposureError, match=os.strerror(number)) as caught:
        inspect_structure(path, stat, LIMITS)
    assert caught.type is kind
