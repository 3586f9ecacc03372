"""`streamcal simulate`: flats of known truth in a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from streamcal.errors import ConfigError
from streamcal.simulate import DEFAULT_CAMERA, LSSTCAM, Camera, ptc_levels, simulate_run

CAMERAS = {"simulated": DEFAULT_CAMERA, "lsstcam": LSSTCAM}


def write_flats(
    folder: Path, *, camera: str, pairs: int, shape: tuple[int | None, int | None], lowest: float, **options: Any
) -> Path:
    """Write a photon transfer run of simulated flats; return the folder.

    Parameters
    ----------
    folder : Path
        Made if needed.
    camera : str
        One of `CAMERAS`; ``lsstcam``: full size, simulated quickly.
    pairs : int
        Number of levels, spaced evenly in the logarithm.
    shape : tuple of int or None
        Rows and columns of an amplifier; None: the camera's.
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
        chosen = _choose_camera(camera, shape)
        full_well = min(amplifier.full_well for amplifier in chosen.amplifiers)
        levels = ptc_levels(pairs, full_well, lowest=lowest)
        _write(folder, chosen, levels, {"quick": camera == "lsstcam", **options})
    except (ValueError, OSError) as exc:
        raise ConfigError(str(exc)) from exc
    return folder


def _choose_camera(name: str, shape: tuple[int | None, int | None]) -> Camera:
    if name not in CAMERAS:
        msg = f"camera must be one of {', '.join(CAMERAS)}, got {name!r}"
        raise ValueError(msg)
    camera = CAMERAS[name]
    rows, columns = shape
    return replace(camera, shape=(rows or camera.shape[0], columns or camera.shape[1]))


def _write(folder: Path, camera: Camera, levels: Any, options: dict[str, Any]) -> None:
    total = len(levels) * options.get("flats_per_level", 2) * len(options["detectors"]) + options.get("biases", 0)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("exposures", total=total)
        simulate_run(folder, camera, levels, report=lambda _: progress.advance(task), **options)
