"""All pictures of an output: which there are, and their files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamcal.export.files import make_file_name, write_whole
from streamcal.plots import KINDS
from streamcal.plots.style import STYLE, need_matplotlib, paginate
from streamcal.ptc.observations import GroupKey, make_curve, read_group, split_amplifiers, split_groups
from streamcal.ptc.solutions import solutions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
Picture = tuple[str, Callable[[], "Figure"]]  # name of its file without ending, and what draws it


def draw_output(  # noqa: PLR0913 - each is an option of the command
    output: Path,
    folder: Path,
    *,
    kinds: Sequence[str] = KINDS,
    suffix: str = "png",
    group: str | None = None,
    detector: str | None = None,
    model: str | None = None,
) -> Iterator[Path]:
    """Draw the pictures of an output from its latest solutions, and yield each file when it is written.

    Parameters
    ----------
    output : Path
        Output folder of a run.
    folder : Path
        Where the files go; made if needed.
    kinds : sequence of str
        Which pictures, of `KINDS`.
    suffix : {"png", "pdf", "svg"}
        Form of the files.
    group, detector : str, optional
        Only these; all by default.
    model : str, optional
        Solutions of this model; by default the latest of whatever model.

    Raises
    ------
    ConfigError
        If matplotlib is not there, or a file cannot be written.
    """
    need_matplotlib()
    import matplotlib as mpl

    rows = [
        row
        for row in solutions(output, model=model).to_pylist()
        if group in (None, row["group"]) and detector in (None, row["detector"])
    ]
    for name, draw in list_pictures(output, rows, kinds):
        path = folder / f"{make_file_name(name)}.{suffix}"
        with mpl.rc_context(STYLE), write_whole(path) as hidden:
            draw().savefig(hidden, format=suffix, metadata={} if suffix == "png" else None)
        yield path


def list_pictures(output: Path, rows: Sequence[Row], kinds: Sequence[str] = KINDS) -> Iterator[Picture]:
    """Yield name and drawing function of each picture that solutions allow, see `draw_output`."""
    for key, of_group in split_groups(rows).items():
        label = f"{key.detector}_{key.group}".strip("_")
        for number, page in enumerate(paginate(of_group), 1):
            yield from _group_pictures(
                output, key, page, f"{label}_{number}" if len(of_group) > len(page) else label, kinds
            )
        if "kernel" in kinds and (full := [row for row in of_group if _has_kernel(row)]):
            yield f"kernel_{label}", _later(_kernel, full)
    for detector in sorted({row["detector"] for row in rows}) if "trends" in kinds else ():
        yield f"trends_{detector}", _later(_trends, output, [row for row in rows if row["detector"] == detector])
    if "focal-plane" in kinds and len({row["detector"] for row in rows}) > 1:
        newest = {(row["detector"], row["amplifier"]): row for row in rows}
        for column, unit in (("gain", "e⁻/ADU"), ("noise", "e⁻"), ("turnoff", "ADU")):
            yield f"focal_plane_{column}", _later(_focal_plane, list(newest.values()), column, unit)


def _group_pictures(
    output: Path, key: GroupKey, page: Sequence[Row], label: str, kinds: Sequence[str]
) -> Iterator[Picture]:
    if "curves" in kinds:
        yield f"curves_{label}_log", _later(_curves, page, "log")
        yield f"curves_{label}_linear", _later(_curves, page, "linear")
    if "covariances" in kinds:
        yield f"covariances_{label}", _later(_covariances, output, key, page)


def _later(draw: Callable[..., Figure], *arguments: Any) -> Callable[[], Figure]:
    return lambda: draw(*arguments)


def _curves(rows: Sequence[Row], scale: Any) -> Figure:
    from streamcal.plots.variance import plot_variances

    return plot_variances(rows, scale)


def _covariances(output: Path, key: GroupKey, rows: Sequence[Row]) -> Figure:
    import pyarrow.compute as pc

    from streamcal.plots.covariances import plot_covariances

    table = read_group(output, key)
    # pairs that came after the fit have no verdict
    table = table.filter(pc.less_equal(table["seq"], max(row["last_seq"] for row in rows)))
    return plot_covariances(rows, {name: make_curve(measured) for name, measured in split_amplifiers(table)})


def _has_kernel(row: Row) -> bool:
    return len(row["a_matrix"]) > 1 and math.isfinite(row["gain"])


def _kernel(rows: Sequence[Row]) -> Figure:
    from streamcal.plots.covariances import plot_kernel

    return plot_kernel(rows)


def _trends(output: Path, rows: Sequence[Row]) -> Figure:
    import pyarrow.compute as pc

    from streamcal import results
    from streamcal.plots.trends import plot_trends

    columns = ["seq", "detector", "amplifier", "mjd_start", "gain", "read_noise"]
    measured = results.read(output, columns=columns, filter=pc.field("detector") == rows[0]["detector"])
    return plot_trends(rows, measured.to_pylist())


def _focal_plane(rows: Sequence[Row], column: str, unit: str) -> Figure:
    from streamcal.plots.trends import plot_focal_plane

    return plot_focal_plane(rows, column, unit)
