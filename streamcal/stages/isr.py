"""The stage ``isr``: from stored pixels to signal in ADU, with masks, bias level and read noise of each amplifier."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from streamcal.flags import MaskBit, RowFlag
from streamcal.hookspecs import CheckContext, Column, Context, Stage, hookimpl
from streamcal.instruments.values import as_number
from streamcal.measure import Overscan
from streamcal.records import Amplifier, Exposure
from streamcal.stages.calibration import load_frame, subtract_bias, subtract_dark
from streamcal.stages.files import PathPattern, check_file
from streamcal.stages.masks import EdgeLevel, count_pixels, mask_bad_pixels, mask_edges, mask_levels, mask_nonfinite
from streamcal.stages.numbers import PerAmplifier, find_strangers, number_for, require_amplifiers
from streamcal.stages.overscan import subtract_overscan
from streamcal.stages.read_noise import (
    SOURCES,
    NoiseSearch,
    ReadNoise,
    ReadNoiseSettings,
    find_keyword,
)

PARALLEL = "parallel"
AMP_OFFSET_KEY = "LSST ISR AMPOFFSET PEDESTAL"
TABLES = ("saturation", "suspect", "noise_adu")  # settings by amplifier
COUNTED_BITS = (MaskBit.BAD, MaskBit.SAT, MaskBit.SUSPECT)


class IsrSettings(ReadNoiseSettings):
    """Settings of the stage ``isr``."""

    saturation: PerAmplifier = Field(
        None, description="Raw level, or table of levels by amplifier, masked SAT (ADU); default: the instrument's."
    )
    suspect: PerAmplifier = Field(
        None, description="Raw level, or table of levels by amplifier, masked SUSPECT (ADU); default: the instrument's."
    )
    bad_pixels: PathPattern | None = Field(
        None,
        description="File of bad pixels: FITS laid out like an exposure, where all but 0 is bad; or text, on each line "
        "an amplifier and an IRAF section of its image.",
    )
    edge: int = Field(0, ge=0, description="Pixels closer than this to an edge are masked EDGE.")
    edge_level: EdgeLevel = Field("AMP", description="Edges of each amplifier, or of the DETECTOR only.")
    bias: PathPattern | None = Field(None, description="Bias frame to subtract; its own overscan is subtracted first.")
    dark: PathPattern | None = Field(
        None, description="Dark frame to subtract, scaled by exposure time; bias and overscan are subtracted first."
    )

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        if isinstance(self.saturation, float) and isinstance(self.suspect, float) and self.suspect > self.saturation:
            msg = f"suspect must not be above saturation, got {self.suspect} and {self.saturation}"
            raise ValueError(msg)
        return self


def check_isr(settings: IsrSettings, context: CheckContext) -> Iterator[str]:
    """Say which files and amplifiers that the settings name are not there."""
    for key in ("bias", "dark", "bad_pixels"):
        yield from check_file(key, getattr(settings, key), context)
    for pattern in settings.noise_frames or ():
        yield from check_file("noise_frames", pattern, context)
    if context.amplifiers:
        yield from find_strangers(settings, TABLES, context.amplifiers)


def run_isr(exposure: Exposure, settings: IsrSettings, context: Context) -> Exposure:
    """Reduce one exposure; its amplifiers are changed in place.

    Parameters
    ----------
    exposure : Exposure
        As read: raw pixels in ADU.
    settings : IsrSettings
        What to do.
    context : Context
        Of the running stage.

    Returns
    -------
    Exposure
        The same: bias level, bias and dark subtracted, masks set, read noise found; of overscans only ``parallel``
        is left, less the level that was subtracted from the image.

    Raises
    ------
    StageError
        If an overscan, a file or an amplifier that the settings name is missing or does not fit.
    """
    require_amplifiers(settings, TABLES, exposure.amplifiers)
    fits = {name: _reduce_amplifier(amplifier, settings) for name, amplifier in exposure.amplifiers.items()}
    _subtract_frames(exposure, settings, context)
    if settings.bad_pixels is not None:
        mask_bad_pixels(exposure, settings.bad_pixels, context)
    mask_edges(exposure, settings.edge, settings.edge_level)
    for name, amplifier in exposure.amplifiers.items():
        flags = mask_nonfinite(amplifier) | (_flag_level(settings) if fits[name] is None else 0)
        search = NoiseSearch(
            exposure=exposure, amplifier=amplifier, overscan=fits[name], settings=settings, context=context
        )
        noise = search.find()
        amplifier.read_noise = noise.value
        amplifier.metadata |= _to_columns(exposure, amplifier, fits[name], noise)
        amplifier.metadata["flags"] = int(flags | noise.flags)
        exposure.metadata.update(_to_header(amplifier, fits[name]))
        _drop_used(amplifier, fits[name])
    exposure.metadata["LSST ISR UNITS"] = "adu"
    exposure.metadata["LSST ISR BIAS APPLIED"] = settings.bias is not None
    exposure.metadata["LSST ISR DARK APPLIED"] = settings.dark is not None
    return exposure


def _reduce_amplifier(amplifier: Amplifier, settings: IsrSettings) -> Overscan | None:
    """Do what needs the raw levels of one amplifier: mask by level, then subtract the overscan."""
    amplifier.saturation = _first_known(number_for(settings.saturation, amplifier.name), amplifier.saturation)
    amplifier.suspect = _first_known(number_for(settings.suspect, amplifier.name), amplifier.suspect)
    mask_levels(amplifier, amplifier.saturation, amplifier.suspect)
    return subtract_overscan(amplifier, settings.overscan, settings)


def _flag_level(settings: IsrSettings) -> RowFlag:
    """Return how far to trust the level of pixels of which no overscan was subtracted."""
    return RowFlag.NO_OVERSCAN | (RowFlag.NO_BIAS_LEVEL if settings.bias is None else 0)


def _first_known(*values: float) -> float:
    return next((value for value in values if not math.isnan(value)), math.nan)


def _subtract_frames(exposure: Exposure, settings: IsrSettings, context: Context) -> None:
    bias, dark = (
        None if pattern is None else load_frame(pattern, exposure.info, settings.overscan, settings, context)
        for pattern in (settings.bias, settings.dark)
    )
    if bias is not None:
        subtract_bias(exposure, bias)
    if dark is not None:
        subtract_dark(exposure, dark, bias)


def _to_columns(exposure: Exposure, amplifier: Amplifier, fit: Overscan | None, noise: ReadNoise) -> dict[str, Any]:
    return {
        "read_noise": noise.value,
        "read_noise_error": noise.pair_error,
        "read_noise_source": noise.source,
        "overscan_level": math.nan if fit is None else fit.median,
        "overscan_sigma": math.nan if fit is None else fit.sigma,
        "row_overscan_covariance": 0.0 if fit is None else fit.row_covariance,
        "amp_offset": as_number(find_keyword(exposure, amplifier, AMP_OFFSET_KEY)),
    }


def _to_header(amplifier: Amplifier, fit: Overscan | None) -> dict[str, Any]:
    """Return the statistics of an amplifier under the names that LSST's pipelines give them in headers."""
    notes = {
        "SATURATION LEVEL": amplifier.saturation,
        "SUSPECT LEVEL": amplifier.suspect,
        "READNOISE": amplifier.read_noise,
    }
    if fit is not None:
        notes |= {
            "OVERSCAN SERIAL MEDIAN": fit.median,
            "OVERSCAN SERIAL STDEV": fit.sigma,
            "OVERSCAN RESIDUAL SERIAL STDEV": fit.read_noise,
        }
    counts = {f"MASK {bit.name}": count for bit, count in count_pixels(amplifier.mask, COUNTED_BITS).items()}
    return {f"LSST ISR {key} {amplifier.name}": value for key, value in (notes | counts).items()}


def _drop_used(amplifier: Amplifier, fit: Overscan | None) -> None:
    """Let go of stored array and overscans; what ``parallel_overscan`` may want is kept, at the level of the image."""
    amplifier.raw = None
    parallel = amplifier.overscan.pop(PARALLEL, None)
    amplifier.overscan.clear()
    if parallel is not None:
        amplifier.overscan[PARALLEL] = parallel if fit is None else parallel - np.float32(fit.level.mean())


def _column(name: str, unit: str, description: str) -> Column:
    return Column(name=name, type="float64", unit=unit, description=description)


COLUMNS = (
    _column("read_noise", "ADU", "Read noise, median over the exposures; NaN where no source knows it."),
    _column("read_noise_error", "ADU", "Standard error of read_noise; NaN where its source tells none."),
    Column(
        name="read_noise_source",
        type="string",
        unit="",
        description=f"Where read_noise comes from: {', '.join(SOURCES)}; null where no source knows it.",
        combine="join",
    ),
    _column("overscan_level", "ADU", "Median of the overscan, mean over the exposures; NaN without overscan."),
    _column("overscan_sigma", "ADU", "Clipped scatter of the overscan, its drift along the rows included."),
    _column(
        "row_overscan_covariance",
        "ADU^2",
        "What subtracting the overscan level has added to the variance and to all C_i0; gains take it off.",
    ),
    _column("amp_offset", "ADU", "Pedestal that an earlier reduction noted as LSST ISR AMPOFFSET PEDESTAL."),
)


@hookimpl
def streamcal_stages() -> Iterable[Stage]:
    """Offer the stage ``isr``."""
    return [
        Stage(
            name="isr",
            kind="exposure",
            run=run_isr,
            settings=IsrSettings,
            provides=("overscan", "read_noise"),
            columns=COLUMNS,
            check=check_isr,
        )
    ]
