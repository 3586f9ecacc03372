"""The overscan part of the stage isr: every model, place and orientation; gains unbiased through it."""

from dataclasses import replace

import numpy as np
import pytest

from streamcal.errors import StageError
from streamcal.flags import RowFlag
from streamcal.measure import OVERSCAN_MODELS, median_variance_factor
from streamcal.testing import RecordingContext

ROWS = np.arange(256)
BIAS = {"MEDIAN": 1000.0, "MEAN": 1000.0, "POLYNOMIAL": 1000 + 0.05 * ROWS, "CHEBYSHEV": 1000 - 0.02 * ROWS}
BIAS["LEGENDRE"] = BIAS["POLYNOMIAL"]
BIAS["MEDIAN_PER_ROW"] = BIAS["MEAN_PER_ROW"] = 1000 + 20 * np.sin(ROWS)


@pytest.mark.parametrize("electrons", [1000, 50000])
@pytest.mark.parametrize("correction", ["UNBIASED", "JANESICK"])
@pytest.mark.parametrize("model", OVERSCAN_MODELS)
def test_gains_are_unbiased_through_isr(make_chain, made, model, correction, electrons):
    """Poisson light through any overscan model gives the true gain within four standard errors."""
    rng = np.random.default_rng(7)
    pair = made.pair(*(made.flat(rng, electrons, bias=BIAS[model]) for _ in range(2)))
    chain = make_chain({"isr": {"model": model}, "gain": {"correction": correction}})
    row = chain.run(pair, RecordingContext())["A"]
    assert row["flags"] == 0
    assert row["gain_correction"] == correction
    assert abs(row["gain"] - made.gain) < 4 * row["gain_error"]
    assert abs(row["read_noise"] - made.read_noise) < 4 * row["read_noise_error"]
    assert row["gain_error"] < 0.01 * made.gain


@pytest.mark.parametrize(
    ("model", "factor"), [("MEAN_PER_ROW", 1 / 8), ("MEDIAN_PER_ROW", median_variance_factor(8)), ("MEDIAN", 0.0)]
)
def test_row_overscan_covariance_is_what_is_found_along_rows(make_chain, made, model, factor):
    """A column says what per-row subtraction adds to all C_i0, and that is what C_i0 hold for white light."""
    rng = np.random.default_rng(3)
    flats = (made.flat(rng, 100, shape=(512, 512), columns=8, read_noise=10, gain=1) for _ in range(2))
    row = make_chain({"isr": {"model": model}}).run(made.pair(*flats), RecordingContext())["A"]
    along_row = [lag[0] for lag in row["covariance"][1:]]
    error = row["covariance_error"][1][0] / np.sqrt(len(along_row))
    assert row["row_overscan_covariance"] == pytest.approx(100 * factor, rel=0.03)
    assert abs(np.mean(along_row) - row["row_overscan_covariance"]) < 4 * error


def test_per_row_levels_are_subtracted_row_by_row(isr, made):
    """Each row loses the level of its own overscan, whatever the other rows do."""
    amplifier = made.amplifier([[101, 102], [211, 212], [321, 322]], [[100] * 3, [200] * 3, [300] * 3])
    reduced = isr(made.exposure(amplifier)).amplifiers["A"]
    np.testing.assert_array_equal(reduced.data, [[1, 2], [11, 12], [21, 22]])
    assert reduced.metadata["overscan_level"] == 200


@pytest.mark.parametrize(("corner", "level"), [("LL", 30), ("UL", 30), ("LR", 20), ("UR", 20)])
def test_leading_columns_are_those_read_first(isr, made, corner, level):
    """Columns are skipped in the order of reading, which runs from right to left where the output is at the right."""
    amplifier = made.amplifier(np.full((4, 2), 100), np.tile([10, 20, 30, 40], (4, 1)), corner=corner)
    reduced = isr(made.exposure(amplifier), skip_leading=2, skip_trailing=1, model="MEAN").amplifiers["A"]
    np.testing.assert_array_equal(reduced.data, np.full((4, 2), 100 - level))


def test_a_section_of_the_stored_array_can_be_the_overscan(isr, made):
    """An IRAF section, one-based and inclusive, tells the level as serial overscan does."""
    amplifier = made.amplifier(np.full((4, 2), 100), np.tile([10, 20, 30, 40], (4, 1)))
    reduced = isr(made.exposure(amplifier), overscan="[4:5,1:4]", model="MEAN").amplifiers["A"]
    np.testing.assert_array_equal(reduced.data, np.full((4, 2), 75))


def test_a_section_of_other_rows_serves_only_a_constant_model(isr, made):
    """A section whose rows are not those of the image gives one level, and no level per row."""
    amplifiers = [made.amplifier(np.full((4, 2), 100), np.full((4, 3), 10)) for _ in range(2)]
    reduced = isr(made.exposure(amplifiers[0]), overscan="[3:5,2:3]", model="MEDIAN").amplifiers["A"]
    assert reduced.data.mean() == 90
    with pytest.raises(StageError, match=r"\[3:5,2:3\] does not have the rows of amplifier 'A'; MEAN_PER_ROW needs"):
        isr(made.exposure(amplifiers[1]), overscan="[3:5,2:3]", model="MEAN_PER_ROW")


def test_a_serial_overscan_of_other_rows_serves_only_a_constant_model(isr, made):
    """One that begins a row lower would give each row the level of the one before."""
    amplifier = made.amplifier(np.full((4, 2), 100), np.full((4, 3), 10))
    amplifier.sections["serial"] = replace(amplifier.sections["data"], y0=1, y1=5)
    with pytest.raises(StageError, match="serial does not have the rows of amplifier 'A'; MEAN_PER_ROW needs"):
        isr(made.exposure(amplifier), model="MEAN_PER_ROW")


def test_a_section_outside_the_array_is_an_error_naming_both(isr, made):
    """The array is trusted, not the section."""
    amplifier = made.amplifier(np.full((4, 2), 100), np.full((4, 3), 10))
    with pytest.raises(StageError, match=r"amplifier 'A': section \[3:9,1:4\] lies outside the array of 5 columns"):
        isr(made.exposure(amplifier), overscan="[3:9,1:4]")


def test_a_missing_overscan_is_an_error_that_names_those_there_are(isr, made):
    """Nothing is left uncorrected silently."""
    amplifier = made.amplifier(np.full((4, 2), 100), np.full((4, 3), 10))
    with pytest.raises(StageError, match="amplifier 'A' has no overscan 'prescan', known: serial"):
        isr(made.exposure(amplifier), overscan="prescan")


def test_a_section_on_the_light_is_an_error(isr, made):
    """Columns 1 to 2 of the stored array are light: their level is no bias."""
    amplifier = made.amplifier(np.full((4, 2), 100), np.full((4, 3), 10))
    with pytest.raises(StageError, match=r"overscan \[2:5,1:4\] lies on the light of amplifier 'A'"):
        isr(made.exposure(amplifier), overscan="[2:5,1:4]")


def test_a_camera_without_overscan_is_told_what_to_set(isr, made):
    """The default asks for an overscan; there is none of any name."""
    with pytest.raises(StageError, match=r"known: none; set stages\.isr\.overscan .* and stages\.isr\.bias to a bias"):
        isr(made.exposure(made.amplifier(np.full((4, 2), 100))))


def test_no_overscan_is_flagged(isr, made):
    """With overscan = "none" pixels stay as they are, and the row says so: the mean holds the pedestal."""
    reduced = isr(made.exposure(made.amplifier(np.full((4, 2), 100))), overscan="none").amplifiers["A"]
    assert reduced.metadata["flags"] == RowFlag.NO_OVERSCAN | RowFlag.NO_BIAS_LEVEL
    assert reduced.data.mean() == 100
    assert np.isnan(reduced.metadata["overscan_level"])
    assert reduced.metadata["row_overscan_covariance"] == 0


def test_an_overscan_without_a_finite_pixel_is_an_error(isr, made):
    """A level of NaN would make every pixel NaN."""
    amplifier = made.amplifier(np.full((4, 2), 100), np.full((4, 3), np.nan))
    with pytest.raises(StageError, match="overscan of amplifier 'A' has no finite pixel"):
        isr(made.exposure(amplifier))


def test_skipping_every_column_is_an_error(isr, made):
    """At least one column must be left."""
    amplifier = made.amplifier(np.full((4, 2), 100), np.full((4, 3), 10))
    with pytest.raises(StageError, match="leave nothing of an overscan 3 wide, amplifier 'A'"):
        isr(made.exposure(amplifier), skip_leading=2, skip_trailing=1)


def test_what_was_used_is_let_go(isr, made):
    """The stored array and overscans do not stay in memory; a parallel overscan is kept, at the image's level."""
    amplifier = made.amplifier(np.full((4, 2), 100), np.full((4, 3), 10))
    amplifier.overscan["parallel"] = np.full((2, 2), 12, np.float32)
    reduced = isr(made.exposure(amplifier)).amplifiers["A"]
    assert reduced.raw is None
    assert list(reduced.overscan) == ["parallel"]
    np.testing.assert_array_equal(reduced.overscan["parallel"], np.full((2, 2), 2))


def test_statistics_stand_under_the_names_of_lsst(isr, made):
    """Header statistics of LSST's pipelines are found by their names."""
    rng = np.random.default_rng(1)
    exposure = isr(made.flat(rng, 1000), saturation=5000)
    notes = exposure.metadata
    amplifier = exposure.amplifiers["A"]
    assert notes["LSST ISR OVERSCAN SERIAL MEDIAN A"] == pytest.approx(1000, abs=1)
    assert notes["LSST ISR OVERSCAN RESIDUAL SERIAL STDEV A"] == amplifier.read_noise
    assert notes["LSST ISR READNOISE A"] == amplifier.read_noise
    assert notes["LSST ISR SATURATION LEVEL A"] == 5000
    assert notes["LSST ISR MASK SAT A"] == 0
    assert notes["LSST ISR UNITS"] == "adu"
    assert notes["LSST ISR BIAS APPLIED"] is False


def test_amp_offset_is_taken_from_the_header(isr, made):
    """The pedestal that an earlier reduction noted becomes a column; NaN where there is none."""
    header = {"LSST ISR AMPOFFSET PEDESTAL A": 1.25}
    with_it, without = (
        isr(made.exposure(made.amplifier(np.ones((4, 2))), header=cards), overscan="none").amplifiers["A"].metadata
        for cards in (header, {})
    )
    assert with_it["amp_offset"] == 1.25
    assert np.isnan(without["amp_offset"])
