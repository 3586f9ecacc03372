"""Read an exposure: its pixels cut into amplifiers, data and overscan, as the instrument's geometry says."""

from __future__ import annotations

import contextlib
import math
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamcal.errors import ExposureError, NotWhole
from streamcal.instruments.detectors import Detector, split_detectors
from streamcal.instruments.fits import FitsFile, open_hdus
from streamcal.instruments.identify import find_numbers
from streamcal.instruments.layout import Place, place_amplifiers
from streamcal.instruments.model import Instrument
from streamcal.instruments.values import Header, file_facts
from streamcal.records import Amplifier, Exposure, ExposureInfo, FileStat
from streamcal.source.whole import Limits, inspect_structure

Raw = Mapping[int, NDArray[np.generic]]


def read_exposure(info: ExposureInfo, instrument: Instrument, limits: Limits) -> Exposure:
    """Read the pixels of one detector's exposure.

    Parameters
    ----------
    info : ExposureInfo
        What was admitted; the file must still be that one, before and after reading.
    instrument : Instrument
        Its table.
    limits : Limits
        What a file may ask of us.

    Returns
    -------
    Exposure
        Data as float32 in ADU, masks zero, overscan uncorrected.

    Raises
    ------
    FileChanged
        If the file is not the admitted one any more.
    ExposureError
        If it cannot be read, or its geometry is not the instrument's.
    """
    with open_hdus(info.path, info.stat, limits) as file:
        headers = file.headers
        detector = _find_detector(split_detectors(instrument, headers, info.path), info.detector)
        places = place_amplifiers(instrument, headers, detector)
        raw = _read_raw(file, headers, places)
    amplifiers = {name: _cut(place, raw[place.hdu], headers[place.hdu]) for name, place in places.items()}
    header = {key: value for key, value in detector.facts.items() if not key.startswith("@")}
    return Exposure(info=info, header=header, amplifiers=amplifiers)


def read_frame(path: Path, instrument: Instrument, detector: str, limits: Limits) -> Exposure:
    """Read a bias or dark frame that is known by its path only; a person named it, so it may be a symbolic link.

    Parameters
    ----------
    path : Path
        The file.
    instrument, limits
        As for `read_exposure`.
    detector : str
        Which of the detectors in the file.

    Returns
    -------
    Exposure
        Its id is the name of the file; exposure time and start are the header's (darks are scaled by them).

    Raises
    ------
    NotWhole, FileChanged, ExposureError
        As `read_exposure`; the message names the file.
    """
    limits = replace(limits, follow_symlinks=True)
    try:
        stat = FileStat.of(path.stat())
        info = ExposureInfo(
            path=str(path),
            stat=stat,
            digest=inspect_structure(str(path), stat, limits).digest,
            instrument=instrument.name,
            detector=detector,
            exposure_id=path.name,
            is_flat=False,
            reason="read as a calibration frame",
        )
        exposure = read_exposure(info, instrument, limits)
        facts = {**exposure.header, **file_facts(info.path)}
        return replace(exposure, info=replace(info, **find_numbers(instrument.identify, facts)))
    except OSError as exc:
        msg = f"{path}: {exc.strerror or exc}"
        raise ExposureError(msg) from exc
    except (ExposureError, NotWhole) as exc:
        msg = str(exc) if str(path) in str(exc) else f"{path}: {exc}"
        raise type(exc)(msg) from exc


def _find_detector(detectors: Sequence[Detector], name: str) -> Detector:
    for detector in detectors:
        if detector.name == name:
            return detector
    msg = f"has no detector {name!r}, only {', '.join(repr(detector.name) for detector in detectors)}"
    raise ExposureError(msg)


def _read_raw(file: FitsFile, headers: Sequence[Header], places: Mapping[str, Place]) -> Raw:
    raw = {}
    for hdu in dict.fromkeys(place.hdu for place in places.values()):
        raw[hdu] = file.pixels(hdu)
        announced = headers[hdu]["NAXIS2"], headers[hdu]["NAXIS1"]
        if raw[hdu].shape != announced:
            msg = f"HDU {hdu} holds an array of shape {raw[hdu].shape}, its header says {announced}"
            raise ExposureError(msg)
    return raw


def _cut(place: Place, raw: NDArray[np.generic], header: Header) -> Amplifier:
    data = np.array(place.data.cut(raw), dtype=np.float32, order="C")
    return Amplifier(
        name=place.name,
        data=data,
        mask=_make_mask(data.shape),
        overscan={name: np.array(section.cut(raw), np.float32, order="C") for name, section in place.overscan.items()},
        readout_corner=place.readout_corner,
        saturation=place.saturation,
        suspect=place.suspect,
        header_gain=place.gain,
        metadata={"header": dict(header)},
        raw=raw,
        sections={"data": place.data, **place.overscan},
    )


def _make_mask(shape: tuple[int, ...]) -> NDArray[np.uint32]:
    """Return zeros in memory of their own, which takes no room before a pixel is masked."""
    n_bytes = max(1, math.prod(shape) * 4)
    pages = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without huge pages
        pages.madvise(mmap.MADV_HUGEPAGE)  # reading zeros then takes one page of them, not a thousand
    return np.frombuffer(pages, np.uint32, math.prod(shape)).reshape(shape)
