"""Small exposures and calibrations for the tests of this room."""

from __future__ import annotations

import numpy as np
import pytest

from streamcal.calibs import Detector, DetectorAmplifier
from streamcal.records import Amplifier, Exposure, ExposureInfo, FileStat, ReadoutCorner, Section


@pytest.fixture
def make_exposure():
    """Make an exposure of amplifiers A, B, ... from arrays of pixels."""

    def make(*arrays, corners="", detector="D1", header=None, **info):
        letters = [chr(ord("A") + n) for n in range(len(arrays))]
        corner = [ReadoutCorner(word) for word in corners.split()] or [ReadoutCorner.LL] * len(arrays)
        amplifiers = {
            name: Amplifier(
                name=name,
                data=np.array(array, np.float32),
                mask=np.zeros(np.shape(array), np.uint32),
                readout_corner=corner[n],
            )
            for n, (name, array) in enumerate(zip(letters, arrays, strict=True))
        }
        stat = FileStat(size=1, mtime_ns=1, inode=1, device=1)
        identity = {"path": "x.fits", "digest": "0", "instrument": "cam", "exposure_id": "1", "is_flat": True} | info
        return Exposure(
            info=ExposureInfo(stat=stat, detector=detector, **identity), header=header or {}, amplifiers=amplifiers
        )

    return make


@pytest.fixture
def detector():
    """Two amplifiers of 2 x 3 pixels side by side, the second read at its right; overscan of one row above."""
    return Detector(
        name="D1",
        detector_id=7,
        serial="S-7",
        instrument="Cam",
        amplifiers=tuple(
            DetectorAmplifier(
                name=name,
                readout_corner=corner,
                gain=gain,
                trimmed=Section(x0=x, x1=x + 3, y0=0, y1=2),
                raw=Section(x0=x, x1=x + 3, y0=0, y1=3),
                raw_data=Section(x0=x, x1=x + 3, y0=0, y1=2),
                raw_parallel=Section(x0=x, x1=x + 3, y0=2, y1=3),
            )
            for name, corner, gain, x in (("A", ReadoutCorner.LL, 1.5, 0), ("B", ReadoutCorner.LR, 2.0, 3))
        ),
    )
