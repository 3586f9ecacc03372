"""The daemon's life: lock, recover, watch, stop on a signal; everything it opens, it closes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import structlog

from streamcal import __version__
from streamcal.check import find_notes, find_stage_problems
from streamcal.config import Config
from streamcal.engine import EngineOptions, make_engine, state_of
from streamcal.errors import ConfigError, PluginError, RetryLater
from streamcal.heartbeat import Heartbeat, notify
from streamcal.intake import Intake
from streamcal.jobs import Recipe, Workshop, open_workshop, start_job
from streamcal.journal import Journal
from streamcal.ledger import Ledger
from streamcal.lock import StateLock
from streamcal.measuring import Measuring
from streamcal.pairing import level
from streamcal.pipeline import Pipeline
from streamcal.plugins import list_plugin_files, load_plugins
from streamcal.refitting import Refitting
from streamcal.run import Run
from streamcal.sink.tables import RESULT_TABLES
from streamcal.source.directory import DirectorySource
from streamcal.state import JOURNAL, announce, is_announced
from streamcal.wake import Wake

if TYPE_CHECKING:
    from streamcal.sink.arrow import ArrowSink

EXIT_DONE, EXIT_FAILURE, EXIT_USAGE, EXIT_REJECTED = 0, 1, 2, 3

log = structlog.get_logger("streamcal.daemon")


def prepare(config: Config) -> Workshop:
    """Load plugins, instrument and stages of a configuration, and check that they fit together.

    Raises
    ------
    ConfigError, PluginError
        If anything is wrong.
    """
    from streamcal.instruments import load_instrument
    from streamcal.instruments.identify import check_facts

    with naming(config, "pipeline.plugin_folders"):
        for folder in config.pipeline.plugin_folders:
            list_plugin_files(folder)
    plugins = load_plugins(config.pipeline.plugin_folders, config.pipeline.disabled_plugins)
    offered = {name: offer.table for name, offer in plugins.instruments.items()}
    base = (config.path.parent if config.path else Path()).absolute()
    with naming(config, "instrument"):
        instrument = load_instrument(config.instrument, base=base, offered=offered)
    with naming(config, "pairing.group"):
        check_facts(config.pairing.group)
    with naming(config, "pipeline.auxiliary_keys"):
        check_facts(config.pipeline.auxiliary_keys)
    return open_workshop(Recipe.of(config, instrument).to_json())


@contextmanager
def naming(config: Config, key: str) -> Iterator[None]:
    """Have errors of the block say which file, and which key of it, they are about."""
    try:
        yield
    except (ConfigError, PluginError) as exc:
        lines = (line if line.startswith(key) else f"{key}: {line}" for line in str(exc).splitlines())
        raise type(exc)("\n".join(f"{config.origin}: {line}" for line in lines)) from exc


def make_run_engine(config: Config, recipe: Recipe) -> Executor:
    """Make the engine of a run; its workers warm up in the background.

    Raises
    ------
    ConfigError, PluginError
        If there is no such engine.
    """
    options = replace(
        engine_options(config),
        start="streamcal.jobs:warm_worker",
        start_payload=start_job(recipe, config.log),
        identify="streamcal.fingerprint:take_fingerprint",
    )
    with naming(config, "engine"):
        return make_engine(options)


def engine_options(config: Config) -> EngineOptions:
    """Return what the configuration says of the engine."""
    settings = config.engine
    return EngineOptions(
        kind=settings.kind,
        workers=settings.workers,
        queue_size=settings.queue_size,
        job_seconds=settings.job_seconds,
        memory_megabytes=settings.memory_megabytes,
        jobs_per_worker=settings.jobs_per_worker,
        recycle_megabytes=settings.recycle_megabytes,
        address=settings.address,
        tls_ca=str(settings.tls_ca or ""),
        tls_certificate=str(settings.tls_certificate or ""),
        tls_key=str(settings.tls_key or ""),
        allow_plain_tcp=settings.allow_plain_tcp,
    )


def run_daemon(config: Config, *, once: bool = False) -> int:
    """Run until stopped by a signal, or with ``once`` until all that is there is processed.

    Parameters
    ----------
    config : Config
        Checked already as far as `parse_config` does.
    once : bool
        Process what is there, then return.

    Returns
    -------
    int
        Exit code: 0; with ``once`` 3 if something was rejected or failed, and 1 if it was stopped before the end.

    Raises
    ------
    ConfigError, PluginError
        Before anything is started.
    StateError
        If the output is in use or damaged.
    RetryLater
        If the output cannot be written while starting; a supervisor starts it again.
    """
    began = time.monotonic()
    if not config.source.folders:
        msg = f"{config.origin}: source.folders is empty and --input was not given"
        raise ConfigError(msg)
    _place_kernels(config)
    workshop = prepare(config)
    for problem in find_stage_problems(workshop):
        log.warning("configuration", problem=problem)
    for note in find_notes(config):
        log.warning("configuration", note=note)
    make_folders(config)
    with ExitStack() as stack:
        stack.enter_context(StateLock(config.state_folder))
        service = _open_service(config, workshop, stack, once=once)
        _announce(config)
        stack.enter_context(_stopped_by_signals(service.pipeline.stop))
        notify("READY=1")
        log.info("watching" if not once else "processing", **_describe_start(config, began))
        done = service.pipeline.run_once() if once else service.pipeline.run()
        notify("STOPPING=1")
        log.info("stopped", pairs=service.measuring.committed, failed=service.measuring.failed, done=done)
    if not done:
        return EXIT_FAILURE
    return EXIT_REJECTED if once and service.troubles else EXIT_DONE


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """The parts of a running daemon, and what to tell of them."""

    run: Run
    source: DirectorySource
    intake: Intake
    measuring: Measuring
    pipeline: Pipeline
    started_at: float  # s, Unix time

    @property
    def troubles(self) -> int:
        """Number of files rejected and pairs failed since the start."""
        return self.intake.rejected + self.pipeline.rejected + self.measuring.failed

    def describe(self) -> dict[str, Any]:
        """Return what the heartbeat file tells."""
        return {
            "pid": os.getpid(),
            "time": self.run.wall_clock(),
            "started_at": self.started_at,
            "paused_because": self.pipeline.paused_because,
            "files_in_work": self.intake.in_flight,
            "files_not_whole": len(self.intake.incomplete),
            "pairs_in_work": self.measuring.in_flight,
            "pairs_committed": self.measuring.committed,
            "pairs_failed": self.measuring.failed,
            "engine": {"kind": self.run.config.engine.kind, **asdict(state_of(self.run.engine))},
            "source": asdict(self.source.status()),
        }


def _open_service(config: Config, workshop: Workshop, stack: ExitStack, *, once: bool) -> Service:
    journal = Journal(config.state_folder / JOURNAL, create=not is_announced(config.output_folder))
    stack.callback(journal.close)
    journal.rematch(config.pairing.match, lambda info: level(info, config.pairing))
    measurements, exposures, solutions = (_open_sink(config, journal, name, stack) for name in RESULT_TABLES)
    measurements.check_schema(workshop.schema)
    wake = Wake()
    stack.callback(wake.close)
    engine = make_run_engine(config, workshop.recipe)
    stack.callback(engine.shutdown, wait=True, cancel_futures=True)
    run = Run(config=config, recipe=workshop.recipe, engine=engine, journal=journal, wake=wake)
    exclude = (config.output_folder, config.state_folder)
    source = DirectorySource(config.source, journal, exclude=exclude, clock=run.clock, wake=wake.set)
    intake = Intake(source, run)
    measuring = Measuring(measurements, workshop.schema, run, in_order=once)
    pipeline = Pipeline(source, intake, measuring, Ledger(exposures, run), run)
    pipeline.refitting = Refitting(solutions, run, config.output_folder, config.fit)
    measuring.on_commit = pipeline.refitting.note
    pipeline.refitting.start()
    service = Service(
        run=run, source=source, intake=intake, measuring=measuring, pipeline=pipeline, started_at=run.wall_clock()
    )
    pipeline.on_turn = Heartbeat(config.state_folder / "heartbeat.json", service.describe, run.clock).beat
    return service


def _open_sink(config: Config, journal: Journal, name: str, stack: ExitStack) -> ArrowSink:
    from streamcal.sink.arrow import ArrowSink

    sink = ArrowSink(
        config.output_folder / name,
        name,
        journal,
        roll_bytes=int(config.output.roll_megabytes * 1e6),
        roll_seconds=config.output.roll_hours * 3600,
        snapshot=config.output.snapshot and name == "measurements",
        key_name="pair_id" if name == "measurements" else "key",
    )
    stack.callback(sink.close)
    _recover(sink, name)
    return sink


def _recover(sink: ArrowSink, name: str) -> None:
    """Bring a table to what the journal knows; while the output cannot be written, wait."""
    while True:
        try:
            repaired = sink.recover()
        except RetryLater as exc:
            log.warning("cannot recover yet", table=name, reason=str(exc), retry_seconds=exc.after_seconds)
            time.sleep(exc.after_seconds)
        else:
            break
    if repaired:
        log.warning("recovered", table=name, **asdict(repaired))


def make_folders(config: Config) -> None:
    """Make the folders of output and state.

    Raises
    ------
    ConfigError
        If that is not possible.
    """
    for folder in (config.output_folder, config.state_folder, config.state_folder / "requests"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            msg = f"{config.origin}: output folder {folder} cannot be made: {exc.strerror}"
            raise ConfigError(msg) from exc


def _place_kernels(config: Config) -> None:
    """Have compiled kernels kept in the state folder where the package's own, which all runs share, is read-only."""
    if not os.access(Path(__file__).parent, os.W_OK):
        os.environ.setdefault("NUMBA_CACHE_DIR", str(config.state_folder / "numba"))


def _announce(config: Config) -> None:
    """Leave where the state lies, for commands that are given the output only."""
    notes = {"streamcal": __version__, "configuration": str(config.path.absolute()) if config.path else ""}
    try:
        announce(config.output_folder, config.state_folder, notes)
    except OSError as exc:
        msg = f"{config.output_folder}: {exc.strerror}"
        raise RetryLater(msg) from exc


def _describe_start(config: Config, began: float) -> dict[str, Any]:
    return {
        "folders": [str(folder) for folder in config.source.folders],
        "output": str(config.output_folder),
        "stages": list(config.pipeline.stages),
        "engine": config.engine.kind,
        "start_seconds": round(time.monotonic() - began, 3),
    }


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Stop in an orderly way at the first SIGTERM or SIGINT, at once at the second."""
    seen: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if seen:
            os._exit(EXIT_FAILURE)  # workers die with us; what was not committed is measured again
        seen.append(number)
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
