"""What tests of stages are made from: exposures of one or more amplifiers of known truth, and chains."""

import numpy as np
import pytest

from streamcal.chain import build_chain
from streamcal.plugins import load_plugins
from streamcal.records import Amplifier, Exposure, ExposureInfo, FileStat, Pair, ReadoutCorner, Section
from streamcal.testing import RecordingContext

GAIN = 1.5
READ_NOISE = 6.0  # e-


@pytest.fixture(scope="session")
def plugins():
    """All plugins, loaded once."""
    return load_plugins()


@pytest.fixture
def make_chain(plugins):
    """Build a chain of built-in stages with settings."""

    def build(settings=None, stages=("isr", "covariance", "gain")):
        return build_chain(stages, settings or {}, plugins)

    return build


@pytest.fixture
def isr(plugins):
    """Run the stage isr alone on an exposure with these settings, and return the exposure."""

    def run(exposure, context=None, **settings):
        stage = plugins.stages["isr"]
        return stage.run(exposure, stage.settings(**settings), context or RecordingContext("isr"))

    return run


def make_info(exposure_id="1", **values):
    """Return the identity of a test exposure."""
    known = {"path": f"/data/{exposure_id}.fits", "digest": "", "instrument": "cam", "detector": "d0"}
    stat = FileStat(size=0, mtime_ns=0, inode=0, device=0)
    return ExposureInfo(stat=stat, exposure_id=exposure_id, is_flat=True, **{**known, **values})


def make_amplifier(data, overscan=None, *, name="A", corner="LL", **values):
    """Return an amplifier stored as data, then overscan columns (before them where the output is at the right)."""
    data = np.asarray(data, np.float32)
    overscan = np.zeros((data.shape[0], 0)) if overscan is None else np.asarray(overscan)
    nx, n = data.shape[1], overscan.shape[1]
    left = (0, nx), (nx, nx + n)
    (d0, d1), (o0, o1) = left if corner.endswith("L") else ((n, n + nx), (0, n))
    raw = np.zeros((data.shape[0], nx + n), np.float32)
    raw[:, d0:d1], raw[:, o0:o1] = data, overscan
    rows = {"y0": 0, "y1": data.shape[0]}
    sections = {"data": Section(x0=d0, x1=d1, **rows), "serial": Section(x0=o0, x1=o1, **rows)}
    return Amplifier(
        name=name,
        data=data.copy(),
        mask=np.zeros(data.shape, np.uint32),
        overscan={"serial": overscan.astype(np.float32)} if n else {},
        readout_corner=ReadoutCorner(corner),
        raw=raw,
        sections=sections if n else {"data": sections["data"]},
        **values,
    )


def make_exposure(*amplifiers, header=None, **info):
    """Return an exposure of these amplifiers."""
    return Exposure(
        info=make_info(**info), header=header or {}, amplifiers={amplifier.name: amplifier for amplifier in amplifiers}
    )


def make_flat(  # noqa: D103
    rng, electrons, *, shape=(256, 256), columns=32, bias=1000.0, read_noise=READ_NOISE, gain=GAIN, **info
):
    level = np.broadcast_to(bias, (shape[0],))[:, np.newaxis]
    light = rng.poisson(electrons, shape)
    data, overscan = (
        (signal + rng.normal(0, read_noise, signal.shape)) / gain + level
        for signal in (light, np.zeros((shape[0], columns)))
    )
    return make_exposure(make_amplifier(data, overscan), **info)


def make_pair(first, second):
    """Return a pair of two exposures."""
    return Pair(pair_id="0" * 32, first=first, second=second)


@pytest.fixture(scope="session")
def made():
    """Give the makers of this file to tests."""

    class Makers:
        info = staticmethod(make_info)
        amplifier = staticmethod(make_amplifier)
        exposure = staticmethod(make_exposure)
        flat = staticmethod(make_flat)
        pair = staticmethod(make_pair)
        gain = GAIN
        read_noise = READ_NOISE / GAIN

    return Makers
