"""The full-size camera: quickly simulated, still of known truth."""

from dataclasses import replace

import numpy as np
import pytest

from streamcal.measure import measure_amplifier
from streamcal.simulate import DEFAULT_CAMERA, LSSTCAM, load_truth, simulate_quickly, simulate_run
from streamcal.simulate.files import encode_exposure
from streamcal.simulate.lsstcam import QuickExposures
from streamcal.simulate.plan import plan_run

SMALL = replace(LSSTCAM, shape=(300, 200))


def image_of(camera, images, name):
    """Cut the image area of one amplifier out of what was read."""
    amplifier = next(item for item in camera.amplifiers if item.name == name)
    return amplifier, camera.sections(amplifier)["data"].cut(images[name])


def test_it_has_the_size_of_a_detector():
    """16 amplifiers of 2002 x 512 pixels, each coupled to all others."""
    assert (len(LSSTCAM.amplifiers), LSSTCAM.shape, LSSTCAM.stored_shape) == (16, (2002, 512), (2002, 576))
    assert np.count_nonzero(LSSTCAM.crosstalk) == 16 * 15


@pytest.mark.parametrize("name", ["C10", "C07"])
def test_gain_and_level_are_the_true_ones(name):
    """Without crosstalk, mean and gain of a pair come out within five errors."""
    camera = replace(SMALL, crosstalk=(), gradient=1.0)
    flats = [simulate_quickly(camera, 20000.0, np.random.default_rng(seed)) for seed in (1, 2)]
    amplifier, first = image_of(camera, flats[0], name)
    second = image_of(camera, flats[1], name)[1]
    signals = [flat.astype(np.float32) - np.float32(amplifier.bias) for flat in (first, second)]
    measured = measure_amplifier(*signals, None, amplifier.read_noise_adu, gain_correction="UNBIASED")
    assert measured.mean == pytest.approx(20000 / amplifier.gain, abs=1)
    assert measured.gain == pytest.approx(amplifier.gain, abs=5 * measured.gain_error)
    assert abs(measured.covariance[1, 0]) < 5 * measured.covariance_error[1, 0]


def test_neighbours_add_their_crosstalk():
    """The mean level rises by the coefficients' sum over the sources."""
    plain, coupled = (
        simulate_quickly(replace(SMALL, crosstalk=matrix, gradient=1.0), 50000.0, np.random.default_rng(3))
        for matrix in ((), SMALL.crosstalk)
    )
    sources = [50000 / amplifier.gain for amplifier in SMALL.amplifiers]
    rise = image_of(SMALL, coupled, "C12")[1].mean() - image_of(SMALL, plain, "C12")[1].mean()
    assert rise == pytest.approx(np.dot(SMALL.crosstalk[2], sources), abs=0.1)


def test_what_is_left_out_is_refused():
    """A camera with brighter-fatter correlation is not simulated quickly."""
    with pytest.raises(ValueError, match="brighter-fatter"):
        simulate_quickly(DEFAULT_CAMERA, 100.0, np.random.default_rng(0))


def test_detectors_of_an_exposure_share_their_noise_moved_by_rows():
    """Detectors differ, by a shift along the columns; the two exposures of a pair share nothing."""
    shot = plan_run(SMALL, [1000.0])[0]
    exposures = QuickExposures(SMALL, seed=1)
    one, other = (exposures.expose(replace(shot, detector=name))["C00"] for name in ("R01_S00", "R01_S01"))
    (moved,) = [rows for rows in range(SMALL.shape[0]) if np.array_equal(np.roll(one, rows, axis=0), other)]
    assert moved > 0
    later = exposures.expose(replace(shot, detector="R01_S00", exposure_id=shot.exposure_id + 1))["C00"]
    assert not any(np.array_equal(np.roll(one, rows, axis=0), later) for rows in range(SMALL.shape[0]))


def test_an_exposure_depends_on_nothing_before_it():
    """A detector's pixels are the same whichever were simulated before."""
    shots = [replace(shot, detector="S00") for shot in plan_run(SMALL, [1000.0, 2000.0])]
    exposures = QuickExposures(SMALL, seed=1)
    first = [exposures.expose(shot)["C17"] for shot in shots]
    again = [QuickExposures(SMALL, seed=1).expose(shot)["C17"] for shot in reversed(shots)]
    np.testing.assert_array_equal(first, again[::-1])


@pytest.mark.parametrize("name", [".fits", ".fits.fz"])
def test_files_of_an_exposure_are_those_of_its_pixels(name):
    """Byte by byte what is encoded from scratch, for each detector of two exposures."""
    exposures = QuickExposures(SMALL, seed=1)
    for shot in plan_run(SMALL, [1000.0]):
        for detector in ("S00", "R01_S01"):
            of_detector = replace(shot, detector=detector)
            expected = encode_exposure(SMALL, of_detector, exposures.expose(of_detector), name)
            assert exposures.encode(of_detector, name) == expected


def test_a_run_of_it_is_written(tmp_path):
    """The truth lies beside the files."""
    simulate_run(tmp_path, SMALL, [1000.0], quick=True)
    assert load_truth(tmp_path).camera == SMALL
    assert len(list(tmp_path.glob("*.fits"))) == 2
