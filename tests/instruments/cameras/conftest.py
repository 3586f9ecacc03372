"""Exposures with the true structure of real cameras, and pixels of known gain, read noise and crosstalk."""

import json
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
import yaml
from astropy.io import fits

from streamcal.chain import StageContext, build_chain, stage_log
from streamcal.instruments.detectors import split_detectors
from streamcal.instruments.identify import identify
from streamcal.instruments.layout import place_amplifiers
from streamcal.instruments.read import read_exposure
from streamcal.instruments.values import plain_header
from streamcal.plugins import load_plugins
from streamcal.records import FileStat, Pair
from streamcal.source.whole import Limits

BIAS, LIGHT, SPOT = 1000.0, 20000.0, 28000.0  # ADU, e-, e-; below the saturation of all
SPOT_PLACE = np.s_[20:120, 30:190]  # rows and columns as counted from the output
STRUCTURE = ("SIMPLE", "XTENSION", "BITPIX", "EXTEND", "PCOUNT", "GCOUNT", "TFIELDS", "CHECKSUM", "DATASUM", "COMMENT")
TABLES = ("NAXIS", "TTYPE", "TFORM", "BSCALE", "BZERO", "ZIMAGE", "ZTILE", "ZCMP", "ZNAME", "ZVAL", "ZTENSION")
COMPRESSED = (*TABLES, "ZBITPIX", "ZNAXIS", "ZPCOUNT", "ZGCOUNT", "ZHECKSUM", "ZDATASUM")


@dataclass(frozen=True, kw_only=True)
class TrueAmplifier:
    """Where an amplifier lies, worked out by hand from camera documents, and how it behaves."""

    name: str
    rows: tuple[int, int]  # of the light, half-open and zero-based like all the others
    columns: tuple[int, int]
    overscan: tuple[int, int]  # columns
    corner: str
    hdu: str = ""  # EXTNAME; empty: the primary HDU
    gain: float = 1.0  # e-/ADU
    read_noise: float = 5.0  # ADU


def with_truth(amplifiers):
    """Give each amplifier a gain and read noise of its own, which no two share."""
    return [
        replace(amplifier, gain=1.2 + 0.06 * number, read_noise=4.0 + 0.25 * number)
        for number, amplifier in enumerate(amplifiers)
    ]


def crosstalk_matrix(n):
    """Coefficients [target][source], all different, the first source's the largest."""
    matrix = 2e-4 + 1e-5 * np.arange(n * n).reshape(n, n)
    matrix[:, 0] += 2e-3
    np.fill_diagonal(matrix, 0)
    return matrix


def flip(image, corner):
    """Turn an image in the order of its readout into the stored one, and back."""
    return image[:: 1 if corner[0] == "L" else -1, :: 1 if corner[1] == "L" else -1]


def simulate(rng, shapes, amplifiers):
    """Return the stored images by EXTNAME: light with a bright spot on the first amplifier, crosstalk, noise."""
    stored = {name: rng.normal(BIAS, 1.0, shape).astype(np.float32) for name, shape in shapes.items()}
    signals = np.array([_expose(rng, amplifier, number == 0) for number, amplifier in enumerate(amplifiers)])
    signals += np.tensordot(crosstalk_matrix(len(amplifiers)).astype(np.float32), signals, axes=1)
    for amplifier, signal in zip(amplifiers, signals, strict=True):
        rows, columns, overscan = (slice(*bounds) for bounds in (amplifier.rows, amplifier.columns, amplifier.overscan))
        image = stored[amplifier.hdu]
        image[rows, columns] = flip(signal, amplifier.corner)
        image[rows, columns] += _noise(rng, amplifier, signal.shape)
        image[rows, overscan] = _noise(rng, amplifier, image[rows, overscan].shape)
    return {name: np.rint(image) for name, image in stored.items()}


def _expose(rng, amplifier, spot):
    light = np.full((np.diff(amplifier.rows)[0], np.diff(amplifier.columns)[0]), LIGHT, np.float32)
    light[SPOT_PLACE] += SPOT * spot
    light += np.sqrt(light) * rng.standard_normal(light.shape, np.float32)
    return light / np.float32(amplifier.gain)


def _noise(rng, amplifier, shape):
    return np.float32(BIAS) + np.float32(amplifier.read_noise) * rng.standard_normal(shape, np.float32)


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("lsst.daf.base.PropertyList", lambda loader, node: loader.construct_sequence(node, deep=True))


def load_header(path):
    """Return a header of the reference data as a dictionary; cards without a value are left out."""
    loaded = json.loads(path.read_text()) if path.suffix == ".json" else yaml.load(path.read_text(), _Loader)
    if isinstance(loaded, list):
        loaded = {card[0]: card[2] for card in loaded}
    return {str(key): value for key, value in loaded.items() if isinstance(value, (bool, int, float, str))}


def image_cards(header):
    """Return the cards of a header, those left out that speak of the stored bytes."""
    cards = fits.Header()
    for key, value in header.items():
        if key in STRUCTURE or key.startswith(COMPRESSED):
            continue
        cards[key if len(key) <= 8 else f"HIERARCH {key}"] = value
    return cards


@pytest.fixture(scope="session")
def header(reference):
    """Load one of the real headers by the name of its file."""
    return lambda name: load_header(reference / "headers" / name)


@pytest.fixture
def identities():
    """Say what headers are, as if they stood in a file of this name."""

    def run(instrument, headers, path="/data/x.fits", **options):
        stat = FileStat(size=0, mtime_ns=0, inode=0, device=0)
        return identify(instrument, [plain_header(header) for header in headers], path, stat, "", **options)

    return run


@pytest.fixture
def places():
    """Place the amplifiers of the only detector of these headers."""

    def run(instrument, headers):
        plain = [plain_header(header) for header in headers]
        (detector,) = split_detectors(instrument, plain, "/data/x.fits")
        return place_amplifiers(instrument, plain, detector)

    return run


@pytest.fixture(scope="session")
def measure():
    """Run the stages on a pair, crosstalk with the true coefficients; returns rows and corrected amplifiers."""
    plugins = load_plugins()

    def run(first, second, instrument, n_amplifiers):
        matrix = crosstalk_matrix(n_amplifiers).tolist()
        settings = {"crosstalk": {"matrix": matrix, "iterations": 2, "threshold": 1e9}, "covariance": {"max_lag": 2}}
        chain = build_chain(("isr", "crosstalk", "covariance", "gain"), settings, plugins)
        pair = Pair(
            pair_id="0" * 32,
            first=read_exposure(first, instrument, Limits()),
            second=read_exposure(second, instrument, Limits()),
        )
        context = StageContext(log=stage_log(), load_exposure=None, folders=())
        return chain.run(pair, context), pair.first.amplifiers

    return run


def assert_measured(rows, corrected, amplifiers):
    """Check names, corners, gains, read noises, and that no ghost of the spot is left where the corner puts it."""
    assert list(rows) == [amplifier.name for amplifier in amplifiers]
    for true in amplifiers:
        row, image = rows[true.name], corrected[true.name]
        assert image.readout_corner.value == true.corner
        n_pixels = image.data.size
        assert row["gain"] == pytest.approx(true.gain, rel=5 * np.sqrt(2 / n_pixels))
        assert row["read_noise"] == pytest.approx(np.hypot(true.read_noise, 12**-0.5), rel=0.02)
        assert row["overscan_level"] == pytest.approx(BIAS, abs=0.5)
    for true in amplifiers[1:]:
        read = flip(corrected[true.name].data, true.corner)
        ghost = read[SPOT_PLACE].mean() - np.median(read)
        before = SPOT / amplifiers[0].gain * 2e-3
        assert abs(ghost) < 0.1 * before


@pytest.fixture(scope="session")
def made():
    """Give the makers of this file to tests."""

    class Makers:
        amplifier = TrueAmplifier
        truth = staticmethod(with_truth)
        simulate = staticmethod(simulate)
        cards = staticmethod(image_cards)
        assert_measured = staticmethod(assert_measured)

    return Makers


@pytest.fixture
def quietly():
    """Let astropy write odd cards without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
