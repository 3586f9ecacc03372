"""One look for all pictures: colours that the colour-blind tell apart, units on axes, paper that prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from streamcal.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito: told apart with every kind of colour vision, and in grey by their lightness
BLUE, VERMILLION, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#999999"
MAP = "cividis"

PER_PAGE = 16  # amplifiers
STYLE: Any = {
    "font.size": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


def need_matplotlib() -> None:
    """Raise ConfigError, with what to install, if matplotlib is not there."""
    try:
        import matplotlib as mpl
    except ImportError as exc:
        msg = "pictures need matplotlib: pip install 'streamcal[plot]'"
        raise ConfigError(msg) from exc
    del mpl


def make_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches; no window, no global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def lay_out(count: int) -> tuple[int, int]:
    """Return rows and columns of a grid for so many panels: at most four in a row."""
    columns = min(count, 2 if count in {2, 4} else 4)
    return -(-count // columns), columns


def paginate(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield portions of at most 16."""
    for start in range(0, len(rows), PER_PAGE):
        yield rows[start : start + PER_PAGE]


def write_inside(axes: Axes, text: str, corner: str = "upper left") -> None:
    """Write a text into a corner of a panel."""
    vertical, horizontal = corner.split()
    x, y = {"left": 0.03, "right": 0.98}[horizontal], {"upper": 0.97, "lower": 0.03}[vertical]
    box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
    align: Any = {"va": "top" if vertical == "upper" else "bottom", "ha": horizontal}
    axes.text(x, y, text, transform=axes.transAxes, fontsize=8, bbox=box, **align)
