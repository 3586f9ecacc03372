"""The chain of stages: put in the configured order, checked before the first exposure, run on one pair.

pluggy never runs the chain: stages are called one by one, so that a failure is one stage's on one pair.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import operator
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel

from streamcal.combine import check_combine, combine_values
from streamcal.config import validate
from streamcal.engine import progress
from streamcal.engine.outcome import memory_message
from streamcal.errors import ConfigError, PluginError, RetryLater, StageError, WorkerDied
from streamcal.hookspecs import Column, Stage
from streamcal.plugins import Plugins
from streamcal.records import Exposure, ExposureInfo, Pair

FLAGS = "flags"


def _find_nothing(_info: ExposureInfo, _detector: str, _stage: str) -> Exposure | None:
    return None


@dataclass(kw_only=True, slots=True)
class StageContext:
    """What a running stage is given beside its input; see `streamcal.hookspecs.Context`.

    Attributes
    ----------
    find_companion : callable
        ``(info, detector, stage) -> Exposure | None``: what `companion` asks.
    """

    log: Any
    load_exposure: Callable[[Path], Any]
    find_companion: Callable[[ExposureInfo, str, str], Exposure | None] = _find_nothing
    waited_seconds: float = math.inf
    folders: tuple[Path, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    stage: str = ""

    @contextmanager
    def timer(self, name: str) -> Iterator[None]:
        """Add the seconds of a block to the row's ``timings`` as ``stage:name``."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._add_seconds(f"{self.stage}:{name}", time.perf_counter() - begin)

    @contextmanager
    def running(self, stage: str, plugin: str = "") -> Iterator[None]:
        """Work as this stage; its seconds go to ``timings`` under its name, and should the process die it is named."""
        self.stage = stage
        begin = time.perf_counter()
        try:
            with progress.show(progress.Doing(stage, plugin)):
                yield
        finally:
            self._add_seconds(stage, time.perf_counter() - begin)

    def note(self, key: str, value: Any) -> None:
        """Write ``stage:key`` into `metadata`."""
        self.metadata[f"{self.stage}:{key}"] = value

    def companion(self, info: ExposureInfo, detector: str) -> Exposure | None:
        """Return the exposure that another detector took at the same time, as it comes to this stage, if known."""
        return self.find_companion(info, detector, self.stage)

    def _add_seconds(self, name: str, seconds: float) -> None:
        self.timings[name] = self.timings.get(name, 0.0) + seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """One stage of a chain with its settings."""

    stage: Stage
    settings: BaseModel
    plugin: str
    version: str = ""  # of the plugin


class Chain:
    """Stages in their order, with validated settings.

    Parameters
    ----------
    links : sequence of Link
        In order.

    Attributes
    ----------
    digest : str
        The same for the same stages in the same order, with the same settings, from plugins of the same version.
    """

    def __init__(self, links: Sequence[Link]) -> None:
        self.links = tuple(links)
        self.digest = _digest_chain(self.links)

    @property
    def columns(self) -> list[tuple[str, tuple[Column, ...]]]:
        """Columns by stage, in order."""
        return [(link.stage.name, link.stage.columns) for link in self.links]

    def run(self, pair: Pair, context: StageContext) -> dict[str, dict[str, Any]]:
        """Run all stages on a pair.

        Parameters
        ----------
        pair : Pair
            Consumed: its exposures are those that the last exposure stage returned.
        context : StageContext
            Fresh.

        Returns
        -------
        dict of str to dict
            Columns by amplifier, ``flags`` included; a column that a stage did not give for an amplifier is missing.

        Raises
        ------
        StageError
            If a stage raises or returns something else than it declared; names stage and plugin, holds the traceback.
        RetryLater
            If a stage asks for it; nothing is measured then.
        """
        pair.measured = {name: {FLAGS: 0} for name in pair.first.amplifiers if name in pair.second.amplifiers}
        for link in self.links:
            with _stage_border(link), context.running(link.stage.name, link.plugin):
                if link.stage.kind == "exposure":
                    pair.first = _run_exposure(link, pair.first, pair.measured, context)
                    pair.second = _run_exposure(link, pair.second, pair.measured, context)
                    _combine_columns(link, pair)
                else:
                    _merge_columns(link, pair, link.stage.run(pair, link.settings, context))
        return pair.measured

    def run_before(self, stage: str, exposure: Exposure, context: StageContext) -> Exposure:
        """Run on a single exposure the exposure stages that come before a stage.

        Parameters
        ----------
        stage : str
            Name; where the chain does not have it, all exposure stages are run.
        exposure : Exposure
            May be consumed.
        context : StageContext
            Fresh.

        Raises
        ------
        StageError, RetryLater
            As `run`.
        """
        for link in itertools.takewhile(lambda link: link.stage.name != stage, self.links):
            if link.stage.kind == "exposure":
                with _stage_border(link), context.running(link.stage.name, link.plugin):
                    exposure = _run_exposure(link, exposure, tuple(exposure.amplifiers), context)
        return exposure


def build_chain(
    names: Sequence[str], settings: Mapping[str, Mapping[str, Any]], plugins: Plugins, origin: str = "configuration"
) -> Chain:
    """Put stages in order and check that they fit together.

    Parameters
    ----------
    names : sequence of str
        Stages, in order.
    settings : mapping
        Settings by stage.
    plugins : Plugins
        What there is.
    origin : str
        File name for messages.

    Raises
    ------
    ConfigError
        Unknown stages, settings of unknown stages, settings that do not validate, a stage that requires what no
        earlier one provides, an exposure stage after a pair stage.
    PluginError
        Columns without type, unit or description, of a type that `combine` does not fit, or declared twice.
    """
    _check_names(names, settings, plugins, origin)
    links = []
    for name in names:
        stage = plugins.stages[name]
        values = validate(stage.settings, settings.get(name, {}), origin, f"stages.{name}.")
        plugin = plugins.plugin_of(name)
        links.append(Link(stage=stage, settings=values, plugin=plugin, version=plugins.version_of(plugin)))
    _check_order(links, origin)
    _check_columns(links)
    return Chain(links)


def _check_names(
    names: Sequence[str], settings: Mapping[str, Mapping[str, Any]], plugins: Plugins, origin: str
) -> None:
    known = ", ".join(sorted(plugins.stages))
    for name in names:
        if name not in plugins.stages:
            msg = f"{origin}: pipeline.stages: unknown stage {name!r}, known: {known}"
            raise ConfigError(msg)
    for name in settings:
        if name not in plugins.stages:
            msg = f"{origin}: stages.{name}: unknown stage, known: {known}"
            raise ConfigError(msg)


def _check_order(links: Sequence[Link], origin: str) -> None:
    provided: set[str] = set()
    pair_stage = ""
    for link in links:
        stage = link.stage
        missing = [fact for fact in stage.requires if fact not in provided]
        if missing:
            msg = f"{origin}: pipeline.stages: {stage.name!r} requires {missing[0]!r}, which no earlier stage provides"
            raise ConfigError(msg)
        if stage.kind == "exposure" and pair_stage:
            msg = f"{origin}: pipeline.stages: exposure stage {stage.name!r} must come before pair stage {pair_stage!r}"
            raise ConfigError(msg)
        pair_stage = pair_stage or (stage.name if stage.kind == "pair" else "")
        provided.update(stage.provides, (column.name for column in stage.columns))


def _check_columns(links: Sequence[Link]) -> None:
    from streamcal.sink.schema import check_columns

    owners: dict[str, str] = {}
    for link in links:
        try:
            check_columns(link.stage.columns)
            if link.stage.kind == "exposure":
                check_combine(link.stage.columns)
        except ValueError as exc:
            msg = f"plugin {link.plugin!r}: stage {link.stage.name!r}: {exc}"
            raise PluginError(msg) from exc
        for column in link.stage.columns:
            if column.name in owners:
                msg = f"column {column.name!r} is declared by stage {owners[column.name]!r} and by {link.stage.name!r}"
                raise PluginError(msg)
            owners[column.name] = link.stage.name


def _digest_chain(links: Sequence[Link]) -> str:
    recipe = [[link.stage.name, link.plugin, link.version, link.settings.model_dump(mode="json")] for link in links]
    return hashlib.blake2b(json.dumps(recipe, sort_keys=True).encode(), digest_size=16).hexdigest()


@contextmanager
def _stage_border(link: Link) -> Iterator[None]:
    """Turn whatever a stage raises into a `StageError` that names it: the one place that catches everything."""
    try:
        yield
    except RetryLater:  # no fault of this pair
        raise
    except MemoryError as exc:  # nor of this stage, perhaps: a fresh worker may have the memory that a leak took
        detail = "".join(traceback.format_exception(exc))
        raise WorkerDied(memory_message(), stage=link.stage.name, plugin=link.plugin, detail=detail) from exc
    except (Exception, SystemExit) as exc:
        text = str(exc) if isinstance(exc, StageError) else f"{type(exc).__name__}: {exc}"
        detail = "".join(traceback.format_exception(exc))
        raise StageError(text, stage=link.stage.name, plugin=link.plugin, detail=detail) from exc


def _run_exposure(link: Link, exposure: Exposure, names: Iterable[str], context: StageContext) -> Exposure:
    result = link.stage.run(exposure, link.settings, context)
    if not isinstance(result, Exposure):
        msg = f"an exposure stage must return an Exposure, got {type(result).__name__}"
        raise StageError(msg)
    if lost := [name for name in names if name not in result.amplifiers]:
        msg = f"returned an exposure without amplifier {lost[0]!r}"
        raise StageError(msg)
    return result


def _combine_columns(link: Link, pair: Pair) -> None:
    """Bring what an exposure stage left on the amplifiers of both exposures into the row."""
    for name, row in pair.measured.items():
        notes = [exposure.amplifiers[name].metadata for exposure in (pair.first, pair.second)]
        for column in link.stage.columns:
            missing = [note for note in notes if column.name not in note]
            if missing:
                msg = f"column {column.name!r} is declared but was not found in the metadata of amplifier {name!r}"
                raise StageError(msg)
            row[column.name] = combine_values(column, [note[column.name] for note in notes])
        for note in notes:
            row[FLAGS] |= _as_flags(note.pop(FLAGS, 0), name)


def _as_flags(value: Any, amplifier: str) -> int:
    try:
        flags = operator.index(value)
    except TypeError:
        flags = -1
    if flags < 0:
        msg = f"flags of amplifier {amplifier!r} must be bits of RowFlag, got {value!r}"
        raise StageError(msg)
    return flags


def _merge_columns(link: Link, pair: Pair, result: Any) -> None:
    """Check what a pair stage returned against what it declared, and add it to the rows."""
    if not isinstance(result, Mapping):
        msg = f"a pair stage must return a mapping of amplifier to columns, got {type(result).__name__}"
        raise StageError(msg)
    declared = {column.name for column in link.stage.columns}
    for name, columns in result.items():
        if name not in pair.measured:
            msg = f"returned amplifier {name!r}, which the pair does not have ({', '.join(pair.measured)})"
            raise StageError(msg)
        if not isinstance(columns, Mapping):
            msg = f"returned for amplifier {name!r} no mapping of column to value, got {type(columns).__name__}"
            raise StageError(msg)
        _check_returned(name, set(columns) - {FLAGS}, declared)
        row = pair.measured[name]
        row[FLAGS] |= _as_flags(columns.get(FLAGS, 0), name)
        row.update({column: value for column, value in columns.items() if column != FLAGS})


def _check_returned(amplifier: str, returned: set[str], declared: set[str]) -> None:
    if returned == declared:
        return
    parts = []
    if missing := sorted(declared - returned):
        parts.append(f"without declared column {missing[0]!r}")
    if unknown := sorted(returned - declared):
        parts.append(f"with undeclared column {unknown[0]!r}")
    msg = f"returned amplifier {amplifier!r} {' and '.join(parts)}"
    raise StageError(msg)


def stage_log(**values: Any) -> Any:
    """Return a logger for stages with these values bound."""
    return structlog.get_logger("streamcal.stage").bind(**values)
