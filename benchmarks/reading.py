"""Two files of 16 amplifiers become amplifiers in memory: plain, and Rice-compressed.

fitsio, which is no dependency of ours, is timed where it is installed.

Run: ``python -m benchmarks.reading``
"""

import importlib
import json
import math
from importlib.util import find_spec
from pathlib import Path

from astropy.io import fits

from benchmarks.common import Finding, best_of, make_job, recipe, report, scratch_folder, write_pairs
from streamcal.instruments import load_instrument
from streamcal.instruments.read import read_exposure
from streamcal.instruments.tiles import RiceTiles, decompress
from streamcal.records import ExposureInfo
from streamcal.source.whole import Limits


def read_by_astropy(paths):
    """Read the pixels of all extensions."""
    for path in paths:
        with fits.open(path, memmap=False) as hdus:
            for hdu in hdus[1:]:
                hdu.data.sum()


def read_by_fitsio(paths):
    """Read the pixels of all extensions by cfitsio."""
    fitsio = importlib.import_module("fitsio")
    for path in paths:
        with fitsio.FITS(str(path)) as hdus:
            for hdu in hdus[1:]:
                hdu.read()


def load_tables(paths):
    """Return the compressed images of files as `decompress` wants them."""
    tables = []
    for path in paths:
        with fits.open(path, memmap=False, disable_image_compression=True) as hdus:
            places = [(RiceTiles.of(hdu.header), hdu.fileinfo()["datLoc"], hdu.size) for hdu in hdus[1:]]
        content = path.read_bytes()
        tables += [(tiles, content[offset : offset + size]) for tiles, offset, size in places]
    return tables


def decompress_all(tables):
    """Decompress, and nothing else: the fastest that we know of."""
    for tiles, table in tables:
        decompress(tiles, table)


def main():
    """Measure, print."""
    instrument = load_instrument(recipe().instrument, base=Path())
    with scratch_folder() as folder:
        plain, rice = write_pairs(folder / "plain"), write_pairs(folder / "rice", suffix=".fits.fz")
        jobs = {"plain": json.loads(make_job(*plain)), "rice": json.loads(make_job(*rice))}

        def read(name):
            for key in ("first", "second"):
                read_exposure(ExposureInfo.from_dict(jobs[name][key]), instrument, Limits())

        tables = load_tables(rice)
        ways = {
            "bytes": lambda: [path.read_bytes() for path in plain],
            "plain": lambda: read("plain"),
            "rice": lambda: read("rice"),
            "tiles": lambda: decompress_all(tables),
            "astropy": lambda: read_by_astropy(rice),
        }
        if find_spec("fitsio"):
            ways["fitsio"] = lambda: read_by_fitsio(rice)
        seconds = best_of(ways, repeats=4)
    report(
        [
            Finding(what="bytes of two plain files (s)", value=seconds["bytes"]),
            Finding(what="two plain files (s)", value=seconds["plain"]),
            Finding(what="two Rice-compressed files (s)", value=seconds["rice"]),
            Finding(what="their decompression alone (s)", value=seconds["tiles"]),
            Finding(what="the same two files by astropy (s)", value=seconds["astropy"]),
            Finding(
                what="the same two files by fitsio (s)",
                value=seconds.get("fitsio", math.nan),
                detail="" if "fitsio" in seconds else "not installed",
            ),
        ]
    )


if __name__ == "__main__":
    main()
