"""The stage parallel_overscan."""

import numpy as np
import pytest

from streamcal.errors import StageError
from streamcal.measure import median_variance_factor
from streamcal.testing import RecordingContext


@pytest.fixture
def subtract(plugins, made):
    """Run the stage alone on an image and a parallel overscan."""

    def run(data, parallel, corner="LL", **settings):
        stage = plugins.stages["parallel_overscan"]
        amplifier = made.amplifier(data, corner=corner)
        if parallel is not None:
            amplifier.overscan["parallel"] = np.asarray(parallel, np.float32)
        context = RecordingContext("parallel_overscan")
        return stage.run(made.exposure(amplifier), stage.settings(**settings), context).amplifiers["A"]

    return run


def test_one_level_by_default(subtract):
    """The median of the parallel overscan is subtracted from the image."""
    reduced = subtract(np.full((2, 3), 100), [[1, 2, 3], [1, 2, 3]])
    np.testing.assert_array_equal(reduced.data, np.full((2, 3), 98))
    assert reduced.metadata["parallel_overscan_level"] == 2
    assert reduced.metadata["column_overscan_covariance"] == 0


def test_each_column_its_own_level(subtract):
    """PER_ROW models are per column here."""
    reduced = subtract(np.full((2, 3), 100), [[10, 20, 30], [10, 20, 30]], model="MEAN_PER_ROW")
    np.testing.assert_array_equal(reduced.data, [[90, 80, 70]] * 2)


@pytest.mark.parametrize(("corner", "level"), [("LL", 2), ("LR", 2), ("UL", 1), ("UR", 1)])
def test_leading_rows_are_those_read_first(subtract, corner, level):
    """Rows are skipped in the order of reading: from the top where the output is there."""
    reduced = subtract(np.full((2, 3), 100), [[1] * 3, [2] * 3], corner=corner, skip_leading=1)
    assert reduced.data.mean() == 100 - level


def test_other_columns_serve_only_a_constant_model(subtract):
    """A level per column needs the columns of the image."""
    with pytest.raises(StageError, match="amplifier 'A' has 2 columns, the image 3; MEDIAN_PER_ROW needs the same"):
        subtract(np.full((2, 3), 100), [[1, 2]], model="MEDIAN_PER_ROW")
    assert subtract(np.full((2, 3), 100), [[1, 1]]).data.mean() == 99


def test_a_missing_parallel_overscan_is_an_error(subtract):
    """The stage is only in the chain when it is wanted."""
    with pytest.raises(StageError, match="amplifier 'A' has no overscan 'parallel'"):
        subtract(np.full((2, 3), 100), None)


def test_what_it_adds_is_taken_off_gains(make_chain, made):
    """Per-column subtraction adds to the variance; the gain is unbiased all the same."""
    rng = np.random.default_rng(5)

    def flat():
        exposure = made.flat(rng, 50, shape=(300, 300), read_noise=12, gain=1)
        exposure.amplifiers["A"].overscan["parallel"] = rng.normal(1000, 12, (4, 300)).astype(np.float32)
        return exposure

    settings = {"parallel_overscan": {"model": "MEDIAN_PER_ROW"}, "gain": {"correction": "JANESICK"}}
    chain = make_chain(settings, ("isr", "parallel_overscan", "covariance", "gain"))
    row = chain.run(made.pair(flat(), flat()), RecordingContext())["A"]
    assert row["column_overscan_covariance"] == pytest.approx(144 * median_variance_factor(4), rel=0.1)
    assert abs(row["gain"] - 1) < 4 * row["gain_error"]
    assert row["column_overscan_covariance"] / 50 > 8 * row["gain_error"]
