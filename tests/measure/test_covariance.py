"""Covariances against a plain reference, a double loop, and fields of known correlation."""

import numpy as np
import pytest
from plain_reference import plain_covariance, plain_covariances

from streamcal.measure import lag_covariances, match_levels, measure_amplifier, measure_covariances, truncation_factor

MAX_LAG = 4


def double_loop(image, used, i, j):
    """Covariance at one lag, pixel by pixel."""
    pairs = [
        (image[y, x], image[y + j, x + i])
        for y, x in np.ndindex(image.shape)
        if 0 <= y + j < image.shape[0] and x + i < image.shape[1] and used[y, x] and used[y + j, x + i]
    ]
    first, second = np.array(pairs).T
    return np.mean(first * second) - first.mean() * second.mean(), len(pairs)


def holes(shape, fraction, seed=1):
    """Pixels used where a fraction of single pixels, a column and a corner are not."""
    used = np.random.default_rng(seed).random(shape) >= fraction
    used[:, 7] = False
    used[-5:, -6:] = False
    return used


@pytest.mark.parametrize(("i", "j"), [(0, 0), (1, 0), (0, 1), (3, 2), (2, -3)])
def test_reference_equals_a_double_loop(i, j):
    """The reference of these tests is the definition, to 1e-10 of the variance, with holes."""
    image = 50 + 3 * np.random.default_rng(0).normal(size=(17, 23))
    used = holes(image.shape, 0.1)
    expected, n = double_loop(image, used, i, j)
    measured, n_measured = plain_covariance(image, used, i, j)
    assert n_measured == n
    assert measured == pytest.approx(expected, abs=1e-10 * 9)


@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.6])
@pytest.mark.parametrize("shape", [(40, 31), (31, 40), (5, 64)])
def test_kernels_equal_the_reference(shape, fraction):
    """Direct sums with hole corrections equal the reference to 1e-10 of the variance; counts exactly."""
    image = 10 * np.random.default_rng(2).normal(size=shape)
    used = holes(shape, fraction)
    expected, n_expected = plain_covariances(image, used, MAX_LAG)
    measured, n_measured = lag_covariances(np.where(used, image, np.nan), used, MAX_LAG)
    np.testing.assert_array_equal(n_measured, n_expected)
    np.testing.assert_allclose(measured, expected, rtol=0, atol=1e-10 * 100)


def test_a_masked_border_is_as_if_it_were_not_there():
    """Rows and columns that a mask takes whole change nothing; counts are exact, values but for rounding."""
    image = np.random.default_rng(11).normal(size=(40, 31))
    used = holes(image.shape, 0.05)
    used[:3] = used[-4:] = used[:, :2] = used[:, -1:] = False
    inside = slice(3, -4), slice(2, -1)
    covariance, n_pixels = lag_covariances(image, used, MAX_LAG)
    expected, n_expected = lag_covariances(image[inside], used[inside], MAX_LAG)
    np.testing.assert_allclose(covariance, expected, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(n_pixels, n_expected)


def test_without_a_used_pixel_all_is_nan():
    """Of an image that is masked whole no pair of pixels is left."""
    covariance, n_pixels = lag_covariances(np.ones((5, 6)), np.zeros((5, 6), bool), 2)
    assert np.isnan(covariance).all()
    assert not n_pixels.any()


def test_without_holes_the_counts_are_those_of_rectangles():
    """N = (nx - i) (ny - j), twice that off the axes."""
    _, n_pixels = lag_covariances(np.ones((30, 20)), np.ones((30, 20), bool), 3)
    assert n_pixels.tolist() == [[600, 580, 560], [570, 1102, 1064], [540, 1044, 1008]]


def test_first_index_runs_along_the_columns():
    """An image whose rows are constant is correlated along x and not along y."""
    image = np.repeat(np.random.default_rng(3).normal(size=(400, 1)), 50, axis=1)
    covariance, _ = lag_covariances(image, np.ones(image.shape, bool), 2)
    assert covariance[1, 0] == pytest.approx(image.var(), rel=1e-9)
    assert abs(covariance[0, 1]) < 0.3 * image.var()


def test_a_level_changes_nothing():
    """A constant added to the image leaves the covariances to rounding, also with holes."""
    image = np.random.default_rng(4).normal(size=(30, 30))
    used = holes(image.shape, 0.1)
    plain, _ = lag_covariances(image, used, MAX_LAG)
    raised, _ = lag_covariances(image + 1e6, used, MAX_LAG)
    np.testing.assert_allclose(raised, plain, rtol=0, atol=1e-9)


def test_lags_beyond_the_image_are_nan():
    """Where no two pixels are so far apart, the covariance is NaN, its count 0, and the others are there."""
    covariance, n_pixels = lag_covariances(np.random.default_rng(5).normal(size=(3, 8)), np.ones((3, 8), bool), 4)
    assert np.isnan(covariance[:, 3]).all()
    assert (n_pixels[:, 3] == 0).all()
    assert np.isfinite(covariance[:, :3]).all()


@pytest.mark.parametrize("side", [21, 53, 117])
def test_sizes_at_powers_of_two_are_ordinary(side):
    """Axis lengths that make padded transforms trip (length + lag + 1 a power of two) are measured like any."""
    image = np.random.default_rng(6).normal(size=(side, side))
    used = np.ones(image.shape, bool)
    expected, _ = plain_covariances(image, used, 10)
    np.testing.assert_allclose(lag_covariances(image, used, 10)[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("masked", [0.0, 0.1])
def test_measure_amplifier_equals_the_reference(masked):
    """The whole chain equals the reference on the level-matched difference to 1e-6 of the variance."""
    rng = np.random.default_rng(7)
    first, second = rng.normal(1000, 30, (128, 120)), rng.normal(1010, 30, (128, 120))
    bad = rng.random(first.shape) < masked
    measured = measure_amplifier(first, second, bad, max_lag=10, min_good_pixels=1000)
    mu_1, mu_2 = measured.mean_1, measured.mean_2
    difference = (mu_2 * first - mu_1 * second) / ((mu_1 + mu_2) / 2)
    assert measured.n_clipped == 0
    expected, n_expected = plain_covariances(difference, ~bad, 10)
    np.testing.assert_array_equal(measured.n_pixels, n_expected)
    factor = np.full((10, 10), truncation_factor(5.5) ** 2 / 2)
    factor[0, 0] /= truncation_factor(5.5)
    np.testing.assert_allclose(measured.covariance, factor * expected, rtol=0, atol=1e-9 * measured.variance)
    assert measured.variance == pytest.approx(difference[~bad].var(ddof=1) * truncation_factor(5.5) / 2, rel=1e-9)


KERNEL = np.array([[0.02, 0.05, 0.01], [0.04, 0.85, 0.03], [0.01, 0.06, 0.0]])  # [row, column]


def correlated_image(rng, shape):
    """White noise of sigma 100, smoothed with KERNEL."""
    ny, nx = shape
    white = rng.normal(0, 100, (ny + 2, nx + 2))
    return sum(KERNEL[y, x] * white[y : y + ny, x : x + nx] for y, x in np.ndindex(3, 3))


def true_covariance(i, j):
    """Autocorrelation of KERNEL at i columns and j rows, averaged over both signs of j, times the white variance."""
    padded = np.pad(KERNEL, 4)
    both = [np.sum(padded * np.roll(padded, (sign * j, i), axis=(0, 1))) for sign in (1, -1)]
    return 1e4 * np.mean(both)


@pytest.mark.parametrize("fraction", [0.0, 0.15])
def test_a_correlated_field_is_recovered(fraction):
    """C_ij of a field of known kernel come back within errors, with holes in the mask too."""
    shape, rng = (400, 300), np.random.default_rng(8)
    first, second = (20000 + correlated_image(rng, shape) for _ in range(2))
    used = holes(shape, fraction) if fraction else np.ones(shape, bool)
    measured = measure_amplifier(first, second, ~used, max_lag=MAX_LAG)
    truth = np.array([[true_covariance(i, j) for j in range(MAX_LAG)] for i in range(MAX_LAG)])
    # neighbouring products are correlated as well, so errors are a little larger than those of white noise
    np.testing.assert_array_less(np.abs(measured.covariance - truth), 4.5 * measured.covariance_error)
    assert truth[1, 0] > 20 * measured.covariance_error[1, 0]


def test_the_truncation_factor_enters_once_at_the_origin_and_twice_elsewhere():
    """C_00 is half the covariance of D times f, the others times f squared."""
    rng = np.random.default_rng(9)
    first, second = rng.normal(1000, 10, (2, 60, 60))
    difference = match_levels(first, second, n_sigma=2.0)
    raw, _ = lag_covariances(difference.difference, difference.used, 2)
    corrected, _, _ = measure_covariances(difference, 2)
    assert difference.truncation > 1.2
    assert corrected[0, 0] == pytest.approx(raw[0, 0] / 2 * difference.truncation)
    assert corrected[1, 1] == pytest.approx(raw[1, 1] / 2 * difference.truncation**2)


def test_errors_are_those_of_white_noise():
    """covariance_error is variance / sqrt(N), times sqrt(2) at the origin."""
    measured = measure_amplifier(*np.random.default_rng(10).normal(1000, 10, (2, 120, 120)), max_lag=2)
    expected = measured.variance / np.sqrt(measured.n_pixels) * [[np.sqrt(2), 1], [1, 1]]
    np.testing.assert_allclose(measured.covariance_error, expected)
