"""One TOML file becomes one validated tree; every key has a type, a default and a sentence of help."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import to_json

from streamcal.errors import ConfigError
from streamcal.ptc.settings import FitConfig

DEFAULT_STAGES = ("isr", "crosstalk", "covariance", "gain")


class Table(BaseModel):
    """Base of all tables of the configuration: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


ModelT = TypeVar("ModelT", bound=BaseModel)
TableT = TypeVar("TableT", bound=Table)


class SourceConfig(Table):
    """Where exposures arrive, and when a file counts as whole."""

    folders: tuple[Path, ...] = Field((), description="Folders to watch; relative to this file.")
    recursive: bool = Field(True, description="Watch folders inside these folders too.")
    watch: Literal["auto", "events", "poll"] = Field(
        "auto",
        description="How new files are noticed: by events, by listing often, or chosen by the kind of file system.",
    )
    settle_seconds: float = Field(
        1.0,
        ge=0,
        description="A file that was not seen being closed or renamed in must look the same twice, this far apart (s).",
    )
    rescan_seconds: float = Field(
        10.0,
        gt=0,
        description="Period of the full listing that finds what events missed (s); longer if a listing takes long.",
    )
    poll_seconds: float = Field(1.0, gt=0, description="Period of the listing where events do not reach (s).")
    incomplete_timeout: float = Field(
        600.0, ge=0, description="A file that is not whole after this time is rejected, until it changes again (s)."
    )
    follow_symlinks: bool = Field(False, description="Take files and folders that are symbolic links.")
    names: tuple[str, ...] = Field(
        ("*.fits", "*.fit", "*.fits.fz", "*.fits.gz", "*.fit.gz"),
        min_length=1,
        description="File name patterns to take, upper or lower case; hidden and temporary names are never taken.",
    )
    max_file_megabytes: float = Field(4096.0, gt=0, description="A larger file is rejected unread (MB).")
    max_expanded_megabytes: float = Field(
        8192.0, gt=0, description="A file that would grow beyond this when decompressed is rejected (MB)."
    )
    max_hdus: int = Field(300, ge=1, description="A file with more HDUs is rejected.")
    max_cards: int = Field(4000, ge=36, description="A file with more header cards in one HDU is rejected.")


class PairingConfig(Table):
    """Which two exposures make a pair."""

    match: Literal["TIME", "FLUX", "EXPID"] = Field(
        "TIME", description="Pair by equal exposure time, equal header flux, or neighbouring exposure ids."
    )
    tolerance_seconds: float = Field(0.005, ge=0, description="Exposure times this close are equal (s).")
    flux_tolerance: float = Field(0.001, ge=0, description="Header fluxes this close, relatively, are equal.")
    first_id_parity: Literal["even", "odd", "any"] = Field(
        "any", description="EXPID: whether the lower id of a pair is even, odd, or either."
    )
    group: tuple[str, ...] = Field(
        (),
        description="Header keys that tell one run from another (run, filter, night, binning); pairs stay in a group.",
    )
    extras: Literal["discard", "pair"] = Field(
        "discard", description="More than two at one level: set the others aside, or make further pairs."
    )
    max_separation: float = Field(
        0.0, ge=0, description="Largest distance of the members of a pair, in separation_unit; 0: any."
    )
    separation_unit: Literal["seconds", "ids"] = Field("seconds", description="Unit of max_separation.")
    orphan_timeout: float = Field(
        3600.0, gt=0, description="An exposure that waited this long for its partner is recorded as orphan (s)."
    )
    close_on_newer_group: bool = Field(
        False, description="Singles become orphans as soon as a newer group of the same detector begins."
    )


class PipelineConfig(Table):
    """Which stages run, in which order, and where plugins come from."""

    stages: tuple[str, ...] = Field(DEFAULT_STAGES, min_length=1, description="Stages by name, in order.")
    plugin_folders: tuple[Path, ...] = Field(
        (), description="Folders whose .py files are plugins; nobody else may be able to write them."
    )
    disabled_plugins: tuple[str, ...] = Field((), description="Installed plugins that are not loaded.")
    auxiliary_keys: tuple[str, ...] = Field(
        (), description="Header keys of the first exposure that become columns aux_<key>."
    )


class EngineConfig(Table):
    """Where pairs are measured, and within which limits."""

    kind: str = Field(
        "local",
        description="inline (this process), local (worker processes), dask (a cluster), or a plugged-in engine.",
    )
    workers: int = Field(2, ge=1, le=1024, description="Number of worker processes; dask: the cluster's own affair.")
    queue_size: int = Field(8, ge=1, description="Most pairs in flight at once.")
    attempts: int = Field(
        3, ge=1, description="A file or pair whose worker died, or whose storage failed, is tried this often."
    )
    job_seconds: float = Field(300.0, gt=0, description="A job that takes longer is killed (s).")
    memory_megabytes: int = Field(4096, ge=0, description="Address space of a worker (MB); 0: no limit.")
    jobs_per_worker: int = Field(1000, ge=1, description="A worker is replaced after this many jobs.")
    recycle_megabytes: int = Field(
        2048, ge=0, description="A worker that holds more memory than this after a job is replaced (MB); 0: never."
    )
    order: Literal["oldest", "newest"] = Field("oldest", description="Which waiting pair is measured first.")
    address: str = Field("", description="dask: the scheduler, tls://HOST:PORT; tcp:// only on this machine.")
    tls_ca: Path | None = Field(None, description="PEM file of the authority that signed the cluster's certificates.")
    tls_certificate: Path | None = Field(None, description="PEM file of this side's certificate.")
    tls_key: Path | None = Field(None, description="PEM file of its key.")
    allow_plain_tcp: bool = Field(
        False,
        description="Accept tcp:// to another machine, over which anybody on the network can run code as this user.",
    )


class OutputConfig(Table):
    """Where results and state lie, and how segments roll."""

    folder: Path | None = Field(None, description="Folder of the results; relative to this file.")
    state: Path | None = Field(None, description="Folder of journal and lock, on a local disk; default FOLDER/state.")
    roll_megabytes: float = Field(64.0, gt=0, description="A live segment is sealed at this size (MB).")
    roll_hours: float = Field(24.0, gt=0, description="A live segment is sealed at this age (h).")
    snapshot: bool = Field(
        False, description="Keep latest.arrow beside the segments, rewritten at most once a second, for other tools."
    )


class LogConfig(Table):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, else JSON.")


class Config(Table):
    """A whole run configuration.

    Attributes
    ----------
    path : Path or None
        The file it was read from; relative paths in it are relative to its folder.
    """

    instrument: str | dict[str, Any] = Field(
        description="Name of an instrument that streamcal or a plugin brings, path of an instrument file, or a table."
    )
    source: SourceConfig = SourceConfig()
    pairing: PairingConfig = PairingConfig()
    pipeline: PipelineConfig = PipelineConfig()
    stages: dict[str, dict[str, Any]] = Field({}, description="Settings of each stage, in [stages.NAME].")
    engine: EngineConfig = EngineConfig()
    output: OutputConfig = OutputConfig()
    fit: FitConfig = FitConfig()
    log: LogConfig = LogConfig()
    path: Path | None = Field(None, exclude=True, repr=False)

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        doubled = sorted({name for name in self.pipeline.stages if self.pipeline.stages.count(name) > 1})
        if doubled:
            msg = f"pipeline.stages must name each stage once, got {doubled[0]!r} twice"
            raise ValueError(msg)
        return self

    @property
    def output_folder(self) -> Path:
        """Folder of the results.

        Raises
        ------
        ConfigError
            If neither the configuration nor the command line names one.
        """
        if self.output.folder is None:
            msg = f"{self.origin}: output.folder is not set and --output was not given"
            raise ConfigError(msg)
        return self.output.folder

    @property
    def state_folder(self) -> Path:
        """Folder of journal and lock."""
        return self.output.state or self.output_folder / "state"

    @property
    def origin(self) -> str:
        """What error messages call this configuration."""
        return str(self.path or "configuration")


def load_config(path: Path, *, inputs: tuple[Path, ...] = (), output: Path | None = None) -> Config:
    """Read and validate a configuration file.

    Parameters
    ----------
    path : Path
        A TOML file.
    inputs : tuple of Path
        Folders that replace ``source.folders`` when given.
    output : Path, optional
        Folder that replaces ``output.folder``; the state then lies inside it.

    Raises
    ------
    ConfigError
        One line per thing that is wrong, each naming file and key.
    """
    values = read_toml(path)
    if inputs:
        values.setdefault("source", {})["folders"] = [str(folder.absolute()) for folder in inputs]
    if output is not None:
        table = values.setdefault("output", {})
        table["folder"] = str(output.absolute())
        table.pop("state", None)
    return parse_config(values, path)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    ConfigError
        If it cannot be read or is not TOML; the message names the file.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as exc:
        msg = f"{path}: {exc.strerror or exc}"
        raise ConfigError(msg) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        msg = f"{path}: not valid TOML: {exc}"
        raise ConfigError(msg) from exc


def parse_config(values: Mapping[str, Any], path: Path | None = None) -> Config:
    """Validate the values of a configuration; relative paths are taken relative to its file.

    Raises
    ------
    ConfigError
        One line per thing that is wrong, each naming file and key.
    """
    if "path" in values:
        msg = f"{path or 'configuration'}: path: unknown key"
        raise ConfigError(msg)
    config = validate(Config, values, str(path or "configuration"))
    base = (path.parent if path else Path()).absolute()
    return config.model_copy(
        update={
            "path": path,
            "source": _absolute(config.source, base, "folders"),
            "pipeline": _absolute(config.pipeline, base, "plugin_folders"),
            "engine": _absolute(config.engine, base, "tls_ca", "tls_certificate", "tls_key"),
            "output": _absolute(config.output, base, "folder", "state"),
        }
    )


def _absolute(table: TableT, base: Path, *keys: str) -> TableT:
    values = {key: value for key in keys if (value := getattr(table, key)) is not None}
    return table.model_copy(
        update={
            key: tuple(_join(base, path) for path in value) if isinstance(value, tuple) else _join(base, value)
            for key, value in values.items()
        }
    )


def _join(base: Path, path: Path) -> Path:
    return Path(os.path.abspath(base / path.expanduser()))  # noqa: PTH100 - ".." goes, links stay


def validate(model: type[ModelT], values: Mapping[str, Any], origin: str, prefix: str = "") -> ModelT:
    """Validate values against a model and word what is wrong for a person.

    Parameters
    ----------
    model : type
        A pydantic model.
    values : mapping
        What was read.
    origin : str
        File name for the messages.
    prefix : str
        Key under which the values stand, with a trailing dot.

    Raises
    ------
    ConfigError
        One line per thing that is wrong, each naming file and key; unknown keys with the nearest known one.
    """
    try:
        # strict, by way of JSON: a number in quotes is an error, while texts still become paths and lists tuples
        return model.model_validate_json(to_json(dict(values), inf_nan_mode="constants"), strict=True)
    except ValidationError as exc:
        lines = [f"{origin}: {line}" for line in _explain(exc, model, prefix)]
        raise ConfigError("\n".join(lines)) from exc


def _explain(error: ValidationError, model: type[BaseModel], prefix: str) -> Iterator[str]:
    for item in error.errors():
        key = prefix + ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            yield f"{key}: unknown key{_nearest(model, item['loc'])}"
        elif item["type"] == "missing":
            yield f"{key}: missing"
        elif item["type"] == "value_error":
            where = key.rstrip(".")
            yield f"{where}: {item['ctx']['error']}" if where else str(item["ctx"]["error"])
        else:
            text = item["msg"][0].lower() + item["msg"][1:]
            yield f"{key}: {text}, got {item['input']!r}"


def _nearest(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    known = sorted(_keys_at(model, loc[:-1]))
    close = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.6)
    if close:
        return f", did you mean {close[0]!r}?"
    return f", known here: {', '.join(known)}" if known else ""


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> set[str]:
    for part in loc:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if _is_model(kind)]
        if not inner:
            return set()
        model = inner[0]
    return {name for name, field in model.model_fields.items() if not field.exclude}


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
