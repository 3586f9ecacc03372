"""Gains for the conversion between adu and electrons, in the order of the amplifiers, none of them bad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Gains = Mapping[str, float] | Sequence[float] | NDArray[np.float64]


def order_gains(gains: Gains, names: Sequence[str]) -> NDArray[np.float64]:
    """Return gains in the order of the amplifiers.

    Parameters
    ----------
    gains : mapping of str to float, or sequence of float
        By name (a missing one counts as bad), or one per amplifier.
    names : sequence of str
        The amplifiers.

    Returns
    -------
    (n_amp,) ndarray of float64
        e-/ADU.

    Raises
    ------
    ValueError
        If a sequence has another length.
    """
    if isinstance(gains, Mapping):
        return np.array([gains.get(name, np.nan) for name in names], float)
    values = np.asarray(gains, float)
    if values.shape != (len(names),):
        msg = f"gains must be {len(names)}, one per amplifier, got {values.size}"
        raise ValueError(msg)
    return values


def find_bad_gains(gains: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which gains are no positive finite numbers."""
    bad: NDArray[np.bool_] = ~(np.isfinite(gains) & (gains > 0))
    return bad


def fill_gains(gains: NDArray[np.float64], names: Sequence[str], log: Any) -> NDArray[np.float64]:
    """Replace gains that are not positive finite numbers by the median of the others, with a warning.

    Parameters
    ----------
    gains : (n_amp,) ndarray
        e-/ADU.
    names : sequence of str
        The amplifiers, for the warning.
    log : logger or None
        Has ``warning(text)``; None: without a warning.

    Returns
    -------
    (n_amp,) ndarray of float64
        All positive and finite.

    Raises
    ------
    ValueError
        If there is no good gain at all.
    """
    good = ~find_bad_gains(gains)
    if not good.any():
        msg = "gains must hold a positive finite number to convert between adu and electron, got none"
        raise ValueError(msg)
    if not good.all() and log is not None:
        median = float(np.median(gains[good]))
        bad = ", ".join(name for name, fine in zip(names, good, strict=True) if not fine)
        msg = f"gain of amplifier {bad} replaced by the median {median:.4g} e-/ADU of the others"
        log.warning(msg)
    return np.where(good, gains, np.median(gains[good]))
