"""The eight published cases: corrected images to two float32 spacings, masks exactly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from streamcal.calibs import CrosstalkCalib, Detector, DetectorAmplifier
from streamcal.flags import MaskBit
from streamcal.records import ReadoutCorner, Section

DATA = Path(__file__).parents[1] / "data" / "golden_crosstalk"
CASES = {
    "linear": {},
    "valid": {"valid": True},
    "quadratic": {"do_sqr_crosstalk": True},
    "background_amp": {"background_method": "AMP"},
    "background_detector": {"background_method": "DETECTOR"},
    "subtrahend_mask": {"do_subtrahend_masking": True, "min_pixel_to_mask": 5.0},
    "bad_amp": {"bad_amps": ["C11"]},
    "inter_chip": {"source": True},
}


@pytest.fixture(scope="module")
def golden():
    """Frames, coefficients and expected results."""
    with np.load(DATA / "crosstalk.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def detector():
    """Eight amplifiers on a 2 x 4 grid, each read toward its own outer corner."""
    layout = json.loads((DATA / "crosstalk.json").read_text())
    return Detector(amplifiers=tuple(_amplifier(amplifier) for amplifier in layout["amps"]))


def _amplifier(entry):
    x0, y0 = entry["x0"], entry["y0"]
    box = Section(x0=x0, x1=x0 + entry["width"], y0=y0, y1=y0 + entry["height"])
    return DetectorAmplifier(name=entry["name"], readout_corner=ReadoutCorner(entry["readout_corner"]), trimmed=box)


@pytest.mark.parametrize("case", CASES)
def test_golden_case_is_reproduced(case, golden, detector):
    """The image agrees to two spacings of its float32 value, the CROSSTALK plane pixel by pixel."""
    calib = CrosstalkCalib.from_detector(
        detector, golden["coeffs_source_target"].T, golden["coeffs_sqr_source_target"].T
    )
    options = {"min_pixel_to_mask": 45000.0, **CASES[case]}
    if options.pop("valid", False):
        options["crosstalk_coeffs_valid"] = golden["valid_source_target"].T
    source = detector.split(golden["source"]) if options.pop("source", False) else None
    exposure = detector.split(golden["image"], golden["mask"].astype(np.uint32))

    corrected = calib.subtract_crosstalk(exposure, source, **options)

    image, mask = np.empty_like(golden["image"]), np.zeros(golden["image"].shape, np.uint32)
    detector.assemble(corrected, image, mask)
    expected = golden[f"{case}_image"]
    assert np.all(np.abs(image.astype(float) - expected) <= 2 * np.spacing(np.abs(expected)))
    assert np.array_equal(mask & MaskBit.CROSSTALK != 0, golden[f"{case}_crosstalk_mask"])
    assert np.array_equal(mask & ~np.uint32(MaskBit.CROSSTALK), golden["mask"])
