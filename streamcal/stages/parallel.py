"""The stage ``parallel_overscan``: what level of the image is left after ``isr``, from the parallel overscan.

A stage of its own so that it can follow ``crosstalk``, which lies on the parallel overscan too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from streamcal.errors import StageError
from streamcal.hookspecs import Column, Context, Stage, hookimpl
from streamcal.records import Amplifier, Exposure, ReadoutCorner
from streamcal.stages.overscan import CONSTANT_MODELS, OverscanSettings, fit_level, skip_columns

PARALLEL = "parallel"


class ParallelSettings(OverscanSettings):
    """Settings of the stage ``parallel_overscan``: those of an overscan, with rows and columns exchanged."""

    model: str = Field(
        "MEDIAN", description="How the level runs along the columns; names as in isr, where PER_ROW means per column."
    )
    skip_leading: int = Field(0, ge=0, description="Overscan rows left out: those that are read first.")
    skip_trailing: int = Field(0, ge=0, description="Overscan rows left out: those that are read last.")


def run_parallel_overscan(exposure: Exposure, settings: ParallelSettings, context: Context) -> Exposure:  # noqa: ARG001 - every stage is called so
    """Subtract the level of the parallel overscan from each amplifier, in place.

    Parameters
    ----------
    exposure : Exposure
        After ``isr``, which leaves ``overscan["parallel"]`` at the level of the image.
    settings : ParallelSettings
        How the level is found.
    context : Context
        Of the running stage.

    Raises
    ------
    StageError
        If an amplifier has no parallel overscan, or its columns are not those of the image although the model follows
        the columns.
    """
    for amplifier in exposure.amplifiers.values():
        amplifier.metadata |= _subtract(amplifier, settings)
    return exposure


def _subtract(amplifier: Amplifier, settings: ParallelSettings) -> dict[str, Any]:
    pixels = amplifier.overscan.pop(PARALLEL, None)
    if pixels is None:
        msg = f"amplifier {amplifier.name!r} has no overscan {PARALLEL!r}"
        raise StageError(msg)
    is_constant = settings.model in CONSTANT_MODELS
    if not is_constant and pixels.shape[1] != amplifier.data.shape[1]:
        shapes = f"{pixels.shape[1]} columns, the image {amplifier.data.shape[1]}"
        msg = f"parallel overscan of amplifier {amplifier.name!r} has {shapes}; {settings.model} needs the same"
        raise StageError(msg)
    is_upper = amplifier.readout_corner in {ReadoutCorner.UL, ReadoutCorner.UR}
    fit = fit_level(skip_columns(pixels.T, amplifier.name, settings, reverse=is_upper), amplifier.name, settings)
    amplifier.data -= fit.level[0] if is_constant else fit.level
    return {
        "parallel_overscan_level": fit.median,
        "parallel_overscan_sigma": fit.sigma,
        "column_overscan_covariance": fit.row_covariance,
    }


@hookimpl
def streamcal_stages() -> Iterable[Stage]:
    """Offer the stage ``parallel_overscan``."""
    level = Column(
        name="parallel_overscan_level",
        type="float64",
        unit="ADU",
        description="Median of the parallel overscan after isr, mean over the exposures.",
    )
    sigma = Column(
        name="parallel_overscan_sigma",
        type="float64",
        unit="ADU",
        description="Clipped scatter of the parallel overscan, its run along the columns included.",
    )
    covariance = Column(
        name="column_overscan_covariance",
        type="float64",
        unit="ADU^2",
        description="What subtracting it has added to the variance and to all C_0j; gains take it off.",
    )
    return [
        Stage(
            name="parallel_overscan",
            kind="exposure",
            run=run_parallel_overscan,
            settings=ParallelSettings,
            requires=("overscan",),
            provides=("parallel_overscan",),
            columns=(level, sigma, covariance),
        )
    ]
