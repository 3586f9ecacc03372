"""Whether an amplifier sees light at all: dead and saturated ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamcal.ptc.curve import Curve
from streamcal.ptc.flags import FitFlag
from streamcal.ptc.selection import count_levels
from streamcal.ptc.settings import FitConfig

DIGITISATION = 1 / 12  # ADU^2: the variance that rounding alone gives


def judge_signal(
    curve: Curve, variance: NDArray[np.float64], used: NDArray[np.bool_], config: FitConfig
) -> tuple[FitFlag, str] | None:
    """Return why an amplifier has no curve, or None if it may have one.

    Parameters
    ----------
    curve : Curve
        Measured.
    variance : (n,) ndarray of float64
        ADU^2.
    used : (n,) ndarray of bool
        Pairs that are measured and in range.
    config : FitConfig
        Gives ``dead_level`` and ``min_levels``.
    """
    mean = curve.mean[np.isfinite(curve.mean)]
    if len(mean) and mean.max() < config.dead_level:
        return FitFlag.DEAD, f"dead: the highest mean is {mean.max():.3g} ADU, {config.dead_level:g} needed"
    lit = curve.mean >= config.dead_level
    if lit.any() and (variance[lit] <= DIGITISATION).all():
        means = f"{curve.mean[lit].min():.6g} to {curve.mean[lit].max():.6g}"
        return FitFlag.SATURATED, f"saturated: means of {means} ADU, and no variance"
    if count_levels(curve.mean[used]) == 1 and count_levels(curve.light[used]) >= config.min_levels:
        return FitFlag.DEAD, f"dead: the mean stays at {np.median(curve.mean[used]):.6g} ADU whatever the light"
    return None
