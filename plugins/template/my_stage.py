"""A stage of one's own, to start from: which fraction of the pixels lies far out in the difference of two flats.

Copy this file into a folder that the configuration names in ``[pipeline] plugin_folders``, and rename what is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pydantic import Field

from streamcal import Column, Pair, Settings, Stage, hookimpl
from streamcal.hookspecs import Context

__version__ = "0.1"


class OutlierSettings(Settings):
    """Settings of the stage ``outliers``, read from ``[stages.outliers]``."""

    n_sigma: float = Field(4.0, gt=0, description="A pixel further out than so many standard deviations counts.")


def measure_outliers(pair: Pair, settings: OutlierSettings, context: Context) -> Mapping[str, Mapping[str, Any]]:
    """Return ``{amplifier: {column: value}}``; NaN for an amplifier without good pixels."""
    rows = {}
    for name in pair.measured:
        difference = pair.difference(name)
        with context.timer("count"):
            values = difference.difference[difference.good]
            far = np.abs(values) > settings.n_sigma * np.sqrt(2 * difference.variance)
        rows[name] = {"outlier_fraction": float(far.mean()) if far.size else float("nan")}
    context.note("worst", max((row["outlier_fraction"] for row in rows.values()), default=float("nan")))
    return rows


@hookimpl
def streamcal_stages() -> Iterable[Stage]:
    """Offer the stage ``outliers``."""
    fraction = Column(
        name="outlier_fraction",
        type="float64",
        unit="1",
        description="Fraction of the good pixels whose difference lies beyond n_sigma standard deviations.",
    )
    return [
        Stage(
            name="outliers",
            kind="pair",
            run=measure_outliers,
            settings=OutlierSettings,
            requires=("overscan",),
            columns=(fraction,),
        )
    ]
