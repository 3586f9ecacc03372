"""The stage ``covariance``: mean, variance, covariances and gain statistic of each amplifier of a pair."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from streamcal.flags import MaskBit, RowFlag
from streamcal.hookspecs import Column, Context, Settings, Stage, hookimpl
from streamcal.measure import (
    PairSettings,
    PairStatistics,
    measure_difference,
    measure_pair_statistics,
)
from streamcal.records import Pair
from streamcal.stages.masks import MaskName

STATISTICS = "covariance:statistics"
"""Where in ``context.metadata`` the `PairStatistics` of each amplifier lie, for stages that need more than columns."""

DEFAULT_MASKS: tuple[MaskName, ...] = ("BAD", "SAT", "SUSPECT", "NO_DATA", "EDGE", "NONFINITE")


def _is_box(value: Any) -> bool:
    whole = isinstance(value, (list, tuple)) and len(value) == 4 and all(type(edge) is int for edge in value)
    return whole and 0 <= value[0] < value[1] and 0 <= value[2] < value[3]


def _check_region(value: Any) -> Any:
    if value not in ("AMP", "FULL") and not _is_box(value):
        msg = f'must be "AMP", "FULL" or [x0, x1, y0, y1] with x0 < x1 and y0 < y1, got {value!r}'
        raise ValueError(msg)
    return value if isinstance(value, str) else tuple(value)


def _check_blocks(value: Any) -> Any:
    sizes = value if isinstance(value, (list, tuple)) else ()
    if value is not None and not (len(sizes) == 2 and all(type(size) is int and size >= 1 for size in sizes)):
        msg = f"must be [ny, nx], two whole numbers of at least 1, got {value!r}"
        raise ValueError(msg)
    return value if value is None else tuple(value)


Region = Annotated[Literal["AMP", "FULL"] | tuple[int, int, int, int], BeforeValidator(_check_region)]
Blocks = Annotated[tuple[int, int] | None, BeforeValidator(_check_blocks)]


class CovarianceSettings(Settings):
    """Settings of the stage ``covariance``."""

    max_lag: int = Field(10, ge=1, description="Number of lags along each axis, lag 0 included.")
    n_sigma: float = Field(5.5, gt=0, description="Half width of the clipping cuts, in standard deviations.")
    n_iter: int = Field(3, ge=1, description="Number of clipping cuts.")
    min_good_pixels: int = Field(10000, ge=1, description="An amplifier with fewer good pixels is not measured.")
    threshold_percent: float = Field(
        1.0, gt=0, description="A larger difference of variance and C_00 sets the flag VARIANCE_MISMATCH (%)."
    )
    level_match: bool = Field(
        True,
        description="Take the gain statistic of the level-matched, clipped difference; false: the literal statistic.",
    )
    region: Region = Field(
        "AMP",
        description="Part of each amplifier that is measured: AMP or FULL for all of it, or [x0, x1, y0, y1], from 0, "
        "x1 and y1 excluded.",
    )
    blocks: Blocks = Field(
        None, description="Measure in blocks of at least [ny, nx] pixels and take medians, for light of changing shape."
    )
    bad_mask: tuple[MaskName, ...] = Field(
        DEFAULT_MASKS, description="Mask bits that make a pixel bad; the default lists all but CROSSTALK."
    )

    @property
    def clipping(self) -> dict[str, Any]:
        """Options of `streamcal.measure.match_levels`."""
        bits = reduce(or_, (MaskBit[name] for name in self.bad_mask), MaskBit(0))
        return {"n_sigma": self.n_sigma, "n_iter": self.n_iter, "bad_mask": int(bits)}

    def to_pair_settings(self) -> PairSettings:
        """Return what `streamcal.measure` takes."""
        return PairSettings(**self.model_dump(exclude={"bad_mask", "n_sigma", "n_iter"}), **self.clipping)


def measure_covariance(pair: Pair, settings: CovarianceSettings, context: Context) -> dict[str, dict[str, Any]]:
    """Measure each amplifier that both exposures have; see `streamcal.measure.measure_pair_statistics`.

    The `PairStatistics` are kept in ``context.metadata`` under `STATISTICS`, for the stage ``gain``.
    """
    statistics = {name: _measure(pair, name, settings) for name in pair.measured}
    context.note("statistics", statistics)
    for name, values in statistics.items():
        if values.flags & RowFlag.VARIANCE_MISMATCH:
            c_00 = float(values.covariance[0, 0])
            context.log.warning("variance differs from c_00", amplifier=name, variance=values.variance, c_00=c_00)
    return {name: _to_columns(values) for name, values in statistics.items()}


def _measure(pair: Pair, name: str, settings: CovarianceSettings) -> PairStatistics:
    if settings.region in {"AMP", "FULL"} and settings.blocks is None:
        # of the whole amplifier there is one difference, which later stages share
        return measure_difference(pair.difference(name, **settings.clipping), settings.to_pair_settings())
    first, second = pair.amplifiers(name)
    return measure_pair_statistics(first.data, second.data, (first.mask, second.mask), settings.to_pair_settings())


def _to_columns(statistics: PairStatistics) -> dict[str, Any]:
    return {
        "mean_1": statistics.mean_1,
        "mean_2": statistics.mean_2,
        "mean": statistics.mean,
        "mean_used": statistics.mean_used,
        "delta": statistics.delta,
        "variance": statistics.variance,
        "covariance": statistics.covariance.tolist(),
        "covariance_error": statistics.covariance_error.tolist(),
        "n_pixels": statistics.n_pixels.tolist(),
        "n_selected": statistics.n_selected,
        "n_masked": statistics.n_masked,
        "n_clipped": statistics.n_clipped,
        "row_mean_variance": statistics.row_mean_variance,
        "gain_statistic": statistics.gain.value,
        "flags": int(statistics.flags),
    }


def _column(name: str, unit: str, description: str, type: str = "float64") -> Column:  # noqa: A002 - Column's word
    return Column(name=name, type=type, unit=unit, description=description)


COLUMNS = (
    _column("mean_1", "ADU", "Clipped mean of the first flat over the good pixels."),
    _column("mean_2", "ADU", "Clipped mean of the second flat over the good pixels."),
    _column("mean", "ADU", "Mean of mean_1 and mean_2."),
    _column("mean_used", "ADU", "Mean of both flats over the pixels that enter the variance; fits use this one."),
    _column("delta", "ADU", "Level of the second flat minus that of the first."),
    _column("variance", "ADU^2", "Half the clipped variance of the level-matched difference of the flats."),
    _column(
        "covariance",
        "ADU^2",
        "Half the covariances of the level-matched difference, [i][j]: lag i along x (serial), j along y (parallel).",
        "list<list<float64>>",
    ),
    _column(
        "covariance_error",
        "ADU^2",
        "Standard errors of covariance for white noise: variance / sqrt(n_pixels), at lag (0, 0) times sqrt(2).",
        "list<list<float64>>",
    ),
    _column("n_pixels", "1", "Pixel pairs good at both ends, for each lag.", "list<list<int64>>"),
    _column("n_selected", "1", "Pixels looked at.", "int64"),
    _column("n_masked", "1", "Of them, masked or not finite in either flat.", "int64"),
    _column("n_clipped", "1", "Of them, good but clipped.", "int64"),
    _column("row_mean_variance", "ADU^2", "Variance of the row means of the difference; white: 2 variance / columns."),
    _column("gain_statistic", "ADU", "Mean of D^2 / S, D the difference and S the sum of the flats."),
)


@hookimpl
def streamcal_stages() -> Iterable[Stage]:
    """Offer the stage ``covariance``."""
    return [
        Stage(
            name="covariance",
            kind="pair",
            run=measure_covariance,
            settings=CovarianceSettings,
            requires=("overscan",),
            provides=("pair_statistics",),
            columns=COLUMNS,
        )
    ]
