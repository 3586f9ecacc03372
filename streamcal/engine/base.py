"""What an engine is, its options, and how one is made by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

from streamcal.errors import ConfigError, PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "streamcal.engines"
BUILT_IN = ("inline", "local", "dask")
DO_NOTHING = "builtins:bytes"  # as a job it takes bytes and returns the same
SAY_NOTHING = "streamcal.engine.base:say_nothing"

JobFunction: TypeAlias = Callable[[bytes], bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineOptions:
    """How many workers, and what each may use.

    Attributes
    ----------
    kind : str
        ``inline``, ``local``, ``dask``, or the name of an entry point in the group ``streamcal.engines``: a callable
        that takes these options and returns an Executor.
    workers : int
        Number of worker processes; on a cluster it is the cluster's.
    queue_size : int
        Most jobs that a cluster holds at once, further ones wait on this side; 0: no limit.
    job_seconds : float
        A job that takes longer is ended, in seconds; 0: no limit.
    start_seconds : float
        The same for the start of a worker, its warm-up included.
    grace_seconds : float
        How long a worker is given to go by itself before it is killed, in seconds.
    memory_megabytes : int
        Address space of a worker, in MiB; 0: no limit.
    jobs_per_worker : int
        A worker is replaced after this many jobs; 0: never.
    recycle_megabytes : int
        A worker that holds more memory than this after a job is replaced, in MiB resident; 0: never.
    start : str
        Function as ``module:qualname`` that warms a fresh worker process. It is called once in each with
        ``start_payload``; what it returns is dropped. No job may depend on it: the inline engine has no fresh process
        and never calls it.
    start_payload : bytes
        Its argument.
    environment : mapping of str to str
        Variables of the worker processes, over those of this process.
    identify : str
        Function as ``module:qualname`` that tells, given ``start_payload``, what a worker is: a JSON object of texts.
        An engine whose workers live elsewhere uses only those that are what a worker of this machine would be.
    address : str
        Scheduler of a cluster.
    tls_ca, tls_certificate, tls_key : str
        PEM files for a ``tls://`` address: the authority, and this side's certificate and key.
    allow_plain_tcp : bool
        Talk to a scheduler on another machine without TLS.
    """

    kind: str = "local"
    workers: int = 1
    queue_size: int = 0
    job_seconds: float = 300.0
    start_seconds: float = 300.0
    grace_seconds: float = 2.0
    memory_megabytes: int = 0
    jobs_per_worker: int = 0
    recycle_megabytes: int = 0
    start: str = DO_NOTHING
    start_payload: bytes = b""
    environment: Mapping[str, str] = field(default_factory=dict)
    identify: str = SAY_NOTHING
    address: str = ""
    tls_ca: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    allow_plain_tcp: bool = False

    def __post_init__(self) -> None:
        if self.workers < 1:
            msg = f"workers must be at least 1, got {self.workers!r}"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineState:
    """What an engine has to tell of itself.

    Attributes
    ----------
    away_since : float or None
        Unix time since when no job can be run, in seconds; None: they can.
    reason : str
        Why none can.
    workers : int or None
        Workers that can be used; None: it is not told.
    refused : dict of str to str
        Workers that are not used, and why.
    """

    away_since: float | None = None
    reason: str = ""
    workers: int | None = None
    refused: Mapping[str, str] = field(default_factory=dict)


class Engine(Executor):
    """An Executor for functions that take bytes and return bytes.

    Promises: a job runs at least once or its future fails; a future that was returned always ends. What a future can
    raise: an error of `streamcal.errors` that the job raised, with its text and attributes; `WorkerFailed` for any
    other exception of the job; `WorkerDied` where the process ended or broke a limit; `RetryLater` where the workers
    cannot be reached; `CancelledError`.
    """

    @property
    def state(self) -> EngineState:
        """Whether it can run jobs now."""
        return EngineState()

    def submit(self, function: JobFunction | str, job: bytes, /) -> Future[bytes]:  # type: ignore[override]
        """Have ``function(job)`` called.

        Parameters
        ----------
        function : callable or str
            A function at the top of a module, or its name as ``module:qualname``.
        job : bytes
            Its argument.

        Returns
        -------
        Future of bytes
            Ends with what the function returns.

        Raises
        ------
        ValueError
            If the function cannot be imported by its name elsewhere.
        RuntimeError
            After `shutdown`.
        """
        raise NotImplementedError


def name_function(function: JobFunction | str) -> str:
    """Name a function so that another process can import it.

    Returns
    -------
    str
        ``module:qualname``.

    Raises
    ------
    ValueError
        If it is not at the top of an importable module.
    """
    name = function if isinstance(function, str) else f"{function.__module__}:{function.__qualname__}"
    module, _, qualname = name.partition(":")
    if not module or not qualname or module == "__main__" or "<" in qualname:
        msg = f"function must be importable as module:qualname, got {name!r}"
        raise ValueError(msg)
    return name


def make_engine(options: EngineOptions) -> Executor:
    """Make the engine of the kind that the options name.

    Raises
    ------
    ConfigError
        If there is no engine of that kind.
    PluginError
        If a plugged-in engine cannot be loaded or is no Executor.
    """
    if options.kind == "inline":
        from streamcal.engine.inline import InlineEngine

        return InlineEngine()
    if options.kind == "local":
        from streamcal.engine.local import LocalEngine

        return LocalEngine(options)
    if options.kind == "dask":
        from streamcal.engine.dask import DaskEngine

        return DaskEngine(options)
    check_kind(options.kind)
    return _make_plugged(_plugged_engines()[options.kind], options)


def check_options(options: EngineOptions) -> None:
    """Check what can be checked of an engine without starting it.

    Raises
    ------
    ConfigError
        If there is no engine of that kind, its package is not installed, or its address cannot be used.
    """
    check_kind(options.kind)
    if options.kind == "dask":
        from streamcal.engine.address import check_address

        check_address(options)
        if find_spec("distributed") is None:
            msg = "engine.kind 'dask' needs the package distributed: pip install 'streamcal[dask]'"
            raise ConfigError(msg)


def state_of(executor: Executor) -> EngineState:
    """Return what an executor tells of itself; one that is no `Engine` tells nothing."""
    return executor.state if isinstance(executor, Engine) else EngineState()


def say_nothing(_job: bytes) -> bytes:
    """Tell nothing of this process, as a worker that may be any."""
    return b"{}"


def check_kind(kind: str) -> None:
    """Check that there is an engine of a kind.

    Raises
    ------
    ConfigError
        If there is none; lists the known ones.
    """
    known = [*BUILT_IN, *sorted(_plugged_engines())]
    if kind not in known:
        msg = f"engine.kind must be one of {', '.join(known)}, got {kind!r}"
        raise ConfigError(msg)


def _plugged_engines() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _make_plugged(point: EntryPoint, options: EngineOptions) -> Executor:
    try:
        engine = point.load()(options)
    except ConfigError:
        raise
    except Exception as exc:
        msg = f"engine {point.name!r} ({point.value}) cannot be made: {type(exc).__name__}: {exc}"
        raise PluginError(msg) from exc
    if not isinstance(engine, Executor):
        msg = f"engine {point.name!r} ({point.value}) must be a concurrent.futures.Executor, got {type(engine)!r}"
        raise PluginError(msg)
    return engine
