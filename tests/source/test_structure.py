"""The bounded walk over the HDUs of a FITS file."""

import math
import random
import re
from io import BytesIO

import pytest
from astropy.io import fits

from streamcal.config import SourceConfig
from streamcal.errors import ExposureError, NotWhole
from streamcal.source.structure import BLOCK, HduExtent, Limits, count_images, walk

LIMITS = Limits(max_file_bytes=10**6, max_expanded_bytes=10**7, max_hdus=20, max_cards=400)


def header(*cards, first="SIMPLE  =                    T"):
    """Return a header of these cards, ended and padded."""
    text = "".join(card.ljust(80) for card in (first, *cards, "END"))
    return text.ljust(math.ceil(len(text) / BLOCK) * BLOCK).encode()


def card(key, value):
    """Return a header card in fixed format."""
    return f"{key:8}= {value:>20} / a comment"


def image(*axes, bitpix=16, first="SIMPLE  =                    T", more=()):
    """Return a header that announces an image of these axes."""
    lengths = [card(f"NAXIS{n}", length) for n, length in enumerate(axes, 1)]
    return header(card("BITPIX", bitpix), card("NAXIS", len(axes)), *lengths, *more, first=first)


def tiled(*axes, rows=1, more=()):
    """Return a file whose one extension says that it is a compressed image of these axes."""
    lengths = [card(f"ZNAXIS{n}", length) for n, length in enumerate(axes, 1)]
    keys = [card("ZIMAGE", "T"), card("ZBITPIX", 16), card("ZNAXIS", len(axes)), *lengths, *more]
    return image() + image(8, rows, bitpix=8, first="XTENSION= 'BINTABLE'", more=keys) + bytes(8 * rows)


def walk_bytes(content):
    """Return the extents of a file of these bytes."""
    return walk(BytesIO(content), LIMITS)


@pytest.mark.parametrize("kind", ["plain", "tiles", "single"])
def test_extents_are_those_of_astropy(stored, kind):
    """Offsets, shapes, BITPIX and names agree with what astropy finds in a real file."""
    with fits.open(BytesIO(stored[kind]), memmap=False) as hdus:
        for extent, hdu in zip(walk_bytes(stored[kind]), hdus, strict=True):
            info = hdu.fileinfo()
            assert (extent.header_offset, extent.data_offset) == (info["hdrLoc"], info["datLoc"])
            assert extent.naxis[::-1] == tuple(hdu.shape)
            assert extent.extname == hdu.name.replace("PRIMARY", "")
            assert extent.compressed == isinstance(hdu, fits.CompImageHDU)


@pytest.mark.parametrize(("kind", "number"), [("plain", 3), ("tiles", 3), ("single", 1)])
def test_images_are_counted(stored, kind, number):
    """Only HDUs with a two-dimensional image count, compressed ones included."""
    assert count_images(walk_bytes(stored[kind])) == number


def test_scaling_of_unsigned_pixels_is_reported(stored):
    """Unsigned 16-bit pixels are stored signed, with BZERO = 32768."""
    extent = walk_bytes(stored["single"])[0]
    assert (extent.kind, extent.bitpix, extent.bscale, extent.bzero) == ("PRIMARY", 16, 1.0, 32768.0)


@pytest.mark.parametrize("kind", ["plain", "tiles", "single"])
def test_a_shorter_file_is_not_whole_or_lacks_images(stored, kind):
    """Every cut leaves a file that is not whole, or that ends between two HDUs and has fewer images."""
    content = stored[kind]
    extents = walk_bytes(content)
    ends = [(extent.data_offset + extent.data_length, extent.next_offset) for extent in extents]
    cuts = {border + step for pair in ends for border in pair for step in range(-9, 10)}
    cuts |= set(random.Random(1).sample(range(len(content)), 300))
    for cut in sorted(cut for cut in cuts if 0 <= cut < ends[-1][0]):
        if any(end <= cut <= padded for end, padded in ends):
            assert count_images(walk_bytes(content[:cut])) < count_images(extents)
        else:
            with pytest.raises(NotWhole):
                walk_bytes(content[:cut])


def test_missing_padding_of_the_last_hdu_is_fine(stored):
    """A file that ends with its last pixel is whole."""
    extents = walk_bytes(stored["plain"])
    end = extents[-1].data_offset + extents[-1].data_length
    assert walk_bytes(stored["plain"][:end]) == extents


def test_anything_may_follow_the_last_hdu(stored):
    """Special records after the last HDU are allowed by the standard and left alone."""
    assert walk_bytes(stored["plain"] + b"junk" * 1000) == walk_bytes(stored["plain"])


def test_a_broken_extension_counts(stored):
    """What begins as an extension is one: its broken header is an error, not junk."""
    broken = header(card("BITPIX", 16), first="XTENSION= 'IMAGE   '")
    with pytest.raises(ExposureError, match="HDU 4: the header has no NAXIS"):
        walk_bytes(stored["plain"] + broken)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "not a FITS file"),
        (b"SIMPLE  =                    F".ljust(2000) + header(), "SIMPLE must be T"),
        (image(bitpix=17), "BITPIX must be one of"),
        (image(-5), "NAXIS1 must be at least 0, got -5"),
        (image(*[1] * 10), "NAXIS must be at most 9, got 10"),
        (header(card("BITPIX", 16), card("NAXIS", 999)), "NAXIS must be at most 9, got 999"),
        (header(card("BITPIX", 16), card("NAXIS", "1_0")), "NAXIS must be an integer, got '1_0'"),
        (header(card("BITPIX", 16), card("NAXIS", "")), "NAXIS must be an integer, got ''"),
        (image(2_000_000, 2_000_000), "over max_expanded_bytes"),
        (image(10, more=[card("PCOUNT", 10**30)]), "over max_expanded_bytes"),
        (image(10, more=[card("BZERO", "many")]), "BZERO must be a number, got 'MANY'"),
        (image(more=["COMMENT"] * 440), "no END within max_cards = 400"),
        (b"SIMPLE  =                    T".ljust(10**6), "no END within max_cards = 400"),
        (image() + image(first="XTENSION= 'IMAGE   '") * 20, "more than max_hdus = 20"),
        (image() + image(first="XTENSION= IMAGE"), "XTENSION must be a character string"),
        (tiled(3000, 3000, rows=3, more=[card("ZTILE2", 1000)]), "compressed images of 18000000 bytes are over"),
        (tiled(10, 10, more=[card("ZTILE1", 10**9)]), "tiles of 2000000000 bytes are over"),
        (tiled(10, 10, rows=9), "10 tiles must have as many table rows, got 9"),
        (tiled(10, 10, rows=10, more=[card("ZTILE1", -1)]), "ZTILE1 must be at least 0"),
    ],
)
def test_what_never_will_be_whole_is_refused(content, message):
    """Other files, absurd headers and exceeded limits are errors that name key, rule and value."""
    with pytest.raises(ExposureError, match=re.escape(message)):
        walk_bytes(content)


def test_many_small_bombs_are_one_large_bomb():
    """The sizes of all compressed images of a file count together."""
    extension = tiled(1000, 1000, more=[card("ZTILE2", 1000)])[BLOCK:].ljust(2 * BLOCK, b"\0")
    assert count_images(walk_bytes(image() + 5 * extension)) == 5
    with pytest.raises(ExposureError, match="12000000 bytes are over max_expanded_bytes = 10000000"):
        walk_bytes(image() + 6 * extension)


def test_a_plausible_announcement_is_waited_for():
    """Data that could still come are missing, not wrong."""
    with pytest.raises(NotWhole, match="HDU 0: its data should reach byte 22880, the file is shorter"):
        walk_bytes(image(100, 100) + bytes(100))


@pytest.mark.parametrize("content", [b"", b"S", b"SIMPLE  =", image()[:2879], image() + b"XTEN"])
def test_a_header_may_still_be_coming(content):
    """A file that ends within a header, or before one, is not whole yet."""
    with pytest.raises(NotWhole):
        walk_bytes(content)


def test_random_groups_have_a_size_of_their_own():
    """The first axis of random groups is 0 and does not count: 2 bytes x 3 groups x (5 parameters + 10 values)."""
    more = [card("GROUPS", "T"), card("PCOUNT", 5), card("GCOUNT", 3)]
    assert walk_bytes(image(0, 10, more=more) + bytes(90))[0].data_length == 90


def test_the_first_of_repeated_keywords_counts():
    """A keyword written twice has its first value, as in astropy."""
    assert walk_bytes(image(3, more=[card("NAXIS1", 5)]) + bytes(6))[0].naxis == (3,)


def test_text_and_numbers_in_unusual_forms():
    """Quotes in strings, a D exponent and lower case are read as the standard says."""
    more = ["EXTNAME = 'it''s / here '  / name", card("BZERO", "3.2768D4"), card("BSCALE", "2e0")]
    extent = walk_bytes(image(1, more=more) + bytes(2))[0]
    assert (extent.extname, extent.bzero, extent.bscale) == ("it's / here", 32768.0, 2.0)


def test_an_image_without_pixels_does_not_count():
    """Neither an empty image nor a cube nor a table is an image of one exposure."""
    common = {"index": 0, "header_offset": 0, "data_offset": BLOCK, "data_length": 0, "bitpix": 16}
    shapes = [("IMAGE", (0, 5)), ("IMAGE", (2, 2, 2)), ("BINTABLE", (2, 2))]
    assert count_images(HduExtent(kind=kind, naxis=naxis, **common) for kind, naxis in shapes) == 0


def test_limits_come_from_the_configuration():
    """Megabytes of the configuration are 10^6 bytes."""
    limits = Limits.from_config(SourceConfig(max_file_megabytes=1.5, max_hdus=7, follow_symlinks=True))
    assert (limits.max_file_bytes, limits.max_hdus, limits.follow_symlinks) == (1_500_000, 7, True)


@pytest.mark.parametrize("kind", ["plain", "tiles"])
def test_mutated_headers_have_two_outcomes_besides_success(stored, kind):
    """Whatever bytes of a file are wrong, nothing but the two announced exceptions comes out."""
    generator, outcomes = random.Random(20), set()
    headers = [
        n for extent in walk_bytes(stored[kind]) for n in range(extent.header_offset, extent.header_offset + 800)
    ]
    for _ in range(600):
        content = bytearray(stored[kind])
        for _ in range(generator.choice([1, 3, 30])):
            byte = generator.choice([generator.randrange(256), *b" 0123456789'=/TFENDNAXIS+-."])
            content[generator.choice(headers)] = byte
        try:
            walk_bytes(bytes(content))
            outcomes.add("whole")
        except (NotWhole, ExposureError) as exc:
            outcomes.add(type(exc).__name__)
    assert outcomes == {"whole", "NotWhole", "ExposureError"}


def test_a_last_block_filled_with_zeros_is_a_whole_header():
    """Some writers fill the block after END with zeros instead of blanks."""
    head, data = image(4, 4), bytes(BLOCK)
    end = head.index(b"END" + b" " * 77) + 3
    zeroed = head[:end] + b"\0" * (len(head) - end)
    assert walk_bytes(zeroed + data) == walk_bytes(head + data)
