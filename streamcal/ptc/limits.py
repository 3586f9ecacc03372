"""Watch the solutions: what has changed, or is out of its specification."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from streamcal.ptc.flags import BAD, LIMITS, FitFlag
from streamcal.ptc.settings import LimitsConfig

Row = Mapping[str, Any]
Broken = tuple[FitFlag, str]


def check_changes(row: Row, earlier: Sequence[Row], limits: LimitsConfig) -> Iterator[Broken]:
    """Yield which changes against accepted solutions are too large, each with a text that gives number and limit.

    Parameters
    ----------
    row : mapping
        A solution, see `streamcal.ptc.columns`.
    earlier : sequence of mapping
        What was solved before, see `find_accepted`.
    limits : LimitsConfig
        The limits: in per cent, and in standard errors of the difference. A number that is NaN breaks none.
    """
    flags = {"gain": FitFlag.GAIN_CHANGED, "noise": FitFlag.NOISE_CHANGED}
    for name, limit in (("gain", limits.gain_change_percent), ("noise", limits.noise_change_percent)):
        accepted = None if limit is None else find_accepted(row, earlier, name, limit, limits.n_sigma)
        if accepted is None or limit is None:
            continue
        change = 100 * (row[name] / accepted[name] - 1)
        error = 100 / accepted[name] * math.hypot(row[f"{name}_error"], accepted[f"{name}_error"])
        if abs(change) > max(limit, limits.n_sigma * error):
            text = f"{name} {row[name]:.4g} changed by {change:+.1f} ± {error:.1f} %, limit {limit:g} %"
            yield flags[name], text


def check_specifications(row: Row, limits: LimitsConfig) -> Iterator[Broken]:
    """Yield which specifications a solution does not meet; parameters as `check_changes`."""
    if limits.max_noise is not None and row["noise"] > limits.max_noise:
        yield FitFlag.NOISE_HIGH, f"noise {row['noise']:.3g} e- is above {limits.max_noise:g} e-"
    turnoff = row["turnoff"] * row["gain"]
    reached = not row["flags"] & FitFlag.TURNOFF_NOT_REACHED
    if limits.min_turnoff is not None and reached and turnoff < limits.min_turnoff:
        yield FitFlag.TURNOFF_LOW, f"turnoff {turnoff:.0f} e- is below {limits.min_turnoff:g} e-"


def find_accepted(row: Row, earlier: Sequence[Row], name: str, limit: float, n_sigma: float) -> Row | None:
    """Return the solution that one is compared with.

    That is the newest of the same amplifier and model in a group that began earlier, if it breaks no limit and its own
    error is so small that a change beyond the limit is seen; or one that somebody accepted, in this group as well.

    Parameters
    ----------
    row : mapping
        A solution.
    earlier : sequence of mapping
        Solutions of any groups and amplifiers, see `streamcal.ptc.solutions.read_earlier`. A group began earlier if its
        first pair was committed earlier.
    name : {"gain", "noise"}
        What is compared.
    limit : float
        Largest change, per cent.
    n_sigma : float
        So many of its errors must be within the limit.
    """
    same = ("instrument", "detector", "amplifier", "model")
    known = [
        other
        for other in earlier
        if all(other[key] == row[key] for key in same)
        and other["first_seq"] <= row["first_seq"]
        and (
            other["flags"] & FitFlag.ACCEPTED
            or _is_reference(row, other, name, limit / n_sigma if n_sigma else math.inf)
        )
    ]
    return max(known, key=lambda other: (other["first_seq"], other["seq"]), default=None)


def _is_reference(row: Row, other: Row, name: str, largest_error: float) -> bool:
    precise = 100 * other[f"{name}_error"] <= largest_error * other[name]
    return bool(precise and other["group"] != row["group"] and not other["flags"] & (BAD | LIMITS))
