"""Detector descriptions: assembled images to amplifiers and back."""

from __future__ import annotations

import numpy as np
import pytest


def test_split_gives_views(detector):
    """Amplifiers are windows into image and mask."""
    image = np.arange(12.0, dtype=np.float32).reshape(2, 6)
    exposure = detector.split(image)
    assert exposure.amplifiers["B"].data.tolist() == [[3, 4, 5], [9, 10, 11]]
    assert np.shares_memory(exposure.amplifiers["B"].data, image)
    assert exposure.info.detector == "D1"
    assert exposure.amplifiers["A"].header_gain == 1.5


def test_assemble_writes_the_amplifiers_only(detector):
    """Of an untrimmed image the overscan row stays."""
    image = np.ones((3, 6), np.float32)
    exposure = detector.split(np.full((3, 6), 2.0, np.float32), np.full((3, 6), 4, np.uint32), region="raw_data")
    mask = np.zeros((3, 6), np.uint32)
    detector.assemble(exposure, image, mask, region="raw_data")
    assert image.tolist() == [[2] * 6, [2] * 6, [1] * 6]
    assert mask.tolist() == [[4] * 6, [4] * 6, [0] * 6]


def test_section_outside_the_image_is_named(detector):
    """Both the section and the image."""
    with pytest.raises(
        ValueError, match=r"section 'trimmed' of amplifier 'B', .*x0=3.*, is outside the image \(2, 5\)"
    ):
        detector.split(np.zeros((2, 5)))


def test_mask_of_another_shape_is_refused(detector):
    """It must be of the image."""
    with pytest.raises(ValueError, match=r"mask must have the shape \(2, 6\) of the image, got \(2, 5\)"):
        detector.split(np.zeros((2, 6)), np.zeros((2, 5), int))
