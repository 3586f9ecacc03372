"""A picture of each detector in a file, with the sections that an instrument gives its amplifiers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streamcal.export.files import write_whole
from streamcal.plots.style import BLUE, GREEN, PURPLE, VERMILLION, make_figure
from streamcal.records import Amplifier, Exposure, ReadoutCorner, Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

COLOURS = {"data": BLUE, "serial": VERMILLION, "prescan": GREEN}
MOST_PIXELS = 600  # shown along an axis: more cannot be told apart
INCHES = 9.0  # of the arrays along the longer side of the picture


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """Where an amplifier lies in its stored array."""

    name: str
    corner: ReadoutCorner
    sections: Mapping[str, Section]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Panel:
    """One stored array, thinned out, and the amplifiers in it."""

    detector: str
    shape: tuple[int, int]  # of the stored array
    pixels: NDArray[Any]
    outlines: tuple[Outline, ...]


def make_panels(exposure: Exposure) -> list[Panel]:
    """Return a panel for each stored array of an exposure that was just read.

    Raises
    ------
    ValueError
        If a stage has dropped the arrays.
    """
    arrays: dict[int, list[Amplifier]] = {}
    for amplifier in exposure.amplifiers.values():
        arrays.setdefault(id(amplifier.raw), []).append(amplifier)
    return [_make_panel(exposure.info.detector, amplifiers) for amplifiers in arrays.values()]


def _make_panel(detector: str, amplifiers: Sequence[Amplifier]) -> Panel:
    raw = amplifiers[0].raw
    if raw is None:
        msg = "raw must be there: the exposure has been reduced already"
        raise ValueError(msg)
    row_step, column_step = (-(-length // MOST_PIXELS) for length in raw.shape)
    return Panel(
        detector=detector,
        shape=(raw.shape[0], raw.shape[1]),
        pixels=raw[::row_step, ::column_step].copy(),  # a view would keep the whole array
        outlines=tuple(Outline(name=a.name, corner=a.readout_corner, sections=a.sections) for a in amplifiers),
    )


def draw_panels(panels: Sequence[Panel], path: Path) -> None:
    """Draw stored arrays, each amplifier's sections framed and its output marked.

    Parameters
    ----------
    panels : sequence of Panel
        As `make_panels` gives them.
    path : Path
        Its ending chooses the format: png, pdf, svg.
    """
    from matplotlib.patches import Rectangle

    height, width = np.max([panel.shape for panel in panels], axis=0)
    # as many columns as make the picture about square
    columns = min(len(panels), math.ceil(math.sqrt(len(panels) * height / width)))
    rows = math.ceil(len(panels) / columns)
    scale = INCHES / max(columns * width, rows * height)
    figure = make_figure(columns * width * scale + 1.5, rows * (height * scale + 0.4) + 1.5)
    alike = len({panel.shape for panel in panels}) == 1
    detectors = {panel.detector for panel in panels}
    if len(detectors) == 1:
        figure.suptitle(panels[0].detector)
    for number, panel in enumerate(panels, 1):
        axes = figure.add_subplot(rows, columns, number)
        _draw_panel(axes, panel)
        if len(detectors) > 1:
            axes.set_title(panel.detector)
        if alike:
            axes.label_outer()
    names = dict.fromkeys(name for panel in panels for outline in panel.outlines for name in outline.sections)
    handles = [Rectangle((0, 0), 1, 1, fill=False, edgecolor=COLOURS.get(name, PURPLE), label=name) for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), title="dot: output")
    with write_whole(path) as hidden:
        figure.savefig(hidden, format=path.suffix.removeprefix("."))


def _draw_panel(axes: Axes, panel: Panel) -> None:
    finite = panel.pixels[np.isfinite(panel.pixels)]
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    n_rows, n_columns = panel.shape
    extent = (0.5, n_columns + 0.5, 0.5, n_rows + 0.5)  # the first pixel is 1, as in the sections
    axes.imshow(panel.pixels, origin="lower", cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="nearest")
    for outline in panel.outlines:
        _draw_outline(axes, outline)
    axes.set(xlabel="column", ylabel="row")
    axes.locator_params(nbins=4)
    axes.grid(visible=False)


def _draw_outline(axes: Axes, outline: Outline) -> None:
    from matplotlib.patches import Rectangle

    for name, section in outline.sections.items():
        height, width = section.shape
        colour = COLOURS.get(name, PURPLE)
        axes.add_patch(Rectangle((section.x0 + 0.5, section.y0 + 0.5), width, height, fill=False, edgecolor=colour))
    data = outline.sections["data"]
    x = data.x0 if outline.corner.endswith("L") else data.x1
    y = data.y0 if outline.corner.startswith("L") else data.y1
    axes.plot([x + 0.5], [y + 0.5], marker="o", color=BLUE, clip_on=False)
    height, width = data.shape
    axes.text(
        *((data.x0 + data.x1) / 2, (data.y0 + data.y1) / 2, outline.name),
        color=BLUE,
        ha="center",
        va="center",
        rotation="vertical" if height > 2 * width else "horizontal",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8},
    )
