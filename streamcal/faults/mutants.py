"""Damaged FITS files: valid exposures with one to three things wrong, as accidents and bad software make them."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path

from streamcal.faults.site import CAMERA
from streamcal.simulate.files import encode_exposure
from streamcal.simulate.light import simulate_flat
from streamcal.simulate.plan import Shot

BLOCK = 2880
CARD = 80
ABSURD = (
    *("-1", "0", "1", "2", "3", "7", "999", "65535", "2147483647", "4294967296", "9223372036854775807"),
    *("1e308", "-1E-308", "NaN", "T", "F", "''", "'TTT'", "'ÿ'", "", "9" * 60, "16.0", "(1.0,2.0)", "'1PB(0)'"),
)
STRUCTURE = (
    *("SIMPLE", "XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "TFIELDS", "TFORM1", "TTYPE1"),
    *("THEAP", "ZIMAGE", "ZNAXIS", "ZNAXIS1", "ZNAXIS2", "ZTILE1", "ZTILE2", "ZBITPIX", "ZCMPTYPE", "ZVAL1", "BSCALE"),
    *("BZERO", "EXTNAME", "IMAGETYP", "EXPTIME", "EXPID", "DATASEC", "BIASSEC", "DETECTOR", "MJD-OBS", "END"),
)
Data = bytearray
Mutation = Callable[[Data, random.Random], None]


def make_bases(seed: int = 1) -> dict[str, bytes]:
    """Return one valid exposure of each form, by ending of its name; gzip is put around later."""
    import numpy as np

    shot = Shot(exposure_id=1, level=1000.0, electrons=1000.0, exposure_time=2.5)
    images = simulate_flat(CAMERA, 1000.0, np.random.default_rng(seed))
    return {suffix: encode_exposure(CAMERA, shot, images, suffix) for suffix in (".fits", ".fits.fz")}


def make_mutant(bases: dict[str, bytes], number: int, dice: random.Random) -> tuple[str, bytes]:
    """Return ending and content of one mutant; two successive ones have one exposure time, each its own id.

    Parameters
    ----------
    bases : dict
        What `make_bases` gave.
    number : int
        From 0; the exposure id, if the mutation leaves it.
    dice : random.Random
        Chooses what is wrong.
    """
    suffix = dice.choice(sorted(bases))
    data = Data(bases[suffix])
    set_card(data, "EXPID", str(number + 1))
    set_card(data, "EXPTIME", f"{1 + number // 2}.0")
    for _ in range(dice.choice((1, 1, 2, 3))):
        dice.choice(MUTATIONS)(data, dice)
    if dice.random() < 0.15:
        packed = Data(gzip.compress(bytes(data), 1))
        if dice.random() < 0.5:
            dice.choice((flip_bits, cut_tail, zero_range, insert_bytes))(packed, dice)
        return f"{suffix}.gz" if suffix == ".fits" else suffix, bytes(packed)
    return suffix, bytes(data)


def set_card(data: Data, key: str, value: str, which: int = 0) -> bool:
    """Overwrite the value of a header card, without regard for what follows from it; tell whether it was there."""
    mark = key.encode().ljust(8)
    starts = [start for start in range(0, len(data) - CARD, CARD) if data[start : start + 8] == mark]
    if not starts:
        return False
    start = starts[which % len(starts)]
    data[start : start + CARD] = (mark + b"= " + value.rjust(20).encode("latin-1", "replace"))[:CARD].ljust(CARD)
    return True


def absurd_value(data: Data, dice: random.Random) -> None:
    """Give a card of the structure a value that it must not have."""
    set_card(data, dice.choice(STRUCTURE), dice.choice(ABSURD), dice.randrange(8))


def random_card(data: Data, dice: random.Random) -> None:
    """Fill a card of some header with random text."""
    start = dice.randrange(max(1, min(len(data), 8 * BLOCK) // CARD)) * CARD
    data[start : start + CARD] = bytes(dice.randrange(32, 127) for _ in range(CARD))


def doubled_card(data: Data, dice: random.Random) -> None:
    """Put one card over another."""
    cards = max(1, min(len(data), 4 * BLOCK) // CARD)
    source, target = dice.randrange(cards) * CARD, dice.randrange(cards) * CARD
    data[target : target + CARD] = data[source : source + CARD]


def flip_bits(data: Data, dice: random.Random) -> None:
    """Flip some bits, anywhere."""
    for _ in range(dice.choice((1, 4, 64))):
        if data:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def flip_header_bits(data: Data, dice: random.Random) -> None:
    """Flip some bits of the first headers."""
    for _ in range(dice.choice((1, 3))):
        if data:
            data[dice.randrange(min(len(data), 3 * BLOCK))] ^= 1 << dice.randrange(8)


def zero_range(data: Data, dice: random.Random) -> None:
    """Overwrite a range with zeros or ones, as a disk does."""
    start = dice.randrange(len(data) + 1)
    length = min(dice.choice((1, 8, 512, BLOCK, 4096)), len(data) - start)
    data[start : start + length] = bytes([dice.choice((0, 255))]) * length


def random_range(data: Data, dice: random.Random) -> None:
    """Overwrite a range with random bytes."""
    start = dice.randrange(len(data) + 1)
    length = min(dice.choice((4, 64, 1024)), len(data) - start)
    data[start : start + length] = dice.randbytes(length)


def cut_tail(data: Data, dice: random.Random) -> None:
    """Cut the file, at a block or anywhere."""
    size = dice.randrange(len(data) + 1)
    del data[size - size % BLOCK if dice.random() < 0.5 else size :]


def cut_block(data: Data, dice: random.Random) -> None:
    """Take a block out of the middle."""
    start = dice.randrange(len(data) // BLOCK + 1) * BLOCK
    del data[start : start + BLOCK]


def repeat_block(data: Data, dice: random.Random) -> None:
    """Write a block twice."""
    start = dice.randrange(len(data) // BLOCK + 1) * BLOCK
    data[start:start] = data[start : start + BLOCK]


def insert_bytes(data: Data, dice: random.Random) -> None:
    """Insert some bytes, so that nothing stands where it should."""
    start = dice.randrange(len(data) + 1)
    data[start:start] = dice.randbytes(dice.choice((1, 80, BLOCK)))


def add_tail(data: Data, dice: random.Random) -> None:
    """Append what does not belong there."""
    data += dice.choice((bytes(BLOCK), dice.randbytes(500), bytes(data[: 2 * BLOCK]), b"END"))


MUTATIONS: tuple[Mutation, ...] = (
    *(absurd_value, absurd_value, absurd_value, random_card, doubled_card, flip_bits, flip_header_bits),
    *(zero_range, random_range, cut_tail, cut_block, repeat_block, insert_bytes, add_tail),
)


def write_mutants(folder: Path, bases: dict[str, bytes], numbers: range, dice: random.Random) -> None:
    """Write mutants into a folder, which is made."""
    folder.mkdir(parents=True)
    for number in numbers:
        suffix, content = make_mutant(bases, number, dice)
        (folder / f"mutant_{number:06d}{suffix}").write_bytes(content)
