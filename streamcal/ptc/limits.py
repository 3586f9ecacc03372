"""Watch the solutions: what has changed, or is out of its specification."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from streamcal.ptc.flags import BAD, LIMITS, FitFlag
from streamcal.ptc.settings import LimitsConfig

Row = Mapping[str, Any]


def check_limits(row: Row, accepted: Row | None, limits: LimitsConfig) -> list[tuple[FitFlag, str]]:
    """Return which limits a solution breaks, each with a text that gives number and limit.

    Parameters
    ----------
    row : mapping
        A solution, see `streamcal.ptc.columns`.
    accepted : mapping or None
        The one it is compared with, see `find_accepted`.
    limits : LimitsConfig
        The limits. A number that is NaN breaks none; an amplifier without a solution is flagged already.
    """
    return list(_check(row, accepted, limits))


def _check(row: Row, accepted: Row | None, limits: LimitsConfig) -> Iterator[tuple[FitFlag, str]]:
    changes = (("gain", limits.gain_change_percent), ("noise", limits.noise_change_percent))
    for (name, limit), flag in zip(changes, (FitFlag.GAIN_CHANGED, FitFlag.NOISE_CHANGED), strict=True):
        change = 100 * (row[name] / accepted[name] - 1) if accepted else math.nan
        if limit is not None and abs(change) > limit:
            yield flag, f"{name} {row[name]:.4g} changed by {change:+.1f} %, limit {limit:g} %"
    if limits.max_noise is not None and row["noise"] > limits.max_noise:
        yield FitFlag.NOISE_HIGH, f"noise {row['noise']:.3g} e- is above {limits.max_noise:g} e-"
    turnoff = row["turnoff"] * row["gain"]
    reached = not row["flags"] & FitFlag.TURNOFF_NOT_REACHED
    if limits.min_turnoff is not None and reached and turnoff < limits.min_turnoff:
        yield FitFlag.TURNOFF_LOW, f"turnoff {turnoff:.0f} e- is below {limits.min_turnoff:g} e-"


def find_accepted(row: Row, earlier: Sequence[Row]) -> Row | None:
    """Return the solution that one is compared with: the amplifier's newest of an earlier group that breaks no limit.

    Parameters
    ----------
    row : mapping
        A solution.
    earlier : sequence of mapping
        Latest solutions of any groups and amplifiers. A group is earlier if its first pair was committed earlier.
    """
    same = ("instrument", "detector", "amplifier", "model")
    accepted = [
        other
        for other in earlier
        if all(other[name] == row[name] for name in same)
        and other["group"] != row["group"]
        and other["first_seq"] < row["first_seq"]
        and not other["flags"] & (BAD | LIMITS)
    ]
    return max(accepted, key=lambda other: other["first_seq"], default=None)
