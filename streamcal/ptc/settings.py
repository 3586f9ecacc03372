"""The tables ``[fit]`` and ``[fit.limits]`` of the configuration."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from streamcal.hookspecs import Settings


class LimitsConfig(Settings):
    """When a solution is worth a warning; the usual acceptance is 5 % on gain and noise and 90000 e- of turnoff."""

    gain_change_percent: float | None = Field(
        5.0,
        gt=0,
        description="Largest change of the gain against the last accepted solution of an earlier group, and with time"
        " within a group (%). Groups that tell runs or nights apart (pairing.group) make it sensitive.",
    )
    noise_change_percent: float | None = Field(
        5.0, gt=0, description="Largest change of the noise against the last accepted solution of an earlier group (%)."
    )
    n_sigma: float = Field(
        3.0,
        ge=0,
        description="A change must be larger than so many standard errors, too; and a gain or noise is compared with"
        " only if so many of its own are within the limit.",
    )
    max_noise: float | None = Field(None, gt=0, description="Largest noise (e-).")
    min_turnoff: float | None = Field(None, gt=0, description="Lowest turnoff (e-), such as 90000.")


class FitConfig(Settings):
    """How photon transfer curves are fitted, live and by ``streamcal fit``."""

    live: bool = Field(True, description="Fit a group again whenever new pairs of it have been measured.")
    interval_seconds: float = Field(
        10.0, ge=0, description="Live: new pairs are collected for this long before a fit (s)."
    )
    busy_interval_seconds: float = Field(
        60.0, ge=0, description="Live: and for this long while pairs wait to be measured (s)."
    )
    model: Literal["EXPAPPROXIMATION", "FULLCOVARIANCE", "FULLCOVARIANCE_NO_B", "POLYNOMIAL"] = Field(
        "FULLCOVARIANCE", description="Model; all but the full covariances fit the variance alone."
    )
    side: int = Field(8, ge=1, le=32, description="Full covariances: lags 0 to side - 1 along both axes are fitted.")
    degree: Literal[2, 3] = Field(3, description="Degree of POLYNOMIAL.")
    min_signal: float = Field(0.0, ge=0, description="Pairs of a lower mean are left out (ADU).")
    max_signal: float | None = Field(None, gt=0, description="Pairs of a higher mean are left out (ADU).")
    n_sigma: float = Field(
        5.0,
        gt=1,
        description="Pairs whose variance is off the fit by more robust standard deviations are dropped,"
        " if it is off by more than tolerance_percent as well.",
    )
    tolerance_percent: float = Field(
        1.0,
        ge=0,
        description="Pairs whose variance is off by less are never dropped: so much is the model's fault (%).",
    )
    max_iterations: int = Field(10, ge=1, description="Most rounds of fitting and dropping.")
    min_levels: int = Field(5, ge=3, description="An amplifier with fewer usable levels, 5 % apart, is not fitted.")
    dead_level: float = Field(10.0, ge=0, description="An amplifier whose means all lie below this is dead (ADU).")
    keep_covariance: bool = Field(
        False, description="Store the covariance matrix of all parameters with each solution."
    )
    limits: LimitsConfig = LimitsConfig()

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.max_signal is not None and self.max_signal <= self.min_signal:
            msg = f"max_signal must be above min_signal, {self.min_signal:g}, got {self.max_signal:g}"
            raise ValueError(msg)
        return self
