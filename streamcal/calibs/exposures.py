"""What a calibration notes of the exposures it is made from, and the keys by which things know who they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from streamcal.records import Exposure

IDENTITY_KEYS: dict[str, tuple[str, ...]] = {  # metadata key: other names it goes by, in metadata and in dicts
    "INSTRUME": ("instrument",),
    "RAFTNAME": ("raftName",),
    "SLOTNAME": ("slotName",),
    "DETECTOR": ("detectorId",),
    "DETECTOR_NAME": ("DET_NAME", "detectorName"),
    "DETECTOR_SERIAL": ("DET_SER", "detectorSerial"),
    "FILTER": ("filterName",),
    "CALIB_ID": ("calibId",),
    "SEQFILE": ("seqfile",),
    "SEQNAME": ("seqname",),
    "SEQCKSUM": ("seqcksum",),
}


def describe_exposures(exposures: Iterable[Exposure], log: Any) -> dict[str, Any]:
    """Return metadata; see `streamcal.calibs.Calib.update_metadata_from_exposures`.

    Parameters
    ----------
    exposures : iterable of Exposure
        All of one instrument and detector.
    log : logger
        Has ``warning(text)``.

    Raises
    ------
    ValueError
        If they are of different instruments or detectors.
    """
    entries: dict[str, Any] = {}
    for n, exposure in enumerate(exposures):
        info = exposure.info
        own = {key: exposure.header[key] for key in IDENTITY_KEYS if key in exposure.header}
        own |= {"INSTRUME": own.get("INSTRUME") or info.instrument, "DETECTOR_NAME": info.detector}
        for key, value in own.items():
            _require_agreement(key, entries.setdefault(key, value), value, log)
        entries[f"CPP_INPUT_{n}"] = info.exposure_id
        times = {f"CPP_INPUT_DATE_{n}": info.mjd_start, f"CPP_INPUT_EXPT_{n}": info.exposure_time}
        entries |= {key: value for key, value in times.items() if np.isfinite(value)}
    return entries


def _require_agreement(key: str, first: Any, value: Any, log: Any) -> None:
    if first == value:
        return
    msg = f"exposures differ in {key}: {first!r} and {value!r}"
    if key in {"INSTRUME", "DETECTOR_NAME"}:
        raise ValueError(msg)
    log.warning(msg)
