"""The compiled kernels as such, each beside a plain reference."""

import numpy as np
import pytest

from streamcal.measure import kernels, measure_amplifier, scan, sums, warm_kernels

KERNELS = [
    kernels.frame_image,
    kernels.lag_products,
    kernels.sum_around_holes,
    scan.moments_within,
    scan.scan_values,
    sums.subtract_matched,
    sums.mark_used,
    sums.gain_sums,
    sums.sum_rows,
    sums.subtract_rows,
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16])
def test_warm_kernels_leaves_nothing_to_compile(dtype):
    """After warm_kernels a measurement, with holes, compiles no further signature."""
    warm_kernels()
    before = [list(kernel.signatures) for kernel in KERNELS]
    assert all(before)
    first, second = np.random.default_rng(0).normal(100, 10, (2, 210, 200)).astype(dtype)
    measure_amplifier(first, second, np.eye(210, 200, dtype=np.uint32), 3.0)
    assert [list(kernel.signatures) for kernel in KERNELS] == before


def framed_image(shape, max_lag, used=True):
    """Random pixels, which of them are used, and both in their frame as the kernels want them."""
    image, used = np.random.default_rng(0).normal(size=shape), np.broadcast_to(used, shape).copy()
    framed = np.zeros(kernels.framed_shape(shape, max_lag))
    row_sums, row_counts = kernels.frame_image(image, used, 0.0, framed)
    return np.where(used, image, 0), used, framed, (row_sums, row_counts)


@pytest.mark.parametrize("max_lag", [1, 3, 5, 7, 10])
@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (8, 5), (21, 33)])
def test_lag_products_are_sums_of_products(shape, max_lag):
    """At every lag, rising and falling, also where it is longer than the image."""
    values, _, framed, _ = framed_image(shape, max_lag)
    ny, nx = shape
    expected = np.zeros((2, max_lag, max_lag))
    for i, j in np.ndindex(min(max_lag, nx), min(max_lag, ny)):
        expected[0, i, j] = np.sum(values[: ny - j, : nx - i] * values[j:, i:])
        expected[1, i, j] = np.sum(values[j:, : nx - i] * values[: ny - j, i:])
    np.testing.assert_allclose(kernels.lag_products(framed, max_lag), expected, rtol=0, atol=1e-12)


def test_frame_image_copies_what_is_used():
    """Used pixels less the level lie in the middle, all else is zero; rows are summed and counted."""
    image = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 6.0]])
    used = np.array([[True, False, True], [False, False, True]])
    framed = np.zeros(kernels.framed_shape(image.shape, 2))
    row_sums, counts = kernels.frame_image(image, used, 1.0, framed)
    assert framed[2:4, 2:5].tolist() == [[0, 0, 2], [0, 0, 5]]
    assert np.count_nonzero(framed) == 2
    assert (row_sums.tolist(), counts.tolist()) == ([2, 5], [2, 1])


@pytest.mark.parametrize("runs", [(), (0, 30), (14, 40), (20, 36)])
def test_what_surrounds_holes_is_summed_by_distance(runs):
    """Every hole adds the pixels and the holes around it, as far as the frame is wide; also one of a long run."""
    max_lag, shape = 3, (9, 40)
    used = np.random.default_rng(1).random(shape) >= 0.2
    used[4:6, slice(*runs) if runs else slice(0)] = False
    values, _, framed, (_, counts) = framed_image(shape, max_lag, used=used)
    is_hole = np.zeros(framed.shape, np.uint8)
    is_hole[3:12, 3:43] = ~used
    pixels, holes = kernels.sum_around_holes(framed, is_hole, used, counts)
    for dy, dx in np.ndindex(7, 7):
        places = [(y + dy - 3, x + dx - 3) for y, x in np.argwhere(~used)]
        inside = [place for place in places if 0 <= place[0] < 9 and 0 <= place[1] < 40]
        assert pixels[dy, dx] == pytest.approx(sum(values[place] for place in inside))
        assert holes[dy, dx] == sum(not used[place] for place in inside)


def test_moments_do_not_cancel():
    """Variance is taken about the centre: a level of 1e9 does not eat it."""
    values = 1e9 + np.array([-1.0, 0.0, 1.0, 2.0])
    assert sums.moments_within(values, 1e9, 1.0) == (3, 0.0, 2.0)


def test_nan_is_outside_every_cut():
    """NaN is within no cut, however wide."""
    assert sums.moments_within(np.array([1.0, np.nan]), 1.0, np.inf)[0] == 1


@pytest.mark.parametrize("slope", [0.0, 0.01])
def test_gain_sums_are_those_of_the_formula(slope):
    """Sums of r = (D + slope S)^2 / S, r^2, 1/S, 1/S^2 over the used pixels with S > 0."""
    rng = np.random.default_rng(1)
    first, second, difference = rng.normal(5, 3, (3, 1000)).astype(np.float32)
    used = rng.random(1000) < 0.9
    n_used, n_positive, measured = sums.gain_sums(difference, first, second, used, slope)
    total = first.astype(float) + second
    chosen = used & (total > 0)
    total, delta = total[chosen], difference[chosen] + slope * total[chosen]
    ratio = delta**2 / total
    assert (n_used, n_positive) == (used.sum(), chosen.sum())
    assert n_positive < n_used
    expected = [ratio.sum(), (ratio**2).sum(), (1 / total).sum(), (1 / total**2).sum()]
    np.testing.assert_allclose(measured, expected, rtol=1e-12)


def test_nan_does_not_poison_the_sums():
    """What is not used may be NaN, in every kernel."""
    image = np.array([1.0, np.nan, 3.0], np.float32)
    used = np.array([True, False, True])
    assert sums.gain_sums(image, image, image, used, 0.0)[2] == pytest.approx([2, 2.5, 2 / 3, 1 / 4 + 1 / 36])
    assert sums.sum_rows(image[np.newaxis], used[np.newaxis])[0].tolist() == [4.0]
    marked = np.ones(3, bool)
    n_used, n_positive, totals = sums.mark_used(image, image, image, (2.0, 1.0), marked)
    assert (n_used, n_positive) == (2, 2)
    assert totals == pytest.approx([8, 0, 2, 2, 2, 2.5, 2 / 3, 1 / 4 + 1 / 36])
    assert marked.tolist() == [True, False, True]


def test_marked_pixels_are_summed_as_gain_sums_does():
    """Over the pixels within the cut, the sums are those of the formulas."""
    rng = np.random.default_rng(2)
    first, second, difference = rng.normal(5, 3, (3, 1000)).astype(np.float32)
    used = np.empty(1000, bool)
    n_used, n_positive, measured = sums.mark_used(difference, first, second, (5.0, 4.0), used)
    np.testing.assert_array_equal(used, np.abs(difference.astype(float) - 5) <= 4)
    assert n_used == used.sum() < 1000
    offset = difference[used].astype(float) - 5
    total = (first.astype(float) + second)[used].sum()
    np.testing.assert_allclose(measured[:4], [total, offset.sum(), (offset**2).sum(), (offset**4).sum()], rtol=1e-12)
    _, expected_positive, expected = sums.gain_sums(difference, first, second, used, 0.0)
    assert n_positive == expected_positive < n_used
    np.testing.assert_allclose(measured[4:], expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scanned_values_are_counted_summed_and_kept(dtype):
    """What is finite, below each bracket, within the cut, and kept, is what plain comparisons tell."""
    rng = np.random.default_rng(3)
    values = rng.normal(50, 10, 5000).astype(dtype)
    values[:3] = np.nan, np.inf, -np.inf
    brackets = np.array([[43, 44], [49, 51], [56, 57]], dtype)
    kept = np.empty(values.size + 1, dtype)
    n, below, (n_inner, total, squares), n_kept = sums.scan_values(values, brackets, 50.0, 20.0, kept)
    finite = values[3:].astype(np.float64)
    offsets = finite[np.abs(finite - 50) <= 20] - 50
    bracketed = np.any([(finite >= low) & (finite <= high) for low, high in brackets], axis=0)
    assert (n, n_inner) == (finite.size, offsets.size)
    assert below.tolist() == [np.count_nonzero(finite < low) for low, _ in brackets]
    assert (total, squares) == pytest.approx((offsets.sum(), (offsets**2).sum()), rel=1e-6)
    np.testing.assert_array_equal(kept[:n_kept], finite[bracketed | (np.abs(finite - 50) > 20)])


def test_difference_is_rounded_once():
    """The weighted difference of float32 pixels is that in float64, rounded to float32."""
    first, second = np.random.default_rng(4).normal(1e5, 300, (2, 1000)).astype(np.float32)
    difference = np.empty_like(first)
    sums.subtract_matched(first, second, (1.001, 0.999), difference)
    exact = 1.001 * first.astype(np.float64) - 0.999 * second.astype(np.float64)
    np.testing.assert_array_equal(difference, exact.astype(np.float32))


def test_rows_are_summed_and_levelled():
    """Sums and counts of the used pixels of each row; each row less its level, rounded once."""
    rng = np.random.default_rng(5)
    image, used, level = rng.normal(1000, 9, (7, 50)).astype(np.float32), rng.random((7, 50)) < 0.8, rng.random(7)
    totals, counts = sums.sum_rows(image, used)
    np.testing.assert_allclose(totals, np.where(used, image.astype(np.float64), 0).sum(axis=1), rtol=1e-14)
    np.testing.assert_array_equal(counts, used.sum(axis=1))
    levelled = image.copy()
    sums.subtract_rows(levelled, level)
    np.testing.assert_array_equal(levelled, (image.astype(np.float64) - level[:, np.newaxis]).astype(np.float32))
