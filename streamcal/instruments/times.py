"""Start times from headers, in TAI and UTC, without any download."""

from __future__ import annotations

import math
import warnings
from typing import Any

NO_TIME = (math.nan, math.nan)


def start_times(value: Any, scale: str, before: float = 0.0) -> tuple[float, float]:
    """Return the start of an exposure in both time scales.

    Parameters
    ----------
    value : float or str or None
        A modified Julian date, as number or text, or an ISO 8601 date with its time of day.
    scale : str
        Time scale of the value: ``utc`` or ``tai``.
    before : float
        How long before the value the exposure began (s).

    Returns
    -------
    tai, utc : float
        Modified Julian dates (d); NaN where the value is no time or the scale another one: nothing but plots depends
        on it, so that is no reason to refuse an exposure.
    """
    if value is None or isinstance(value, bool) or scale not in {"utc", "tai"}:
        return NO_TIME
    with warnings.catch_warnings():
        # far years are dubious, and a leap-second table may have expired; we take the latest that is at hand
        warnings.simplefilter("ignore")
        from astropy.utils import iers

        with iers.conf.set_temp("auto_download", False):
            return _convert(value, scale, before)


def _convert(value: Any, scale: str, before: float) -> tuple[float, float]:
    from astropy.time import Time, TimeDelta

    try:
        mjd = float(value)
    except ValueError:
        if ":" not in value:  # a date alone would become midnight, silently
            return NO_TIME
        form, start = "isot" if "T" in value else "iso", value.removesuffix("Z")
    else:
        form, start = "mjd", mjd
    try:
        time = Time(start, format=form, scale=scale).tai - TimeDelta(before, format="sec", scale="tai")
        return float(time.tai.mjd), float(time.utc.mjd)
    except ValueError:
        return NO_TIME
