"""A detector as crosstalk sees it: its amplifiers in order, and where they lie in an assembled image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streamcal.records import Amplifier, Exposure, ExposureInfo, FileStat, ReadoutCorner, Section

Region = Literal["trimmed", "raw_data", "raw", "raw_parallel"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorAmplifier:
    """One amplifier of a detector description.

    Attributes
    ----------
    name : str
        Its name, unique on the detector.
    readout_corner : ReadoutCorner
        Corner of the image at which its output sits.
    trimmed : Section or None
        Its pixels in the assembled image without overscan.
    raw_data, raw, raw_parallel : Section or None
        In the image with overscan: its light-sensitive pixels, all of its pixels, its parallel overscan.
    gain : float
        e-/ADU; NaN: unknown.
    """

    name: str
    readout_corner: ReadoutCorner = ReadoutCorner.LL
    trimmed: Section | None = None
    raw_data: Section | None = None
    raw: Section | None = None
    raw_parallel: Section | None = None
    gain: float = float("nan")

    def section(self, region: Region) -> Section:
        """Return the section of a region.

        Raises
        ------
        ValueError
            If the description does not say where it lies.
        """
        section: Section | None = getattr(self, region)
        if section is None:
            msg = f"amplifier {self.name!r} has no section {region!r}"
            raise ValueError(msg)
        return section


@dataclass(frozen=True, kw_only=True, slots=True)
class Detector:
    """A detector: who it is, and its amplifiers in the order of the coefficients.

    Attributes
    ----------
    amplifiers : tuple of DetectorAmplifier
        Row and column ``i`` of a crosstalk matrix belong to the amplifier ``i``.
    name, serial, instrument : str
        Identity; empty: unknown.
    detector_id : int or None
        Number within the camera.
    """

    amplifiers: tuple[DetectorAmplifier, ...]
    name: str = ""
    detector_id: int | None = None
    serial: str = ""
    instrument: str = ""

    @property
    def n_amp(self) -> int:
        """Number of amplifiers."""
        return len(self.amplifiers)

    @property
    def gains(self) -> dict[str, float]:
        """Gain by amplifier, e-/ADU, NaN where unknown."""
        return {amplifier.name: amplifier.gain for amplifier in self.amplifiers}

    def split(
        self,
        image: NDArray[Any],
        mask: NDArray[Any] | None = None,
        *,
        region: Region = "trimmed",
        header: Mapping[str, Any] | None = None,
    ) -> Exposure:
        """Return an image as an exposure whose amplifiers are views into it.

        Parameters
        ----------
        image : (ny, nx) ndarray
            The assembled image.
        mask : (ny, nx) ndarray of int, optional
            Bits of `streamcal.flags.MaskBit`; default: all clear.
        region : {"trimmed", "raw_data", "raw", "raw_parallel"}
            Which pixels of each amplifier; all but the first are of an image with overscan.
        header : mapping, optional
            Header of the exposure.

        Returns
        -------
        Exposure
            ``amplifier.data`` and ``amplifier.mask`` are views.

        Raises
        ------
        ValueError
            If a section is unknown or reaches outside the image, or the mask has another shape.
        """
        mask = np.zeros(image.shape, np.uint32) if mask is None else mask
        if mask.shape != image.shape:
            msg = f"mask must have the shape {image.shape} of the image, got {mask.shape}"
            raise ValueError(msg)
        amplifiers = {}
        for entry in self.amplifiers:
            section = entry.section(region)
            data = section.cut(image)
            if data.shape != section.shape:
                msg = f"section {region!r} of amplifier {entry.name!r}, {section}, is outside the image {image.shape}"
                raise ValueError(msg)
            amplifiers[entry.name] = Amplifier(
                name=entry.name,
                data=data,
                mask=section.cut(mask),
                readout_corner=entry.readout_corner,
                header_gain=entry.gain,
            )
        return Exposure(info=self._info(), header=header or {}, amplifiers=amplifiers)

    def assemble(
        self,
        exposure: Exposure,
        image: NDArray[Any],
        mask: NDArray[Any],
        *,
        region: Region = "trimmed",
    ) -> None:
        """Write the amplifiers of an exposure into an image and its mask.

        Parameters
        ----------
        exposure : Exposure
            Has every amplifier of this detector.
        image, mask : (ny, nx) ndarray
            Written to, within the amplifiers' sections only.
        region : {"trimmed", "raw_data", "raw", "raw_parallel"}
            As in `split`.
        """
        for entry in self.amplifiers:
            amplifier = exposure.amplifiers[entry.name]
            entry.section(region).cut(image)[...] = amplifier.data
            entry.section(region).cut(mask)[...] = amplifier.mask

    def _info(self) -> ExposureInfo:
        return ExposureInfo(
            path="",
            stat=FileStat(size=0, mtime_ns=0, inode=0, device=0),
            digest="",
            instrument=self.instrument,
            detector=self.name,
            exposure_id="",
            is_flat=False,
        )
