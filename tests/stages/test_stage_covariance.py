"""The stage covariance: columns, sharing of the difference, region and blocks, flags."""

import numpy as np
import pytest

from streamcal.flags import MaskBit, RowFlag
from streamcal.measure import measure_amplifier
from streamcal.stages.covariance import STATISTICS
from streamcal.testing import RecordingContext


@pytest.fixture
def measure(plugins, made):
    """Run the stage covariance alone on two corrected images and return the row, the pair and the context."""

    def run(first, second, mask=None, **settings):
        stage = plugins.stages["covariance"]
        amplifiers = [made.amplifier(image) for image in (first, second)]
        if mask is not None:
            amplifiers[0].mask = mask
        pair = made.pair(*(made.exposure(amplifier) for amplifier in amplifiers))
        pair.measured = {"A": {}}
        context = RecordingContext("covariance")
        return stage.run(pair, stage.settings(**settings), context)["A"], pair, context

    return run


def poisson_flats(seed=1, level=2000, shape=(150, 120)):
    """Return two flats of gain 1."""
    return np.random.default_rng(seed).poisson(level, (2, *shape)).astype(np.float32)


def test_columns_are_those_of_measure_amplifier(measure):
    """The stage adds nothing to what the function on arrays gives."""
    flats = poisson_flats()
    row, _, _ = measure(*flats, max_lag=4)
    expected = measure_amplifier(*flats, max_lag=4)
    for name in ("mean_1", "mean_2", "mean", "mean_used", "delta", "variance", "row_mean_variance", "gain_statistic"):
        assert row[name] == getattr(expected, name), name
    for name in ("covariance", "covariance_error", "n_pixels"):
        np.testing.assert_array_equal(row[name], getattr(expected, name))
    assert (row["n_selected"], row["n_masked"], row["n_clipped"]) == (18000, 0, expected.n_clipped)
    assert all(type(count) is int for lags in row["n_pixels"] for count in lags)


def test_the_whole_amplifier_shares_its_difference(measure):
    """Later stages get the very difference that was measured."""
    row, pair, _ = measure(*poisson_flats())
    assert pair.difference("A").variance == row["variance"]


def test_statistics_are_kept_for_later_stages(measure):
    """What is no column is found in the metadata of the pair."""
    row, _, context = measure(*poisson_flats())
    assert context.metadata[STATISTICS]["A"].variance == row["variance"]


def test_a_region_is_measured_alone(measure):
    """Columns x0 to x1 and rows y0 to y1, from 0, upper bounds excluded."""
    flats = poisson_flats()
    row, _, _ = measure(*flats, region=(10, 110, 0, 120))
    expected = measure_amplifier(flats[0][:120, 10:110], flats[1][:120, 10:110])
    assert row["n_selected"] == 12000
    assert row["variance"] == expected.variance


def test_full_means_all_of_the_amplifier(measure):
    """FULL is taken from the batch world; amplifiers are never mixed, so it is AMP."""
    flats = poisson_flats()
    assert measure(*flats, region="FULL")[0]["variance"] == measure(*flats)[0]["variance"]


def test_blocks_remove_a_drift_of_shape(measure):
    """Light whose shape changes is flagged over the whole amplifier, and is no trouble block by block."""
    rng = np.random.default_rng(2)
    slope = np.linspace(0.997, 1.003, 400)
    flats = [rng.poisson(10000 * light, (400, 400)).astype(np.float32) for light in (slope, slope[::-1])]
    whole, _, _ = measure(*flats)
    blocks, _, _ = measure(*flats, blocks=(25, 25))
    assert whole["flags"] & RowFlag.SHAPE_DRIFT
    assert not blocks["flags"] & RowFlag.SHAPE_DRIFT
    assert whole["variance"] > 1.04 * blocks["variance"]
    assert blocks["variance"] == pytest.approx(10000, rel=0.03)


def test_masked_pixels_do_not_count(measure):
    """Bits of the setting bad_mask leave pixels out; EDGE is among the default ones, CROSSTALK is not."""
    flats = poisson_flats()
    mask = np.zeros(flats[0].shape, np.uint32)
    mask[0, :30], mask[1, :10] = MaskBit.EDGE, MaskBit.CROSSTALK
    assert measure(*flats, mask)[0]["n_masked"] == 30
    assert measure(*flats, mask, bad_mask=("CROSSTALK",))[0]["n_masked"] == 10


def test_too_few_pixels_are_flagged(measure):
    """Below min_good_pixels nothing is measured: NaN in all columns, and the flag."""
    row, _, _ = measure(*poisson_flats(shape=(50, 50)))
    assert row["flags"] == RowFlag.TOO_FEW_PIXELS
    assert np.isnan(row["variance"])
    assert np.isnan(row["covariance"]).all()
    assert row["n_selected"] == 2500


def test_variance_mismatch_warns(measure):
    """A variance that is not C_00 sets the flag and is logged with the amplifier."""
    rng = np.random.default_rng(3)
    flats = rng.normal(1000, 10, (2, 200, 200)).astype(np.float32)
    row, _, context = measure(*flats, n_sigma=1.0, n_iter=2)
    assert row["flags"] & RowFlag.VARIANCE_MISMATCH
    assert [(event["event"], event["amplifier"]) for event in context.events] == [("variance differs from c_00", "A")]
