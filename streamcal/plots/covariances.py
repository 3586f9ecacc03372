"""The brighter-fatter effect: covariances of neighbours against mean, and a_ij as a map and against distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamcal.plots.style import BLUE, GREEN, VERMILLION, lay_out, make_figure, write_inside
from streamcal.ptc.models import full_covariance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from streamcal.ptc.curve import Curve

Row = Mapping[str, Any]
Array = NDArray[np.float64]

LAGS = {(0, 1): (BLUE, "o", "C₀₁"), (1, 0): (VERMILLION, "s", "C₁₀"), (1, 1): (GREEN, "^", "C₁₁")}
MOST_NUMBERS = 10  # lags along an axis; numbers of more would not be legible


def plot_covariances(rows: Sequence[Row], curves: Mapping[str, Curve]) -> Figure:
    """Draw C_01, C_10 and C_11 against mean, with the fit; 16 amplifiers at most.

    Parameters
    ----------
    rows : sequence of mapping
        Solutions of one detector, one an amplifier.
    curves : mapping of str to Curve
        Measured curves by amplifier, pairs in the order of the solution's lists.
    """
    n_rows, n_columns = lay_out(len(rows))
    figure = make_figure(max(3.6 * n_columns, 6.0), 2.7 * n_rows + 0.6)
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True)
    for axes, row in zip(panels.flat, rows, strict=False):
        _draw_lags(axes, row, curves[row["amplifier"]])
    for axes in panels.flat[len(rows) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("covariance (ADU²)")
    for axes in panels[-1]:
        axes.set_xlabel("mean signal (ADU)")
        axes.locator_params(axis="x", nbins=5)
    title = "  ".join(filter(None, ("Covariances of neighbouring pixels", rows[0]["detector"], rows[0]["group"])))
    figure.suptitle(title, fontsize=11)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=3)
    return figure


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=color, marker=marker, label=label) for color, marker, label in LAGS.values()]


def _draw_lags(axes: Axes, row: Row, curve: Curve) -> None:
    write_inside(axes, row["amplifier"] if row["n_used"] else f"{row['amplifier']}\n{row['reason'].split(':')[0]}")
    shown = np.array(row["used"], dtype=bool)
    mean = curve.mean[shown]
    smooth = np.linspace(0, mean.max(initial=0), 100)
    fitted = _model(row, smooth)
    for (i, j), (color, marker, _) in LAGS.items():
        if max(i, j) >= curve.covariance.shape[1]:
            continue
        value, error = curve.covariance[shown, i, j], curve.error[shown, i, j]
        axes.errorbar(mean, value, error, ls="", marker=marker, ms=3.5, color=color, elinewidth=0.8)
        if fitted is not None and max(i, j) < fitted.shape[1]:
            axes.plot(smooth, fitted[:, i, j], color=color, lw=1.2)


def _model(row: Row, mean: Array) -> Array | None:
    a, b, noise = (np.array(row[name], dtype=float) for name in ("a_matrix", "b_matrix", "noise_matrix"))
    if not row["model"].startswith("FULLCOVARIANCE") or not np.isfinite(a).all():
        return None
    return full_covariance(mean, gain=row["gain"], a=a, b=None if np.isnan(b).any() else b, noise=noise)


def plot_kernel(rows: Sequence[Row]) -> Figure:
    """Draw a_ij of a detector, the weighted mean of its amplifiers, as a map and against distance.

    Parameters
    ----------
    rows : sequence of mapping
        Solutions of one detector with matrices of one size; those without numbers are left out.
    """
    a, error, count = average_kernels(rows)
    figure = make_figure(10.5, 4.4)
    figure.set_layout_engine("constrained", wspace=0.08)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.25])
    _draw_map(figure, left, a, error)
    _draw_distances(right, a, error)
    amplifiers = f"mean of {count} amplifiers" if count > 1 else rows[0]["amplifier"]
    text = ("Brighter-fatter coefficients a_ij", rows[0]["detector"], rows[0]["group"], amplifiers)
    figure.suptitle("  ".join(filter(None, text)), fontsize=11)
    return figure


def average_kernels(rows: Sequence[Row]) -> tuple[Array, Array, int]:
    """Return the weighted mean of the a_ij of several amplifiers, its error, and how many there were."""
    a = np.array([row["a_matrix"] for row in rows], dtype=float)
    weight = np.array([row["a_matrix_error"] for row in rows], dtype=float) ** -2
    good = np.isfinite(a).all((1, 2)) & np.isfinite(weight).all((1, 2))
    total = weight[good].sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a[good] * weight[good]).sum(axis=0) / total, total**-0.5, int(good.sum())


def _draw_map(figure: Figure, axes: Axes, a: Array, error: Array) -> None:
    from matplotlib.colors import SymLogNorm

    values = 1e6 * a.T  # rows of the picture are lags along y
    limit = np.nanmax(np.abs(values), initial=1e-6)
    linear = min(max(2e6 * float(np.nanmedian(error)), 1e-3 * limit), limit)  # what is noise shall look pale
    norm = SymLogNorm(linear, vmin=-limit, vmax=limit)
    image = axes.imshow(values, origin="lower", cmap="PuOr", norm=norm)
    decades = 10.0 ** np.arange(np.ceil(np.log10(2 * linear)), np.ceil(np.log10(limit)))
    figure.colorbar(image, ax=axes, label="a (10⁻⁶ /e⁻)", ticks=[*-decades, 0, *decades], format="%g")
    axes.grid(visible=False)
    axes.set(xlabel="lag i along x, serial (pixels)", ylabel="lag j along y, parallel (pixels)")
    axes.locator_params(integer=True)
    if len(a) <= MOST_NUMBERS:
        axes.set_title("numbers: a in 10⁻⁸ /e⁻, grey below 2 σ", fontsize=8)
        _write_numbers(axes, a, error, dark=np.abs(np.asarray(norm(1e6 * a)) - 0.5) > 0.3)


def _write_numbers(axes: Axes, a: Array, error: Array, *, dark: NDArray[np.bool_]) -> None:
    """Write each element into its cell, white where that is dark."""
    for (i, j), value in np.ndenumerate(1e8 * a):
        color = "white" if dark[i, j] else "black" if abs(a[i, j]) > 2 * error[i, j] else "0.55"
        digits = 0 if abs(value) >= 100 else 1
        axes.text(i, j, f"{value:.{digits}f}", ha="center", va="center", fontsize=7, color=color)


def _draw_distances(axes: Axes, a: Array, error: Array) -> None:
    i, j = np.indices(a.shape)
    distance = np.hypot(i, j)
    positive = (a > 0) & (distance > 0)
    significant = positive & (a > 2 * error)
    axes.errorbar(
        distance[significant], a[significant], error[significant], ls="", marker="o", ms=4, color=BLUE, label="a_ij"
    )
    weak = (distance > 0) & ~significant
    axes.plot(distance[weak], 2 * error[weak], ls="", marker="v", ms=4, color=VERMILLION, label="not significant: 2 σ")
    axes.set(yscale="log", xlabel="distance (pixels)", ylabel="a (1/e⁻)")
    write_inside(axes, f"a₀₀ = {a[0, 0] * 1e6:.3f}·10⁻⁶ /e⁻", "lower left")
    axes.legend(loc="upper right")
