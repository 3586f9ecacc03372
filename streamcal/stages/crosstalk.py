"""The stage ``crosstalk``: what other amplifiers of the detector have added to each is subtracted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import compress
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from streamcal.errors import RetryLater, StageError
from streamcal.flags import RowFlag
from streamcal.hookspecs import CheckContext, Column, Context, Settings, Stage, hookimpl
from streamcal.records import Exposure, ExposureInfo
from streamcal.stages.crosstalk_files import LoadedCalib, load_calib
from streamcal.stages.files import PathPattern, check_file
from streamcal.stages.masks import MaskName
from streamcal.stages.numbers import PerAmplifier, find_strangers, number_for, require_amplifiers

TABLES = ("gains",)  # settings by amplifier
FIRST_WAIT = 1.0  # s; each further one is as long as all before


class CrosstalkSettings(Settings):
    """Settings of the stage ``crosstalk``; without ``matrix`` and ``file`` it passes exposures through, flagged."""

    matrix: tuple[tuple[float, ...], ...] | None = Field(
        None, description="Coefficients, [target][source], amplifiers in the instrument's order."
    )
    units: Literal["adu", "electron"] = Field("adu", description="Unit of pixels for which the matrix holds.")
    file: PathPattern | None = Field(
        None,
        description="Crosstalk calibration, FITS, ECSV or YAML, or folder of several with their dates; may hold "
        "{instrument}, {detector} and wildcards.",
    )
    missing: Literal["error", "skip"] = Field(
        "error", description="No such file for a detector: the pair fails, or is passed through with NO_CROSSTALK."
    )
    inter_chip_timeout: float = Field(
        60.0,
        ge=0,
        description="How long a pair waits for exposures of other detectors that the file has coefficients for (s); "
        "then it is measured without, flagged CROSSTALK_INCOMPLETE.",
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
    bad_amplifiers: tuple[str, ...] = Field(
        (),
        description="Amplifiers that are neither sources nor targets: AMPLIFIER on all detectors, "
        "DETECTOR/AMPLIFIER on one.",
    )
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


COLUMNS = (
    Column(
        name="crosstalk_file",
        type="string",
        unit="",
        description="Crosstalk calibration that was subtracted, or configuration for a matrix there; null: none.",
        combine="join",
    ),
    Column(
        name="crosstalk_digest",
        type="string",
        unit="",
        description="Digest (xxh3-128) of that file; null where there is none.",
        combine="join",
    ),
    Column(
        name="crosstalk_max_correction",
        type="float64",
        unit="ADU",
        description="Largest correction of a pixel of this amplifier, sign left out, in both exposures; NaN: none.",
        combine="max",
    ),
)


def check_crosstalk(settings: CrosstalkSettings, context: CheckContext) -> Iterator[str]:
    """Say what of the settings cannot fit any exposure: file, size of the matrix, amplifiers."""
    if settings.missing == "error":
        yield from check_file("file", settings.file, context, marks="{*?[")
    size, n = len(settings.matrix or ()), context.n_amplifiers
    if settings.matrix is not None and n and size != n:
        yield f"matrix: must be {n} x {n} for the amplifiers of {context.instrument}, got {size} x {size}"
    if context.amplifiers:
        yield from find_strangers(settings, TABLES, context.amplifiers)


def run_crosstalk(exposure: Exposure, settings: CrosstalkSettings, context: Context) -> Exposure:
    """Subtract crosstalk from one exposure; see `streamcal.calibs.crosstalk.CrosstalkCalib.apply`.

    Parameters
    ----------
    exposure : Exposure
        Overscan subtracted, ADU.
    settings : CrosstalkSettings
        Which coefficients, and how.
    context : Context
        Of the running stage; file, digest, largest correction, number of unknown coefficients and amplifiers with
        replaced gains are noted.

    Returns
    -------
    Exposure
        With own pixels; or with the same, flagged NO_CROSSTALK, where there is no calibration, or one without
        coefficients.

    Raises
    ------
    RetryLater
        While an exposure of another detector is missing that the calibration has coefficients for.
    StageError
        If the calibration is missing (``missing = "error"``), unreadable, or not for these amplifiers, or ``gains``
        names what is none.
    """
    require_amplifiers(settings, TABLES, exposure.amplifiers)
    loaded = load_calib(exposure.info, settings, context)
    if loaded is None or not (loaded.calib.has_crosstalk or loaded.calib.inter_chip):
        return _pass_through(exposure)
    sources = _find_sources(exposure.info, loaded, settings, context)
    corrected, replaced = _subtract(exposure, sources, loaded, settings, context)
    unknown = loaded.calib.find_unknown(quadratic=settings.quadratic)
    found = {"unknown_coefficients": int(np.count_nonzero(unknown)), "replaced_gains": ", ".join(replaced)}
    _note(exposure, corrected, loaded, context, found)
    _flag(corrected, unknown, complete=len(sources) == len(loaded.calib.inter_chip), replaced=bool(replaced))
    return corrected


def _pass_through(exposure: Exposure) -> Exposure:
    """Return an exposure with the same pixels that says they are not corrected."""
    said = {
        "crosstalk_file": None,
        "crosstalk_digest": None,
        "crosstalk_max_correction": np.nan,
        "flags": int(RowFlag.NO_CROSSTALK),
    }
    amplifiers = {
        name: replace(amplifier, metadata={**amplifier.metadata, **said})
        for name, amplifier in exposure.amplifiers.items()
    }
    return replace(exposure, amplifiers=amplifiers)


def _flag(corrected: Exposure, unknown: NDArray[np.bool_], *, complete: bool, replaced: bool) -> None:
    """Flag targets of which some crosstalk stays in: a source has not come, a coefficient or gain is not known."""
    common = RowFlag(0 if complete else RowFlag.CROSSTALK_INCOMPLETE)
    common |= RowFlag(RowFlag.CROSSTALK_GAIN_REPLACED if replaced else 0)
    for left, amplifier in zip(np.any(unknown, axis=1).tolist(), corrected.amplifiers.values(), strict=True):
        amplifier.metadata["flags"] = int(common | RowFlag.CROSSTALK_INCOMPLETE if left else common)


def _find_sources(
    info: ExposureInfo, loaded: LoadedCalib, settings: CrosstalkSettings, context: Context
) -> dict[str, Exposure]:
    """Return the exposures of the detectors that leave crosstalk on this one, as far as they are there."""
    sources = {}
    for detector in loaded.calib.inter_chip:
        source = context.companion(info, detector)
        if source is not None:
            sources[detector] = source
        elif context.waited_seconds < settings.inter_chip_timeout:
            left = settings.inter_chip_timeout - context.waited_seconds
            msg = f"exposure {info.exposure_id} of detector {detector}, a source of crosstalk, has not come"
            raise RetryLater(msg, after_seconds=min(max(context.waited_seconds, FIRST_WAIT), left))
    return sources


def _subtract(
    exposure: Exposure,
    sources: Mapping[str, Exposure],
    loaded: LoadedCalib,
    settings: CrosstalkSettings,
    context: Context,
) -> tuple[Exposure, list[str]]:
    """Return the corrected exposure, and the amplifiers whose gain counted as the median of the others."""
    from streamcal.calibs.validate import validate_identity

    try:
        validate_identity(loaded.calib, exposure)
        gains, replaced = _choose_gains(exposure, loaded, loaded, settings)
        source_options: dict[str, dict[str, Any]] = {}
        for name, source in sources.items():
            own = None if gains is None else load_calib(source.info, settings, context)
            source_gains, bad = _choose_gains(source, loaded, own, settings)
            source_options[name] = {"bad_source_amps": _bad_amplifiers(source, settings), "source_gains": source_gains}
            replaced += bad
        options = _options(exposure, settings) | {"source_options": source_options, "gains": gains}
        return loaded.calib.apply(exposure, sources, **options), replaced
    except ValueError as exc:
        msg = f"crosstalk calibration {loaded.origin}: {exc}"
        raise StageError(msg) from exc


def _choose_gains(
    exposure: Exposure, loaded: LoadedCalib, own: LoadedCalib | None, settings: CrosstalkSettings
) -> tuple[NDArray[np.float64] | None, list[str]]:
    """Return the gains, where any are needed: those configured, else those of the detector's own file.

    Bad ones are replaced by the median of the others and named. Nothing is warned of: rows tell.
    """
    from streamcal.calibs.gains import fill_gains, find_bad_gains, order_gains

    names = list(exposure.amplifiers)
    if loaded.calib.crosstalk_ratios_units == "adu":
        return None, []
    if settings.gains is not None:
        gains = np.array([number_for(settings.gains, name) for name in names])
    elif own is not None:
        gains = order_gains(own.calib.fit_gains, names)
    else:
        return None, []
    bad = [f"{exposure.info.detector}/{name}" for name in compress(names, find_bad_gains(gains))]
    return fill_gains(gains, names, None), bad


def _options(exposure: Exposure, settings: CrosstalkSettings) -> dict[str, Any]:
    """Return the choices that are the same for all sources."""
    return {
        "do_sqr_crosstalk": settings.quadratic,
        "bad_amps": _bad_amplifiers(exposure, settings),
        "bad_pixels": settings.bad_pixels,
        "background_method": None if settings.background == "NONE" else settings.background,
        "min_pixel_to_mask": settings.threshold,
        "do_subtrahend_masking": settings.mask_subtrahend,
        "full_amplifier": settings.full_amplifier,
        "iterations": settings.iterations,
        "share_masks": True,  # the stage consumes its exposure
    }


def _bad_amplifiers(exposure: Exposure, settings: CrosstalkSettings) -> list[str]:
    """Return which amplifiers of this exposure are bad; the setting may name some that others have."""
    bad = {name.removeprefix(f"{exposure.info.detector}/") for name in settings.bad_amplifiers}
    return [name for name in exposure.amplifiers if name in bad]


def _note(before: Exposure, after: Exposure, loaded: LoadedCalib, context: Context, found: Mapping[str, Any]) -> None:
    largest = {name: _largest_change(before, after, name) for name in before.amplifiers}
    for name, amplifier in after.amplifiers.items():
        amplifier.metadata |= {"crosstalk_file": loaded.origin, "crosstalk_digest": loaded.digest}
        amplifier.metadata["crosstalk_max_correction"] = largest[name]
    notes = {"file": loaded.origin, "digest": loaded.digest, "largest_correction": max(largest.values()), **found}
    for key, value in notes.items():
        after.metadata[f"crosstalk:{key}"] = value
        context.note(key, value)
    after.metadata["LSST ISR CROSSTALK APPLIED"] = True


def _largest_change(before: Exposure, after: Exposure, name: str) -> float:
    change = after.amplifiers[name].data - before.amplifiers[name].data
    largest = np.abs(change, out=change).max(initial=0.0)
    return float(largest if np.isfinite(largest) else change.max(where=np.isfinite(change), initial=0.0))


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
            columns=COLUMNS,
            check=check_crosstalk,
        )
    ]
