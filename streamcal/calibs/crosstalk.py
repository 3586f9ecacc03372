"""`CrosstalkCalib`: the coefficients of a detector and their files; their subtraction is in `correction`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamcal.calibs import axes, formats
from streamcal.calibs.calib import Calib
from streamcal.calibs.correction import CrosstalkCorrection
from streamcal.calibs.detector import Detector
from streamcal.calibs.formats import MATRICES
from streamcal.calibs.validate import AMPLIFIERS_KEY, join_names, validate_content, validate_identity
from streamcal.records import Exposure

if TYPE_CHECKING:
    from astropy.table import Table


class CrosstalkCalib(CrosstalkCorrection, Calib):
    """Crosstalk between the amplifiers of a detector, and onto it from other detectors.

    Every matrix is ``[target, source]``: ``coeffs[i, j]`` times a pixel of amplifier ``j`` is what amplifier ``i``
    shows too much in the pixel that is read at the same time. Files and dicts are ``[source][target]``, see
    `streamcal.calibs.axes`.

    Parameters
    ----------
    detector : Detector, optional
        Sets the number of amplifiers and the identity.
    n_amp : int
        Number of amplifiers where no detector is given.
    log : logger, optional
        Has ``warning(text)``.

    Attributes
    ----------
    has_crosstalk : bool
        Whether the detector's own amplifiers show crosstalk: if not, ``coeffs`` and ``coeffs_sqr`` are not used.
    n_amp : int
        Number of amplifiers.
    crosstalk_shape : tuple of int
        ``(n_amp, n_amp)``.
    crosstalk_ratios_units : {"adu", "electron"}
        Unit of the pixels for which the coefficients hold.
    coeffs, coeff_err : (n_amp, n_amp) ndarray of float64
        Linear coefficients and their errors, dimensionless.
    coeff_num : (n_amp, n_amp) ndarray of int64
        Number of pixels that each was measured on; 0: not said.
    coeff_valid : (n_amp, n_amp) ndarray of bool
        As stored. See `usable` for what is used.
    coeffs_sqr, coeff_err_sqr : (n_amp, n_amp) ndarray of float64
        Quadratic coefficients and their errors, per ``crosstalk_ratios_units`` of the source.
    amp_gain_ratios : (n_amp, n_amp) ndarray of float64
        Gain of the target over gain of the source; 0: unknown.
    fit_gains : (n_amp,) ndarray of float64
        Gains used in the measurement, e-/ADU; 0: unknown.
    inter_chip : dict of str to (n_amp, n_amp) ndarray of float64
        Linear coefficients by name of the source detector, ``[target, source]``.
    """

    obstype: ClassVar[str] = "CROSSTALK"
    schema: ClassVar[str] = "Gen3 Crosstalk"
    version: ClassVar[float] = 1.2
    calib_class: ClassVar[str] = "lsst.ip.isr.crosstalk.CrosstalkCalib"
    required_attributes: ClassVar[frozenset[str]] = frozenset(
        {*MATRICES, "has_crosstalk", "n_amp", "crosstalk_shape", "crosstalk_ratios_units", "fit_gains", "inter_chip"}
    )
    implied_metadata: ClassVar[frozenset[str]] = frozenset({"CROSSTALK_SHAPE"})

    coeff_err: NDArray[np.float64]
    coeff_num: NDArray[np.int64]
    coeff_err_sqr: NDArray[np.float64]
    amp_gain_ratios: NDArray[np.float64]

    def __init__(self, detector: Detector | None = None, n_amp: int = 0, *, log: Any = None) -> None:
        super().__init__(log=log)
        self.n_amp = n_amp if detector is None else detector.n_amp
        self.crosstalk_shape = (self.n_amp, self.n_amp)
        self.has_crosstalk = False
        self.crosstalk_ratios_units = "adu"
        for name, (_, _, dtype, default) in MATRICES.items():
            setattr(self, name, np.full(self.crosstalk_shape, default, dtype))
        self.fit_gains = np.zeros(self.n_amp)
        self.inter_chip = {}
        self.update_metadata(**_identity(detector))

    @classmethod
    def from_detector(
        cls, detector: Detector, coeff_vector: ArrayLike | None = None, coeff_sqr_vector: ArrayLike | None = None
    ) -> Self:
        """Build from a detector description.

        Parameters
        ----------
        detector : Detector
            Whose gains, where it knows them, become ``fit_gains``.
        coeff_vector, coeff_sqr_vector : array_like, optional
            ``n_amp ** 2`` coefficients, flat in C order or nested, ``[target, source]``. Without the first there is
            no crosstalk.

        Raises
        ------
        ValueError
            If their number is not ``n_amp ** 2``.
        """
        calib = cls(detector)
        for name, vector in (("coeffs", coeff_vector), ("coeffs_sqr", coeff_sqr_vector)):
            if vector is not None:
                setattr(calib, name, axes.from_file(vector, calib.n_amp, name, float, axes.PYTHON_AXES))
                calib.has_crosstalk = True
        gains = np.array(list(detector.gains.values()), float)
        calib.fit_gains = np.where(np.isfinite(gains), gains, 0.0)
        calib.update_metadata()
        return calib

    @classmethod
    def from_dict(cls, dictionary: Mapping[str, Any]) -> Self:
        """Build from a dict with the peer's keys; matrices in it are ``[source][target]``.

        Only ``coeffs`` is required. Before version 1.1 the unit is adu; ``fitGains`` of length 1 means unknown.

        Parameters
        ----------
        dictionary : mapping
            ``metadata, hasCrosstalk, nAmp, crosstalkRatiosUnits, coeffs, coeffErr, coeffNum, coeffValid, coeffsSqr,
            coeffErrSqr, ampGainRatios, fitGains, interChip``.

        Raises
        ------
        ValueError
            If it is of another kind, lacks ``coeffs``, or a size does not fit the number of amplifiers.
        """
        cls.require_kind(dictionary)
        calib = cls(n_amp=formats.count_amplifiers(dictionary))
        calib.calib_info_from_dict(dictionary)
        formats.fill_from_dict(calib, dictionary)
        calib.update_metadata()
        return calib

    def to_dict(self) -> dict[str, Any]:
        """Return a dict of plain values with the peer's keys; matrices in it are flat, ``[source][target]``."""
        self.update_metadata()
        return formats.make_dict(self)

    @classmethod
    def from_table(cls, table_list: Sequence[Table]) -> Self:
        """Build from the peer's tables.

        Parameters
        ----------
        table_list : sequence of Table
            The coefficients (one row), and perhaps the inter-chip coefficients (a row per source detector).

        Raises
        ------
        ValueError
            As for `from_dict`; names are those of the columns.
        """
        return cls.from_dict(formats.dict_from_tables(table_list))

    def to_table(self) -> list[Table]:
        """Return the peer's tables: the coefficients, and the inter-chip coefficients where there are any."""
        self.update_metadata()
        return formats.make_tables(self)

    def _content_metadata(self) -> dict[str, Any]:
        return {
            "HAS_CROSSTALK": self.has_crosstalk,
            "NAMP": self.n_amp,
            "CROSSTALK_SHAPE": list(self.crosstalk_shape),
            "CROSSTALK_RATIOS_UNITS": self.crosstalk_ratios_units,
            axes.AXES_KEY: axes.FILE_AXES,
        }

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which coefficients are used: ``coeff_valid`` and finite; (n_amp, n_amp), ``[target, source]``."""
        usable: NDArray[np.bool_] = self.coeff_valid.astype(bool) & np.isfinite(self.coeffs)
        return usable

    def find_unknown(self, *, quadratic: bool) -> NDArray[np.bool_]:
        """Find coefficients that are marked valid but not finite, here or from another detector.

        Parameters
        ----------
        quadratic : bool
            Look at the quadratic ones too.

        Returns
        -------
        (n_amp, n_amp) ndarray of bool
            ``[target, source]``.
        """
        known = np.isfinite(self.coeffs) & (np.isfinite(self.coeffs_sqr) | (not quadratic))
        unknown: NDArray[np.bool_] = self.coeff_valid.astype(bool) & ~known & ~np.eye(self.n_amp, dtype=bool)
        unknown &= self.has_crosstalk
        for matrix in self.inter_chip.values():
            unknown |= ~np.isfinite(matrix)
        return unknown

    def validate(self, other: Detector | Exposure | CrosstalkCalib | None = None) -> bool:
        """Check that this calibration holds together, and that it belongs to something.

        Parameters
        ----------
        other : Detector, Exposure or CrosstalkCalib, optional
            Must have as many amplifiers and, where both say who they are, the same identity, names and order of
            amplifiers.

        Returns
        -------
        bool
            True.

        Raises
        ------
        ValueError
            Naming what is wrong: unit, shape, type, a coefficient that is marked valid but not finite, a negative
            error or number, coefficients without ``has_crosstalk``, number or names of amplifiers, instrument or
            detector.
        """
        validate_content(self)
        if other is not None:
            validate_identity(self, other)
        return True


def _identity(detector: Detector | None) -> dict[str, Any]:
    if detector is None:
        return {}
    return {
        "INSTRUME": detector.instrument,
        "DETECTOR": detector.detector_id,
        "DETECTOR_NAME": detector.name,
        "DETECTOR_SERIAL": detector.serial,
        AMPLIFIERS_KEY: join_names(detector.gains),
    }
