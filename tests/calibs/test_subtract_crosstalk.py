"""What a subtraction does with its choices, on pixels small enough for hand calculation."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from streamcal.calibs import CrosstalkCalib, Detector
from streamcal.flags import MaskBit
from streamcal.records import ReadoutCorner

CORNERS = ("LL", "LR", "UL", "UR")


def make_calib(coeffs, sqr=None, units="adu"):
    """Return a calibration with these [target, source] coefficients."""
    calib = CrosstalkCalib(n_amp=len(coeffs))
    calib.has_crosstalk = True
    calib.coeffs = np.array(coeffs, float)
    if sqr is not None:
        calib.coeffs_sqr = np.array(sqr, float)
    calib.crosstalk_ratios_units = units
    return calib


def only_b_to_a(value):
    """Return coefficients by which A shows B."""
    return make_calib([[0, value], [0, 0]])


def test_row_is_target_and_column_is_source(make_exposure):
    """coeffs[0, 1] takes B from A and leaves B alone."""
    corrected = only_b_to_a(0.01).subtract_crosstalk(make_exposure([[10.0]], [[1000.0]]))
    assert corrected.amplifiers["A"].data[0, 0] == 0
    assert corrected.amplifiers["B"].data[0, 0] == 1000


@pytest.mark.parametrize("target", CORNERS)
@pytest.mark.parametrize("source", CORNERS)
def test_pixels_read_at_the_same_time_are_coupled(make_exposure, target, source):
    """A spot two columns and one row from the source's output is taken from there at the target's output."""
    place = {"LL": (1, 2), "LR": (1, -3), "UL": (-2, 2), "UR": (-2, -3)}
    light = np.zeros((4, 6))
    light[place[source]] = 1000
    exposure = make_exposure(np.zeros((4, 6)), light, corners=f"{target} {source}")
    expected = np.zeros((4, 6), np.float32)
    expected[place[target]] = -10
    corrected = only_b_to_a(0.01).subtract_crosstalk(exposure)
    assert np.array_equal(corrected.amplifiers["A"].data, expected)


def test_extracted_amplifier_lies_as_its_target(make_exposure):
    """An amplifier read at the right is mirrored for a target read at the left."""
    exposure = make_exposure([[0, 0]], [[1, 2]], corners="LL LR")
    assert CrosstalkCalib.extract_amp(exposure, "B", "A").tolist() == [[2, 1]]


def test_input_is_not_changed(make_exposure):
    """Target, source, their masks, overscans and notes, and the calibration itself stay as they were."""
    exposure, source = make_exposure([[1.0]], [[2.0]], header={"FILTER": "r"}), make_exposure([[1e5]], [[2e5]])
    exposure.amplifiers["A"].overscan["parallel"] = exposure.amplifiers["B"].overscan["parallel"] = np.array([[3]])
    calib = only_b_to_a(0.01)
    before = calib.to_dict()
    calib.subtract_crosstalk(exposure, source, min_pixel_to_mask=1.0)
    calib.subtract_crosstalk(exposure, full_amplifier=True, do_subtrahend_masking=True, min_pixel_to_mask=0.0)
    assert [entry.data[0, 0] for entry in exposure.amplifiers.values()] == [1, 2]
    assert [entry.data[0, 0] for entry in source.amplifiers.values()] == [1e5, 2e5]
    assert not any(entry.mask.any() for each in (exposure, source) for entry in each.amplifiers.values())
    assert exposure.amplifiers["A"].overscan["parallel"].tolist() == [[3]]
    assert exposure.metadata == {}
    assert exposure.header == {"FILTER": "r"}
    assert calib.to_dict() == before


def test_result_shares_nothing_with_the_input(make_exposure):
    """Writing to the result cannot reach the input, also where nothing was corrected."""
    exposure = make_exposure([[1.0]], [[2.0]], header={"FILTER": "r"})
    exposure.amplifiers["A"].metadata["header"] = {"CHAN": 1}
    corrected = CrosstalkCalib(n_amp=2).apply(exposure)
    corrected.header["FILTER"] = corrected.amplifiers["A"].metadata["header"]["CHAN"] = "x"
    assert (exposure.header["FILTER"], exposure.amplifiers["A"].metadata["header"]["CHAN"]) == ("r", 1)
    for name in "AB":
        assert not np.shares_memory(corrected.amplifiers[name].data, exposure.amplifiers[name].data)
        assert not np.shares_memory(corrected.amplifiers[name].mask, exposure.amplifiers[name].mask)


def test_masks_can_be_shared(make_exposure):
    """What is marked is marked in the masks of the input then; its pixels stay."""
    exposure = make_exposure([[10.0] * 4], [[100.0, 99.0, 10.0, 10.0]])
    corrected = only_b_to_a(0.01).apply(exposure, min_pixel_to_mask=90, share_masks=True)
    assert corrected.amplifiers["A"].mask is exposure.amplifiers["A"].mask
    assert exposure.amplifiers["A"].mask[0].tolist() == [MaskBit.CROSSTALK, 0, 0, 0]
    assert exposure.amplifiers["A"].data[0].tolist() == [10.0] * 4


def test_double_precision_is_kept(make_exposure):
    """Pixels given as float64 come back as float64."""
    exposure = make_exposure([[1.0]], [[2.0]])
    exposure.amplifiers["A"].data = np.array([[1.0]])
    assert only_b_to_a(0.5).subtract_crosstalk(exposure).amplifiers["A"].data.dtype == np.float64


def test_quadratic_term_counts_where_the_linear_one_is_zero(make_exposure):
    """1e-6 x 1000^2 = 1, only when asked for."""
    calib = make_calib([[0, 0], [0, 0]], [[0, 1e-6], [0, 0]])
    exposure = make_exposure([[5.0]], [[1000.0]])
    assert calib.subtract_crosstalk(exposure).amplifiers["A"].data[0, 0] == 5
    assert calib.subtract_crosstalk(exposure, do_sqr_crosstalk=True).amplifiers["A"].data[0, 0] == pytest.approx(4)


def test_given_coefficients_replace_those_of_the_calibration(make_exposure):
    """Validity and quadratic terms of the calibration are not mixed with coefficients from the call."""
    calib = make_calib([[0, 0.5], [0, 0]], [[0, 1.0], [0, 0]])
    calib.coeff_valid[:] = False
    exposure = make_exposure([[5.0]], [[100.0]])
    corrected = calib.subtract_crosstalk(exposure, crosstalk_coeffs=[[0, 0.01], [0, 0]], do_sqr_crosstalk=True)
    assert corrected.amplifiers["A"].data[0, 0] == 4


def test_validity_may_be_zeros_and_ones(make_exposure):
    """A matrix of integers is no index: 0 leaves a coefficient out, 1 uses it."""
    calib = make_calib([[0, 0.01], [0.01, 0]])
    corrected = calib.subtract_crosstalk(make_exposure([[100.0]], [[100.0]]), crosstalk_coeffs_valid=[[0, 1], [0, 0]])
    assert [entry.data[0, 0] for entry in corrected.amplifiers.values()] == [99, 100]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_coefficient_that_is_not_finite_is_not_used(make_exposure, value):
    """It counts as invalid although it is marked valid, with its quadratic term."""
    calib = make_calib([[0, value], [0.01, 0]], [[0, 1.0], [0, 0]])
    corrected = calib.subtract_crosstalk(make_exposure([[100.0]], [[100.0]]), do_sqr_crosstalk=True)
    assert not calib.usable[0, 1]
    assert [entry.data[0, 0] for entry in corrected.amplifiers.values()] == [100, 99]


def test_bad_amplifier_is_neither_source_nor_target(make_exposure):
    """With C bad only A and B are coupled."""
    calib = make_calib(0.01 * (np.ones((3, 3)) - np.eye(3)))
    corrected = calib.subtract_crosstalk(make_exposure([[100.0]], [[200.0]], [[400.0]]), bad_amps=["C"])
    assert [entry.data[0, 0] for entry in corrected.amplifiers.values()] == [98, 199, 400]


def test_pixel_that_is_not_finite_adds_nothing_and_marks_its_targets(make_exposure):
    """A NaN does not spread; where its crosstalk is unknown the mask says so."""
    calib = make_calib([[0, 0.01, 0], [0, 0, 0], [0, 0, 0]])
    corrected = calib.subtract_crosstalk(make_exposure([[5.0, 5.0]], [[np.nan, 100.0]], [[1.0, 1.0]]))
    assert corrected.amplifiers["A"].data.tolist() == [[5, 4]]
    assert corrected.amplifiers["A"].mask.tolist() == [[MaskBit.CROSSTALK, 0]]
    assert not corrected.amplifiers["C"].mask.any()


def test_background_of_the_amplifier_leaves_out_bad_pixels(make_exposure):
    """The median of 10, 10 (and 900 marked BAD) is 10, so a source of 110 counts 100."""
    exposure = make_exposure([[0.0] * 4], [[10.0, 10.0, 110.0, 900.0]])
    exposure.amplifiers["B"].mask[0, 2:] = MaskBit.BAD
    corrected = only_b_to_a(0.1).subtract_crosstalk(exposure, background_method="AMP")
    assert corrected.amplifiers["A"].data[0] == pytest.approx([0, 0, -10, -89])


def test_background_of_the_detector_is_one_median(make_exposure):
    """Pixels 0, 0, 20, 30, 40 have the median 20, in all amplifiers together."""
    exposure = make_exposure([[0.0, 0.0, 20.0]], [[30.0, 40.0, 20.0]])
    corrected = only_b_to_a(0.1).subtract_crosstalk(exposure, background_method="DETECTOR")
    assert corrected.amplifiers["A"].data[0] == pytest.approx([-1, -2, 20])


def test_threshold_is_above_the_median_of_the_detector(make_exposure):
    """Median 10: with a threshold of 90 a source of 100 masks its target, one of 99 does not."""
    exposure = make_exposure([[10.0] * 4], [[100.0, 99.0, 10.0, 10.0]])
    corrected = only_b_to_a(0.01).subtract_crosstalk(exposure, min_pixel_to_mask=90)
    assert corrected.amplifiers["A"].mask[0].tolist() == [MaskBit.CROSSTALK, 0, 0, 0]
    assert not corrected.amplifiers["B"].mask.any()


def test_subtrahend_masking_looks_at_what_was_subtracted(make_exposure):
    """Of 1, 1, 1 and 5 ADU subtracted the last differs from the median by 4."""
    exposure = make_exposure([[0.0] * 4], [[100.0, 100.0, 100.0, 500.0]])
    for threshold, marked in ((3.9, MaskBit.SUSPECT), (4.1, 0)):
        corrected = only_b_to_a(0.01).subtract_crosstalk(
            exposure, do_subtrahend_masking=True, min_pixel_to_mask=threshold, mask_plane="SUSPECT"
        )
        assert corrected.amplifiers["A"].mask[0].tolist() == [0, 0, 0, marked]


def test_iterations_gain_an_order_each(make_exposure):
    """Truth 1000 and 100 with K = 0.1 both ways: n passes leave K^(n+1), 10 of 1000, then 0.1 of 100, of 1000."""
    calib = make_calib([[0, 0.1], [0.1, 0]])
    exposure = make_exposure([[1010.0]], [[200.0]])
    errors = [
        abs(calib.subtract_crosstalk(exposure, iterations=n).amplifiers["A"].data[0, 0] - 1000) for n in (1, 2, 3)
    ]
    assert errors == pytest.approx([10, 0.1, 0.1], rel=1e-2)


def test_another_exposure_is_the_source(make_exposure):
    """Its pixels count, not those of the exposure; iterating changes nothing."""
    exposure, source = make_exposure([[5.0]], [[1e6]]), make_exposure([[0.0]], [[100.0]])
    for iterations in (1, 3):
        corrected = only_b_to_a(0.01).subtract_crosstalk(exposure, source, iterations=iterations)
        assert corrected.amplifiers["A"].data[0, 0] == 4


def test_gains_convert_electron_coefficients(make_exposure):
    """1000 ADU at 2 e-/ADU are 2000 e-, of which 1 % is 20 e-, at 4 e-/ADU 5 ADU; the quadratic term 4 e-, 1 ADU."""
    calib = make_calib([[0, 0.01], [0, 0]], [[0, 1e-6], [0, 0]], units="electron")
    exposure = make_exposure([[10.0]], [[1000.0]])
    corrected = calib.subtract_crosstalk(exposure, gains={"A": 4.0, "B": 2.0})
    assert corrected.amplifiers["A"].data[0, 0] == pytest.approx(5)
    corrected = calib.subtract_crosstalk(exposure, gains=[4.0, 2.0], do_sqr_crosstalk=True)
    assert corrected.amplifiers["A"].data[0, 0] == pytest.approx(4)


def test_gains_convert_adu_coefficients_for_pixels_in_electrons(make_exposure):
    """1000 e- at 2 e-/ADU are 500 ADU, of which 1 % is 5 ADU, at 4 e-/ADU 20 e-."""
    corrected = only_b_to_a(0.01).subtract_crosstalk(
        make_exposure([[50.0]], [[1000.0]]), units="electron", gains=[4.0, 2.0]
    )
    assert corrected.amplifiers["A"].data[0, 0] == pytest.approx(30)


def test_gains_of_the_calibration_are_the_default(make_exposure):
    """Without gains in the call ``fit_gains`` convert."""
    calib = make_calib([[0, 0.01], [0, 0]], units="electron")
    calib.fit_gains = np.array([4.0, 2.0])
    corrected = calib.subtract_crosstalk(make_exposure([[10.0]], [[1000.0]]))
    assert corrected.amplifiers["A"].data[0, 0] == pytest.approx(5)


@pytest.mark.parametrize("bad", [np.nan, 0.0, -1.0, np.inf])
def test_bad_gain_is_replaced_by_the_median_with_a_warning(make_exposure, caplog, bad):
    """Gains 1, bad, 3: the bad one counts as 2."""
    calib = make_calib([[0, 0.01, 0], [0, 0, 0], [0, 0, 0]], units="electron")
    exposure = make_exposure([[30.0]], [[1000.0]], [[0.0]])
    with caplog.at_level(logging.WARNING):
        corrected = calib.subtract_crosstalk(exposure, gains=[1.0, bad, 3.0])
    assert corrected.amplifiers["A"].data[0, 0] == pytest.approx(10)
    assert "gain of amplifier B replaced by the median 2 e-/ADU" in caplog.text


def test_no_gain_at_all_is_an_error(make_exposure):
    """Unknown gains cannot convert; coefficients in the unit of the pixels need none."""
    exposure = make_exposure([[5.0]], [[1000.0]])
    with pytest.raises(ValueError, match="gains must hold a positive finite number"):
        make_calib([[0, 0.01], [0, 0]], units="electron").subtract_crosstalk(exposure)
    assert make_calib([[0, 0.01], [0, 0]]).subtract_crosstalk(exposure).amplifiers["A"].data[0, 0] == -5


def test_threshold_is_in_the_unit_of_the_coefficients(make_exposure):
    """60 ADU at 2 e-/ADU are 120 e-: above a threshold of 100 e- over a median of 0."""
    calib = make_calib([[0, 0.01], [0, 0]], units="electron")
    exposure = make_exposure([[0.0, 0.0]], [[60.0, 0.0]])
    corrected = calib.subtract_crosstalk(exposure, gains=[2.0, 2.0], min_pixel_to_mask=100)
    assert corrected.amplifiers["A"].mask[0].tolist() == [MaskBit.CROSSTALK, 0]


def test_full_amplifier_corrects_overscan_too(make_exposure):
    """Overscan is a source relative to its own median: its bias level carries no signal."""
    exposure = make_exposure([[1.0]], [[100.0]], corners="LL LR")
    exposure.amplifiers["A"].overscan["serial"] = np.array([[500, 500, 500]], np.uint16)
    exposure.amplifiers["B"].overscan["serial"] = np.array([[700, 700, 800]], np.uint16)
    corrected = only_b_to_a(0.01).subtract_crosstalk(exposure, full_amplifier=True)
    assert corrected.amplifiers["A"].data[0, 0] == 0
    assert corrected.amplifiers["A"].overscan["serial"].tolist() == [[499, 500, 500]]


def test_parallel_overscan_can_be_corrected_alone(make_exposure):
    """Light-sensitive pixels stay as they are."""
    exposure = make_exposure([[1.0]], [[100.0]])
    exposure.amplifiers["A"].overscan["parallel"] = np.array([[5.0, 5.0, 5.0]])
    exposure.amplifiers["B"].overscan["parallel"] = np.array([[0.0, 0.0, 200.0]])
    corrected = only_b_to_a(0.01).subtract_crosstalk(exposure, parallel_overscan=True)
    assert corrected.amplifiers["A"].data[0, 0] == 1
    assert corrected.amplifiers["A"].overscan["parallel"].tolist() == [[5, 5, 3]]


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("raw_data", [[-3, -2, -1], [-6, -5, -4], [0, 0, 0]]),
        ("raw", [[-3, -2, -1], [-6, -5, -4], [-9, -8, -7]]),
        ("raw_parallel", [[0, 0, 0], [0, 0, 0], [-9, -8, -7]]),
    ],
)
def test_image_with_overscan(detector, region, expected):
    """Of an untrimmed image light-sensitive pixels, whole amplifiers or overscan are corrected, mirrored for B."""
    image = np.zeros((3, 6), np.float32)
    image[:, 3:] = np.arange(1, 10).reshape(3, 3)
    calib = CrosstalkCalib.from_detector(detector, [[0, 1], [0, 0]])
    corrected, mask = calib.subtract_crosstalk_image(detector, image, region=region)
    assert corrected[:, :3].tolist() == expected
    assert np.array_equal(corrected[:, 3:], image[:, 3:])
    assert not mask.any()


@pytest.mark.parametrize("region", ["raw", "raw_parallel"])
@pytest.mark.parametrize("method", ["AMP", "DETECTOR"])
def test_overscan_of_an_image_is_no_background(detector, region, method):
    """Its bias level would be mixed into the medians."""
    calib, image = CrosstalkCalib.from_detector(detector, np.zeros(4)), np.zeros((3, 6), np.float32)
    with pytest.raises(ValueError, match="background_method must be None when overscan is corrected"):
        calib.subtract_crosstalk_image(detector, image, region=region, background_method=method)


def test_amplifiers_of_different_shapes_may_not_be_coupled(make_exposure):
    """Uncoupled ones are fine, coupled ones are named."""
    exposure = make_exposure([[1.0]], [[100.0]], [[1.0, 2.0]])
    coeffs = np.zeros((3, 3))
    coeffs[0, 1] = 0.01
    assert make_calib(coeffs).subtract_crosstalk(exposure).amplifiers["A"].data[0, 0] == 0
    coeffs[0, 2] = 0.01
    with pytest.raises(ValueError, match=r"target amplifier 0 has shape \(1, 1\), its source 2 has \(1, 2\)"):
        make_calib(coeffs).subtract_crosstalk(exposure)


def test_apply_takes_other_detectors_first(make_exposure):
    """10 ADU from D2 and 1 ADU from the other amplifier."""
    calib = only_b_to_a(0.01)
    calib.inter_chip["D2"] = np.array([[0.0, 0.1], [0.0, 0.0]])
    source = make_exposure([[7.0]], [[100.0]], detector="D2")
    corrected = calib.apply(make_exposure([[50.0]], [[100.0]]), {"D2": source})
    assert corrected.amplifiers["A"].data[0, 0] == 39


def test_apply_warns_of_a_missing_detector(make_exposure, caplog):
    """Its crosstalk stays in, the rest is subtracted."""
    calib = only_b_to_a(0.01)
    calib.inter_chip["D2"] = np.ones((2, 2))
    corrected = calib.apply(make_exposure([[50.0]], [[100.0]]))
    assert corrected.amplifiers["A"].data[0, 0] == 49
    assert "no exposure of detector D2" in caplog.text


def test_apply_keeps_the_matrices_of_the_detector_from_other_detectors(make_exposure):
    """Validity and quadratic terms in the call are of its own amplifiers; for another detector they are given apart."""
    calib = only_b_to_a(0.01)
    calib.inter_chip["D2"] = np.array([[0.0, 0.1], [0.0, 0.0]])
    exposure, sources = make_exposure([[50.0]], [[100.0]]), {"D2": make_exposure([[7.0]], [[100.0]], detector="D2")}
    square = np.array([[0.0, 1e-4], [0.0, 0.0]])  # 1 ADU of B

    def left(**options):
        return calib.apply(exposure, sources, **options).amplifiers["A"].data[0, 0]

    assert left(crosstalk_coeffs_valid=np.zeros((2, 2))) == 40
    assert left(crosstalk_coeffs_sqr=square, do_sqr_crosstalk=True) == 38
    assert left(source_options={"D2": {"crosstalk_coeffs_sqr": square}}, do_sqr_crosstalk=True) == 38
    assert left(source_options={"D2": {"crosstalk_coeffs_valid": np.zeros((2, 2))}}) == 49
    assert left(crosstalk_coeffs=2 * calib.coeffs) == 38
    with pytest.raises(ValueError, match="source_options must be of D2, got D3"):
        left(source_options={"D3": {}})


def onto_a_from_b_of_d2(value, calib):
    """Let A of a detector show B of D2, too."""
    calib.inter_chip["D2"] = np.array([[0.0, value], [0.0, 0.0]])
    return calib


@pytest.mark.parametrize(("iterations", "left"), [(1, [39.6, 99.0]), (20, [40.0, 100.0])])
def test_iterations_go_with_another_detector(make_exposure, iterations, left):
    """A and B, 40 and 100, show a tenth of each other, and A shows 10 of D2, which is subtracted once."""
    calib = onto_a_from_b_of_d2(0.1, make_calib([[0, 0.1], [0.1, 0]]))
    source = make_exposure([[7.0]], [[100.0]], detector="D2")
    corrected = calib.apply(make_exposure([[60.0]], [[104.0]]), {"D2": source}, iterations=iterations)
    assert [entry.data[0, 0] for entry in corrected.amplifiers.values()] == pytest.approx(left)


def test_overscan_is_corrected_for_another_detector(make_exposure):
    """200 above the level of the source's overscan are 20; the light-sensitive pixels are corrected as well."""
    exposure, source = make_exposure([[50.0]], [[0.0]]), make_exposure([[7.0]], [[100.0]], detector="D2")
    for each, above in ((exposure, 0.0), (source, 200.0)):
        for amplifier in each.amplifiers.values():
            amplifier.overscan["parallel"] = np.array([[500.0, 500.0, 500.0 + above]])
    corrected = onto_a_from_b_of_d2(0.1, make_calib(np.zeros((2, 2)))).apply(
        exposure, {"D2": source}, full_amplifier=True
    )
    assert corrected.amplifiers["A"].overscan["parallel"].tolist() == [[500, 500, 480]]
    assert corrected.amplifiers["A"].data[0, 0] == 40


@pytest.mark.parametrize(
    "options", [{"min_pixel_to_mask": 50.0}, {"min_pixel_to_mask": 5.0, "do_subtrahend_masking": True}]
)
def test_masking_goes_with_another_detector(make_exposure, options):
    """Its bright pixel, or what was subtracted for it, marks the target; the source stays as it was."""
    source = make_exposure([[0.0, 0, 0]], [[0, 0, 100.0]], detector="D2")
    calib = onto_a_from_b_of_d2(0.1, make_calib(np.zeros((2, 2))))
    corrected = calib.apply(make_exposure([[0.0, 0, 10]], [[0.0, 0, 0]]), {"D2": source}, **options)
    assert corrected.amplifiers["A"].mask.tolist() == [[0, 0, MaskBit.CROSSTALK]]
    assert not corrected.amplifiers["B"].mask.any()
    assert not source.amplifiers["B"].mask.any()


@pytest.mark.parametrize("method", ["subtract_crosstalk", "apply"])
def test_coefficients_of_a_calibration_without_crosstalk_are_not_used(make_exposure, method):
    """Neither linear nor quadratic ones, whichever way; those given in the call are."""
    calib, exposure = CrosstalkCalib(n_amp=2), make_exposure([[50.0]], [[100.0]])
    calib.coeffs[0, 1], calib.coeffs_sqr[0, 1] = 0.1, 1e-3
    subtract = getattr(calib, method)
    assert subtract(exposure, do_sqr_crosstalk=True).amplifiers["A"].data[0, 0] == 50
    given = subtract(exposure, do_sqr_crosstalk=True, crosstalk_coeffs_sqr=[[0, 1e-3], [0, 0]])
    assert given.amplifiers["A"].data[0, 0] == 40


def test_apply_takes_given_coefficients_where_the_calibration_has_none(make_exposure):
    """They are not left out because ``has_crosstalk`` is not set."""
    corrected = CrosstalkCalib(n_amp=2).apply(make_exposure([[50.0]], [[100.0]]), crosstalk_coeffs=[[0, 0.1], [0, 0]])
    assert corrected.amplifiers["A"].data[0, 0] == 40


@pytest.mark.parametrize(("detector", "expected"), [("D2", 40), ("D1", 50), ("", 40)])
def test_bad_amplifiers_are_those_of_one_detector(make_exposure, detector, expected):
    """B of D1 is no source of D1's crosstalk; another detector, or one without a name, has bad ones of its own."""
    exposure, source = make_exposure([[50.0]], [[0.0]]), make_exposure([[0.0]], [[100.0]], detector=detector)
    calib = only_b_to_a(0.1)
    corrected = calib.subtract_crosstalk(exposure, source, bad_amps=["B"])
    assert corrected.amplifiers["A"].data[0, 0] == expected
    corrected = calib.subtract_crosstalk(exposure, source, bad_source_amps=["B"])
    assert corrected.amplifiers["A"].data[0, 0] == 50


def test_image_of_another_detector_has_its_own_layout_and_mask(detector):
    """There B is read at its left: the background leaves out its bad pixel, and 10 of 110 shows in A, not mirrored."""
    first, second = detector.amplifiers
    other = Detector(name="D2", amplifiers=(first, replace(second, readout_corner=ReadoutCorner.LL)))
    image, source, bad = np.zeros((2, 6), np.float32), np.full((2, 6), 10.0), np.zeros((2, 6), np.uint32)
    source[0, 3], source[1, 3:] = 110, 900
    bad[1, 3:] = MaskBit.BAD
    calib = CrosstalkCalib.from_detector(detector, [[0, 0.1], [0, 0]])
    options = {"source": source, "source_detector": other, "source_mask": bad, "background_method": "AMP"}
    corrected, _ = calib.subtract_crosstalk_image(detector, image, **options)
    assert corrected[0].tolist() == [-10, 0, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="source_detector and source_mask go with source"):
        calib.subtract_crosstalk_image(detector, image, source_mask=bad)


def test_image_of_an_unknown_detector_needs_gains(detector):
    """Gains of the target's detector are not taken for those of another."""
    calib, image = CrosstalkCalib.from_detector(detector, [[0, 0.1], [0, 0]]), np.ones((2, 6), np.float32)
    calib.crosstalk_ratios_units = "electron"
    with pytest.raises(ValueError, match=r"gains of .* must be given"):
        calib.subtract_crosstalk_image(detector, image, source=image)
    corrected, _ = calib.subtract_crosstalk_image(detector, image, source=image, source_gains=[1.5, 3.0])
    assert corrected[:, :3] == pytest.approx(1 - 0.1 * 3.0 / 1.5)


def test_other_detector_needs_gains_of_its_own(make_exposure):
    """Gains of the calibration belong to its own detector."""
    calib = make_calib([[0, 0.01], [0, 0]], units="electron")
    exposure, source = make_exposure([[9.0]], [[9.0]]), make_exposure([[0.0]], [[1000.0]], detector="D2")
    with pytest.raises(ValueError, match="gains of cam/D2/1 must be given"):
        calib.subtract_crosstalk(exposure, source, gains=[4.0, 1.0])
    corrected = calib.subtract_crosstalk(exposure, source, gains=[4.0, 1.0], source_gains=[1.0, 2.0])
    assert corrected.amplifiers["A"].data[0, 0] == pytest.approx(4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations must be a whole number of at least 1, got 0"),
        ({"iterations": 1.5}, "iterations must be a whole number of at least 1, got 1.5"),
        ({"background_method": "amp"}, "background_method must be None, 'AMP' or 'DETECTOR', got 'amp'"),
        ({"mask_plane": "XTALK"}, "mask plane must be one of BAD, .*, got 'XTALK'"),
        ({"bad_pixels": ["HOT"]}, "mask plane must be one of BAD, .*, got 'HOT'"),
        ({"bad_amps": ["A", "C77"]}, "bad_amps must be names of A, B, got C77"),
        ({"bad_amps": "AB"}, "bad_amps must be names of A, B, got AB"),
        ({"bad_source_amps": ["B"]}, "bad_source_amps goes with source"),
        ({"source_gains": [1.0, 1.0]}, "source_gains goes with source"),
        ({"crosstalk_coeffs_sqr": np.zeros((2, 2))}, "crosstalk_coeffs_sqr goes with do_sqr_crosstalk=True"),
        ({"units": "e-"}, "units must be 'adu' or 'electron', got 'e-'"),
        ({"full_amplifier": True, "parallel_overscan": True}, "exclude each other"),
        ({"full_amplifier": True, "background_method": "AMP"}, "background_method must be None"),
        ({"parallel_overscan": True}, "amplifier 'A' has no overscan 'parallel', it has none"),
        ({"crosstalk_coeffs": np.zeros((3, 3))}, r"coeffs must have shape \(2, 2\), \[target, source\], got \(3, 3\)"),
        ({"units": "electron", "gains": [1.0]}, "gains must be 2, one per amplifier, got 1"),
    ],
)
def test_impossible_choice_is_refused(make_exposure, options, message):
    """The error names the argument, the rule and the value."""
    with pytest.raises(ValueError, match=message):
        only_b_to_a(0.01).subtract_crosstalk(make_exposure([[1.0]], [[1.0]]), **options)


def test_large_amplifiers_are_corrected_in_blocks(make_exposure):
    """Rows that do not divide into blocks are all corrected, once."""
    rng = np.random.default_rng(3)
    first, second = rng.normal(1000, 10, (2, 101, 700)).astype(np.float32)
    corrected = only_b_to_a(0.5).subtract_crosstalk(make_exposure(first, second, corners="UR LL"))
    expected = first - np.float32(0.5) * second[::-1, ::-1]
    assert np.array_equal(corrected.amplifiers["A"].data, expected)
