"""One amplifier of a flat pair: what goes in, what is left out, what is flagged."""

import inspect
import math

import numpy as np
import pytest

from streamcal.flags import MaskBit, RowFlag
from streamcal.measure import DEFAULT_BAD_MASK, match_levels, measure_amplifier

SHAPE = (120, 110)


@pytest.fixture
def flats():
    """Two Gaussian flats of 1000 and 1004 ADU, sigma 20."""
    rng = np.random.default_rng(0)
    return rng.normal(1000, 20, SHAPE), rng.normal(1004, 20, SHAPE)


def test_signature_is_the_contract():
    """Names, order and defaults of the arguments are those promised."""
    parameters = inspect.signature(measure_amplifier).parameters
    assert list(parameters)[:4] == ["first", "second", "mask", "read_noise"]
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert math.isnan(defaults.pop("read_noise"))
    assert defaults == {
        "first": inspect.Parameter.empty,
        "second": inspect.Parameter.empty,
        "mask": None,
        "max_lag": 10,
        "n_sigma": 5.5,
        "n_iter": 3,
        "min_good_pixels": 10000,
        "gain_correction": "FULL",
        "level_match": True,
        "region": None,
        "blocks": None,
        "threshold_percent": 1.0,
        "row_overscan_covariance": 0.0,
        "bad_mask": MaskBit.BAD | MaskBit.SAT | MaskBit.SUSPECT | MaskBit.NO_DATA | MaskBit.NONFINITE,
    }


def test_levels_and_their_difference(flats):
    """Means are of each flat, delta is second minus first, mean_used the mean of both."""
    measured = measure_amplifier(*flats)
    assert measured.mean_1 == pytest.approx(flats[0].mean())
    assert measured.mean_2 == pytest.approx(flats[1].mean())
    assert measured.delta == measured.mean_2 - measured.mean_1
    assert measured.mean == (measured.mean_1 + measured.mean_2) / 2
    assert measured.mean_used == pytest.approx((flats[0] + flats[1]).mean() / 2)


def test_matched_difference_has_no_level(flats):
    """D = (mean_2 I1 - mean_1 I2) / mean vanishes on average although the levels differ."""
    difference = match_levels(*flats)
    assert abs(difference.difference.mean()) < 1e-9
    assert difference.n_good == difference.n_selected == 120 * 110


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", ">i2", "float32", ">f4", "float64"])
def test_any_real_type_gives_the_same(flats, dtype):
    """Unsigned, big-endian and short types are measured as the numbers they hold, to the rounding of float32."""
    rounded = [np.round(flat) for flat in flats]
    expected = measure_amplifier(*rounded, None, 5.0)
    measured = measure_amplifier(*(flat.astype(dtype) for flat in rounded), None, 5.0)
    assert measured.variance == pytest.approx(expected.variance, rel=1e-8)
    assert measured.gain == pytest.approx(expected.gain, rel=1e-8)


def test_inputs_are_not_changed(flats):
    """Neither images nor mask are written to, and read-only arrays will do."""
    mask = np.zeros(SHAPE, np.uint32)
    flats[0][3, 3] = np.nan
    copies = [array.copy() for array in (*flats, mask)]
    for array in (*flats, mask):
        array.setflags(write=False)
    measure_amplifier(*flats, mask, 5.0)
    for array, copy in zip((*flats, mask), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_bad_pixels_are_left_out_whatever_they_hold(flats):
    """Masked pixels of absurd value change nothing but the counts."""
    mask = np.zeros(SHAPE, np.uint32)
    mask[10:14, 20:30] = MaskBit.SAT
    expected = measure_amplifier(*flats, mask, 5.0)
    flats[0][10:14, 20:30] = 65535
    measured = measure_amplifier(*flats, mask, 5.0)
    assert measured.n_masked == 40
    assert measured.n_clipped == 0
    np.testing.assert_array_equal(measured.covariance, expected.covariance)
    assert measured.gain == expected.gain


def test_different_masks_are_united(flats):
    """A pixel bad in either flat is left out; None is an empty mask."""
    mask_1, mask_2 = np.zeros((2, *SHAPE), np.int32)
    mask_1[0, :5], mask_2[1, :3] = MaskBit.BAD, MaskBit.SUSPECT
    assert measure_amplifier(*flats, (mask_1, mask_2)).n_masked == 8
    assert measure_amplifier(*flats, (mask_1, None)).n_masked == 5
    assert measure_amplifier(*flats, (None, None)).n_masked == 0


def test_crosstalk_and_edge_bits_are_not_bad_by_default(flats):
    """Only BAD, SAT, SUSPECT, NO_DATA and NONFINITE exclude a pixel, unless asked for."""
    mask = np.full(SHAPE, MaskBit.CROSSTALK, np.uint32)
    mask[0, 0] = MaskBit.EDGE
    assert measure_amplifier(*flats, mask).n_masked == 0
    assert measure_amplifier(*flats, mask, bad_mask=DEFAULT_BAD_MASK | MaskBit.EDGE).n_masked == 1


def test_nan_pixels_are_left_out_counted_and_flagged(flats):
    """NaN and infinity in either flat behave like masked pixels, and set a flag."""
    mask = np.zeros(SHAPE, np.uint32)
    mask[5, 5], mask[6, 6] = MaskBit.BAD, MaskBit.BAD
    expected = measure_amplifier(*flats, mask, 5.0)
    flats[0][5, 5], flats[1][6, 6] = np.nan, np.inf
    measured = measure_amplifier(*flats, None, 5.0)
    np.testing.assert_array_equal(measured.covariance, expected.covariance)
    assert measured.n_masked == 2
    assert measured.flags == RowFlag.NONFINITE_PIXELS


def test_a_nonfinite_bit_is_flagged_too(flats):
    """Where an earlier stage replaced a NaN and kept its bit, the row still says so."""
    mask = np.zeros(SHAPE, np.uint32)
    mask[5, 5] = MaskBit.NONFINITE
    assert measure_amplifier(*flats, mask, 5.0).flags == RowFlag.NONFINITE_PIXELS


def test_counts_add_up(flats):
    """Selected = masked + clipped + used."""
    flats[0][:3, 50] = 50000
    mask = np.zeros(SHAPE, np.uint32)
    mask[40:50, 3] = MaskBit.BAD
    measured = measure_amplifier(*flats, mask)
    assert (measured.n_selected, measured.n_masked, measured.n_clipped) == (13200, 10, 3)
    assert measured.n_pixels[0, 0] == 13200 - 10 - 3


def test_cosmic_rays_are_clipped(flats):
    """A hit of 50 000 ADU leaves gain and variance within a per mille."""
    clean = measure_amplifier(*flats, None, 5.0)
    flats[0][60, 60] += 50000
    hit = measure_amplifier(*flats, None, 5.0)
    assert hit.variance == pytest.approx(clean.variance, rel=1e-3)
    assert hit.gain == pytest.approx(clean.gain, rel=1e-3)


def is_unmeasured(measured):
    """Tell whether every number is NaN."""
    numbers = [measured.mean_1, measured.mean, measured.mean_used, measured.variance, measured.gain]
    numbers += [measured.gain_error, measured.gain_statistic, measured.gain_covariance_sum, measured.row_mean_variance]
    return np.isnan(numbers).all() and np.isnan(measured.covariance).all() and not measured.n_pixels.any()


@pytest.mark.parametrize("options", [{}, {"blocks": [30, 30]}, {"level_match": False}])
def test_all_masked_measures_nothing(flats, options):
    """Nothing good: NaN, TOO_FEW_PIXELS, no exception and no warning."""
    measured = measure_amplifier(*flats, np.full(SHAPE, MaskBit.SAT, np.uint32), 5.0, **options)
    assert is_unmeasured(measured)
    assert measured.n_masked == measured.n_selected == 13200
    assert measured.flags == RowFlag.TOO_FEW_PIXELS | RowFlag.GAIN_INVALID


@pytest.mark.parametrize("options", [{}, {"blocks": [30, 30]}, {"level_match": False}])
def test_all_nan_measures_nothing(flats, options):
    """A flat of NaN is no error."""
    measured = measure_amplifier(np.full(SHAPE, np.nan), flats[1], None, 5.0, **options)
    assert is_unmeasured(measured)
    assert measured.flags & RowFlag.NONFINITE_PIXELS
    assert measured.flags & RowFlag.TOO_FEW_PIXELS


@pytest.mark.parametrize("level", [0.0, -50.0])
@pytest.mark.parametrize("options", [{}, {"blocks": [30, 30]}])
def test_levels_not_above_zero_measure_nothing(flats, level, options):
    """A dark or negative flat cannot be level-matched: NaN and a flag."""
    measured = measure_amplifier(np.full(SHAPE, level), flats[1], None, 5.0, **options)
    assert is_unmeasured(measured)
    assert measured.flags & RowFlag.NONPOSITIVE_MEAN


def test_both_levels_must_be_positive(flats):
    """A negative first flat is not rescued by a bright second one."""
    measured = measure_amplifier(flats[0] - 1100, flats[1] + 5000, None, 5.0)
    assert measured.flags & RowFlag.NONPOSITIVE_MEAN


@pytest.mark.parametrize("options", [{}, {"blocks": (40, 40), "min_good_pixels": 100}])
@pytest.mark.parametrize("second", [700, 703])
def test_constant_flats_have_no_gain(second, options):
    """Two constants, as saturated flats are: variance and covariances 0, no gain, flagged, as a whole and by blocks."""
    measured = measure_amplifier(np.full(SHAPE, 700), np.full(SHAPE, second), None, 5.0, **options)
    assert (measured.mean, measured.variance) == ((700 + second) / 2, 0.0)
    assert not measured.covariance.any()
    assert math.isnan(measured.gain)
    assert measured.flags == RowFlag.GAIN_INVALID | RowFlag.ZERO_VARIANCE


def test_the_gain_of_the_covariance_sum_is_as_noisy_as_said():
    """Its inverse scatters by about 3 max_lag / sqrt(pixels), and the gain itself is high by the square of that."""
    rng, n, max_lag = np.random.default_rng(9), 128, 8
    gains = [
        measure_amplifier(*rng.poisson(5000, (2, n, n)), None, 0.0, max_lag=max_lag).gain_covariance_sum
        for _ in range(200)
    ]
    error = np.std(1 / np.array(gains))
    assert error == pytest.approx(3 * max_lag / n, rel=0.2)
    assert np.mean(gains) == pytest.approx(1 + error**2, abs=4 * error / np.sqrt(200))


def test_min_good_pixels_counts_what_is_not_masked(flats):
    """Exactly as many as asked are measured, one more asked for is not."""
    mask = np.zeros(SHAPE, bool)
    mask[:10] = True
    assert math.isfinite(measure_amplifier(*flats, mask, min_good_pixels=12100).variance)
    assert measure_amplifier(*flats, mask, min_good_pixels=12101).flags & RowFlag.TOO_FEW_PIXELS


def test_integers_of_low_noise_keep_their_variance():
    """Flats of integers so quiet that the quartiles of D coincide are not clipped to nothing."""
    first, second = np.random.default_rng(1).normal(1000, 0.3, (2, *SHAPE)).round().astype(np.uint16)
    measured = measure_amplifier(first, second)
    expected = np.var(first.astype(float) - second, ddof=1) / 2
    assert measured.variance == pytest.approx(expected, rel=0.01)
    assert measured.n_clipped == 0


def test_quantised_differences_of_unequal_level_keep_their_variance():
    """After level matching integers are nearly quantised still: tiny, not zero, between the quartiles."""
    first, second = np.random.default_rng(2).normal(1000.3, 0.3, (2, *SHAPE)).round()
    measured = measure_amplifier(first, second)
    assert measured.variance == pytest.approx(np.var(first - second, ddof=1) / 2, rel=0.01)


def test_mean_of_other_pixels_is_flagged():
    """Where the clipping of a steep gradient takes other pixels than the difference does, MEAN_MISMATCH is set."""
    rng = np.random.default_rng(3)
    profile = np.full(SHAPE, 1000.0)
    profile[:, :5] = 3000
    first, second = profile + rng.normal(0, 20, (2, *SHAPE))
    measured = measure_amplifier(first, second, None, 5.0)
    assert measured.mean == pytest.approx(1000, rel=1e-3)
    assert measured.mean_used == pytest.approx(profile.mean(), rel=1e-3)
    assert measured.flags == RowFlag.MEAN_MISMATCH


def test_unsettled_clipping_is_flagged():
    """Long tails that the cut is still eating into make C_00 differ from the variance."""
    rng = np.random.default_rng(4)
    first, second = 5000 + 20 * rng.standard_t(1.5, (2, *SHAPE))
    assert measure_amplifier(first, second, None, 5.0, n_iter=1).flags & RowFlag.VARIANCE_MISMATCH


def test_missing_read_noise_is_flagged(flats):
    """FULL without a read noise is NONE and says so."""
    measured = measure_amplifier(*flats)
    assert measured.gain_correction == "NONE"
    assert measured.gain == pytest.approx(1 / measured.gain_statistic)
    assert measured.flags == RowFlag.READ_NOISE_MISSING


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"second": np.ones((120, 111))}, r"\(120, 110\) and \(120, 111\)"),
        ({"first": np.ones(5)}, "two dimensions"),
        ({"mask": np.zeros((3, 3), int)}, r"\(3, 3\) and \(120, 110\)"),
        ({"mask": np.zeros(SHAPE)}, "integers or booleans, got float64"),
        ({"gain_correction": "LUPTON"}, "NONE, SIMPLE, FULL, UNBIASED, JANESICK"),
        ({"max_lag": 0}, "max_lag must be at least 1"),
        ({"n_sigma": -1}, "n_sigma must be above 0"),
        ({"n_iter": 0}, "n_iter must be at least 1"),
        ({"region": [0, 111, 0, 10]}, "must lie within 110 columns and 120 rows"),
        ({"region": [5, 5, 0, 10]}, "must lie within"),
        ({"region": [0, 5, 0]}, r"\[x0, x1, y0, y1\]"),
        ({"region": "HALF"}, "AMP"),
        ({"blocks": [10]}, r"\[ny, nx\]"),
        ({"blocks": [0, 10]}, "at least 1"),
    ],
)
def test_impossible_requests_are_refused(flats, change, match):
    """Shapes, options and regions that cannot be are errors that name rule and value."""
    with pytest.raises(ValueError, match=match):
        measure_amplifier(**({"first": flats[0], "second": flats[1]} | change))
