"""`streamcal simulate`: flats of known truth in a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from streamcal.errors import ConfigError
from streamcal.simulate import DEFAULT_CAMERA, Camera, ptc_levels, simulate_run


def write_flats(folder: Path, *, pairs: int, shape: tuple[int, int] | None, lowest: float, **options: Any) -> Path:
    """Write a photon transfer run of simulated flats; return the folder.

    Parameters
    ----------
    folder : Path
        Made if needed.
    pairs : int
        Number of levels, spaced evenly in the logarithm.
    shape : tuple of int or None
        Rows and columns of an amplifier; None: the default camera's.
    lowest : float
        Lowest level, in electrons.
    **options
        Further arguments of `streamcal.simulate.simulate_run`.

    Raises
    ------
    ConfigError
        If an option is out of range, or files of the same names are there already.
    """
    try:
        camera = replace(DEFAULT_CAMERA, shape=shape) if shape else DEFAULT_CAMERA
        _write(folder, camera, ptc_levels(pairs, lowest=lowest), options)
    except (ValueError, FileExistsError) as exc:
        raise ConfigError(str(exc)) from exc
    return folder


def _write(folder: Path, camera: Camera, levels: Any, options: dict[str, Any]) -> None:
    total = len(levels) * options.get("flats_per_level", 2) * len(options["detectors"]) + options.get("biases", 0)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("exposures", total=total)
        simulate_run(folder, camera, levels, report=lambda _: progress.advance(task), **options)
