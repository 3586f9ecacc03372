"""A whole run of simulated exposures in a folder, with the truth beside it."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from streamcal.simulate.camera import Camera
from streamcal.simulate.files import Style, check_style, check_suffix, encode_exposure, write_file
from streamcal.simulate.light import simulate_flat
from streamcal.simulate.lsstcam import QuickExposures
from streamcal.simulate.plan import Order, Shot, plan_run

TRUTH_NAME = "truth.json"  # no pattern of streamcal's source takes it for an exposure


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """What a simulated folder was made from; seed and levels are those of the last run in it."""

    camera: Camera
    seed: int
    levels: tuple[float, ...]  # e-


def simulate_run(  # noqa: PLR0913 - each argument is an option of the command line
    folder: Path,
    camera: Camera,
    levels: Sequence[float],
    *,
    seed: int = 1,
    order: Order = "paired",
    flats_per_level: int = 2,
    biases: int = 0,
    detectors: Sequence[str] = ("S00",),
    first_id: int = 1,
    run_id: str = "SIM0001",
    suffix: str = ".fits",
    style: Style = "rename",
    slow_seconds: float = 1.0,
    interval_seconds: float = 0.0,
    quick: bool = False,
    report: Callable[[Path], object] | None = None,
) -> Truth:
    """Write a run of flats into a folder, the truth first.

    The same arguments give the same bytes: noise depends on seed, exposure id and detector alone, dates count from a
    fixed start.

    Parameters
    ----------
    folder : Path
        Made if there is none.
    camera : Camera
        The truth.
    levels : sequence of float
        Mean levels, in electrons (`ptc_levels`).
    seed : int
        Of the random numbers.
    order : {"paired", "interleaved", "shuffled"}
        Taken level after level (A A B B); two levels in turn (A B A B); or taken level after level, but the files
        land in random order.
    flats_per_level, biases, first_id
        See `plan_run`.
    detectors : sequence of str
        Names of the detectors, one file each per exposure; all have this camera's properties, each its own noise (in
        quick runs the same, moved by some rows).
    run_id : str
        Header value, and start of the file names: ``RUN_ID_000001_DETECTOR.fits``.
    suffix : {".fits", ".fits.fz", ".fits.gz"}
        Ending of the file names: plain, Rice-compressed or gzipped.
    style : {"rename", "direct", "slow"}
        How a file comes into the folder, see `write_file`.
    slow_seconds : float
        How long each file takes in the slow style, in seconds.
    interval_seconds : float
        Pause after each file, in seconds.
    quick : bool
        By `QuickExposures`: for throughput, not for physics.
    report : callable, optional
        Called with the path of each file when it is there.

    Returns
    -------
    Truth
        What ``truth.json`` holds.

    Raises
    ------
    FileExistsError
        If the folder holds a file of this run already, or another camera's run; then nothing is written.
    ValueError
        If an argument is out of range; then nothing is written.
    """
    check_style(style)
    check_suffix(suffix)
    plan = plan_run(camera, levels, flats_per_level=flats_per_level, biases=biases, order=order, first_id=first_id)
    shots = [replace(shot, run_id=run_id, detector=detector) for shot in plan for detector in detectors]
    if order == "shuffled":
        shots = [shots[index] for index in np.random.default_rng(seed).permutation(len(shots))]
    paths = [folder / f"{shot.run_id}_{shot.exposure_id:06d}_{shot.detector}{suffix}" for shot in shots]
    truth = Truth(camera=camera, seed=seed, levels=tuple(levels))
    _start_run(folder, truth, paths)
    encode = QuickExposures(camera, seed).encode if quick else partial(_encode, camera, seed)
    for path, shot in zip(paths, shots, strict=True):
        write_file(path, encode(shot, suffix), style, slow_seconds)
        if report is not None:
            report(path)
        time.sleep(interval_seconds)
    return truth


def _encode(camera: Camera, seed: int, shot: Shot, suffix: str) -> bytes:
    rng = np.random.default_rng([seed, shot.exposure_id, zlib.crc32(shot.detector.encode())])
    return encode_exposure(camera, shot, simulate_flat(camera, shot.electrons, rng), suffix)


def load_truth(folder: Path) -> Truth:
    """Read what a simulated folder was made from.

    Raises
    ------
    FileNotFoundError
        If the folder holds no simulated run.
    """
    values = json.loads((folder / TRUTH_NAME).read_text("utf-8"))
    return Truth(camera=Camera.from_dict(values["camera"]), seed=values["seed"], levels=tuple(values["levels"]))


def _start_run(folder: Path, truth: Truth, paths: Iterable[Path]) -> None:
    for path in paths:
        if path.exists():
            msg = f"{path}: exists already; choose another folder, run id or first exposure id"
            raise FileExistsError(msg)
    if (folder / TRUTH_NAME).exists() and load_truth(folder).camera != truth.camera:
        msg = f"{folder}: holds a run of another camera; choose another folder"
        raise FileExistsError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / TRUTH_NAME, json.dumps(asdict(truth), indent=1).encode())
