"""The read noise of an amplifier, from the first source that knows it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from streamcal.errors import StageError
from streamcal.flags import RowFlag
from streamcal.hookspecs import Context
from streamcal.measure import Overscan, clip_statistics, read_noise_from_metadata
from streamcal.records import Amplifier, Exposure
from streamcal.stages.files import FileCache, PathPattern, find_file, search_file
from streamcal.stages.numbers import PerAmplifier, number_for
from streamcal.stages.overscan import OverscanPlace, OverscanSettings, subtract_overscan

Source = Literal["frames", "overscan", "header", "sidecar", "config"]
SOURCES: tuple[Source, ...] = ("frames", "overscan", "header", "sidecar", "config")
_SETTING = {"frames": "noise_frames", "sidecar": "noise_sidecar", "config": "noise_adu"}


class ReadNoiseSettings(OverscanSettings):
    """Where the read noise comes from."""

    overscan: OverscanPlace = Field(
        "serial",
        description="What tells the bias level: serial, prescan, none, or an IRAF section of the stored array.",
    )
    read_noise: tuple[Source, ...] = Field(
        SOURCES,
        description="Sources of the read noise in order, the first that knows it counts: frames (see noise_frames), "
        "overscan, header (LSST ISR OVERSCAN RESIDUAL SERIAL STDEV), sidecar (see noise_sidecar), config (noise_adu).",
    )
    noise_frames: tuple[PathPattern, PathPattern] | None = Field(
        None, description="Two bias or dark frames of one exposure time whose difference gives the read noise."
    )
    noise_sidecar: PathPattern | None = Field(
        None, description="Task metadata of each exposure, JSON or YAML, with RESIDUAL STDEV {amp} under isr."
    )
    noise_adu: PerAmplifier = Field(
        None, description="Read noise as a number, or a table by amplifier (ADU); sets the flag READ_NOISE_CONFIGURED."
    )

    @field_validator("noise_frames", mode="before")
    @classmethod
    def _check_frames(cls, frames: Any) -> Any:
        if not isinstance(frames, (list, tuple)):
            return frames
        if len(frames) != 2:
            msg = f"needs two files, got {len(frames)}"
            raise ValueError(msg)
        return tuple(frames)  # in strict validation a list is none

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        for source, setting in _SETTING.items():
            is_set = getattr(self, setting) is not None
            if is_set and source not in self.read_noise:
                msg = f"{setting} is set, but read_noise does not list {source!r}"
                raise ValueError(msg)
            if not is_set and "read_noise" in self.model_fields_set and source in self.read_noise:
                msg = f"read_noise lists {source!r}, but {setting} is not set"
                raise ValueError(msg)
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadNoise:
    """Read noise of one amplifier in one exposure."""

    value: float = math.nan  # ADU; NaN: no source knows it
    error: float = math.nan  # of `value`, ADU; NaN: unknown
    source: Source | None = None
    is_shared: bool = False  # one measurement for all exposures: averaging over them does not improve it

    @property
    def pair_error(self) -> float:
        """Share of this exposure in the error of a pair, whose read noise is the mean over both exposures, ADU."""
        return self.error if self.is_shared else self.error / math.sqrt(2)

    @property
    def flags(self) -> int:
        """Bits of `streamcal.flags.RowFlag`."""
        return int(RowFlag.READ_NOISE_CONFIGURED) if self.source == "config" else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseSearch:
    """All in which the read noise of one amplifier may be found."""

    exposure: Exposure
    amplifier: Amplifier
    overscan: Overscan | None
    settings: ReadNoiseSettings
    context: Context

    def find(self) -> ReadNoise:
        """Return the read noise of the first source that knows it; NaN without a source where none does.

        Raises
        ------
        StageError
            If a file that the settings name is missing or cannot be understood; a missing sidecar is no error.
        """
        for source in self.settings.read_noise:
            found = _FINDERS[source](self)
            if math.isfinite(found.value):
                return found
        return ReadNoise()


def _from_frames(search: NoiseSearch) -> ReadNoise:
    patterns, info = search.settings.noise_frames, search.exposure.info
    if patterns is None:
        return ReadNoise()
    first, second = (find_file(pattern, info, search.context.folders) for pattern in patterns)
    key = (info.instrument, info.detector, search.settings.model_dump_json())
    measured = _measured_frames.get((first, second), key, lambda: _measure_frames((first, second), search))
    if search.amplifier.name not in measured:
        msg = f"{first} and {second} do not both have amplifier {search.amplifier.name!r}"
        raise StageError(msg)
    return measured[search.amplifier.name]


_measured_frames: FileCache[dict[str, ReadNoise]] = FileCache(size=64)


def _measure_frames(paths: tuple[Path, Path], search: NoiseSearch) -> dict[str, ReadNoise]:
    first, second = (search.context.load_exposure(path).amplifiers for path in paths)
    return {name: _measure_difference(first[name], second[name], search.settings) for name in first if name in second}


def _measure_difference(first: Amplifier, second: Amplifier, settings: ReadNoiseSettings) -> ReadNoise:
    """Measure ``sigma^2 = Var_clipped(first - second) / 2``, less what subtracting the overscan has added to it."""
    fits = [subtract_overscan(amplifier, settings.overscan, settings) for amplifier in (first, second)]
    added = sum(fit.row_covariance for fit in fits if fit is not None) / 2
    clipped = clip_statistics(first.data - second.data, settings.n_sigma, settings.n_iter)
    square = clipped.sigma**2 / 2 - added
    if clipped.n_values < 2 or not square > 0:
        return ReadNoise()
    value = math.sqrt(square)
    error = clipped.sigma**2 / 2 / value / math.sqrt(2 * (clipped.n_values - 1))
    return ReadNoise(value=value, error=error, source="frames", is_shared=True)


def _from_overscan(search: NoiseSearch) -> ReadNoise:
    if search.overscan is None:
        return ReadNoise()
    return ReadNoise(
        value=search.overscan.read_noise, error=search.overscan.read_noise_error, source="overscan", is_shared=False
    )


def _from_header(search: NoiseSearch) -> ReadNoise:
    headers = (search.amplifier.metadata.get("header", {}), search.exposure.header)
    return _from_metadata(headers, search.amplifier.name, "header")


def find_keyword(exposure: Exposure, amplifier: Amplifier, key: str) -> Any:
    """Return the header value of ``key amplifier``, the amplifier's own header first; None if neither has it."""
    headers = (amplifier.metadata.get("header", {}), exposure.header)
    values = (header.get(f"{key} {name}") for header in headers for name in (amplifier.name, amplifier.name.upper()))
    return next((value for value in values if value is not None), None)


def _from_sidecar(search: NoiseSearch) -> ReadNoise:
    pattern = search.settings.noise_sidecar
    path = None if pattern is None else search_file(pattern, search.exposure.info, search.context.folders)
    if path is None:
        return ReadNoise()
    return _from_metadata((_read_sidecar(path),), search.amplifier.name, "sidecar")


def _from_config(search: NoiseSearch) -> ReadNoise:
    value = number_for(search.settings.noise_adu, search.amplifier.name)
    return ReadNoise(value=value, source="config", is_shared=True)


_FINDERS: dict[Source, Callable[[NoiseSearch], ReadNoise]] = {
    "frames": _from_frames,
    "overscan": _from_overscan,
    "header": _from_header,
    "sidecar": _from_sidecar,
    "config": _from_config,
}


def _from_metadata(metadata: tuple[Mapping[str, Any], ...], amplifier: str, source: Source) -> ReadNoise:
    for name in (amplifier, amplifier.upper()):  # header keys are written in upper case
        value = read_noise_from_metadata(metadata, name)
        if value is not None:
            return ReadNoise(value=value, source=source)
    return ReadNoise()


def _read_sidecar(path: Path) -> dict[str, Any]:
    """Read task metadata: a table with ``isr``, or the nested form in which the batch world writes it."""
    values = _parse_sidecar(path)
    if not isinstance(values, Mapping):
        msg = f"{path}: must hold a table, got {type(values).__name__}"
        raise StageError(msg)
    task = values.get("isr")
    nested = values.get("metadata")
    if task is None and isinstance(nested, Mapping):
        task = nested.get("isr")
    return {**values, "isr": task.get("scalars", task) if isinstance(task, Mapping) else {}}


def _parse_sidecar(path: Path) -> Any:
    import yaml

    parse = yaml.safe_load if path.suffix.lower() in {".yaml", ".yml"} else json.loads
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as exc:
        msg = f"{path}: cannot be read as {'YAML' if parse is yaml.safe_load else 'JSON'}: {exc}"
        raise StageError(msg) from exc
