"""The truth put into simulated flats comes out again, within statistical errors."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import convolve2d

from streamcal.records import ReadoutCorner
from streamcal.simulate import DEFAULT_CAMERA, BrighterFatter, collect_light, displace_charge, read_out, simulate_flat

NO_KERNEL = BrighterFatter(a10=0.0, a01=0.0, a11=0.0)
CAMERA = replace(DEFAULT_CAMERA, brighter_fatter=NO_KERNEL, lamp_drift=0.0)


def flats(camera, electrons, count=2, seed=1, **options):
    """Return `count` flats of one level."""
    rng = np.random.default_rng(seed)
    return [simulate_flat(camera, electrons, rng, **options) for _ in range(count)]


@pytest.mark.parametrize("amplifier", CAMERA.amplifiers, ids=lambda amplifier: amplifier.name)
def test_gain_by_janesick_is_the_true_gain(amplifier):
    """Mean over shot noise variance gives the gain within four errors, quantised pixels and gradient included."""
    first, second = flats(CAMERA, 10000.0)
    section = CAMERA.sections(amplifier)["data"]
    cuts = [section.cut(flat[amplifier.name]).astype(float) - amplifier.bias for flat in (first, second)]
    difference = (cuts[0] - cuts[1]).var(ddof=1) / 2
    gain = np.mean(cuts) / (difference - amplifier.read_noise_adu**2 - 1 / 12)
    assert gain == pytest.approx(amplifier.gain, rel=4 * math.sqrt(2 / cuts[0].size))


@pytest.mark.parametrize("amplifier", CAMERA.amplifiers, ids=lambda amplifier: amplifier.name)
@pytest.mark.parametrize("name", ["serial", "prescan"])
def test_overscan_holds_bias_and_read_noise_alone(amplifier, name):
    """Overscan and prescan scatter by the read noise about the bias level, whatever the light."""
    (flat,) = flats(CAMERA, 50000.0, count=1)
    pixels = CAMERA.sections(amplifier)[name].cut(flat[amplifier.name]).astype(float)
    noise = math.hypot(amplifier.read_noise_adu, math.sqrt(1 / 12))
    assert pixels.std(ddof=1) == pytest.approx(noise, rel=4 / math.sqrt(2 * pixels.size))
    assert pixels.mean() == pytest.approx(amplifier.bias, abs=4 * noise / math.sqrt(pixels.size))


def test_light_is_poisson_not_gaussian():
    """The third central moment of the charge is its mean."""
    camera = replace(CAMERA, gradient=1.0, crosstalk=())
    quiet = tuple(replace(amplifier, read_noise=0.0, gain=1.0) for amplifier in camera.amplifiers)
    (flat,) = flats(replace(camera, amplifiers=quiet), 4.0, count=1, quantise=False)
    charge = np.stack([camera.sections(a)["data"].cut(flat[a.name]) - a.bias for a in camera.amplifiers]).astype(float)
    third = ((charge - charge.mean()) ** 3).mean()
    # Var(m3) of Poisson light of mean 4 is below 15 * 4**3 + 25 * 4**2 + 4, per pixel
    assert third == pytest.approx(4.0, abs=4 * math.sqrt((15 * 64 + 25 * 16 + 4) / charge.size))


def test_light_falls_linearly_over_the_detector():
    """The last columns of the detector get `gradient` times the light of the first ones, the mean is the level."""
    camera = replace(CAMERA, gradient=3.0, crosstalk=())
    (flat,) = flats(camera, 10000.0, count=1, quantise=False)
    left, right = camera.amplifiers[0], camera.amplifiers[1]
    level = {a.name: (camera.sections(a)["data"].cut(flat[a.name]) - a.bias) * a.gain for a in (left, right)}
    assert level["C01"][:, -1].mean() / level["C00"][:, 0].mean() == pytest.approx(3.0, rel=0.01)
    assert np.mean([level["C00"], level["C01"]]) == pytest.approx(10000.0, rel=0.001)


def test_level_zero_is_a_bias_frame():
    """Without light, the image pixels are as the overscan's."""
    (bias,) = flats(CAMERA, 0.0, count=1)
    amplifier = CAMERA.amplifiers[0]
    pixels = CAMERA.sections(amplifier)["data"].cut(bias["C00"]).astype(float)
    assert pixels.mean() == pytest.approx(amplifier.bias, abs=4 * amplifier.read_noise_adu / math.sqrt(pixels.size))


def test_rows_share_their_bias_offset_with_the_overscan():
    """Row noise moves image and overscan of a row together."""
    camera = replace(CAMERA, row_noise=20.0)
    (bias,) = flats(camera, 0.0, count=1)
    sections = camera.sections(camera.amplifiers[0])
    rows = [sections[name].cut(bias["C00"]).astype(float).mean(axis=1) for name in ("data", "serial")]
    assert np.std(rows[0]) == pytest.approx(20.0, rel=4 / math.sqrt(2 * 512))
    assert np.corrcoef(rows)[0, 1] > 0.99


def test_displacement_conserves_charge():
    """No electron is made or lost, on any image."""
    charge = np.random.default_rng(1).integers(0, 90000, (40, 30))
    assert displace_charge(charge, BrighterFatter()).sum() == pytest.approx(charge.sum(), rel=1e-14)


def test_displacement_leaves_its_input_alone_and_even_light_unchanged():
    """Without differences of charge no border moves."""
    charge = np.full((5, 6), 50000)
    np.testing.assert_array_equal(displace_charge(charge, BrighterFatter()), charge)
    assert charge.dtype == np.int64


def test_displacement_between_two_pixels_by_hand():
    """From 200 to 100 e- with a = 0.001: 0.001 / 4 * (40000 - 10000) = 7.5 e- along x, none along y."""
    kernel = BrighterFatter(a10=0.001, a01=0.0, a11=0.0)
    np.testing.assert_allclose(displace_charge(np.array([[200, 100]]), kernel), [[192.5, 107.5]])
    np.testing.assert_allclose(displace_charge(np.array([[200], [100]]), kernel), [[200], [100]])


def test_kernel_sums_to_zero_over_four_quadrants():
    """What neighbours gain, the centre loses."""
    (a00, a01), (a10, a11) = BrighterFatter(a10=1e-7, a01=3e-7, a11=2e-7).matrix
    assert a00 == pytest.approx(-1.6e-6)
    assert a00 + 2 * a01 + 2 * a10 + 4 * a11 == pytest.approx(0.0, abs=1e-20)


def test_covariances_follow_the_kernel():
    """Variance and C_01, C_10, C_11 are mu * (delta + mu a + (mu**2 / 4) a * a) within four errors."""
    kernel, mu, n = BrighterFatter(), 50000.0, 2048
    rng = np.random.default_rng(1)
    charge = displace_charge(rng.poisson(mu, (n, n)), kernel) - mu
    a = np.array(kernel.matrix)
    full = a[np.ix_([1, 0, 1], [1, 0, 1])]  # [i, j], -1 <= i, j <= 1
    second_order = convolve2d(full, full)[2:4, 2:4] * mu**3 / 4
    measured = np.array([[(charge[: n - j, : n - i] * charge[j:, i:]).mean() for j in range(2)] for i in range(2)])
    expected = mu**2 * a + second_order + mu * np.array([[1, 0], [0, 0]])
    errors = mu / n * np.array([[math.sqrt(2), 1], [1, 1]])
    assert np.all(np.abs(measured - expected) < 4 * errors)
    # the leading order alone must be visible for this test to mean anything
    assert np.all(np.abs(mu**2 * a) > 8 * errors)


class EvenLight:
    """Photons that come as regularly as they can."""

    @staticmethod
    def poisson(portion):
        """Return the mean."""
        return portion


@pytest.mark.parametrize(("steps", "error"), [(1, 0.03), (4, 1e-3), (8, 3e-4)])
def test_displacement_in_portions_is_that_of_light_that_flows(steps, error):
    """Of a ripple r of column by column is left, as dr/dmu = 1 - 4 a10 r: (exp(x) - 1) / x, x = -4 a10 mu."""
    kernel, mu, ripple = BrighterFatter(a10=1e-6, a01=0.0, a11=0.0, steps=steps), 1e5, 1.0
    light = np.tile(mu + ripple * (-1.0) ** np.arange(200), (2, 1))
    left = (collect_light(light, kernel, EvenLight())[0, 100] - mu) / ripple
    x = -4 * kernel.a10 * mu
    assert abs(left / (np.expm1(x) / x) - 1) < error
    assert abs(left / (np.expm1(x) / x) - 1) > error / 10  # or the limits mean nothing


def test_charge_crosses_from_amplifier_to_amplifier():
    """Amplifiers share one piece of silicon: a bright pixel spills over their border."""
    camera = replace(CAMERA, brighter_fatter=BrighterFatter(a10=1e-6), gradient=1.0)
    x = camera.shape[1]
    charge = np.zeros((1024, 512), dtype=np.int64)
    charge[10, x - 1] = 80000
    assert displace_charge(charge, camera.brighter_fatter)[10, x] == pytest.approx(1e-6 / 4 * 80000**2)


@pytest.mark.parametrize(("target", "source"), [(0, 1), (1, 0), (2, 0), (3, 0), (0, 3), (1, 2)])
def test_crosstalk_lands_at_the_same_distance_from_the_output(target, source):
    """A spot y rows and x columns from its output appears as far from the target's, times [target][source], in ADU."""
    amplifiers = tuple(replace(amplifier, read_noise=0.0) for amplifier in CAMERA.amplifiers)
    camera = replace(CAMERA, amplifiers=amplifiers, gradient=1.0)
    charge = np.zeros((1024, 512))
    place = camera.place(amplifiers[source])
    charge[_from_output(place, amplifiers[source].corner, y=20, x=30)] = 60000.0
    images = read_out(camera, charge, np.random.default_rng(1), quantise=False)
    victim = amplifiers[target]
    data = camera.sections(victim)["data"].cut(images[victim.name]) - victim.bias
    spot = _from_output(replace(place, x0=0, x1=256, y0=0, y1=512), victim.corner, y=20, x=30)
    expected = camera.crosstalk[target][source] * 60000.0 / amplifiers[source].gain
    assert data[spot] == pytest.approx(expected, abs=1e-3)
    assert np.count_nonzero(np.abs(data) > 1e-3) == 1


def _from_output(place, corner, y, x):
    row = place.y0 + y if corner in {ReadoutCorner.LL, ReadoutCorner.LR} else place.y1 - 1 - y
    column = place.x0 + x if corner in {ReadoutCorner.LL, ReadoutCorner.UL} else place.x1 - 1 - x
    return row, column


def test_charge_beyond_full_well_is_lost():
    """Above full well the signal is flat, at or above the level that counts as saturated."""
    (flat,) = flats(CAMERA, 120000.0, count=1)
    for amplifier in CAMERA.amplifiers:
        data = CAMERA.sections(amplifier)["data"].cut(flat[amplifier.name])
        assert data.mean() == pytest.approx(amplifier.bias + amplifier.full_well / amplifier.gain, rel=1e-3)
        assert data.min() >= amplifier.saturation


def test_digits_are_whole_and_bounded():
    """Quantised images are uint16 and stop at 0 and 65535; float images are neither rounded nor bounded."""
    low = replace(CAMERA.amplifiers[0], bias=0.0, gain=1.0, full_well=1e6)
    camera = replace(CAMERA, amplifiers=(low,), crosstalk=())
    (bright,), (dark,) = flats(camera, 200000.0, count=1), flats(camera, 0.0, count=1)
    assert bright["C00"].dtype == np.uint16
    assert bright["C00"].max() == 65535
    assert dark["C00"].min() == 0
    (loose,) = flats(camera, 200000.0, count=1, quantise=False)
    assert loose["C00"].dtype == np.float32
    assert loose["C00"].max() > 65535
    assert loose["C00"].min() < 0


def test_same_seed_gives_same_pixels():
    """All randomness comes from the generator."""
    (first,), (again,), (other,) = (flats(CAMERA, 1000.0, count=1, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first["C11"], again["C11"])
    assert (first["C11"] != other["C11"]).any()
