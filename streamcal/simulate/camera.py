"""What a simulated camera is: amplifiers, geometry and the effects that a measurement must find again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from streamcal.records import ReadoutCorner, Section

ADC_MAXIMUM = 65535  # ADU; 16 bits


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedAmplifier:
    """The truth about one amplifier."""

    name: str
    gain: float  # e-/ADU
    read_noise: float  # e-, rms
    bias: float = 1000.0  # ADU
    corner: ReadoutCorner = ReadoutCorner.LL  # of the stored image, where the output sits
    column: int = 0  # place among the detector's amplifiers, from the left
    row: int = 0  # and from the bottom
    full_well: float = 90000.0  # e-; charge beyond is lost

    def __post_init__(self) -> None:
        if not self.gain > 0:
            msg = f"gain must be above zero, got {self.gain!r}"
            raise ValueError(msg)
        if not self.read_noise >= 0:
            msg = f"read_noise must not be negative, got {self.read_noise!r}"
            raise ValueError(msg)

    @property
    def read_noise_adu(self) -> float:
        """Read noise in ADU, rms."""
        return self.read_noise / self.gain

    @property
    def saturation(self) -> float:
        """Raw level in ADU from which pixels count as saturated.

        It lies 2 % below full well, so that read noise does not lift half of the full pixels below it.
        """
        return min(self.bias + 0.98 * self.full_well / self.gain, ADC_MAXIMUM)


@dataclass(frozen=True, kw_only=True, slots=True)
class BrighterFatter:
    r"""Relative change of a pixel's area per electron in a neighbour, in 1/e-.

    To leading order a flat of mean :math:`\mu` (in electrons) has the covariances

    .. math:: C_{ij} = \mu\,\delta_{i0}\delta_{j0} + a_{ij}\,\mu^2

    at lag i along x (serial) and j along y (parallel): Astier et al. 2019 (arXiv:1905.08677), eq. 20 to order
    :math:`\mu^2`. Only nearest neighbours are coupled, and what they gain the centre loses.

    Attributes
    ----------
    a10, a01, a11 : float
        Of the neighbours along x, along y and across the corner.
    steps : int
        Portions in which the light of an exposure comes. With one, charge is displaced once, at the end: right to order
        :math:`\mu^2`. With several, each portion meets borders that the charge before it has moved, and b of eq. 20 is
        zero: of the term :math:`\tfrac{2}{3} a * a \mu^3` 38 % are there with one portion, 94 % with two, 99.6 % with
        four. It takes so much longer.
    """

    a10: float = 1.0e-7
    a01: float = 3.2e-7
    a11: float = 1.1e-7
    steps: int = 1

    def __post_init__(self) -> None:
        if self.steps < 1:
            msg = f"steps must be at least 1, got {self.steps!r}"
            raise ValueError(msg)

    @property
    def a00(self) -> float:
        """Centre of the kernel: charge is conserved, so the sum over all four quadrants is zero."""
        return -2 * self.a10 - 2 * self.a01 - 4 * self.a11

    @property
    def matrix(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The kernel as ``a[i][j]``, 0 <= i, j < 2; zero beyond."""
        return (self.a00, self.a01), (self.a10, self.a11)


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """A detector with its amplifiers, all of one shape, on a grid without gaps.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns of one amplifier's image area.
    prescan, overscan : int
        Columns read before and after those of the image, counted from the output.
    crosstalk : tuple of tuple of float
        ``[target][source]``: ADU that appear in the target for each ADU of signal that the source reads at the same
        moment.
    gradient : float
        Light at the right edge of the detector over that at the left one; linear between, mean level unchanged.
    lamp_drift : float
        Relative change of the light from one flat of a level to its next.
    row_noise : float
        Scatter in ADU, from row to row, of a bias level that image and overscan columns share; new in each exposure.
    rate : float
        Light in e-/s per pixel: turns a level into an exposure time.
    """

    amplifiers: tuple[SimulatedAmplifier, ...]
    name: str = "simulated"
    shape: tuple[int, int] = (512, 256)
    prescan: int = 8
    overscan: int = 64
    crosstalk: tuple[tuple[float, ...], ...] = ()
    brighter_fatter: BrighterFatter = BrighterFatter()
    gradient: float = 1.05
    lamp_drift: float = 0.005
    row_noise: float = 0.0
    rate: float = 500.0

    def __post_init__(self) -> None:
        self._check_amplifiers()
        if min(self.shape) < 1:
            msg = f"shape must be at least 1 x 1, got {self.shape!r}"
            raise ValueError(msg)
        for name in ("gradient", "rate"):
            if not getattr(self, name) > 0:
                msg = f"{name} must be above zero, got {getattr(self, name)!r}"
                raise ValueError(msg)
        for name in ("prescan", "overscan", "row_noise"):
            if not getattr(self, name) >= 0:
                msg = f"{name} must not be negative, got {getattr(self, name)!r}"
                raise ValueError(msg)

    def _check_amplifiers(self) -> None:
        names = [amplifier.name for amplifier in self.amplifiers]
        if not names or len(set(names)) < len(names):
            msg = f"amplifiers must have names of their own, got {names}"
            raise ValueError(msg)
        rows, columns = self.grid
        places = sorted((amplifier.row, amplifier.column) for amplifier in self.amplifiers)
        if places != [(row, column) for row in range(rows) for column in range(columns)]:
            msg = f"amplifiers must fill a grid of {rows} x {columns} places once each, got {places}"
            raise ValueError(msg)
        n = len(names)
        if self.crosstalk and [len(row) for row in self.crosstalk] != [n] * n:
            msg = f"crosstalk must be {n} x {n} coefficients, got {[len(row) for row in self.crosstalk]} in its rows"
            raise ValueError(msg)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of amplifiers on the detector."""
        return 1 + max(item.row for item in self.amplifiers), 1 + max(item.column for item in self.amplifiers)

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Rows and columns of one amplifier as stored, prescan and overscan included."""
        return self.shape[0], self.prescan + self.shape[1] + self.overscan

    def place(self, amplifier: SimulatedAmplifier) -> Section:
        """Return where the amplifier's image area lies on the detector."""
        ny, nx = self.shape
        x0, y0 = amplifier.column * nx, amplifier.row * ny
        return Section(x0=x0, x1=x0 + nx, y0=y0, y1=y0 + ny)

    def sections(self, amplifier: SimulatedAmplifier) -> dict[str, Section]:
        """Return the sections ``data``, ``serial`` (overscan) and ``prescan`` of the amplifier's stored image.

        Columns are stored as they lie on the detector, so an output on the right has its prescan on the right; a
        section without columns is left out.
        """
        total = self.stored_shape[1]
        stop = self.prescan + self.shape[1]
        read = {"data": (self.prescan, stop), "serial": (stop, total), "prescan": (0, self.prescan)}
        if amplifier.corner in {ReadoutCorner.LR, ReadoutCorner.UR}:
            read = {name: (total - x1, total - x0) for name, (x0, x1) in read.items()}
        return {name: Section(x0=x0, x1=x1, y0=0, y1=self.shape[0]) for name, (x0, x1) in read.items() if x1 > x0}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` gave, also by way of JSON."""
        amplifiers = (
            SimulatedAmplifier(**{**item, "corner": ReadoutCorner(item["corner"])}) for item in values["amplifiers"]
        )
        restored = {
            "amplifiers": tuple(amplifiers),
            "shape": tuple(values["shape"]),
            "crosstalk": tuple(tuple(row) for row in values["crosstalk"]),
            "brighter_fatter": BrighterFatter(**values["brighter_fatter"]),
        }
        return cls(**{**values, **restored})


DEFAULT_CAMERA = Camera(
    amplifiers=(
        SimulatedAmplifier(name="C00", gain=1.5, read_noise=5.0, bias=1000, corner=ReadoutCorner.LL, column=0, row=0),
        SimulatedAmplifier(name="C01", gain=1.6, read_noise=6.0, bias=1100, corner=ReadoutCorner.LR, column=1, row=0),
        SimulatedAmplifier(name="C10", gain=1.7, read_noise=7.0, bias=1200, corner=ReadoutCorner.UL, column=0, row=1),
        SimulatedAmplifier(name="C11", gain=1.8, read_noise=8.0, bias=1300, corner=ReadoutCorner.UR, column=1, row=1),
    ),
    crosstalk=(
        (0.0, 3.0e-4, 1.2e-4, 0.4e-4),
        (2.5e-4, 0.0, 0.5e-4, 1.0e-4),
        (1.1e-4, 0.6e-4, 0.0, 2.0e-4),
        (-0.3e-4, 0.9e-4, 1.8e-4, 0.0),
    ),
)
