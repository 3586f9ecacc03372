"""A picture of each detector in a file, with the sections that an instrument gives its amplifiers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streamcal.plots.style import BLUE, GREEN, PURPLE, VERMILLION, lay_out, make_figure
from streamcal.records import Amplifier, Exposure, Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

COLOURS = {"data": BLUE, "serial": VERMILLION, "prescan": GREEN}
MOST_PIXELS = 600  # shown along an axis: more cannot be told apart


def draw_detectors(exposures: Sequence[Exposure], path: Path) -> None:
    """Draw the stored images of exposures, each amplifier's sections framed and its output marked.

    Parameters
    ----------
    exposures : sequence of Exposure
        As read, with their raw arrays.
    path : Path
        Its ending chooses the format: png, pdf, svg.
    """
    from matplotlib.patches import Rectangle

    panels = [(exposure.info.detector, group) for exposure in exposures for group in _group_by_array(exposure)]
    rows, columns = lay_out(len(panels))
    figure = make_figure(4.0 * columns, 4.0 * rows)
    for number, (detector, amplifiers) in enumerate(panels, 1):
        axes = figure.add_subplot(rows, columns, number)
        _draw_image(axes, amplifiers[0].raw)
        for amplifier in amplifiers:
            _draw_amplifier(axes, amplifier)
        axes.set_title(f"{detector}: {', '.join(amplifier.name for amplifier in amplifiers)}")
        axes.set(xlabel="column", ylabel="row")
        axes.grid(visible=False)
    names = dict.fromkeys(name for _, group in panels for amplifier in group for name in amplifier.sections)
    handles = [Rectangle((0, 0), 1, 1, fill=False, edgecolor=COLOURS.get(name, PURPLE), label=name) for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), title="dot: output")
    figure.savefig(path)


def _group_by_array(exposure: Exposure) -> list[list[Amplifier]]:
    groups: dict[int, list[Amplifier]] = {}
    for amplifier in exposure.amplifiers.values():
        groups.setdefault(id(amplifier.raw), []).append(amplifier)
    return list(groups.values())


def _draw_image(axes: Axes, raw: NDArray[Any] | None) -> None:
    if raw is None:
        msg = "raw must be there: the exposure has been reduced already"
        raise ValueError(msg)
    n_rows, n_columns = raw.shape
    shown = raw[:: -(-n_rows // MOST_PIXELS), :: -(-n_columns // MOST_PIXELS)]
    low, high = np.percentile(shown, (0.5, 99.5))
    extent = (0.5, n_columns + 0.5, 0.5, n_rows + 0.5)  # the first pixel is 1, as in the sections
    axes.imshow(shown, origin="lower", cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="nearest")


def _draw_amplifier(axes: Axes, amplifier: Amplifier) -> None:
    from matplotlib.patches import Rectangle

    for name, section in amplifier.sections.items():
        height, width = section.shape
        colour = COLOURS.get(name, PURPLE)
        axes.add_patch(Rectangle((section.x0 + 0.5, section.y0 + 0.5), width, height, fill=False, edgecolor=colour))
    x, y = _corner(amplifier.sections["data"], amplifier.readout_corner.value)
    axes.plot([x], [y], marker="o", color=BLUE, clip_on=False)
    data = amplifier.sections["data"]
    axes.annotate(amplifier.name, ((data.x0 + data.x1) / 2, (data.y0 + data.y1) / 2), color=BLUE, ha="center")


def _corner(section: Section, corner: str) -> tuple[float, float]:
    x = section.x0 if corner.endswith("L") else section.x1
    y = section.y0 if corner.startswith("L") else section.y1
    return x + 0.5, y + 0.5
