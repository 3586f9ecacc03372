"""What is done with one pair, wherever it is done: a pure function from a job to rows, both of them bytes.

A job carries paths, identities, stage names and settings, never pixels; the process that runs it loads the plugins
itself, once for each recipe. So the same function runs in the daemon, in a worker process or on another machine.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from streamcal.chain import Chain, StageContext, build_chain, stage_log
from streamcal.config import Config, LogConfig
from streamcal.errors import CompanionsWanted, ExposureError, NotWhole, StageError
from streamcal.logs import choose_form, configure_logs
from streamcal.paths import show_path
from streamcal.plugins import Plugins, load_plugins
from streamcal.records import Candidate, Exposure, ExposureInfo, Pair, PairRecord
from streamcal.source.whole import Limits

if TYPE_CHECKING:
    import pyarrow as pa

    from streamcal.instruments import Instrument

Companions = Mapping[str, Mapping[str, ExposureInfo]]  # by exposure id and detector

# what the stages and the reader import when first needed, so that other processes do without
LATE = ("astropy.io.fits", "streamcal.calibs", "streamcal.instruments.read")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All of a run configuration that the result of a job depends on, as plain values.

    Attributes
    ----------
    instrument : dict
        The instrument's table, complete.
    stages : tuple of str
        Stages in order.
    settings : dict
        Settings by stage.
    plugin_folders, disabled_plugins : tuple of str
        Where plugins come from.
    auxiliary_keys, group_keys : tuple of str
        Header keys that are wanted.
    folders : tuple of str
        Where stages look for files with relative names.
    limits : dict
        What a FITS file may contain at most.
    origin : str
        What error messages call the configuration.
    """

    instrument: dict[str, Any]
    stages: tuple[str, ...]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    plugin_folders: tuple[str, ...] = ()
    disabled_plugins: tuple[str, ...] = ()
    auxiliary_keys: tuple[str, ...] = ()
    group_keys: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    limits: dict[str, Any] = field(default_factory=dict)
    origin: str = "configuration"

    @classmethod
    def of(cls, config: Config, instrument: Instrument) -> Self:
        """Take the recipe out of a run configuration."""
        base = (config.path.parent if config.path else Path()).absolute()
        return cls(
            instrument=instrument.to_dict(),
            stages=config.pipeline.stages,
            settings=config.stages,
            plugin_folders=tuple(str(folder) for folder in config.pipeline.plugin_folders),
            disabled_plugins=config.pipeline.disabled_plugins,
            auxiliary_keys=config.pipeline.auxiliary_keys,
            group_keys=config.pairing.group,
            folders=tuple(str(folder) for folder in (*config.source.folders, base)),
            limits=asdict(Limits.from_config(config.source)),
            origin=config.origin,
        )

    def to_json(self) -> str:
        """Return it as text that is the same for the same recipe."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Restore what `to_json` gave."""
        values: dict[str, Any] = json.loads(text)
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Workshop:
    """What a recipe becomes in the process that works by it."""

    recipe: Recipe
    plugins: Plugins
    instrument: Instrument
    chain: Chain
    limits: Limits
    schema: pa.Schema


@functools.lru_cache(maxsize=4)
def open_workshop(recipe_json: str) -> Workshop:
    """Load plugins, instrument and stages of a recipe, once in this process.

    Raises
    ------
    ConfigError, PluginError
        If they do not fit together.
    """
    from streamcal.instruments import Instrument
    from streamcal.sink.schema import measurement_schema

    recipe = Recipe.from_json(recipe_json)
    plugins = load_plugins([Path(folder) for folder in recipe.plugin_folders], recipe.disabled_plugins)
    chain = build_chain(recipe.stages, recipe.settings, plugins, recipe.origin)
    return Workshop(
        recipe=recipe,
        plugins=plugins,
        instrument=Instrument.from_dict(recipe.instrument, recipe.origin),
        chain=chain,
        limits=Limits(**recipe.limits),
        schema=measurement_schema(chain.columns, recipe.auxiliary_keys, chain_digest=chain.digest),
    )


def start_job(recipe: Recipe, log: LogConfig) -> bytes:
    """Return the job that a worker process does first, see `warm_worker`: it logs as this process does."""
    values = {"level": log.level, "form": choose_form(log.format)}
    return json.dumps({"recipe": recipe.to_json(), "log": values}, sort_keys=True).encode()


def open_workshop_of(job: bytes) -> Workshop:
    """Return the workshop of what `start_job` gave."""
    return open_workshop(json.loads(job)["recipe"])


def warm_worker(job: bytes) -> bytes:
    """Set up the logs of a worker process, load all that a recipe needs and compile the kernels.

    The first pair does not wait for it then.

    Parameters
    ----------
    job : bytes
        What `start_job` gave.
    """
    configure_logs(**json.loads(job)["log"])
    open_workshop_of(job)
    load_late()
    return b""


def load_late() -> None:
    """Load what reading and measuring import when first needed, and compile the kernels."""
    from streamcal.instruments.tiles import load_decoder
    from streamcal.measure import median_variance_factor, warm_kernels

    for library in LATE:
        importlib.import_module(library)
    load_decoder()
    warm_kernels()
    median_variance_factor(2)


def inspect_job(candidate: Candidate, recipe: Recipe) -> bytes:
    """Return the job that has a file looked into by `streamcal.instruments.inspect_file`."""
    return json.dumps(
        {
            "path": candidate.path,
            "stat": candidate.stat.to_dict(),
            "instrument": recipe.instrument,
            "limits": recipe.limits,
            "group_keys": recipe.group_keys,
            "auxiliary_keys": recipe.auxiliary_keys,
        }
    ).encode()


def pair_job(
    pair: PairRecord,
    recipe_json: str,
    companions: Mapping[str, Mapping[str, str]] | None = None,
    waited_seconds: float = math.inf,
) -> bytes:
    """Return the job that has a pair measured by `measure_pair`.

    Parameters
    ----------
    pair : PairRecord
        The pair.
    recipe_json : str
        How.
    companions : mapping of str to mapping, optional
        By exposure id and detector: the same exposures of other detectors, each an `ExposureInfo` as JSON. They are
        most of a job, and few stages ask for them: None leaves them out, and raises `CompanionsWanted` if one does.
    waited_seconds : float
        How long the pair has been waiting for more of them; infinite: none will come.
    """
    job: dict[str, Any] = {"pair_id": pair.pair_id, "first": pair.first.to_dict(), "second": pair.second.to_dict()}
    job |= {"recipe": recipe_json, "companions": companions, "waited_seconds": waited_seconds}
    return json.dumps(job).encode()


def measure_pair(job: bytes) -> bytes:
    """Measure one pair.

    Parameters
    ----------
    job : bytes
        What `pair_job` gave.

    Returns
    -------
    bytes
        An Arrow IPC stream of one record batch: a row per amplifier, ``seq`` still 0.

    Raises
    ------
    StageError
        If a stage fails.
    ExposureError
        If a file cannot be read any more, or is not what was admitted.
    RetryLater
        If a stage asks for it; `CompanionsWanted` if it wants exposures of other detectors and the job has none.
    """
    values = json.loads(job)
    workshop = open_workshop(values["recipe"])
    record = PairRecord(
        pair_id=values["pair_id"],
        first=ExposureInfo.from_dict(values["first"]),
        second=ExposureInfo.from_dict(values["second"]),
    )
    companions = values["companions"] and {
        exposure_id: {detector: ExposureInfo.from_dict(json.loads(text)) for detector, text in infos.items()}
        for exposure_id, infos in values["companions"].items()
    }
    rows = measure_rows(record, workshop, companions, values["waited_seconds"])
    return serialize_rows(rows, workshop)


def measure_rows(
    record: PairRecord,
    workshop: Workshop,
    companions: Companions | None = MappingProxyType({}),
    waited_seconds: float = math.inf,
) -> list[dict[str, Any]]:
    """Read a pair, run the chain on it and return its rows as plain values, see `measure_pair`."""
    from streamcal.instruments.read import read_exposure

    context = make_context(record.first, workshop, pair_id=record.pair_id)
    context.find_companion = functools.partial(_find_companion, workshop, companions)
    context.waited_seconds = waited_seconds
    with context.running("read"):
        # nobody but the pair holds the exposures: what a stage replaces is freed
        pair = Pair(
            pair_id=record.pair_id,
            first=read_exposure(record.first, workshop.instrument, workshop.limits),
            second=read_exposure(record.second, workshop.instrument, workshop.limits),
        )
    _check_amplifiers(pair.first, pair.second)
    measured = workshop.chain.run(pair, context)
    common = _identity_columns(record, context.timings)
    auxiliary = _auxiliary_columns(record.first, workshop.recipe.auxiliary_keys)
    return [{**common, **auxiliary, "amplifier": name, **columns} for name, columns in measured.items()]


def make_context(info: ExposureInfo, workshop: Workshop, **bound: Any) -> StageContext:
    """Return a fresh context for stages at work on exposures of this detector; ``bound`` goes to its log."""
    from streamcal.instruments.read import read_frame

    return StageContext(
        log=stage_log(detector=info.detector, **bound),
        load_exposure=lambda path: read_frame(path, workshop.instrument, info.detector, workshop.limits),
        folders=tuple(Path(folder) for folder in workshop.recipe.folders),
    )


def _find_companion(
    workshop: Workshop, companions: Companions | None, info: ExposureInfo, detector: str, stage: str
) -> Exposure | None:
    """Read the same exposure of another detector and bring it to where a stage begins; None where that cannot be."""
    from streamcal.instruments.read import read_exposure

    if companions is None:
        msg = f"stage {stage!r} asks for exposures of other detectors"
        raise CompanionsWanted(msg, after_seconds=0.0)
    other = companions.get(info.exposure_id, {}).get(detector)
    if other is None:
        return None
    context = make_context(other, workshop, exposure_id=other.exposure_id)
    try:
        exposure = read_exposure(other, workshop.instrument, workshop.limits)
    except (ExposureError, NotWhole) as exc:
        context.log.warning("companion cannot be read", path=show_path(other.path), reason=str(exc))
        return None
    return workshop.chain.run_before(stage, exposure, context)


def serialize_rows(rows: list[dict[str, Any]], workshop: Workshop) -> bytes:
    """Return rows as an Arrow IPC stream of one record batch.

    Raises
    ------
    StageError
        If a value does not have its column's type; names the stage that declared the column.
    """
    import pyarrow as pa

    from streamcal.sink.schema import build_batch

    try:
        batch = build_batch(workshop.schema, rows)
    except ValueError as exc:
        stage, plugin = _find_culprit(str(exc), workshop)
        raise StageError(str(exc), stage=stage, plugin=plugin) from exc
    buffer = pa.BufferOutputStream()
    with pa.ipc.new_stream(buffer, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(buffer.getvalue().to_pybytes())


def _find_culprit(text: str, workshop: Workshop) -> tuple[str, str]:
    """Name the stage and plugin that declared the column which a message of `build_batch` quotes."""
    for stage, columns in workshop.chain.columns:
        if any(repr(column.name) in text for column in columns):
            return stage, workshop.plugins.plugin_of(stage)
    return "", ""


def _check_amplifiers(first: Exposure, second: Exposure) -> None:
    if first.amplifiers.keys() & second.amplifiers.keys():
        return
    names = [", ".join(exposure.amplifiers) or "none" for exposure in (first, second)]
    msg = f"the exposures have no amplifier in common: {names[0]} and {names[1]}"
    raise StageError(msg, stage="read")


def _identity_columns(record: PairRecord, timings: Mapping[str, float]) -> dict[str, Any]:
    first, second = record.first, record.second
    return {
        "pair_id": record.pair_id,
        "seq": 0,
        "instrument": first.instrument,
        "detector": first.detector,
        "group": first.group,
        "exposure_id_1": first.exposure_id,
        "exposure_id_2": second.exposure_id,
        "path_1": show_path(first.path),
        "path_2": show_path(second.path),
        "exposure_time": fmean((first.exposure_time, second.exposure_time)),
        "flux": fmean((first.flux, second.flux)),
        "mjd_start": min(first.mjd_start, second.mjd_start),
        "mjd_start_utc": min(first.mjd_start_utc, second.mjd_start_utc),
        "measured_at": datetime.now(UTC),
        "timings": dict(timings),
    }


def _auxiliary_columns(info: ExposureInfo, keys: tuple[str, ...]) -> dict[str, Any]:
    from streamcal.sink.schema import auxiliary_column

    values = {key: info.auxiliary.get(key) for key in keys}
    return {auxiliary_column(key): None if value is None else str(value) for key, value in values.items()}
