"""Which exposures a simulated run takes, when, and at which level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from streamcal.simulate.camera import Camera

Order = Literal["paired", "interleaved", "shuffled"]

FIRST_MJD = 61000.0  # d, UTC; no clock is read, so that the same seed gives the same bytes
READOUT_SECONDS = 2.0
DAY_SECONDS = 86400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """One exposure of a run."""

    exposure_id: int
    image_type: Literal["FLAT", "BIAS"] = "FLAT"
    level: float = 0.0  # e-, as asked for
    electrons: float = 0.0  # e-, as the lamp gave: with its drift
    exposure_time: float = 0.0  # s
    mjd_start: float = FIRST_MJD  # d, UTC
    run_id: str = "SIM0001"
    detector: str = "S00"
    filter_name: str = "r"


def ptc_levels(
    count: int, full_well: float = 90000.0, *, lowest: float = 200.0, fraction: float = 0.8
) -> tuple[float, ...]:
    """Return levels equally spaced in their logarithm.

    Parameters
    ----------
    count : int
        How many.
    full_well : float
        Full well of the detector, in electrons.
    lowest : float
        First level, in electrons.
    fraction : float
        The last level as a fraction of `full_well`.

    Returns
    -------
    tuple of float
        Electrons, ascending, to 0.1 e-.

    Raises
    ------
    ValueError
        If there is no level, or none between `lowest` and the last one.
    """
    if count < 1:
        msg = f"count must be at least 1, got {count!r}"
        raise ValueError(msg)
    if not 0 < lowest <= fraction * full_well:
        msg = f"lowest must lie between 0 and {fraction * full_well:g} e-, got {lowest!r}"
        raise ValueError(msg)
    return tuple(round(float(level), 1) for level in np.geomspace(lowest, fraction * full_well, count))


def plan_run(  # noqa: PLR0913 - each is an option of `simulate_run`
    camera: Camera,
    levels: Sequence[float],
    *,
    flats_per_level: int = 2,
    biases: int = 0,
    order: Order = "paired",
    first_id: int = 1,
) -> list[Shot]:
    """Plan the exposures of a run, in the order in which they are taken.

    Parameters
    ----------
    camera : Camera
        Gives lamp and drift.
    levels : sequence of float
        Mean levels, in electrons.
    flats_per_level : int
        2: pairs; 1: no flat finds a partner; 3: one extra at each level.
    biases : int
        Bias frames before the flats.
    order : {"paired", "interleaved", "shuffled"}
        Levels one after the other (A A B B), or two by two in turn (A B A B); shuffled ones are taken like paired
        ones, but land in another order (`simulate_run`).
    first_id : int
        Exposure id of the first exposure.

    Returns
    -------
    list of Shot
        Exposure ids and start times ascend; exposure times are proportional to the levels.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    _check_run(levels, order, flats_per_level)
    width = 2 if order == "interleaved" else 1
    visits = [(0.0, 0)] * biases + list(_order_visits(levels, flats_per_level, width))
    shots, mjd = [], FIRST_MJD
    for exposure_id, (level, visit) in enumerate(visits, first_id):
        shot = Shot(
            exposure_id=exposure_id,
            image_type="FLAT" if level else "BIAS",
            level=level,
            electrons=level * (1 + camera.lamp_drift * visit),
            exposure_time=round(level / camera.rate, 4),
            mjd_start=mjd,
        )
        shots.append(shot)
        mjd += (shot.exposure_time + READOUT_SECONDS) / DAY_SECONDS
    return shots


def _check_run(levels: Sequence[float], order: str, flats_per_level: int) -> None:
    if order not in get_args(Order):
        msg = f"order must be one of {', '.join(get_args(Order))}, got {order!r}"
        raise ValueError(msg)
    if not levels or not all(level > 0 for level in levels):
        msg = f"levels must be some numbers above zero, got {list(levels)}"
        raise ValueError(msg)
    if flats_per_level < 1:
        msg = f"flats_per_level must be at least 1, got {flats_per_level!r}"
        raise ValueError(msg)


def _order_visits(levels: Sequence[float], flats_per_level: int, width: int) -> Iterator[tuple[float, int]]:
    for start in range(0, len(levels), width):
        for visit in range(flats_per_level):
            for level in levels[start : start + width]:
                yield level, visit
