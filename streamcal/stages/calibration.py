"""Bias and dark frames: read once, reduced like the exposures themselves, subtracted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamcal.errors import StageError
from streamcal.hookspecs import Context
from streamcal.records import Exposure, ExposureInfo
from streamcal.stages.files import FileCache, find_file
from streamcal.stages.overscan import OverscanSettings, subtract_overscan


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frame:
    """A bias or dark frame, overscan subtracted."""

    path: Path
    images: dict[str, NDArray[np.float32]]  # ADU, by amplifier
    exposure_time: float  # s; NaN: unknown


_frames: FileCache[Frame] = FileCache(size=8)


def load_frame(pattern: str, info: ExposureInfo, place: str, settings: OverscanSettings, context: Context) -> Frame:
    """Load a calibration frame for an exposure, with its overscan subtracted as the exposure's is.

    Parameters
    ----------
    pattern : str
        The file, see `streamcal.stages.files.PathPattern`.
    info : ExposureInfo
        The exposure at hand.
    place : str
        Which overscan, see `subtract_overscan`.
    settings : OverscanSettings
        How its level is found.
    context : Context
        Of the running stage.

    Returns
    -------
    Frame
        Shared between exposures: nobody may change it.

    Raises
    ------
    StageError
        If there is no such file, or its overscan cannot be subtracted.
    """
    path = find_file(pattern, info, context.folders)

    def load() -> Frame:
        exposure = context.load_exposure(path)
        for amplifier in exposure.amplifiers.values():
            subtract_overscan(amplifier, place, settings)
        images = {name: amplifier.data for name, amplifier in exposure.amplifiers.items()}
        return Frame(path=path, images=images, exposure_time=exposure.info.exposure_time)

    return _frames.get((path,), (info.instrument, info.detector, place, settings.model_dump_json()), load)


def subtract_bias(exposure: Exposure, bias: Frame) -> None:
    """Subtract a bias frame from an exposure, in place.

    Raises
    ------
    StageError
        If the frame lacks an amplifier or has another shape.
    """
    for name, amplifier in exposure.amplifiers.items():
        amplifier.data -= _image_of(bias, name, amplifier.data.shape)


def subtract_dark(exposure: Exposure, dark: Frame, bias: Frame | None) -> None:
    """Subtract a dark frame, scaled to the exposure time, from an exposure, in place.

    Parameters
    ----------
    exposure : Exposure
        Its bias already subtracted.
    dark : Frame
        With its bias still in it, if there is a bias frame.
    bias : Frame or None
        What is subtracted from the dark before scaling.

    Raises
    ------
    StageError
        If an exposure time is not known, that of the dark is not above 0, or the frame does not fit.
    """
    ratio = np.float32(exposure.info.exposure_time / dark.exposure_time if dark.exposure_time > 0 else np.nan)
    if not np.isfinite(ratio):
        times = f"{exposure.info.exposure_time} s and {dark.exposure_time} s"
        msg = f"dark frame {dark.path} cannot be scaled: the exposure times of the flat and of the dark are {times}"
        raise StageError(msg)
    for name, amplifier in exposure.amplifiers.items():
        shape = amplifier.data.shape
        current = _image_of(dark, name, shape)
        if bias is not None:
            current = current - _image_of(bias, name, shape)
        amplifier.data -= ratio * current


def _image_of(frame: Frame, amplifier: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    image = frame.images.get(amplifier)
    if image is None or image.shape != shape:
        found = "missing" if image is None else f"of shape {image.shape}"
        msg = f"{frame.path}: amplifier {amplifier!r} must have shape {shape}, it is {found}"
        raise StageError(msg)
    return image
