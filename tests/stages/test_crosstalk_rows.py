"""What crosstalk does to the rows of a flat pair, and what the stage leaves of it: coefficients of a deployed file."""

import numpy as np
import pytest

from streamcal.calibs import CrosstalkCalib
from streamcal.records import Amplifier, ReadoutCorner
from streamcal.testing import RecordingContext

SHAPE = (256, 256)
LEVEL = 75000.0  # e-; 50 000 ADU
PLAIN = ("mean_1", "mean_2", "mean", "mean_used", "variance", "gain", "gain_error", "gain_statistic")
SMALL = ("row_mean_variance", "gain_covariance_sum")  # what is left when larger numbers cancel


@pytest.fixture(scope="module")
def folder(reference):
    """Return the folder with LSSTCam's files as they are deployed."""
    return reference / "crosstalk" / "lsstcam"


@pytest.fixture(scope="module")
def flats(folder):
    """Return two flats of 16 amplifiers, without and with the crosstalk of R22_S11, as floats in ADU."""
    calib = CrosstalkCalib.read_text(folder / "r22_s11.ecsv")
    gains, rng = calib.fit_gains[:, None, None], np.random.default_rng(5)
    light = LEVEL * np.linspace(0.98, 1.02, SHAPE[1])
    true = [(rng.poisson(light, (16, *SHAPE)) + rng.normal(0, 6, (16, *SHAPE))) / gains for _ in range(2)]
    seen = [flat + np.tensordot(calib.coeffs, flat * gains, axes=1) / gains for flat in true]
    return true, seen


@pytest.fixture(scope="module")
def measure(plugins, made, folder):
    """Measure two flats by the default stages; return the rows."""
    from streamcal.chain import build_chain

    def run(flats, dtype=np.float32, **settings):
        isr = {"overscan": "none", "noise_adu": 4.0, "read_noise": ["config"]}
        chain = build_chain(("isr", "crosstalk", "covariance", "gain"), {"isr": isr, "crosstalk": settings}, plugins)
        pair = made.pair(*(expose(made, flat.astype(dtype), str(n)) for n, flat in enumerate(flats)))
        return list(chain.run(pair, RecordingContext(folders=(folder,))).values())

    return run


@pytest.fixture(scope="module")
def truth(measure, flats):
    """Return the rows of the flats without crosstalk, in single precision as exposures are read."""
    return measure(flats[0])


def expose(made, flat, exposure_id):
    """Return an exposure of R22_S11."""
    amplifiers = [
        Amplifier(
            name=f"C{n:02d}", data=pixels, mask=np.zeros(SHAPE, np.uint32),
            readout_corner=ReadoutCorner.LL,
        )
        for n, pixels in enumerate(flat)
    ]  # fmt: skip
    return made.exposure(*amplifiers, exposure_id=exposure_id, detector="R22_S11")


def differences(rows, truth, names):
    """Return the largest relative difference of these columns."""
    return max(abs(row[name] / true[name] - 1) for row, true in zip(rows, truth, strict=True) for name in names)


@pytest.mark.parametrize(("iterations", "limit"), [(1, 1e-6), (2, 1e-8)])
def test_rows_are_those_of_flats_without_crosstalk(measure, flats, iterations, limit):
    """Every number to 1e-6 after one pass (2.2e-7), to 1e-8 after two (3e-9)."""
    truth = measure(flats[0], np.float64)
    rows = measure(flats[1], np.float64, file="{detector}.ecsv", iterations=iterations)
    assert differences(rows, truth, PLAIN + SMALL) < limit
    for row, true in zip(rows, truth, strict=True):
        assert np.abs(np.subtract(row["covariance"], true["covariance"])).max() < limit * true["variance"]


@pytest.mark.parametrize("iterations", [1, 2])
def test_in_single_precision_the_rounding_of_pixels_is_what_remains(measure, flats, truth, iterations):
    """It alone changes two numbers by 1e-6, crosstalk or none; all others agree to 1e-6. Uncorrected gains are off."""
    rows = measure(flats[1], file="{detector}.ecsv", iterations=iterations)
    assert differences(rows, truth, PLAIN) < 1e-6
    rounding = differences(truth, measure(flats[0], np.float64), SMALL)  # of the true flats, once; here it is thrice
    assert differences(rows, truth, SMALL) < 4 * rounding
    for row, true in zip(rows, truth, strict=True):
        assert np.abs(np.subtract(row["covariance"], true["covariance"])).max() < 1e-6 * true["variance"]
    assert 15.0 < max(row["crosstalk_max_correction"] for row in rows) < 35.0
    assert differences(measure(flats[1]), truth, ("gain",)) > 3e-4


def test_after_digitisation_gains_agree_to_the_scatter_of_the_rounding(measure, flats, truth):
    """1e-4, where the pair itself knows the gain to 6e-3."""
    rows = measure([np.rint(flat) for flat in flats[1]], file="{detector}.ecsv")
    assert differences(rows, truth, ("gain", "variance")) < 1e-4
    assert differences(rows, truth, ("mean",)) < 1e-5
