"""Two files of 16 amplifiers become amplifiers in memory: plain, and Rice-compressed.

Run: ``python -m benchmarks.reading``
"""

import json
from pathlib import Path

from astropy.io import fits

from benchmarks.common import Finding, best_of, make_job, recipe, report, scratch_folder, write_pairs
from streamcal.instruments import load_instrument
from streamcal.instruments.read import read_exposure
from streamcal.records import ExposureInfo
from streamcal.source.whole import Limits


def read_by_astropy(paths):
    """Read the pixels of all extensions; the fastest decompression without further packages."""
    for path in paths:
        with fits.open(path, memmap=False) as hdus:
            for hdu in hdus[1:]:
                hdu.data.sum()


def main():
    """Measure, print."""
    instrument = load_instrument(recipe().instrument, base=Path())
    with scratch_folder() as folder:
        plain, rice = write_pairs(folder / "plain"), write_pairs(folder / "rice", suffix=".fits.fz")
        jobs = {"plain": json.loads(make_job(*plain)), "rice": json.loads(make_job(*rice))}

        def read(name):
            for key in ("first", "second"):
                read_exposure(ExposureInfo.from_dict(jobs[name][key]), instrument, Limits())

        seconds = best_of(
            {
                "bytes": lambda: [path.read_bytes() for path in plain],
                "plain": lambda: read("plain"),
                "rice": lambda: read("rice"),
                "astropy": lambda: read_by_astropy(rice),
            },
            repeats=4,
        )
    report(
        [
            Finding(what="bytes of two plain files (s)", value=seconds["bytes"]),
            Finding(what="two plain files (s)", value=seconds["plain"]),
            Finding(what="two Rice-compressed files (s)", value=seconds["rice"]),
            Finding(what="their decompression by astropy alone (s)", value=seconds["astropy"]),
        ]
    )


if __name__ == "__main__":
    main()
