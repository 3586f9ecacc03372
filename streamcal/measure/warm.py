"""Compile ahead of the first pair what it will need."""

from __future__ import annotations

import numpy as np

from streamcal.measure.amplifier import measure_amplifier
from streamcal.measure.overscan import fit_overscan
from streamcal.measure.scan import SORTED_SIZE
from streamcal.measure.sums import subtract_rows


def warm_kernels() -> None:
    """Compile, or load from the cache, every kernel for the types it is used with.

    A process that calls this before its first pair does not pause on that pair. A small pair is measured, so that
    nothing can be forgotten: in float32 as the stages do, large enough for the scan of large samples, with a hole;
    and in float64, which wider input and the overscan need.
    """
    ny, nx = 3, SORTED_SIZE  # three times what is sorted at once
    first = np.full((ny, nx), 100, np.float32)
    first[:, ::2] = 102
    mask = np.zeros((ny, nx), np.uint32)
    mask[1, 1] = 1
    for dtype in (np.float32, np.float64):
        for level_match in (True, False):
            flats = first.astype(dtype), first.astype(dtype)
            measure_amplifier(*flats, mask, 1.0, max_lag=2, level_match=level_match)
    fit_overscan(first[:, :64])
    for image in (first, first.astype(np.float64)):
        subtract_rows(image, np.zeros(ny))
