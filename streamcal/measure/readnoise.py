"""Read noise that an earlier reduction has noted in header or task metadata."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def read_noise_from_metadata(metadata_list: Iterable[Mapping[str, Any]], amp: str) -> float | None:
    """Median read noise of an amplifier over exposures, from what LSST's instrument signature removal notes.

    Looked up in this order: the header's ``LSST ISR OVERSCAN RESIDUAL SERIAL STDEV {amp}``; ``RESIDUAL STDEV {amp}``
    in the task metadata under ``isr``, nested or by its full name ``isr:RESIDUAL STDEV {amp}``.

    Parameters
    ----------
    metadata_list : iterable of mapping
        One per exposure: header, or task metadata.
    amp : str
        Name of the amplifier.

    Returns
    -------
    float or None
        In ADU, the unit of the overscan whatever that of the image. Exposures without a finite value are left out;
        None when no value remains.
    """
    values = [_find_read_noise(metadata, amp) for metadata in metadata_list]
    finite = [value for value in values if math.isfinite(value)]
    return float(np.median(finite)) if finite else None


def _find_read_noise(metadata: Mapping[str, Any], amp: str) -> float:
    """Return the read noise that one exposure's metadata hold, NaN if none."""
    found = metadata.get(f"LSST ISR OVERSCAN RESIDUAL SERIAL STDEV {amp}")
    if found is None:
        found = metadata.get(f"isr:RESIDUAL STDEV {amp}")
    task: Any = metadata.get("isr")
    if found is None and hasattr(task, "get"):
        found = task.get(f"RESIDUAL STDEV {amp}")
    try:
        return math.nan if found is None else float(found)
    except (TypeError, ValueError):
        return math.nan
