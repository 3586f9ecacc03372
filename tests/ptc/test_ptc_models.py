"""The models by themselves: values by hand, derivatives, convolution."""

import numpy as np
import pytest
from ptc_truth import A00, GAIN, kernel, levels, noise_matrix, slope
from scipy.signal import convolve2d

from streamcal.ptc import MODELS, full_covariance, make_model
from streamcal.ptc.convolution import convolution_matrix, convolve_errors, convolve_quadrants
from streamcal.ptc.models import ExpApproximation, MeanPolynomial


def four_quadrants(matrix):
    """Mirror a quadrant."""
    rows = np.concatenate([matrix[:0:-1], matrix])
    return np.concatenate([rows[:, :0:-1], rows], axis=1)


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 4), (4, 1), (3, 5), (8, 8)])
def test_convolution_is_that_of_the_mirrored_matrices(first, second):
    """It agrees with scipy's on the four quadrants, to the last lag."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(first, first)), rng.normal(size=(second, second))
    centre = first + second - 2
    expected = convolve2d(four_quadrants(a), four_quadrants(b))[centre:, centre:]
    np.testing.assert_allclose(convolve_quadrants(a, b), expected, atol=1e-12)


def test_convolution_matrix_convolves():
    """The matrix of a kernel does to a matrix what the convolution does."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(4, 4)), rng.normal(size=(7, 7))
    expected = convolve_quadrants(a, b)[:4, :4]
    np.testing.assert_allclose((convolution_matrix(b, 4, 4) @ a.ravel()).reshape(4, 4), expected, atol=1e-12)


def test_errors_of_two_matrices_add_the_mean_of_their_convolution():
    """Over the columns of a root of their covariance, the convolutions of the columns add up to it."""
    root = np.random.default_rng(3).normal(size=(9, 9))
    expected = sum(convolve_quadrants(column.reshape(3, 3), column.reshape(3, 3)) for column in root.T)
    np.testing.assert_allclose(convolve_errors(root @ root.T), expected, atol=1e-12)


@pytest.mark.parametrize("with_b", [True, False])
def test_bend_of_the_coefficients_is_the_mean_over_errors(with_b):
    """It is what the coefficients gain when the parameters go off by each column of a root of their covariance."""
    model = make_model("FULLCOVARIANCE" if with_b else "FULLCOVARIANCE_NO_B", side=3)
    parts = [[GAIN], kernel(3).ravel(), noise_matrix(3).ravel() + 0.1, (kernel(3) * slope(3)).ravel()]
    truth = np.concatenate(parts)[: model.n_parameters]
    root = np.random.default_rng(4).normal(size=(len(truth), len(truth))) * 1e-3 * np.abs(truth)[:, None]
    straight = model.coefficients(truth)
    off = sum(model.coefficients(truth + one) + model.coefficients(truth - one) - 2 * straight for one in root.T) / 2
    scale = straight.std((1, 2), keepdims=True)
    np.testing.assert_allclose(model.bend_coefficients(truth, root @ root.T) / scale, off / scale, rtol=1e-4, atol=1e-9)


def test_exp_approximation_without_brighter_fatter_is_a_line():
    """With a00 = 0 the variance is mu / g + n / g^2."""
    model = ExpApproximation()
    variance = model.evaluate(np.array([0.0, 300.0]), np.array([1.5, 0.0, 9.0]))[:, 0, 0]
    np.testing.assert_allclose(variance, [4.0, 204.0], rtol=1e-15)


def test_exp_approximation_by_hand():
    """With mu = 1e5, g = 2, a00 = -2.5e-6: 2 a00 mu g is -1, the variance is (1 - 1/e) mu / g."""
    variance = ExpApproximation().evaluate(np.array([1e5]), np.array([2.0, -2.5e-6, 0.0]))
    assert variance[0, 0, 0] == pytest.approx((1 - np.exp(-1)) * 5e4, rel=1e-14)


def test_full_covariance_of_one_lag_by_hand():
    """With a single lag all convolutions are powers: mu g = 1e5, a = -3e-6, b = 1e-6, g = 2, n = 16."""
    q, a, b = 1e5, -3e-6, 1e-6
    bracket = 1 + a * q + 2 / 3 * (a**2 + a * b) * q**2 + (2 * a**3 + 5 * a**2 * b) / 6 * q**3
    value = full_covariance([5e4], gain=2.0, a=[[a]], b=[[b]], noise=16.0)[0, 0, 0]
    assert value == pytest.approx(5e4 / 2 * bracket + 4.0, rel=1e-14)


def test_full_covariance_of_white_light_has_neighbours_by_a_alone():
    """To second order C_01 is a_01 mu^2, and the variance mu / g + a00 mu^2."""
    a = np.array([[-1e-9, 2e-10], [1e-10, 0.0]])
    c = full_covariance([1000.0], gain=2.0, a=a)[0]
    np.testing.assert_allclose(c, [[500 - 1e-3, 2e-4], [1e-4, 0]], atol=1e-8)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "EXPAPPROXIMATION"])
def test_derivatives_of_the_coefficients_are_differences(name):
    """The analytic derivative by each parameter agrees with central differences."""
    model = make_model(name, side=3)
    assert isinstance(model, MeanPolynomial)
    parts = [[GAIN], kernel(3).ravel(), noise_matrix(3).ravel() + 0.1, (kernel(3) * slope(3)).ravel()]
    truth = np.array([GAIN, A00, 30.0, 8e-12]) if name == "POLYNOMIAL" else np.concatenate(parts)
    parameters = truth[: model.n_parameters]
    slopes = model.derive_coefficients(parameters)
    for index, value in enumerate(parameters):
        step = np.zeros_like(parameters)
        step[index] = 1e-4 * value
        difference = model.coefficients(parameters + step) - model.coefficients(parameters - step)
        numeric = difference / (2 * step[index])
        np.testing.assert_allclose(slopes[..., index], numeric, rtol=1e-6, atol=1e-6 * np.abs(numeric).max())


@pytest.mark.parametrize("a00", [-3e-6, -1e-8, 0.0, 1e-8, 3e-6])
def test_derivatives_of_the_exponential_are_differences(a00):
    """They agree with central differences, also near a00 = 0 where the closed form loses its digits."""
    model, mean = ExpApproximation(), levels(5)
    parameters, steps = np.array([GAIN, a00, 30.0]), np.array([1e-5, 1e-10, 1e-3])
    for index, step in enumerate(np.diag(steps)):
        difference = model.evaluate(mean, parameters + step) - model.evaluate(mean, parameters - step)
        numeric = difference[:, 0, 0] / (2 * steps[index])
        np.testing.assert_allclose(model.derive(mean, parameters)[:, index], numeric, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"name": "LINEAR"}, "model must be one of EXPAPPROXIMATION, FULLCOVARIANCE"),
        ({"name": "FULLCOVARIANCE", "side": 0}, "side must be at least 1, got 0"),
        ({"name": "POLYNOMIAL", "degree": 4}, "degree must be 2 or 3, got 4"),
    ],
)
def test_impossible_models_are_errors(arguments, text):
    """Name, side and degree are checked, and the message says what there is."""
    with pytest.raises(ValueError, match=text):
        make_model(**arguments)
