"""Regions, blocks, and light that changes its shape between two flats."""

import numpy as np
import pytest

from streamcal.flags import RowFlag
from streamcal.measure import PairSettings, measure_amplifier, measure_pair_statistics
from streamcal.measure.blocks import split_blocks

GAIN = 2.0


def lamp_pair(seed, shape, drift):
    """Poisson flats of 20 000 e- whose second has its light tilted by a relative drift from edge to edge."""
    rng = np.random.default_rng(seed)
    tilt = 1 + drift * np.linspace(-0.5, 0.5, shape[1])
    return rng.poisson(20000, shape) / GAIN, rng.poisson(np.broadcast_to(20000 * tilt, shape)) / GAIN


def test_region_is_half_open_columns_first():
    """[x0, x1, y0, y1] measures rows y0..y1 and columns x0..x1, and nothing else."""
    first, second = lamp_pair(0, (130, 140), 0)
    expected = measure_amplifier(first[10:120, 5:135], second[10:120, 5:135], None, 3.0)
    measured = measure_amplifier(first, second, None, 3.0, region=[5, 135, 10, 120])
    np.testing.assert_array_equal(measured.covariance, expected.covariance)
    assert measured.n_selected == 110 * 130


@pytest.mark.parametrize("region", [None, "AMP", "FULL"])
def test_whole_array_regions(region):
    """None, AMP and FULL are the whole array."""
    assert measure_amplifier(*lamp_pair(1, (100, 101), 0), region=region).n_selected == 10100


@pytest.mark.parametrize(
    ("extent", "size", "edges"), [(100, 30, [0, 33, 67, 100]), (50, 60, [0, 50]), (4, 2, [0, 2, 4])]
)
def test_blocks_are_equal_and_cover_everything(extent, size, edges):
    """As many blocks of at least the size as fit, of sizes that differ by one; one block where none fits."""
    blocks = list(split_blocks((slice(0, 10), slice(0, extent)), [10, size]))
    assert [block[1].start for block in blocks] == edges[:-1]
    assert [block[1].stop for block in blocks] == edges[1:]


def test_shape_drift_is_flagged_and_blocks_cure_it():
    """A tilt of 1 % adds 8 % to the variance of the frame, flagged; blocks find the gain, without the flag."""
    first, second = lamp_pair(2, (512, 512), 0.01)
    whole = measure_amplifier(first, second, None, 0.0, gain_correction="UNBIASED")
    blocks = measure_amplifier(first, second, None, 0.0, gain_correction="UNBIASED", blocks=[32, 32])
    assert whole.gain == pytest.approx(GAIN / (1 + 100**2 / 12 / 2 / 5000), rel=0.01)
    assert whole.flags == RowFlag.SHAPE_DRIFT
    assert blocks.gain == pytest.approx(GAIN, abs=4 * blocks.gain_error + 0.001 * GAIN)
    assert blocks.flags == 0


def test_a_small_shape_drift_is_found_at_long_lags():
    """A drift that adds half a per cent to the variance is flagged: every lag beyond five pixels shows it."""
    measured = measure_amplifier(*lamp_pair(3, (512, 512), 0.0025), None, 0.0)
    assert 0.001 < measured.covariance[5:, 5:].mean() / measured.variance < 0.01
    assert measured.flags == RowFlag.SHAPE_DRIFT


def test_steady_light_is_not_flagged():
    """No drift, no flag, also when the lamp as a whole got brighter by 2 %."""
    first, second = lamp_pair(4, (512, 512), 0.0)
    assert measure_amplifier(first, 1.02 * second, None, 0.0).flags == 0


def test_short_range_correlations_are_no_drift():
    """Brighter-fatter correlation of 3 % with the nearest neighbours is not flagged."""
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 100, (2, 512, 512))
    first, second = 20000 + noise + 0.03 * (np.roll(noise, 1, axis=1) + np.roll(noise, 1, axis=2))
    measured = measure_amplifier(first, second, None, 0.0)
    assert measured.covariance[0, 1] > 0.025 * measured.variance
    assert measured.flags == 0


def test_block_numbers_are_medians_and_counts_are_sums():
    """Every measured quantity is the median over blocks, counts are added up."""
    first, second = lamp_pair(6, (120, 160), 0.01)
    measured = measure_pair_statistics(first, second, settings=PairSettings(blocks=[40, 40], max_lag=3))
    assert len(measured.blocks) == 12
    assert measured.variance == np.median([block.variance for block in measured.blocks])
    assert measured.mean_2 == np.median([block.mean_2 for block in measured.blocks])
    assert measured.covariance[1, 2] == np.median([block.covariance[1, 2] for block in measured.blocks])
    assert measured.n_pixels[0, 1] == sum(block.n_pixels[0, 1] for block in measured.blocks)
    assert measured.n_selected == 120 * 160


def test_one_block_is_the_whole():
    """A block as large as the image gives what the image gives, errors included."""
    first, second = lamp_pair(7, (120, 110), 0)
    whole = measure_amplifier(first, second, None, 3.0)
    block = measure_amplifier(first, second, None, 3.0, blocks=[500, 500])
    assert (block.gain, block.gain_error) == pytest.approx((whole.gain, whole.gain_error))
    np.testing.assert_allclose(block.covariance_error, whole.covariance_error)


def test_masked_blocks_are_left_out():
    """A block with less than a tenth of its pixels does not enter; the others do."""
    first, second = lamp_pair(8, (160, 160), 0)
    mask = np.zeros(first.shape, bool)
    mask[:40, :37] = True
    measured = measure_pair_statistics(first, second, mask, PairSettings(blocks=[40, 40], max_lag=2))
    assert len(measured.blocks) == 15
    assert measured.n_selected == 15 * 1600


def test_min_good_pixels_holds_for_the_sum_over_blocks():
    """Blocks may be smaller than min_good_pixels, all together may not."""
    first, second = lamp_pair(9, (110, 110), 0)
    assert np.isfinite(measure_amplifier(first, second, blocks=[20, 20]).variance)
    few = measure_amplifier(first, second, blocks=[20, 20], min_good_pixels=12101)
    assert few.flags & RowFlag.TOO_FEW_PIXELS


def test_errors_by_blocks_are_honest():
    """Over 100 pairs the pulls of block medians of gain and C_10 have width 1."""
    pulls = []
    for seed in range(100):
        first, second = lamp_pair([10, seed], (128, 128), 0)
        measured = measure_amplifier(first, second, None, 0.0, gain_correction="UNBIASED", blocks=[16, 16], max_lag=2)
        gain_pull = (measured.gain - GAIN) / measured.gain_error
        pulls.append([gain_pull, measured.covariance[1, 0] / measured.covariance_error[1, 0]])
    np.testing.assert_allclose(np.std(pulls, axis=0), 1, atol=4 / np.sqrt(200))
