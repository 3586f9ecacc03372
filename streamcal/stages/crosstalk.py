"""The stage ``crosstalk``: what other amplifiers of the detector have added to each is subtracted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from streamcal.errors import StageError
from streamcal.flags import RowFlag
from streamcal.hookspecs import Context, Settings, Stage, hookimpl
from streamcal.records import Exposure
from streamcal.stages.files import FileCache, PathPattern, find_file, is_fits, search_file
from streamcal.stages.masks import MaskName
from streamcal.stages.numbers import PerAmplifier, number_for

if TYPE_CHECKING:
    from streamcal.calibs.crosstalk import CrosstalkCalib

INLINE = "configuration"


class CrosstalkSettings(Settings):
    """Settings of the stage ``crosstalk``; without ``matrix`` and ``file`` it passes exposures through, flagged."""

    matrix: tuple[tuple[float, ...], ...] | None = Field(
        None, description="Coefficients, [target][source], amplifiers in the instrument's order."
    )
    units: Literal["adu", "electron"] = Field("adu", description="Unit of pixels for which the matrix holds.")
    file: PathPattern | None = Field(
        None, description="Crosstalk calibration, FITS, ECSV or YAML; may hold {instrument} and {detector}."
    )
    missing: Literal["error", "skip"] = Field(
        "error", description="No such file for a detector: the pair fails, or is passed through with NO_CROSSTALK."
    )
    gains: PerAmplifier = Field(
        None, description="Gain, or table by amplifier (e-/ADU), for coefficients in electrons; default: the file's."
    )
    quadratic: bool = Field(False, description="Subtract the quadratic term of the file too.")
    iterations: int = Field(1, ge=1, description="Passes; more than one for coefficients above 1e-3.")
    background: Literal["NONE", "AMP", "DETECTOR"] = Field(
        "NONE", description="Level of the sources that does not count: none, median of amplifier or of detector."
    )
    bad_pixels: tuple[MaskName, ...] = Field(("BAD",), description="Mask bits left out of the medians.")
    bad_amplifiers: tuple[str, ...] = Field((), description="Amplifiers that are neither sources nor targets.")
    threshold: float = Field(
        45000.0,
        gt=0,
        description="Pixels under sources this far above the detector's median are masked CROSSTALK (unit of the "
        "coefficients).",
    )
    mask_subtrahend: bool = Field(False, description="Hold the threshold against what is subtracted, not the source.")
    full_amplifier: bool = Field(
        False, description="Correct the parallel overscan too, for parallel_overscan after this stage."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.matrix is not None and self.file is not None:
            msg = "matrix and file exclude each other"
            raise ValueError(msg)
        if self.matrix is None and "units" in self.model_fields_set:
            msg = "units goes with matrix; a file says it itself"
            raise ValueError(msg)
        if self.matrix is not None and {len(row) for row in self.matrix} != {len(self.matrix)}:
            msg = f"matrix must be square, got {len(self.matrix)} rows of {sorted({len(row) for row in self.matrix})}"
            raise ValueError(msg)
        if self.full_amplifier and self.background != "NONE":
            msg = f"background must be NONE with full_amplifier: overscan holds none, got {self.background!r}"
            raise ValueError(msg)
        return self


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedCalib:
    """A calibration and where it comes from."""

    calib: CrosstalkCalib
    origin: str  # path, or ``configuration``
    digest: str  # xxh3-128 of the file; empty for a matrix of the configuration


_files: FileCache[LoadedCalib] = FileCache(size=256)


def run_crosstalk(exposure: Exposure, settings: CrosstalkSettings, context: Context) -> Exposure:
    """Subtract crosstalk from one exposure; see `streamcal.calibs.crosstalk.CrosstalkCalib.subtract_crosstalk`.

    Parameters
    ----------
    exposure : Exposure
        Overscan subtracted, ADU.
    settings : CrosstalkSettings
        Which coefficients, and how.
    context : Context
        Of the running stage; file, digest and largest correction are noted.

    Returns
    -------
    Exposure
        With own pixels; or the same, flagged NO_CROSSTALK, where there is no calibration.

    Raises
    ------
    StageError
        If the calibration is missing (``missing = "error"``), unreadable, or not for these amplifiers.
    """
    loaded = _load(exposure, settings, context)
    if loaded is None:
        for amplifier in exposure.amplifiers.values():
            amplifier.metadata["flags"] = int(RowFlag.NO_CROSSTALK)
        return exposure
    corrected = _subtract(exposure, loaded, settings)
    _note(exposure, corrected, loaded, context)
    return corrected


def _load(exposure: Exposure, settings: CrosstalkSettings, context: Context) -> LoadedCalib | None:
    if settings.matrix is not None:
        return _from_matrix(settings)
    if settings.file is None:
        return None
    search = search_file if settings.missing == "skip" else find_file
    path = search(settings.file, exposure.info, context.folders)
    return None if path is None else _files.get((path,), None, lambda: _read(path))


def _from_matrix(settings: CrosstalkSettings) -> LoadedCalib:
    from streamcal.calibs.crosstalk import CrosstalkCalib

    calib = CrosstalkCalib(n_amp=len(settings.matrix or ()))
    calib.coeffs = np.array(settings.matrix)
    calib.has_crosstalk = True
    calib.crosstalk_ratios_units = settings.units
    return LoadedCalib(calib=calib, origin=INLINE, digest="")


def _read(path: Path) -> LoadedCalib:
    import xxhash

    from streamcal.calibs.crosstalk import CrosstalkCalib

    try:
        calib = CrosstalkCalib.read_fits(path) if is_fits(path) else CrosstalkCalib.read_text(path)
    except ValueError as exc:
        raise StageError(str(exc)) from exc
    return LoadedCalib(calib=calib, origin=str(path), digest=xxhash.xxh3_128_hexdigest(path.read_bytes()))


def _subtract(exposure: Exposure, loaded: LoadedCalib, settings: CrosstalkSettings) -> Exposure:
    from streamcal.calibs.validate import validate_identity

    gains = {name: number_for(settings.gains, name) for name in exposure.amplifiers}
    try:
        validate_identity(loaded.calib, exposure)
        return loaded.calib.subtract_crosstalk(
            exposure,
            do_sqr_crosstalk=settings.quadratic,
            bad_amps=settings.bad_amplifiers,
            gains=None if settings.gains is None else gains,
            bad_pixels=settings.bad_pixels,
            background_method=None if settings.background == "NONE" else settings.background,
            min_pixel_to_mask=settings.threshold,
            do_subtrahend_masking=settings.mask_subtrahend,
            full_amplifier=settings.full_amplifier,
            iterations=settings.iterations,
        )
    except ValueError as exc:
        msg = f"crosstalk calibration {loaded.origin}: {exc}"
        raise StageError(msg) from exc


def _note(before: Exposure, after: Exposure, loaded: LoadedCalib, context: Context) -> None:
    largest = max(_largest_change(before, after, name) for name in before.amplifiers)
    for key, value in {"file": loaded.origin, "digest": loaded.digest, "largest_correction": largest}.items():
        after.metadata[f"crosstalk:{key}"] = value
        context.note(key, value)
    after.metadata["LSST ISR CROSSTALK APPLIED"] = True


def _largest_change(before: Exposure, after: Exposure, name: str) -> float:
    change = np.abs(after.amplifiers[name].data - before.amplifiers[name].data)
    return float(np.max(change, where=np.isfinite(change), initial=0.0))


@hookimpl
def streamcal_stages() -> Iterable[Stage]:
    """Offer the stage ``crosstalk``."""
    return [
        Stage(
            name="crosstalk",
            kind="exposure",
            run=run_crosstalk,
            settings=CrosstalkSettings,
            requires=("overscan",),
            provides=("crosstalk",),
        )
    ]
