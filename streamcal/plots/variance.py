"""Variance against mean, with the fit, its residuals and what was dropped: the photon transfer curve itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from streamcal.plots.style import BLUE, GREY, VERMILLION, lay_out, make_figure, write_inside
from streamcal.ptc.flags import FitFlag

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

LOOKS: dict[str, dict[str, Any]] = {
    "used": {"color": BLUE, "marker": "o", "markersize": 4},
    "above turnoff": {"color": GREY, "marker": "v", "markersize": 5},
    "dropped": {"color": VERMILLION, "marker": "x", "markersize": 6, "markeredgewidth": 1.6},
}
LARGEST_RESIDUAL = 5.0  # per cent; beyond, a point sits on the edge of its panel


def plot_variances(rows: Sequence[Row], scale: Literal["log", "linear"] = "log") -> Figure:
    """Draw the photon transfer curves of one detector, 16 amplifiers at most.

    Parameters
    ----------
    rows : sequence of mapping
        Solutions, see `streamcal.ptc.solutions.solutions`, one an amplifier.
    scale : {"log", "linear"}
        Of both axes.

    Returns
    -------
    matplotlib.figure.Figure
        For each amplifier variance against mean with fit and turnoff, and below it the residuals in per cent.
    """
    n_rows, n_columns = lay_out(len(rows))
    figure = make_figure(max(3.6 * n_columns, 6.0), 3.4 * n_rows + 0.6)
    grid = figure.add_gridspec(2 * n_rows, n_columns, height_ratios=[3, 1] * n_rows)
    for index, row in enumerate(rows):
        line, column = divmod(index, n_columns)
        upper = figure.add_subplot(grid[2 * line, column])
        lower = figure.add_subplot(grid[2 * line + 1, column], sharex=upper)
        _draw_curve(upper, row, scale)
        _draw_residuals(lower, row)
        upper.tick_params(labelbottom=False)
        if column == 0:
            upper.set_ylabel("variance (ADU²)")
            lower.set_ylabel("residual (%)")
        if index + n_columns >= len(rows):
            lower.set_xlabel("mean signal (ADU)")
    first = rows[0]
    title = "  ".join(filter(None, ("Photon transfer curves", first["detector"], first["group"], first["model"])))
    figure.suptitle(title, fontsize=11)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=5)
    return figure


def _draw_curve(axes: Axes, row: Row, scale: str) -> None:
    mean, variance, model = (np.array(row[name], dtype=float) for name in ("mean", "variance", "model_variance"))
    lowest, highest = _variance_range(row, scale)
    for look, which in _classify(row).items():
        axes.plot(mean[which], np.maximum(variance[which], lowest), ls="", **LOOKS[look])
    order = np.argsort(mean)
    axes.plot(mean[order], model[order], color="black", lw=1.0, zorder=3)
    _mark_turnoff(axes, row)
    axes.set(xscale=scale, yscale=scale, ylim=(lowest, highest))
    if scale == "linear":
        axes.set_xlim(left=0)
        axes.locator_params(nbins=5)
    write_inside(axes, _summary(row), "lower right")


def _variance_range(row: Row, scale: str) -> tuple[float, float]:
    """Return the limits of the panel: those of the pairs used; what lies below sits on its edge."""
    variance = np.array(row["variance"], dtype=float)
    positive = variance[variance > 0]
    shown = variance[row["used"]] if any(row["used"]) else positive
    if len(shown) == 0:
        return 0.1, 1.0
    return (float(shown.min()) / 2, 2 * float(positive.max())) if scale == "log" else (0.0, 1.1 * float(positive.max()))


def _draw_residuals(axes: Axes, row: Row) -> None:
    mean, variance, model = (np.array(row[name], dtype=float) for name in ("mean", "variance", "model_variance"))
    residual, error = 100 * (variance / model - 1), 100 * _errors(row) / model
    limit = min(max(1.2 * np.nanmax(np.abs(residual[row["used"]]), initial=0.1), 0.1), LARGEST_RESIDUAL)
    for look, which in _classify(row).items():
        shown = np.clip(residual[which], -limit, limit)
        axes.errorbar(mean[which], shown, error[which], ls="", elinewidth=0.8, **{**LOOKS[look], "markersize": 3})
    axes.axhline(0, color="black", lw=1.0)
    axes.set_ylim(-1.1 * limit, 1.1 * limit)
    _mark_turnoff(axes, row)


def _classify(row: Row) -> dict[str, NDArray[np.bool_]]:
    dropped = np.array(row["dropped"], dtype=object)
    above = dropped == "above turnoff"
    return {"above turnoff": above, "dropped": (dropped != "") & ~above, "used": np.array(row["used"], dtype=bool)}


def _errors(row: Row) -> NDArray[np.float64]:
    return np.array(row["variance_error"], dtype=float)


def _mark_turnoff(axes: Axes, row: Row) -> None:
    if np.isfinite(row["turnoff"]) and not row["flags"] & FitFlag.TURNOFF_NOT_REACHED:
        axes.axvline(row["turnoff"], color=VERMILLION, lw=1.2, ls="--")


def _summary(row: Row) -> str:
    if not np.isfinite(row["gain"]):
        return f"{row['amplifier']}\n{row['reason'].split(':')[0]}"
    poor = " (poor)" if row["flags"] & FitFlag.POOR_FIT else ""
    at_least = "\nturnoff not reached" if row["flags"] & FitFlag.TURNOFF_NOT_REACHED else ""
    return (
        f"{row['amplifier']}\ng = {row['gain']:.4f} ± {row['gain_error']:.4f} e⁻/ADU\n"
        f"noise {row['noise']:.2f} e⁻\na₀₀ = {row['a00'] * 1e6:.2f}·10⁻⁶ /e⁻\n"
        f"χ²/dof {row['chi2_dof']:.2f}{poor}{at_least}"
    )


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D

    points = [Line2D([], [], ls="", label=label, **look) for label, look in LOOKS.items()]
    fit = Line2D([], [], color="black", lw=1.0, label="fit")
    return [*reversed(points), fit, Line2D([], [], color=VERMILLION, lw=1.2, ls="--", label="turnoff")]
