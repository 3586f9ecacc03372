"""LSSTCam's real coefficients put into simulated exposures and taken out again: what is left."""

from __future__ import annotations

import numpy as np
import pytest

from streamcal.calibs import CrosstalkCalib
from streamcal.measure import measure_amplifier

SHAPE = (16, 128, 128)
READ_NOISE = 5.0


@pytest.fixture
def calib(reference):
    """R22_S11: 16 amplifiers, coefficients up to 2.8e-4 for electrons, gains of 1.4 e-/ADU."""
    return CrosstalkCalib.read_text(reference / "crosstalk" / "lsstcam" / "r22_s11.ecsv")


def inject(calib, image):
    """Add crosstalk to an image of ADU, (16, ny, nx), in electrons and double precision."""
    gains = calib.fit_gains[:, None, None]
    return image + np.einsum("ts,syx->tyx", calib.coeffs, image * gains) / gains


def make_flat(calib, rng):
    """Simulate a flat of 70 000 e-."""
    gains = calib.fit_gains[:, None, None]
    return (rng.poisson(70000, SHAPE) / gains + rng.normal(0, READ_NOISE, SHAPE)).astype(np.float32)


def make_spots(_, rng):
    """Simulate a spot of 90 000 ADU on each amplifier."""
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    centres = rng.uniform(0, SHAPE[1], (SHAPE[0], 2))
    spots = [9e4 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 200) for cy, cx in centres]
    return (500 + rng.normal(0, READ_NOISE, SHAPE) + spots).astype(np.float32)


def recover(calib, make_exposure, image, **options):
    """Subtract the crosstalk."""
    corrected = calib.subtract_crosstalk(make_exposure(*image), **options)
    return np.array([entry.data for entry in corrected.amplifiers.values()])


@pytest.mark.parametrize("make_image", [make_flat, make_spots])
def test_image_is_recovered(calib, make_exposure, make_image):
    """27 ADU of crosstalk; one pass leaves at most 0.05 ADU (0.016), two what float32 can say (two spacings)."""
    image = make_image(calib, np.random.default_rng(1))
    seen = inject(calib, image)
    assert np.abs(seen - image).max() > 20
    once = recover(calib, make_exposure, seen)
    twice = recover(calib, make_exposure, seen, iterations=2)
    assert np.abs(once - image).max() < 0.05
    assert np.all(np.abs(twice - image) <= 2 * np.spacing(image))


def test_photon_transfer_numbers_are_recovered(calib, make_exposure):
    """Mean, variance, covariances and gain of the true flats to 1e-6; uncorrected the gain is off by 5e-4."""
    rng = np.random.default_rng(2)
    flats = [make_flat(calib, rng) for _ in range(2)]
    seen = [inject(calib, flat).astype(np.float32) for flat in flats]
    corrected = [recover(calib, make_exposure, image) for image in seen]
    for n in range(SHAPE[0]):
        true, found, raw = (
            measure_amplifier(pair[0][n], pair[1][n], read_noise=READ_NOISE) for pair in (flats, corrected, seen)
        )
        for name in ("mean", "mean_used", "variance", "gain"):
            assert getattr(found, name) == pytest.approx(getattr(true, name), rel=1e-6)
        assert np.abs(found.covariance - true.covariance).max() < 1e-6 * true.variance
        assert abs(raw.gain / true.gain - 1) > 1e-4


@pytest.mark.parametrize(("make_image", "scale"), [(make_flat, 1.0), (make_spots, 0.6)])
def test_digitisation_is_what_remains(calib, make_exposure, make_image, scale):
    """As uint16, which holds spots of 54 000 ADU, the error is that of rounding: half an ADU, 0.29 ADU rms."""
    image = scale * make_image(calib, np.random.default_rng(3))
    digitised = np.rint(inject(calib, image))
    assert digitised.min() >= 0
    assert digitised.max() <= np.iinfo(np.uint16).max
    error = recover(calib, make_exposure, digitised.astype(np.uint16)) - image
    assert np.abs(error).max() < 0.53
    assert error.std() == pytest.approx(1 / np.sqrt(12), rel=0.01)
