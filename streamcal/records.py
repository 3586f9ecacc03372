"""Records that pass between the rooms: files, exposures, pairs and what was measured on them."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from streamcal.errors import StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streamcal.measure import Difference


class Disposition(StrEnum):
    """What became of one detector of one input file; each ends in exactly one of these but ``WAITING``."""

    WAITING = "waiting"  # a usable flat whose partner has not come yet
    PAIRED = "paired"
    EXTRA = "extra"  # a further exposure at a level that already has its pair
    ORPHAN = "orphan"  # no partner came in time; still paired if one comes after all
    IGNORED = "ignored"  # not a flat
    REJECTED = "rejected"  # unreadable, incomplete or wrong; the reason says which
    DUPLICATE = "duplicate"  # same exposure id and same content as an earlier file


class PairState(StrEnum):
    """Where a formed pair stands."""

    READY = "ready"  # to be measured
    DONE = "done"  # rows committed
    FAILED = "failed"  # set aside with its reason


class ReadoutCorner(StrEnum):
    """Corner of an amplifier's stored image at which its output sits (lower/upper, left/right)."""

    LL = "LL"
    LR = "LR"
    UL = "UL"
    UR = "UR"


@dataclass(frozen=True, kw_only=True, slots=True)
class FileStat:
    """Identity of a file's content as far as ``stat`` can tell."""

    size: int  # bytes
    mtime_ns: int  # ns; compared for equality only, never with a clock
    inode: int
    device: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Take the identity from a ``stat`` result."""
        return cls(size=status.st_size, mtime_ns=status.st_mtime_ns, inode=status.st_ino, device=status.st_dev)

    def to_dict(self) -> dict[str, int]:
        """Return plain values that JSON can hold."""
        return {name: getattr(self, name) for name in self.__slots__}  # dataclasses.asdict copies deeply, and slowly


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A file that has come to rest and may be looked into."""

    path: str  # as os.fsdecode gives it: bytes that are not UTF-8 survive as surrogates
    stat: FileStat


@dataclass(frozen=True, kw_only=True, slots=True)
class ExposureInfo:
    """What the header of a file says of one detector's exposure: its identity, never its pixels."""

    path: str  # as os.fsdecode gives it
    stat: FileStat
    digest: str  # xxh3-128 of the file's bytes, hexadecimal
    instrument: str
    detector: str
    exposure_id: str
    is_flat: bool
    reason: str = ""  # why it is not a flat, or why it cannot be used
    group: str = ""  # "KEY=value" of the keys that tell one run from another, joined by ";"
    exposure_time: float = float("nan")  # s
    flux: float = float("nan")  # instrument's unit
    mjd_start: float = float("nan")  # d, TAI
    mjd_start_utc: float = float("nan")  # d, UTC
    auxiliary: Mapping[str, Any] = field(default_factory=dict)  # header values asked for by the configuration

    def __str__(self) -> str:
        """Name the exposure shortly, for logs."""
        return f"{self.instrument}/{self.detector}/{self.exposure_id}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {name: getattr(self, name) for name in self.__slots__} | {"stat": self.stat.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` gave."""
        return cls(**{**values, "stat": FileStat(**values["stat"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class PairRecord:
    """A formed pair: two exposures of one detector at one level, ordered by exposure id."""

    pair_id: str  # blake2b-128, hexadecimal: same inputs, same id
    first: ExposureInfo
    second: ExposureInfo

    def __str__(self) -> str:
        """Name the pair shortly, for logs."""
        return f"{self.first}+{self.second.exposure_id}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A rectangle of an array, half-open and zero-based: columns ``x0..x1``, rows ``y0..y1``."""

    x0: int
    x1: int
    y0: int
    y1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    def cut(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a view of this rectangle of an array."""
        return array[self.y0 : self.y1, self.x0 : self.x1]


@dataclass(kw_only=True, slots=True, eq=False)
class Amplifier:
    """One amplifier of one exposure, as the stages see it.

    Attributes
    ----------
    data : (ny, nx) ndarray of float32
        Image pixels in ADU, in stored orientation: x along the serial register, y along the columns.
    mask : (ny, nx) ndarray of uint32
        Bits of `streamcal.flags.MaskBit`.
    overscan : dict of str to (ny, n) ndarray
        Overscan and prescan pixels by name (``serial``, ``prescan``, ``parallel``, ...), ADU, not corrected. The rows
        of ``serial`` and ``prescan`` are the rows of ``data``.
    readout_corner : ReadoutCorner
        Corner of the stored image at which the output sits.
    saturation, suspect : float
        Levels in raw ADU at and above which pixels are masked SAT and SUSPECT; NaN: unknown.
    header_gain : float
        Gain that the instrument's table or header claims, e-/ADU; NaN: none. A hint, never used silently.
    read_noise : float
        ADU; NaN until a stage has found it.
    metadata : dict
        What stages note of this amplifier; a declared column of an exposure stage is looked up here by its name.
    raw : ndarray or None
        The stored array that ``data`` was cut from (all amplifiers of an HDU share it), until a stage drops it.
    sections : dict of str to Section
        Where in ``raw`` the data (``data``) and each overscan lie.
    """

    name: str
    data: NDArray[np.float32]
    mask: NDArray[np.uint32]
    overscan: dict[str, NDArray[Any]] = field(default_factory=dict)
    readout_corner: ReadoutCorner = ReadoutCorner.LL
    saturation: float = float("nan")
    suspect: float = float("nan")
    header_gain: float = float("nan")
    read_noise: float = float("nan")
    metadata: dict[str, Any] = field(default_factory=dict)
    raw: NDArray[Any] | None = None
    sections: dict[str, Section] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True, eq=False)
class Exposure:
    """One detector's exposure with its pixels.

    Attributes
    ----------
    info : ExposureInfo
        Who it is.
    header : mapping
        Header values of the file, HDUs merged (an amplifier's own values are in its ``metadata["header"]``).
    metadata : dict
        What stages note of the whole exposure, by full name ``stage:item``.
    amplifiers : dict of str to Amplifier
        In the instrument's order.
    """

    info: ExposureInfo
    header: Mapping[str, Any]
    amplifiers: dict[str, Amplifier]
    metadata: MutableMapping[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True, eq=False)
class Pair:
    """Two exposures with their pixels, and what earlier stages measured on them.

    Attributes
    ----------
    first, second : Exposure
        Ordered by exposure id.
    measured : dict of str to dict
        Columns by amplifier, as earlier stages gave them.
    """

    pair_id: str
    first: Exposure
    second: Exposure
    measured: dict[str, dict[str, Any]] = field(default_factory=dict)
    _differences: dict[str, Difference] = field(default_factory=dict, repr=False)

    def difference(self, amplifier: str, **options: Any) -> Difference:
        """Return the level-matched difference of one amplifier with its used-pixel mask.

        It is made once, when first asked for, and kept: the first caller's options hold.

        Parameters
        ----------
        amplifier : str
            Name of the amplifier.
        **options
            Clipping options of `streamcal.measure.match_levels`.

        Returns
        -------
        Difference
            See `streamcal.measure.match_levels`.

        Raises
        ------
        StageError
            If the two exposures do not both have this amplifier, in one shape.
        """
        if amplifier not in self._differences:
            from streamcal.measure import match_levels

            first, second = self.amplifiers(amplifier)
            self._differences[amplifier] = match_levels(first.data, second.data, (first.mask, second.mask), **options)
        return self._differences[amplifier]

    def amplifiers(self, name: str) -> tuple[Amplifier, Amplifier]:
        """Return the amplifier of this name of both exposures.

        Raises
        ------
        StageError
            If one of the exposures lacks it or the shapes differ.
        """
        try:
            first, second = self.first.amplifiers[name], self.second.amplifiers[name]
        except KeyError as exc:
            msg = f"amplifier {name!r} is not in both exposures"
            raise StageError(msg) from exc
        if first.data.shape != second.data.shape:
            msg = f"amplifier {name!r} has shape {first.data.shape} in the first and {second.data.shape} in the second"
            raise StageError(msg)
        return first, second
