"""Gain and noise over time, and over the focal plane."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamcal.plots.style import BLUE, GREY, MAP, PER_PAGE, VERMILLION, make_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

_RAFT = re.compile(r"R(\d)(\d)_S(\d)(\d)")  # raft and sensor, as in R22_S11: the digits are rows and columns


def plot_trends(solved: Sequence[Row], measured: Sequence[Row]) -> Figure:
    """Draw gain and noise of one detector over time.

    Parameters
    ----------
    solved : sequence of mapping
        Solutions of all its groups and amplifiers (``amplifier, mjd_start, gain, gain_error, noise, noise_error`` and
        ``pair_seq, used, variance, model_variance``).
    measured : sequence of mapping
        Its pairs (``seq, amplifier, mjd_start, gain, read_noise``). A pair of a curve is drawn with the gain that would
        have the curve go through it, which does not depend on its level; one that no curve knows with its own gain. Its
        noise, in ADU, becomes electrons with the gain of its group, or else its own.

    Returns
    -------
    matplotlib.figure.Figure
        Above gains against the median of the amplifier's solutions, in per cent; below noise in electrons, where up to
        16 amplifiers are named beside their last solution.
    """
    figure = make_figure(9.0, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    names = sorted({row["amplifier"] for row in solved})
    for name in names:
        of_fits = [row for row in solved if row["amplifier"] == name and np.isfinite(row["gain"])]
        if not of_fits:
            continue
        reference = float(np.median([row["gain"] for row in of_fits]))
        pairs = [row for row in measured if row["amplifier"] == name]
        _draw_pairs(upper, lower, _relate_pairs(pairs, of_fits), reference)
        _draw_solutions(upper, lower, of_fits, reference)
        if len(names) <= PER_PAGE:
            last = max(of_fits, key=lambda row: row["mjd_start"])  # named where amplifiers differ
            look = {"textcoords": "offset points", "xytext": (5, 0), "fontsize": 7, "va": "center"}
            lower.annotate(name, (last["mjd_start"], last["noise"]), **look)
    upper.axhline(0, color="black", lw=1.0)
    upper.set_ylabel("gain (% off its median)")
    lower.set(ylabel="noise (e⁻)", xlabel="start of the exposures (MJD, TAI)")
    lower.ticklabel_format(axis="x", useOffset=False)
    figure.suptitle(f"Gain and noise over time  {solved[0]['detector']}", fontsize=11)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=2)
    return figure


def _relate_pairs(pairs: Sequence[Row], solved: Sequence[Row]) -> list[Row]:
    """Return the pairs of an amplifier with gains against their curves, and noise in electrons; see `plot_trends`."""
    gains = _follow_curves(solved)
    of_group = {seq: row["gain"] for row in solved for seq in row["pair_seq"]}
    return [
        {
            **row,
            "gain": gains.get(row["seq"], row["gain"]),
            "read_noise": row["read_noise"] * of_group.get(row["seq"], row["gain"]),
        }
        for row in pairs
    ]


def _follow_curves(rows: Sequence[Row]) -> dict[int, float]:
    """Return the gain at which the curve goes through each of its pairs; NaN for pairs that were not used."""
    gains = {}
    for row in rows:
        for seq, used, variance, model in zip(
            row["pair_seq"], row["used"], row["variance"], row["model_variance"], strict=True
        ):
            gains[seq] = row["gain"] * model / variance if used else np.nan
    return gains


def _draw_pairs(upper: Axes, lower: Axes, rows: Sequence[Row], reference: float) -> None:
    time, gain, noise = _columns(rows, ("mjd_start", "gain", "read_noise"))
    look: dict[str, Any] = {"ls": "", "marker": ".", "ms": 4, "color": GREY, "alpha": 0.6}
    upper.plot(time, 100 * (gain / reference - 1), **look)
    lower.plot(time, noise, **look)


def _draw_solutions(upper: Axes, lower: Axes, rows: Sequence[Row], reference: float) -> None:
    names = ("mjd_start", "gain", "gain_error", "noise", "noise_error")
    time, gain, gain_error, noise, noise_error = _columns(rows, names)
    look: dict[str, Any] = {"ls": "", "marker": "o", "ms": 5, "elinewidth": 1.0}
    upper.errorbar(time, 100 * (gain / reference - 1), 100 * gain_error / reference, color=BLUE, **look)
    lower.errorbar(time, noise, noise_error, color=BLUE, **look)


def _columns(rows: Sequence[Row], names: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[row[name] for row in rows] for name in names], dtype=float)


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], ls="", marker="o", color=BLUE, label="fit of a group"),
        Line2D(
            [], [], ls="", marker=".", color=GREY, label="single pair, against its curve (gain), and overscan (noise)"
        ),
    ]


def plot_focal_plane(rows: Sequence[Row], column: str = "gain", unit: str = "e⁻/ADU") -> Figure:
    """Draw a number of each amplifier on a map of the detectors.

    Detectors named as rafts and sensors (``R22_S11``) lie where these are; all others row by row in order of their
    names, since nothing tells where they are. Amplifiers lie in two rows, in order.

    Parameters
    ----------
    rows : sequence of mapping
        Solutions of several detectors (``detector``, ``amplifier`` and the column).
    column, unit : str
        What to draw. NaN is crossed out.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    places = place_detectors(sorted({row["detector"] for row in rows}))
    height = 1 + max(line for line, _ in places.values())
    width = 1 + max(column for _, column in places.values())
    figure = make_figure(max(1.5 * width + 2.0, 6.0), max(1.3 * height + 1.2, 3.5))
    axes = figure.subplots()
    values = np.array([row[column] for row in rows], dtype=float)
    low, high = np.nanpercentile(values, (2, 98)) if np.isfinite(values).any() else (0.0, 1.0)
    norm = Normalize(low, high)
    for detector, (line, place) in places.items():
        tile = _tile([row[column] for row in rows if row["detector"] == detector])
        extent = (place, place + 0.94, line, line + 0.94)
        axes.imshow(tile, extent=extent, norm=norm, cmap=MAP, origin="lower")
        axes.text(place + 0.47, line + 0.47, detector, ha="center", va="center", fontsize=8, color="black", bbox=_LABEL)
        _cross_out(axes, tile, place, line)
    axes.set(xlim=(-0.06, width), ylim=(-0.06, height), aspect="equal")
    axes.set_axis_off()
    figure.colorbar(ScalarMappable(norm, MAP), ax=axes, label=f"{column} ({unit})")
    figure.suptitle(f"{column} over the focal plane", fontsize=11)
    return figure


_LABEL = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1.0}


def place_detectors(names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return row and column of each detector on the map, from the bottom left."""
    matches = [_RAFT.fullmatch(name) for name in names]
    if names and all(matches):
        digits = [[int(digit) for digit in match.groups()] for match in matches if match]
        spots = [(3 * raft_row + row, 3 * raft_column + column) for raft_row, raft_column, row, column in digits]
        low, left = min(line for line, _ in spots), min(place for _, place in spots)
        return {name: (line - low, place - left) for name, (line, place) in zip(names, spots, strict=True)}
    width = int(np.ceil(np.sqrt(len(names))))
    height = -(-len(names) // width)
    return {name: (height - 1 - index // width, index % width) for index, name in enumerate(names)}


def _tile(values: Sequence[float]) -> NDArray[np.float64]:
    """Return the amplifiers of a detector in two rows."""
    columns = max(1, -(-len(values) // 2))
    tile = np.full(2 * columns, np.nan)
    tile[: len(values)] = values
    return tile.reshape(2, columns)


def _cross_out(axes: Axes, tile: NDArray[np.float64], place: int, line: int) -> None:
    for y, x in np.argwhere(np.isnan(tile)):
        center = place + 0.94 * (x + 0.5) / tile.shape[1], line + 0.94 * (y + 0.5) / 2
        axes.plot(*center, marker="x", color=VERMILLION, ms=6)
