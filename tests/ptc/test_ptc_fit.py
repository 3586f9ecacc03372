"""The fit: exact without noise, right errors with it, pairs dropped for a reason, amplifiers refused for one."""

from dataclasses import replace

import numpy as np
import pytest
from ptc_truth import A00, GAIN, NOISE, errors, kernel, levels, make_curve, noise_matrix, slope

from streamcal.ptc import MODELS, Curve, FitConfig, decode_fit_flags, fit_amplifier, full_covariance
from streamcal.ptc.least_squares import fit_model

FULL = ("FULLCOVARIANCE", "FULLCOVARIANCE_NO_B")


def change(curve, **arrays):
    """Return a curve with other arrays; the variance follows ``covariance[:, 0, 0]``."""
    if "covariance" in arrays:
        arrays["variance"] = arrays["covariance"][:, 0, 0]
    return replace(curve, **arrays)


def scale_variance(curve, index, factor):
    """Return a curve in which the variances of some pairs are other ones."""
    covariance, error = curve.covariance.copy(), curve.error.copy()
    covariance[index, 0, 0] *= factor
    error[index] *= np.reshape(factor, (-1, 1, 1))  # as measured: in proportion to the variance
    return change(curve, covariance=covariance, error=error)


@pytest.mark.parametrize("model", MODELS)
def test_the_truth_comes_out_exactly_without_noise(model):
    """Gain, noise and a00 are right to 1e-8."""
    solution = fit_amplifier(make_curve(model), FitConfig(model=model))
    assert solution.reason == ""
    found = [solution.gain, solution.noise, solution.a00]
    np.testing.assert_allclose(found, [GAIN, NOISE, A00], rtol=1e-8)
    assert solution.used.all()


@pytest.mark.parametrize("model", FULL)
def test_all_matrices_come_out_exactly_without_noise(model):
    """So are a, b and n at every lag, b to what is left of its digits after the division by a."""
    solution = fit_amplifier(make_curve(model), FitConfig(model=model))
    np.testing.assert_allclose(solution.a, kernel(), rtol=1e-8)
    np.testing.assert_allclose(solution.noise_matrix, noise_matrix(), rtol=1e-8, atol=1e-7)
    if model == "FULLCOVARIANCE":
        np.testing.assert_allclose(solution.b, slope(), rtol=1e-6)
    else:
        assert np.isnan(solution.b).all()


def test_a_polynomial_of_degree_two_comes_out_exactly():
    """Three parameters, without the cubic term; up to 30000 e-, where any model of the turnoff agrees."""
    mean = levels(20, 30_000)
    variance = mean / GAIN + A00 * mean**2 + (NOISE / GAIN) ** 2
    curve = Curve.of(mean, variance, errors(variance, 1)[:, 0, 0])
    found = fit_amplifier(curve, FitConfig(model="POLYNOMIAL", degree=2))
    np.testing.assert_allclose(found.parameters, [GAIN, A00, NOISE**2], rtol=1e-8)


def test_lags_beyond_the_fitted_range_are_not_used():
    """Of 10 x 10 measured covariances the lower 3 x 3 are fitted; others may be anything."""
    curve = make_curve(side=3)
    wide = np.full((40, 10, 10), np.nan)
    error = np.full((40, 10, 10), np.nan)
    wide[:, :3, :3], error[:, :3, :3] = curve.covariance, curve.error
    solution = fit_amplifier(change(curve, covariance=wide, error=error), FitConfig(side=3))
    np.testing.assert_allclose(solution.a, kernel(3), rtol=1e-8)


@pytest.mark.parametrize("model", MODELS)
def test_pulls_have_mean_zero_and_width_one(model):
    """50 seeds, parameters of a kind pooled: width 1 +- max(0.1, 4 / sqrt(2 N)), mean within 0.1 + 4 / sqrt(N)."""
    n_seeds = 50
    pulls = {"gain": [], "noise": [], "a": [], "n": []}
    for seed in range(n_seeds):
        curve = make_curve(model, rng=np.random.default_rng(seed), side=4)
        found = fit_amplifier(curve, FitConfig(model=model, side=4))
        side = len(found.a)
        pulls["gain"].append((found.gain - GAIN) / found.gain_error)
        pulls["noise"].append((found.noise - NOISE) / found.noise_error)
        pulls["a"].append(((found.a - kernel(side)) / found.a_error).ravel())
        pulls["n"].append(((found.noise_matrix - noise_matrix(side)) / found.noise_matrix_error).ravel())
    for name, values in pulls.items():
        pooled = np.concatenate([np.atleast_1d(value) for value in values])
        assert pooled.std() == pytest.approx(1, abs=max(0.1, 4 / np.sqrt(2 * n_seeds))), name
        assert abs(pooled.mean()) < 0.1 + 4 / np.sqrt(n_seeds), name


def test_noise_of_many_lags_does_not_push_a00():
    """Errors and their opposites, on average, leave a00 where it is; least squares alone put it low by 0.25 errors."""
    truth, off = make_curve(), []
    for seed in range(4):
        noisy = make_curve(rng=np.random.default_rng(seed))
        opposite = change(noisy, covariance=2 * truth.covariance - noisy.covariance)
        off += [(found.a00 - A00) / found.a00_error for found in map(fit_amplifier, (noisy, opposite))]
    assert abs(np.mean(off)) < 0.1


def test_pulls_of_b_where_a_is_known():
    """Errors of b = ab / a are honest at lags whose a is known to 5 %."""
    pulls = []
    for seed in range(30):
        found = fit_amplifier(make_curve(rng=np.random.default_rng(seed), side=3), FitConfig(side=3))
        known = found.a_error < 0.05 * np.abs(found.a)
        pulls.append(((found.b - slope(3)) / found.b_error)[known])
    pooled = np.concatenate(pulls)
    assert pooled.std() == pytest.approx(1, abs=0.25)
    assert abs(pooled.mean()) < 0.1 + 4 / np.sqrt(30)


def test_reduced_chi2_is_one_and_not_called_poor():
    """Where the errors are right chi2 / dof is 1 within 5 standard deviations, and errors are not scaled."""
    found = fit_amplifier(make_curve(rng=np.random.default_rng(1)))
    assert found.dof == 40 * 64 - 193
    assert found.chi2_dof == pytest.approx(1, abs=5 * np.sqrt(2 / found.dof))
    assert "POOR_FIT" not in decode_fit_flags(found.flags)


def test_errors_of_a_poor_fit_are_scaled_up():
    """Errors of the points that are four times too small give chi2 / dof of 16, the flag, and the right errors.

    Those are as uncertain as chi2 / dof of the 36 degrees of freedom of the variances: 12 %.
    """
    right = make_curve(rng=np.random.default_rng(1))
    honest, poor = fit_amplifier(right), fit_amplifier(change(right, error=right.error / 4))
    assert "POOR_FIT" in decode_fit_flags(poor.flags)
    assert poor.chi2_dof == pytest.approx(16 * honest.chi2_dof, rel=0.01)
    assert poor.gain_error == pytest.approx(honest.gain_error, rel=0.3)


@pytest.mark.parametrize("model", ["EXPAPPROXIMATION", *FULL])
def test_pulls_have_width_one_where_the_variances_alone_scatter(model):
    """A lamp that adds 0.5 % to the variances, and nothing to the covariances: gain and a00 have the right errors."""
    pulls = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        curve = make_curve(model, rng=rng, side=4)
        curve.covariance[:, 0, 0] *= 1 + 0.005 * rng.normal(size=40)
        found = fit_amplifier(change(curve, covariance=curve.covariance), FitConfig(model=model, side=4))
        assert "POOR_FIT" in decode_fit_flags(found.flags)
        pulls.append(((found.gain - GAIN) / found.gain_error, (found.a00 - A00) / found.a00_error))
    assert np.std(pulls, axis=0) == pytest.approx(1, abs=4 / np.sqrt(2 * 30))


def test_covariances_keep_their_errors_where_the_variances_alone_scatter():
    """What the variances do says nothing of a_01."""
    right, lamp = make_curve(rng=np.random.default_rng(1)), 1 + 0.005 * np.random.default_rng(2).normal(size=40)
    covariance = right.covariance.copy()
    covariance[:, 0, 0] *= lamp
    honest, poor = fit_amplifier(right), fit_amplifier(change(right, covariance=covariance))
    assert poor.a_error[0, 1] == pytest.approx(honest.a_error[0, 1], rel=0.1)
    assert poor.gain_error > 2 * honest.gain_error


@pytest.mark.parametrize("step", [0.005, 0.01])
def test_a_turnoff_that_sets_in_gently_is_found(step):
    """Each level above 60000 ADU is lower by another 0.5 or 1 %: no pair is far off, but all would bend the curve."""
    curve = make_curve(rng=np.random.default_rng(1), mean=np.linspace(1000, 120_000, 60) / GAIN, side=4)
    low = scale_variance(curve, slice(45, 60), 1 - step * np.arange(1, 16))
    found = fit_amplifier(low, FitConfig(side=4))
    assert curve.mean[44] <= found.turnoff <= curve.mean[46]
    assert found.gain == pytest.approx(GAIN, abs=4 * found.gain_error)
    assert "TURNOFF_NOT_REACHED" not in decode_fit_flags(found.flags)


@pytest.mark.parametrize("model", ["EXPAPPROXIMATION", "FULLCOVARIANCE"])
@pytest.mark.parametrize("factor", [0.9, 1.2, 10.0])
def test_outliers_are_dropped_and_named(model, factor):
    """A pair whose variance is off is dropped with its pull, and moves nothing."""
    curve = make_curve(model, rng=np.random.default_rng(3))
    found = fit_amplifier(scale_variance(curve, [12, 25], factor), FitConfig(model=model))
    assert np.flatnonzero(~found.used).tolist() == [12, 25]
    assert found.dropped[12].startswith("outlier: variance off by " + ("+" if factor > 1 else "-"))
    assert found.gain == pytest.approx(GAIN, abs=4 * found.gain_error)


def test_a_pair_of_odd_covariances_is_dropped():
    """Light that changed its shape lifts all covariances; the variance may look fine."""
    curve = make_curve(rng=np.random.default_rng(4))
    covariance = curve.covariance.copy()
    covariance[30] += 5 * curve.error[30] * (np.arange(64).reshape(8, 8) > 0)
    found = fit_amplifier(change(curve, covariance=covariance))
    assert np.flatnonzero(~found.used).tolist() == [30]
    assert found.dropped[30].startswith("outlier: covariances scatter 2")


@pytest.mark.parametrize("model", ["EXPAPPROXIMATION", "FULLCOVARIANCE"])
def test_turnoff_lies_at_the_highest_good_level(model):
    """Where the variance falls the pairs are above the turnoff; its error is half the gap to the first of them."""
    curve = make_curve(model, rng=np.random.default_rng(5))
    found = fit_amplifier(scale_variance(curve, slice(36, 40), [0.8, 0.3, 0.1, 0.01]), FitConfig(model=model))
    mean = levels()
    assert found.turnoff == mean[35]
    assert found.turnoff_error == pytest.approx((mean[36] - mean[35]) / 2)
    assert found.dropped[36:] == ("above turnoff",) * 4
    assert "TURNOFF_NOT_REACHED" not in decode_fit_flags(found.flags)


def test_one_good_pair_past_a_dip_does_not_move_the_turnoff():
    """Two pairs fall, a third happens to lie on the curve: all three are above the turnoff."""
    curve = make_curve(rng=np.random.default_rng(5))
    found = fit_amplifier(scale_variance(curve, slice(37, 40), [0.8, 0.5, 1.0]))
    assert found.turnoff == levels()[36]
    assert not found.used[37:].any()


def test_a_curve_that_only_rises_gives_a_lower_limit():
    """Without a pair above it the turnoff is the highest mean, flagged."""
    found = fit_amplifier(make_curve())
    assert found.turnoff == levels()[-1]
    assert decode_fit_flags(found.flags) == ["TURNOFF_NOT_REACHED"]


def test_saturated_pairs_without_numbers_still_tell_the_turnoff():
    """Pairs with more light of which nothing could be measured show that the turnoff was reached."""
    curve, light = make_curve(), np.arange(40.0)
    covariance = curve.covariance.copy()
    covariance[38:] = np.nan
    found = fit_amplifier(change(curve, covariance=covariance, light=light))
    assert found.dropped[38:] == ("not measured",) * 2
    assert found.turnoff == levels()[37]
    assert decode_fit_flags(found.flags) == []


def test_bright_pairs_that_are_all_outliers_tell_the_turnoff():
    """Four at the top with three times the variance, as blooming gives: the turnoff is below them."""
    found = fit_amplifier(scale_variance(make_curve(rng=np.random.default_rng(1)), slice(36, 40), 3.0))
    mean = levels()
    assert found.turnoff == mean[35]
    assert found.turnoff_error == pytest.approx((mean[36] - mean[35]) / 2)
    assert "TURNOFF_NOT_REACHED" not in decode_fit_flags(found.flags)


@pytest.mark.parametrize("gain", [0.005, 150.0])
def test_unusual_gains_are_gains(gain):
    """Electron-multiplying cameras, and coarse converters."""
    mean = levels() * GAIN / gain
    covariance = full_covariance(mean, gain=gain, a=kernel(4), noise=noise_matrix(4))
    curve = Curve.of(mean, covariance[:, 0, 0], errors(covariance[:, 0, 0], 4), covariance)
    assert fit_amplifier(curve, FitConfig(side=4, dead_level=0)).gain == pytest.approx(gain, rel=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_a_constant_variance_is_refused_without_a_warning(model):
    """A mean that drifts and no photon noise: whatever the fit tries, no number comes out."""
    mean, rng = np.linspace(11, 50, 40), np.random.default_rng(1)
    covariance = 0.01 * rng.normal(size=(40, 4, 4))
    covariance[:, 0, 0] += 20
    curve = Curve.of(mean, covariance[:, 0, 0], errors(covariance[:, 0, 0], 4), covariance)
    found = fit_amplifier(curve, FitConfig(side=4, model=model))
    assert np.isnan(found.gain)
    assert found.reason


def test_a_fit_that_does_not_end_says_which_limit_ended_it(monkeypatch):
    """Rounds of dropping, or evaluations of the model."""
    curve = make_curve(rng=np.random.default_rng(1), side=4)
    found = fit_amplifier(curve, FitConfig(side=4, max_iterations=1))
    assert found.reason == "the fit did not converge: turnoff and outliers still change after 1 rounds"
    monkeypatch.setattr("streamcal.ptc.fit.fit_model", lambda *given: replace(fit_model(*given), converged=False))
    found = fit_amplifier(curve, FitConfig(side=4))
    assert found.reason == "the fit did not converge: chi2 still falls after 10 rounds of 100 evaluations"


def test_few_pixels_converge():
    """With 16 kpx many a_ij b_ij are hardly determined; there is a solution all the same, and its gain is right."""
    noisy = [make_curve(rng=np.random.default_rng(n), n_pixels=16384, mean=levels(12, 80_000)) for n in (0, 1)]
    for found in map(fit_amplifier, noisy):
        assert found.reason == ""
        assert found.gain == pytest.approx(GAIN, abs=4 * found.gain_error)


def test_the_signal_range_is_inclusive():
    """Pairs at the limits are used, those beyond them are not."""
    mean = levels()
    found = fit_amplifier(make_curve(), FitConfig(min_signal=mean[2], max_signal=mean[37]))
    assert found.used.tolist() == [False] * 2 + [True] * 36 + [False] * 2
    assert found.dropped[:2] == ("below min_signal",) * 2
    assert found.dropped[38:] == ("above max_signal",) * 2


def test_order_of_the_pairs_does_not_matter():
    """Shuffled pairs give the same solution, and each its own verdict."""
    curve = scale_variance(make_curve(rng=np.random.default_rng(6)), [10], 1.1)
    order = np.random.default_rng(7).permutation(40)
    shuffled = Curve.of(curve.mean[order], curve.variance[order], curve.error[order], curve.covariance[order])
    one, other = fit_amplifier(curve), fit_amplifier(shuffled)
    assert other.gain == pytest.approx(one.gain, rel=1e-9)
    assert [other.dropped[place] for place in np.argsort(order)] == list(one.dropped)


@pytest.mark.parametrize(
    ("curve", "flag", "text"),
    [
        (make_curve(mean=levels(3)), "TOO_FEW_LEVELS", "too few levels: 3 usable, 5 needed; of 3 pairs 3 usable"),
        (make_curve(mean=np.full(30, 9000.0)), "TOO_FEW_LEVELS", "too few levels: 1 usable, 5 needed"),
        (make_curve(mean=np.geomspace(0.1, 5, 20)), "DEAD", "dead: the highest mean is 5 ADU, 10 needed"),
        (make_curve(side=4), "NOT_MEASURED", "FULLCOVARIANCE needs covariances at 8 x 8 lags, measured are 4 x 4"),
        (scale_variance(make_curve(), slice(4, 40), 1e-3), "TOO_FEW_LEVELS", "the variances do not follow a curve"),
        (
            scale_variance(make_curve(), slice(0, 40), 0.0),
            "SATURATED",
            "saturated: means of 66.6667 to 80000 ADU, and no",
        ),
        (
            replace(make_curve(mean=np.full(9, 15.0)), light=np.geomspace(1, 99, 9)),
            "DEAD",
            "dead: the mean stays at 15 ADU",
        ),
    ],
    ids=["few", "one_level", "dead", "few_lags", "no_curve", "saturated", "stuck"],
)
def test_amplifiers_that_cannot_be_fitted_get_nan_and_a_reason(curve, flag, text):
    """Never a number that was not measured: all are NaN, no pair counts as used, and the reason says why."""
    found = fit_amplifier(curve)
    assert decode_fit_flags(found.flags) == [flag]
    assert text in found.reason
    numbers = [found.gain, found.gain_error, found.noise, found.a00, found.turnoff, found.chi2_dof]
    assert np.isnan(numbers).all()
    assert np.isnan(found.a).all()
    assert found.a.shape == (8, 8)
    assert not found.used.any()
    assert all(found.dropped)


def test_a_gain_beyond_reason_is_refused():
    """A fit that runs out of the plausible range is no solution: variances a thousand times too small."""
    curve = make_curve()
    tiny = change(curve, covariance=curve.covariance / 1000, error=curve.error / 1000)
    found = fit_amplifier(tiny)
    assert decode_fit_flags(found.flags) == ["IMPLAUSIBLE"]
    assert found.reason == "fit at a bound: gain 1.5e+03 e-/ADU, outside 0.001 to 1000"


def test_noise_below_zero_is_nan_with_the_number_in_the_reason():
    """A fitted noise variance below zero has no root; the gain stands."""
    curve = make_curve()
    covariance = curve.covariance.copy()
    covariance[:, 0, 0] -= 30.0
    found = fit_amplifier(change(curve, covariance=covariance))
    assert "NO_NOISE" in decode_fit_flags(found.flags)
    assert np.isnan(found.noise)
    assert found.reason.startswith("the fitted noise variance is -37")
    assert found.gain == pytest.approx(GAIN, rel=1e-8)


def test_arrays_that_do_not_fit_together_are_an_error():
    """Shapes are checked, and the message gives them."""
    with pytest.raises(ValueError, match=r"shapes must fit: mean \(3,\), variance \(2,\)"):
        Curve.of(np.ones(3), np.ones(2), np.ones(3))
