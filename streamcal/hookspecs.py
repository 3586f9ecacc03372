"""What a plugin can offer: hooks, and the descriptors they return (hook API 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import pluggy
from pydantic import BaseModel, ConfigDict

PROJECT = "streamcal"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Combine = Literal["median", "mean", "max", "sum", "first", "join"]


class Settings(BaseModel):
    """Base of a stage's settings: unknown keys and wrong types are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoSettings(Settings):
    """Settings of a stage that has none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column that a stage adds to the rows.

    Attributes
    ----------
    name : str
        Lower case, words joined by underscores; unique over all stages.
    type : str
        Arrow type as text: ``float64``, ``int64``, ``uint64``, ``bool``, ``string``, or lists of these such as
        ``list<float64>`` and ``list<list<float64>>``.
    unit : str
        Unit in the file; ``"1"`` for a pure number, ``""`` for text.
    description : str
        One sentence.
    combine : str
        For columns of an exposure stage: how the values of the two exposures become one (NaN and missing left out):
        ``median``, ``mean``, ``max``, ``sum``, ``first``, or ``join`` (text: equal values once, others joined by "+").
    """

    name: str
    type: str
    unit: str
    description: str
    combine: Combine = "median"


class Context(Protocol):
    """What a running stage is given beside its input."""

    @property
    def log(self) -> Any:
        """A structlog logger with pair id, detector and stage bound."""

    @property
    def metadata(self) -> dict[str, Any]:
        """Notes of all stages on this pair, by full name ``stage:item``; empty at the start of each pair."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders in which a relative file name of the settings is looked for."""

    @property
    def load_exposure(self) -> Callable[[Path], Any]:
        """Read another exposure (bias, dark) of this detector with the run's instrument."""

    @property
    def waited_seconds(self) -> float:
        """Time since this pair was first tried; infinite where nothing further can come (``--once``, ``measure``)."""

    def companion(self, info: Any, detector: str) -> Any:
        """Return the exposure that another detector took at the same time.

        Parameters
        ----------
        info : ExposureInfo
            Of the exposure at hand.
        detector : str
            The other detector, of the same instrument.

        Returns
        -------
        Exposure or None
            Read, and processed by the exposure stages before this one; the caller's own. None where it has not come,
            or cannot be read: as long as `waited_seconds` allows a stage may raise `streamcal.errors.RetryLater`, and
            the pair is tried again after that time.
        """

    def timer(self, name: str) -> AbstractContextManager[None]:
        """Measure a block; its seconds go to the row's ``timings`` as ``stage:name``."""

    def note(self, key: str, value: Any) -> None:
        """Write ``stage:key`` into `metadata`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckContext:
    """What is known before the first exposure, for a stage that looks whether its settings can work.

    Attributes
    ----------
    folders : tuple of Path
        Folders in which a relative file name of the settings is looked for.
    instrument : str
        Name of the instrument.
    amplifiers : tuple of str
        Names of the amplifiers of each exposure, in order; empty where only its headers will tell them.
    n_amplifiers : int
        Their number; 0 where only its headers will tell it.
    """

    folders: tuple[Path, ...] = ()
    instrument: str = ""
    amplifiers: tuple[str, ...] = ()
    n_amplifiers: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One processing stage.

    Attributes
    ----------
    name : str
        Unique; the configuration lists it in ``[pipeline] stages`` and sets it up in ``[stages.NAME]``.
    kind : {"exposure", "pair"}
        ``exposure``: ``run(exposure, settings, context) -> Exposure``, called for each of the two, may consume its
        input. ``pair``: ``run(pair, settings, context) -> {amplifier: {column: value}}``.
    run : callable
        A module-level function: workers load the plugin themselves and look the stage up by its name.
    settings : type
        A pydantic model (best derived from `Settings`), filled from ``[stages.NAME]``.
    requires, provides : tuple of str
        Names of facts; each required one must be provided by an earlier stage. A stage's columns count as provided.
    columns : tuple of Column
        What it adds to the rows. A pair stage returns all of them for each amplifier it returns (and may return
        ``flags``, which is combined by OR); an exposure stage leaves them in ``amplifier.metadata``.
    check : callable, optional
        ``check(settings, context) -> lines``, `CheckContext`: what would make every pair fail that the model of the
        settings cannot know (a file that is not there), one line each, beginning with the key. ``streamcal check``
        calls it, and refuses; ``streamcal run`` logs the lines and runs.
    """

    name: str
    kind: Literal["exposure", "pair"]
    run: Callable[[Any, Any, Context], Any]
    settings: type[BaseModel] = NoSettings
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    check: Callable[[Any, CheckContext], Iterable[str]] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class InstrumentTable:
    """An instrument that a plugin offers.

    Attributes
    ----------
    name : str
        What ``instrument = "..."`` names.
    table : mapping
        The content of an instrument file, see ``docs/instruments.md``.
    """

    name: str
    table: Mapping[str, Any] = field(default_factory=dict)


@hookspec
def streamcal_stages() -> Iterable[Stage]:  # type: ignore[empty-body]
    """Offer processing stages.

    Called once at start, and once in each worker process. The core picks stages by ``name`` and runs them in the
    order of ``[pipeline] stages`` in the configuration; pluggy only collects. A complete plugin::

        from streamcal import Column, Stage, hookimpl

        def measure_skew(pair, settings, context):
            rows = {}
            for name in pair.measured:
                difference = pair.difference(name)
                pixels = difference.difference[difference.used]
                rows[name] = {"skew": float(((pixels - pixels.mean()) ** 3).mean() / pixels.std() ** 3)}
            return rows

        @hookimpl
        def streamcal_stages():
            column = Column(name="skew", type="float64", unit="1", description="Skewness of the difference.")
            return [Stage(name="skew", kind="pair", run=measure_skew, requires=("overscan",), columns=(column,))]

    Returns
    -------
    iterable of Stage
        Frozen descriptors; two stages of one name stop the start.

    .. versionadded:: 0.1
    """


@hookspec
def streamcal_instruments() -> Iterable[InstrumentTable]:  # type: ignore[empty-body]
    """Offer instruments beside those that come with streamcal.

    Called once at start. A complete plugin::

        from streamcal import InstrumentTable, hookimpl

        @hookimpl
        def streamcal_instruments():
            return [InstrumentTable(name="mycam", table=tomllib.loads(TEXT))]

    Returns
    -------
    iterable of InstrumentTable
        Frozen descriptors; a name that exists already stops the start.

    .. versionadded:: 0.1
    """
