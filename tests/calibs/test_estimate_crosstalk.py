"""Matrices measured on simulated spots: the truth within the errors, and robustly so."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from streamcal.calibs import CrosstalkCalib, estimate_crosstalk
from streamcal.calibs.coupling import orient
from streamcal.calibs.estimate import _refer_to_true_sources
from streamcal.flags import MaskBit

CORNERS = ["LL", "LR", "UL", "UR"]


def draw_spots(rng, shape, n_spots, sky):
    """Draw Gaussian spots of 50 000 to 100 000, anywhere, on a sky with a gradient."""
    y, x = np.mgrid[: shape[1], : shape[2]]
    light = np.broadcast_to(sky + 0.2 * x, shape).copy()
    for n in range(shape[0]):
        for cy, cx in rng.uniform((0, 0), shape[1:], (n_spots, 2)):
            light[n] += rng.uniform(5e4, 1e5) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 6.0**2))
    return rng.poisson(light).astype(float)


@pytest.fixture
def simulate(make_exposure):
    """Make exposures with crosstalk, Poisson light and 5 units of read noise, read at all four corners."""

    def make(coeffs, coeffs_sqr=None, *, seed=1, n_exposures=2, shape=(160, 128), n_spots=2, gains=1.0, sky=100.0):
        rng, n_amp = np.random.default_rng(seed), len(coeffs)
        corners = (CORNERS * n_amp)[:n_amp]
        exposures = []
        for n in range(n_exposures):
            light = draw_spots(rng, (n_amp, *shape), n_spots, sky)
            seen = light + np.einsum("ts,syx->tyx", coeffs, light) + rng.normal(0, 5, light.shape)
            if coeffs_sqr is not None:
                seen += np.einsum("ts,syx->tyx", coeffs_sqr, light**2)
            seen /= np.reshape(gains, (-1, 1, 1))
            pixels = [orient(image, corner) for image, corner in zip(seen, corners, strict=True)]
            exposures.append(make_exposure(*pixels, corners=" ".join(corners), exposure_id=str(n)))
        return exposures

    return make


def random_coeffs(n_amp, scale=1e-4):
    """Return coefficients of both signs, zero on the diagonal."""
    coeffs = np.random.default_rng(7).normal(0, scale, (n_amp, n_amp))
    np.fill_diagonal(coeffs, 0)
    return coeffs


def pulls(measured, truth, errors):
    """Return deviations from the truth in units of the errors, diagonal left out."""
    others = ~np.eye(len(truth), dtype=bool)
    return ((measured - truth) / errors)[others]


def test_matrix_of_lsstcam_is_recovered_within_its_errors(reference, simulate):
    """Pulls of R22_S11's 240 coefficients: width 1 +- 0.15, mean 0 +- 0.2; none beyond 5."""
    truth = CrosstalkCalib.read_text(reference / "crosstalk" / "lsstcam" / "r22_s11.ecsv").coeffs
    calib = estimate_crosstalk(simulate(truth, n_exposures=3, shape=(256, 128)))
    pull = pulls(calib.coeffs, truth, calib.coeff_err)
    assert pull.std() == pytest.approx(1, abs=0.15)
    assert abs(pull.mean()) < 0.2
    assert np.abs(pull).max() < 5
    assert np.nanmedian(calib.coeff_err) < 1e-5


def test_large_coefficients_are_those_of_the_true_sources(simulate):
    """With 1 % the observed sources carry second-order crosstalk of 1e-4, ten errors: it is taken out."""
    truth = random_coeffs(6, 1e-2)
    calib = estimate_crosstalk(simulate(truth, n_exposures=3))
    pull = pulls(calib.coeffs, truth, calib.coeff_err)
    assert pull.std() == pytest.approx(1, abs=0.4)
    assert np.abs(pull).max() < 4


def test_quadratic_term_is_recovered(simulate):
    """Pulls of both terms, 90 each: width 1 +- 0.25, none beyond 5; without it being asked for there is none."""
    truth, square = random_coeffs(6), random_coeffs(6, 5e-9)
    linear, quadratic = [], []
    for seed in (1, 2, 3):
        exposures = simulate(truth, square, seed=seed, n_exposures=4)
        calib = estimate_crosstalk(exposures, do_sqr_crosstalk=True)
        linear.append(pulls(calib.coeffs, truth, calib.coeff_err))
        quadratic.append(pulls(calib.coeffs_sqr, square, calib.coeff_err_sqr))
    for pull in (linear, quadratic):
        assert np.std(pull) == pytest.approx(1, abs=0.25)
        assert np.abs(pull).max() < 5
    assert np.median(calib.coeff_err_sqr[~np.eye(6, dtype=bool)]) < 1e-9
    assert not estimate_crosstalk(exposures).coeffs_sqr.any()


def test_quadratic_term_over_a_bright_sky_leaves_the_linear_one_alone(simulate):
    """Over a sky B of 3000 ADU it would add 2 q B, 3e-4, to the linear coefficient: more than five errors."""
    truth, square, sky = random_coeffs(4), random_coeffs(4, 5e-8), 3000.0
    exposures = simulate(truth, square, n_exposures=4, n_spots=5, sky=sky)
    calib = estimate_crosstalk(exposures, do_sqr_crosstalk=True)
    assert np.abs(pulls(calib.coeffs, truth, calib.coeff_err)).max() < 4
    assert np.abs(pulls(calib.coeffs_sqr, square, calib.coeff_err_sqr)).max() < 4
    assert np.abs(pulls(calib.coeffs, truth + 2 * square * sky, calib.coeff_err)).max() > 5


def test_both_terms_are_referred_to_true_sources():
    """Source 2 shows in 1 by 0.02 and 1e-6, and 1 in 0 by 0.01 and 1e-7: so 2 in 0 by 2e-4 and 1e-8 + 4e-11."""
    linear, square = np.zeros((2, 3, 3))
    linear[0, 1], linear[1, 2], square[0, 1], square[1, 2] = 0.01, 0.02, 1e-7, 1e-6
    true, true_square = _refer_to_true_sources(linear, square)
    assert true[0].tolist() == pytest.approx([0, 0.01, 2e-4])
    assert true_square[0].tolist() == pytest.approx([0, 1e-7, 1e-8 + 4e-11])
    assert true[1:].tolist() == linear[1:].tolist()


def test_gains_make_it_electrons(simulate):
    """Coefficients, threshold and fit gains are then for electrons; gain ratios are target over source."""
    truth, gains = random_coeffs(4), np.array([1.0, 1.5, 2.0, 2.5])
    calib = estimate_crosstalk(simulate(truth, gains=gains), gains=gains)
    assert calib.crosstalk_ratios_units == "electron"
    assert calib.fit_gains.tolist() == gains.tolist()
    assert calib.amp_gain_ratios[1, 2] == 0.75
    assert np.abs(pulls(calib.coeffs, truth, calib.coeff_err)).max() < 4


def test_cosmic_rays_bad_pixels_and_nan_do_no_harm(simulate):
    """Hits on half a per cent of the pixels, a hot column marked BAD and a NaN: still within the errors."""
    truth = random_coeffs(4)
    exposures, rng = simulate(truth, n_exposures=3), np.random.default_rng(4)
    for exposure in exposures:
        for amplifier in exposure.amplifiers.values():
            hit = rng.random(amplifier.data.shape) < 0.005
            amplifier.data[hit] += rng.uniform(50, 5000, np.count_nonzero(hit)).astype(np.float32)
        exposure.amplifiers["B"].data[:, 40] += 60000
        exposure.amplifiers["B"].mask[:, 40] |= np.uint32(MaskBit.BAD)
        exposure.amplifiers["C"].data[7, 7] = np.nan
    calib = estimate_crosstalk(exposures)
    assert np.abs(pulls(calib.coeffs, truth, calib.coeff_err)).max() < 4


def add_faint_stars(rng, exposures, n_stars):
    """Put stars of 30 to 3000 anywhere on every amplifier; what crosstalk they have is below the noise."""
    for exposure in exposures:
        for amplifier in exposure.amplifiers.values():
            y, x = np.mgrid[: amplifier.data.shape[0], : amplifier.data.shape[1]]
            for cy, cx in rng.uniform((0, 0), amplifier.data.shape, (n_stars, 2)):
                light = 10 ** rng.uniform(1.5, 3.5) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 6.0**2))
                amplifier.data += rng.poisson(light).astype(np.float32)


def add_smooth_noise(rng, exposures, _):
    """Add noise of 2 that is correlated over some pixels, of which no clipping and no mask can know."""
    for exposure in exposures:
        for amplifier in exposure.amplifiers.values():
            noise = gaussian_filter(rng.normal(0, 1, amplifier.data.shape), 3)
            amplifier.data += (2.0 * noise / noise.std()).astype(np.float32)


@pytest.mark.parametrize(("disturb", "number"), [(add_faint_stars, 2), (add_faint_stars, 5), (add_smooth_noise, 0)])
def test_errors_hold_over_faint_stars_and_correlated_noise(simulate, disturb, number):
    """Pulls have width 1 to 1.2 where errors of white noise make it 2 to 13: light is masked, scatter is measured."""
    truth, pull = random_coeffs(6), []
    for seed in (1, 2, 3, 4):
        exposures = simulate(truth, seed=seed, n_exposures=3, shape=(256, 192))
        disturb(np.random.default_rng(seed), exposures, number)
        calib = estimate_crosstalk(exposures)
        pull.append(pulls(calib.coeffs, truth, calib.coeff_err))
    assert np.nanstd(pull) == pytest.approx(1, abs=0.3)
    assert np.isnan(pull).mean() < 0.1  # some sources are hidden under stars


def test_amplifier_without_sources_has_no_coefficients(simulate, make_exposure):
    """As a source it is not measured: 0, not valid, error NaN. As a target it is."""
    truth = random_coeffs(4)
    exposures = simulate(truth)
    for exposure in exposures:
        exposure.amplifiers["D"].data[...] = np.random.default_rng(1).normal(100, 10, (160, 128))
    calib = estimate_crosstalk(exposures)
    assert not calib.coeffs[:, 3].any()
    assert not calib.coeff_num[:, 3].any()
    assert not calib.coeff_valid[:, 3].any()
    assert np.isnan(calib.coeff_err[:, 3]).all()
    assert np.isfinite(calib.coeff_err[3, :3]).all()


def test_bad_amplifier_costs_the_others_nothing(simulate):
    """D, bad everywhere, is left out as source and target; the rest is what it is without D, within the errors."""
    truth = random_coeffs(4)
    truth[:, 3] = 0  # it shows in nothing, as if it were not connected
    exposures = simulate(truth)
    for exposure in exposures:
        exposure.amplifiers["D"].mask[...] = MaskBit.BAD
        exposure.amplifiers["D"].data[...] = np.nan
    with pytest.raises(ValueError, match="amplifier D of cam/D1/0 has no good pixel: name it in bad_amps"):
        estimate_crosstalk(exposures)
    calib = estimate_crosstalk(exposures, bad_amps=["D"])
    assert np.abs(pulls(calib.coeffs[:3, :3], truth[:3, :3], calib.coeff_err[:3, :3])).max() < 4
    assert not calib.coeff_num[3].any()
    assert not calib.coeff_num[:, 3].any()
    assert not calib.coeffs[3].any()
    assert np.isnan(calib.coeff_err[3]).all()
    assert calib.validate(exposures[0])


@pytest.mark.parametrize("bad", [["Q"], "AB"])
def test_unknown_bad_amplifier_is_refused(make_exposure, bad):
    """So is a text, whose letters are no names."""
    with pytest.raises(ValueError, match="bad_amps must be names of A, got"):
        estimate_crosstalk([make_exposure([[1.0]])], bad_amps=bad)


def test_result_is_a_usable_calibration(simulate, tmp_path):
    """It validates, names its exposures, says what is significant, subtracts, and survives a file."""
    truth = random_coeffs(4)
    exposures = simulate(truth)
    calib = estimate_crosstalk(iter(exposures))
    assert calib.validate(exposures[0])
    assert [calib.get_metadata()[f"CPP_INPUT_{n}"] for n in range(2)] == ["0", "1"]
    assert np.array_equal(calib.coeff_valid, np.abs(calib.coeffs) > np.nan_to_num(calib.coeff_err, nan=np.inf))
    assert calib.coeff_num[0, 1] >= 100
    assert np.array_equal(calib.subtract_crosstalk(exposures[0]).amplifiers["A"].mask > 0, _under_bright(exposures[0]))
    calib.write_fits(tmp_path / "x.fits")
    assert CrosstalkCalib.read_fits(tmp_path / "x.fits") == calib


def _under_bright(exposure):
    """Return where A, read at LL, lies under a pixel of another amplifier above the default threshold."""
    sources = [orient(entry.data, entry.readout_corner) for name, entry in exposure.amplifiers.items() if name != "A"]
    level = 45000 + np.median([entry.data for entry in exposure.amplifiers.values()])
    return np.any([source >= level for source in sources], axis=0)


def test_exposures_are_not_changed(simulate):
    """They are only looked at."""
    exposures = simulate(random_coeffs(2))
    before = exposures[0].amplifiers["A"].data.copy()
    estimate_crosstalk(exposures, gains=[1.0, 2.0])
    assert np.array_equal(exposures[0].amplifiers["A"].data, before)


def test_nothing_to_measure_on_is_an_error(make_exposure):
    """No exposure, amplifiers of two shapes, exposures of different amplifiers."""
    with pytest.raises(ValueError, match="exposures must hold at least one, got none"):
        estimate_crosstalk([])
    with pytest.raises(ValueError, match=r"2 amplifiers of one shape, cam/D1/1 has 2 of \(1, 1\) and \(1, 2\)"):
        estimate_crosstalk([make_exposure([[1.0]], [[1.0, 2.0]])])
    with pytest.raises(ValueError, match="exposures must have the amplifiers A in this order, cam/D1/1 has A, B"):
        estimate_crosstalk([make_exposure([[1.0]]), make_exposure([[1.0]], [[1.0]])])


@pytest.mark.parametrize(("option", "value"), [("n_iter", 0), ("min_pixels", 0), ("block_size", 4), ("threshold", 0.0)])
def test_impossible_option_is_refused(make_exposure, option, value):
    """By name, rule and value."""
    with pytest.raises(ValueError, match=f"{option} must be (at least .*|above 0), got {value}"):
        estimate_crosstalk([make_exposure([[1.0]])], **{option: value})
