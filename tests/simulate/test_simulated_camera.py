"""Geometry of the simulated camera, and what it refuses."""

import json
from dataclasses import replace

import pytest

from streamcal.records import ReadoutCorner, Section
from streamcal.simulate import DEFAULT_CAMERA, BrighterFatter, Camera, SimulatedAmplifier

ONE = SimulatedAmplifier(name="A", gain=2.0, read_noise=6.0)


@pytest.mark.parametrize("corner", [ReadoutCorner.LL, ReadoutCorner.UL])
def test_output_on_the_left_is_read_from_the_left(corner):
    """Prescan, image, overscan from the left."""
    camera = Camera(amplifiers=(replace(ONE, corner=corner),), shape=(10, 20), prescan=3, overscan=5)
    assert camera.sections(camera.amplifiers[0]) == {
        "data": Section(x0=3, x1=23, y0=0, y1=10),
        "serial": Section(x0=23, x1=28, y0=0, y1=10),
        "prescan": Section(x0=0, x1=3, y0=0, y1=10),
    }


@pytest.mark.parametrize("corner", [ReadoutCorner.LR, ReadoutCorner.UR])
def test_output_on_the_right_is_read_from_the_right(corner):
    """Prescan, image, overscan from the right."""
    camera = Camera(amplifiers=(replace(ONE, corner=corner),), shape=(10, 20), prescan=3, overscan=5)
    assert camera.sections(camera.amplifiers[0]) == {
        "data": Section(x0=5, x1=25, y0=0, y1=10),
        "serial": Section(x0=0, x1=5, y0=0, y1=10),
        "prescan": Section(x0=25, x1=28, y0=0, y1=10),
    }


def test_absent_columns_have_no_section():
    """A camera without prescan and overscan has image sections alone."""
    camera = Camera(amplifiers=(ONE,), prescan=0, overscan=0)
    assert list(camera.sections(ONE)) == ["data"]


def test_amplifiers_tile_the_detector():
    """The four places cover 1024 x 512 pixels, C11 at the upper right."""
    assert DEFAULT_CAMERA.grid == (2, 2)
    assert DEFAULT_CAMERA.place(DEFAULT_CAMERA.amplifiers[3]) == Section(x0=256, x1=512, y0=512, y1=1024)


def test_units_of_the_truth():
    """6 e- at 2 e-/ADU are 3 ADU; saturation is 98 % of full well, at most what 16 bits hold."""
    assert ONE.read_noise_adu == 3.0
    assert ONE.saturation == pytest.approx(1000 + 0.98 * 90000 / 2)
    assert replace(ONE, gain=0.5).saturation == 65535


def test_camera_survives_json():
    """Written to text and read again it is equal."""
    camera = replace(DEFAULT_CAMERA, shape=(30, 40), brighter_fatter=BrighterFatter(a10=2e-7))
    assert Camera.from_dict(json.loads(json.dumps(camera.to_dict()))) == camera


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"amplifiers": (ONE, replace(ONE, name="B"))}, "amplifiers must fill a grid of 1 x 1 places"),
        ({"amplifiers": (ONE, replace(ONE, name="B", row=1, column=1))}, "amplifiers must fill a grid of 2 x 2 places"),
        ({"amplifiers": (ONE, replace(ONE, column=1))}, "amplifiers must have names of their own, got .'A', 'A'"),
        ({"crosstalk": ((0.0, 1e-4),)}, "crosstalk must be 1 x 1 coefficients"),
        ({"gradient": 0.0}, "gradient must be above zero, got 0.0"),
        ({"rate": float("nan")}, "rate must be above zero, got nan"),
        ({"shape": (0, 10)}, "shape must be at least 1 x 1"),
        ({"overscan": -1}, "overscan must not be negative, got -1"),
    ],
)
def test_impossible_cameras_are_refused(changes, message):
    """Each message names attribute, rule and value."""
    with pytest.raises(ValueError, match=message):
        Camera(**{"amplifiers": (ONE,), **changes})


@pytest.mark.parametrize(("changes", "message"), [({"gain": 0.0}, "gain"), ({"read_noise": -1.0}, "read_noise")])
def test_impossible_amplifiers_are_refused(changes, message):
    """Gains are positive, noise is not negative."""
    with pytest.raises(ValueError, match=f"{message} must .*got {next(iter(changes.values()))}"):
        replace(ONE, **changes)
