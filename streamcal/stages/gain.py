"""The stage ``gain``: gain of each amplifier of a pair, from what ``covariance`` measured; arithmetic on numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field, field_validator

from streamcal.flags import RowFlag
from streamcal.hookspecs import Column, Context, Settings, Stage, hookimpl
from streamcal.measure import CORRECTIONS, GainResult, solve_gain
from streamcal.measure.gain import check_correction
from streamcal.records import Pair
from streamcal.stages.covariance import STATISTICS

ADDED_COVARIANCES = ("row_overscan_covariance", "column_overscan_covariance")


class GainSettings(Settings):
    """Settings of the stage ``gain``."""

    correction: str = Field(
        "FULL", description=f"How the read noise is taken off the gain statistic: {', '.join(CORRECTIONS)}."
    )

    @field_validator("correction")
    @classmethod
    def _check_correction(cls, correction: str) -> str:
        check_correction(correction)
        return correction


def measure_gain(pair: Pair, settings: GainSettings, context: Context) -> dict[str, dict[str, Any]]:
    """Solve for the gain of each amplifier; see `streamcal.measure.solve_gain`."""
    statistics = context.metadata[STATISTICS]
    rows = {}
    for name, measured in pair.measured.items():
        added = sum(measured.get(column, 0.0) for column in ADDED_COVARIANCES)
        result = solve_gain(
            statistics[name],
            measured["read_noise"],
            correction=settings.correction,
            read_noise_error=measured["read_noise_error"],
            row_overscan_covariance=added,
        )
        if result.flags & RowFlag.READ_NOISE_MISSING:
            context.log.warning("read noise is missing", amplifier=name, correction=settings.correction)
        rows[name] = _to_columns(result)
    return rows


def _to_columns(result: GainResult) -> dict[str, Any]:
    return {
        "gain": result.gain,
        "gain_error": result.gain_error,
        "gain_correction": result.gain_correction,
        "gain_covariance_sum": result.gain_covariance_sum,
        "flags": int(result.flags),
    }


@hookimpl
def streamcal_stages() -> Iterable[Stage]:
    """Offer the stage ``gain``."""
    gain = Column(name="gain", type="float64", unit="e-/ADU", description="Gain, with gain_correction applied.")
    error = Column(
        name="gain_error",
        type="float64",
        unit="e-/ADU",
        description="Standard error of gain: of the gain statistic and of the read noise.",
    )
    correction = Column(
        name="gain_correction",
        type="string",
        unit="",
        description="Correction that was applied: NONE where the read noise that another one needs is missing.",
    )
    covariance_sum = Column(
        name="gain_covariance_sum",
        type="float64",
        unit="e-/ADU",
        description="Gain from the variance plus the covariances of all other lags: free of brighter-fatter. Of few "
        "pixels it is noisy and high: by a relative error e of about 3 max_lag / sqrt(pixels), and by e^2.",
    )
    return [
        Stage(
            name="gain",
            kind="pair",
            run=measure_gain,
            settings=GainSettings,
            requires=("pair_statistics", "gain_statistic", "read_noise"),
            columns=(gain, error, correction, covariance_sum),
        )
    ]
