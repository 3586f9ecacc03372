"""The bias level of an amplifier, taken from its overscan and subtracted."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, field_validator

from streamcal.errors import ExposureError, StageError
from streamcal.hookspecs import Settings
from streamcal.instruments.sections import is_section, overlap, parse_section
from streamcal.measure import OVERSCAN_MODELS, Overscan, fit_overscan
from streamcal.measure.overscan import check_overscan_model
from streamcal.measure.sums import subtract_rows
from streamcal.records import Amplifier, ReadoutCorner, Section

CONSTANT_MODELS = ("MEDIAN", "MEAN")
PLACES = ("serial", "prescan", "none")


def _check_place(text: str) -> str:
    if text not in PLACES and not is_section(text):
        msg = f"overscan must be {', '.join(PLACES)} or a section such as '[2:50,1:512]', got {text!r}"
        raise ValueError(msg)
    return text


OverscanPlace = Annotated[str, AfterValidator(_check_place)]


class OverscanSettings(Settings):
    """How the level of an overscan is found."""

    model: str = Field("MEAN_PER_ROW", description=f"How the level runs along rows: {', '.join(OVERSCAN_MODELS)}.")
    order: int = Field(1, ge=0, description="Order of the POLYNOMIAL, CHEBYSHEV or LEGENDRE.")
    skip_leading: int = Field(0, ge=0, description="Overscan columns left out: those that are read first.")
    skip_trailing: int = Field(0, ge=0, description="Overscan columns left out: those that are read last.")
    n_sigma: float = Field(4.0, gt=0, description="Half width of the clipping cuts, in standard deviations.")
    n_iter: int = Field(3, ge=1, description="Number of clipping cuts.")

    @field_validator("model")
    @classmethod
    def _check_model(cls, model: str) -> str:
        check_overscan_model(model)
        return model


def subtract_overscan(amplifier: Amplifier, place: str, settings: OverscanSettings) -> Overscan | None:
    """Subtract the level of an amplifier's overscan from its image, in place.

    Parameters
    ----------
    amplifier : Amplifier
        Its ``data`` are changed.
    place : str
        ``serial`` or ``prescan``, ``none``, or a section of the stored array (``raw``).
    settings : OverscanSettings
        How the level is found.

    Returns
    -------
    Overscan or None
        What was fitted; None for ``none``.

    Raises
    ------
    StageError
        If the amplifier has no such overscan, or it lies on light, or it has no good pixel, or its rows are not those
        of the image although the model follows the rows.
    """
    if place == "none":
        return None
    pixels = _cut_overscan(amplifier, place, settings.model)
    is_right = amplifier.readout_corner in {ReadoutCorner.LR, ReadoutCorner.UR}
    fit = fit_level(skip_columns(pixels, amplifier.name, settings, reverse=is_right), amplifier.name, settings)
    ny = len(amplifier.data)
    subtract_rows(amplifier.data, np.full(ny, fit.level[0]) if settings.model in CONSTANT_MODELS else fit.level)
    return fit


def _cut_overscan(amplifier: Amplifier, place: str, model: str) -> NDArray[Any]:
    if place in PLACES:
        if place not in amplifier.overscan:
            known = ", ".join(amplifier.overscan) or "none"
            advice = "set stages.isr.overscan to one that is there, or to none and stages.isr.bias to a bias frame"
            msg = f"amplifier {amplifier.name!r} has no overscan {place!r}, known: {known}; {advice}"
            raise StageError(msg)
        _check_rows(amplifier, place, amplifier.sections.get(place), model)
        return amplifier.overscan[place]
    if amplifier.raw is None:
        msg = f"overscan {place}: the stored array of amplifier {amplifier.name!r} is not there any more"
        raise StageError(msg)
    ny, nx = amplifier.raw.shape
    try:
        section = parse_section(place, (ny, nx)).section
    except ExposureError as exc:
        msg = f"overscan of amplifier {amplifier.name!r}: {exc}"
        raise StageError(msg) from exc
    data = amplifier.sections.get("data")
    if data is not None and overlap(section, data):
        msg = f"overscan {place} lies on the light of amplifier {amplifier.name!r}"
        raise StageError(msg)
    _check_rows(amplifier, place, section, model)
    return section.cut(amplifier.raw)


def _check_rows(amplifier: Amplifier, place: str, section: Section | None, model: str) -> None:
    """Refuse a model that follows the rows of an overscan which are not those of the image, if places are known."""
    data = amplifier.sections.get("data")
    if section is None or data is None or model in CONSTANT_MODELS:
        return
    if (section.y0, section.y1) != (data.y0, data.y1):
        msg = f"overscan {place} does not have the rows of amplifier {amplifier.name!r}; {model} needs them, MEDIAN not"
        raise StageError(msg)


def fit_level(pixels: NDArray[Any], amplifier: str, settings: OverscanSettings) -> Overscan:
    """Fit the level of overscan pixels; see `streamcal.measure.fit_overscan`.

    Raises
    ------
    StageError
        If none of them is finite.
    """
    fit = fit_overscan(pixels, settings.model, order=settings.order, n_sigma=settings.n_sigma, n_iter=settings.n_iter)
    if not math.isfinite(fit.median):
        msg = f"overscan of amplifier {amplifier!r} has no finite pixel"
        raise StageError(msg)
    return fit


def skip_columns(pixels: NDArray[Any], amplifier: str, settings: OverscanSettings, *, reverse: bool) -> NDArray[Any]:
    """Leave out the columns that are read first and last.

    Parameters
    ----------
    pixels : (ny, n) ndarray
        Overscan in stored orientation.
    amplifier : str
        Its name, for the message.
    settings : OverscanSettings
        ``skip_leading`` and ``skip_trailing``.
    reverse : bool
        The last stored column is the first that is read.

    Raises
    ------
    StageError
        If no column is left.
    """
    n_columns = pixels.shape[1]
    first, last = settings.skip_leading, settings.skip_trailing
    if first + last >= n_columns:
        msg = f"skip_leading and skip_trailing leave nothing of an overscan {n_columns} wide, amplifier {amplifier!r}"
        raise StageError(msg)
    if reverse:
        first, last = last, first
    return pixels[:, first : n_columns - last]
