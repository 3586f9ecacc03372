"""What tests of stages, plugins and pipelines are made from: pairs of known truth, a context, a clock, source and sink.

A test of a pair stage needs three lines::

    pair = make_pair(electrons=20000)
    context = RecordingContext(stage="skew")
    rows = measure_skew(pair, Settings(), context)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from structlog.testing import LogCapture

from streamcal.chain import StageContext
from streamcal.flags import MaskBit
from streamcal.records import Amplifier, Candidate, Exposure, ExposureInfo, FileStat, Pair
from streamcal.simulate.camera import DEFAULT_CAMERA, Camera, SimulatedAmplifier
from streamcal.simulate.files import amplifier_cards, primary_cards
from streamcal.simulate.light import gradient_profile, simulate_flat
from streamcal.simulate.plan import Shot, plan_run
from streamcal.sink.tables import Transactions

SMALL_CAMERA = replace(DEFAULT_CAMERA, shape=(128, 128), overscan=32)

_TAI_MINUS_UTC = 37.0 / 86400.0  # d, since 2017


def make_flat_pair(  # noqa: PLR0913 - each is one property of light or amplifier
    *,
    electrons: float = 10000.0,
    gain: float = 1.5,
    read_noise: float = 6.0,
    shape: tuple[int, int] = (512, 512),
    seed: int = 1,
    level_ratio: float = 1.0,
    gradient: float = 1.0,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Make two flats of Poisson light as plain arrays: no bias level, no overscan, no digits, nothing correlated.

    Parameters
    ----------
    electrons : float
        Mean level of the first flat, in electrons.
    gain : float
        e-/ADU.
    read_noise : float
        Gaussian, in electrons rms (divide by `gain` for ADU).
    shape : tuple of int
        Rows and columns.
    seed : int
        Same seed, same pixels.
    level_ratio : float
        Mean level of the second flat over that of the first.
    gradient : float
        Light in the last column over that in the first; linear between, mean level unchanged.

    Returns
    -------
    first, second : (ny, nx) ndarray of float32
        In ADU.
    """
    rng = np.random.default_rng(seed)
    light = np.broadcast_to(electrons * gradient_profile(shape[1], gradient), shape)
    flats = [(rng.poisson(light * ratio) + rng.normal(0.0, read_noise, shape)) / gain for ratio in (1.0, level_ratio)]
    return flats[0].astype(np.float32), flats[1].astype(np.float32)


def make_pair(
    *, electrons: float = 10000.0, camera: Camera = SMALL_CAMERA, seed: int = 1, corrected: bool = True
) -> Pair:
    """Make a pair of simulated exposures, overscan included, for a stage's ``run``.

    Parameters
    ----------
    electrons : float
        Mean level of the first flat over the detector, in electrons; the second follows by the camera's drift.
    camera : Camera
        The truth: gains, read noise, crosstalk, ... By default four amplifiers of 128 x 128 pixels.
    seed : int
        Same seed, same pixels.
    corrected : bool
        As after the ``isr`` stage, for pair stages: true bias level taken off, saturated pixels masked, true read
        noise set. Else as read from a file, for exposure stages (``pair.first`` is an exposure).

    Returns
    -------
    Pair
        Nothing measured yet.
    """
    rng = np.random.default_rng(seed)
    first, second = (make_exposure(shot, rng, camera, corrected=corrected) for shot in plan_run(camera, [electrons]))
    measured: dict[str, dict[str, Any]] = {amplifier.name: {"flags": 0} for amplifier in camera.amplifiers}
    return Pair(pair_id=f"{seed:032x}", first=first, second=second, measured=measured)


def make_exposure(
    shot: Shot, rng: np.random.Generator, camera: Camera = SMALL_CAMERA, *, corrected: bool = True
) -> Exposure:
    """Make one simulated exposure as the stages see it.

    Parameters
    ----------
    shot : Shot
        Identity and level.
    rng : Generator
        Random numbers.
    camera, corrected
        See `make_pair`.
    """
    images = simulate_flat(camera, shot.electrons, rng)
    amplifiers = {
        amplifier.name: _make_amplifier(camera, amplifier, images[amplifier.name], corrected=corrected)
        for amplifier in camera.amplifiers
    }
    header = {key: value for key, value, _ in primary_cards(camera, shot)}
    return Exposure(info=_make_info(camera, shot), header=header, amplifiers=amplifiers)


def _make_info(camera: Camera, shot: Shot) -> ExposureInfo:
    return ExposureInfo(
        path=f"{shot.run_id}_{shot.exposure_id:06d}_{shot.detector}.fits",
        stat=FileStat(size=0, mtime_ns=0, inode=shot.exposure_id, device=0),
        digest=f"{shot.exposure_id:032x}",
        instrument=camera.name,
        detector=shot.detector,
        exposure_id=str(shot.exposure_id),
        is_flat=shot.image_type == "FLAT",
        exposure_time=shot.exposure_time,
        flux=shot.level,
        mjd_start=shot.mjd_start + _TAI_MINUS_UTC,
        mjd_start_utc=shot.mjd_start,
    )


def _make_amplifier(camera: Camera, truth: SimulatedAmplifier, raw: NDArray[Any], *, corrected: bool) -> Amplifier:
    sections = camera.sections(truth)
    data = sections["data"].cut(raw).astype(np.float32)
    made = Amplifier(
        name=truth.name,
        data=data,
        mask=np.zeros(data.shape, dtype=np.uint32),
        overscan={name: section.cut(raw).astype(np.float32) for name, section in sections.items() if name != "data"},
        readout_corner=truth.corner,
        saturation=truth.saturation,
        metadata={"header": {key: value for key, value, _ in amplifier_cards(camera, truth)}},
        raw=raw,
        sections=sections,
    )
    if corrected:
        made.mask[data >= truth.saturation] |= np.uint32(MaskBit.SAT)
        made.data -= np.float32(truth.bias)
        made.read_noise = truth.read_noise_adu
        made.raw = None
    return made


class RecordingContext(StageContext):
    """A stage's context that keeps what the stage said: ``events``, ``metadata`` and ``timings``.

    Parameters
    ----------
    stage : str
        Name under which notes and timings go.
    folders : tuple of Path
        Where relative file names of settings are looked for.
    exposures : mapping of Path to Exposure, optional
        What `load_exposure` finds.
    """

    def __init__(
        self, stage: str = "stage", *, folders: tuple[Path, ...] = (), exposures: Mapping[Path, Exposure] | None = None
    ) -> None:
        capture = LogCapture()
        self.events = capture.entries
        self._exposures = dict(exposures or {})
        log = structlog.wrap_logger(None, processors=[capture], wrapper_class=structlog.BoundLogger)
        super().__init__(log=log, load_exposure=self._load, folders=folders, stage=stage)

    def _load(self, path: Path) -> Exposure:
        if path not in self._exposures:
            msg = f"{path}: not among the exposures of this context"
            raise FileNotFoundError(msg)
        return self._exposures[path]


class ManualClock:
    """A clock that tests move; call it to read it.

    Parameters
    ----------
    now : float
        First reading, in seconds.
    """

    def __init__(self, now: float = 0.0) -> None:
        self._now = now

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass; also a stand-in for ``time.sleep``."""
        if seconds < 0:
            msg = f"seconds must not be negative, got {seconds!r}"
            raise ValueError(msg)
        self._now += seconds

    def set(self, now: float) -> None:
        """Set the clock, forward or back, as people do with clocks on walls."""
        self._now = now


Item = Candidate | Path | str | Callable[[], object]


class ListSource:
    """A source that gives the items of a list, each once, in order.

    Parameters
    ----------
    items : iterable
        Candidates; paths, looked at when their turn comes; or functions without arguments, called after all earlier
        items have been given and before later ones are (to write a file, move a clock, send a signal).

    Attributes
    ----------
    forgotten : list of str
        Paths that the pipeline let out of its hands, in order. They are not given again.
    started, stopped : bool
        What was called.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = list(items)
        self.forgotten: list[str] = []
        self.started = False
        self.stopped = False

    def start(self) -> None:
        """Note that it was called."""
        self.started = True

    def stop(self) -> None:
        """Note that it was called."""
        self.stopped = True

    def poll(self, limit: int) -> list[Candidate]:
        """Return the next candidates, at most `limit`; a function in the list ends a batch."""
        batch: list[Candidate] = []
        while self._items and len(batch) < limit:
            if batch and not isinstance(self._items[0], Candidate | Path | str):
                break
            item = self._items.pop(0)
            if isinstance(item, Candidate | Path | str):
                batch.append(_as_candidate(item))
            else:
                item()
        return batch

    def scan_once(self) -> Iterator[Candidate]:
        """Give all items that are left, one by one, functions called in between."""
        while self._items:
            yield from self.poll(1)

    def next_due(self) -> float:
        """Return 0 (now) while there are items, then infinity (never)."""
        return 0.0 if self._items else float("inf")

    def forget(self, path: str, unless: FileStat | None = None) -> None:  # noqa: ARG002 - as real sources take it
        """Note the path."""
        self.forgotten.append(path)


def _as_candidate(item: Candidate | Path | str) -> Candidate:
    if isinstance(item, Candidate):
        return item
    path = os.fspath(item)
    return Candidate(path=path, stat=FileStat.of(os.stat(path)))  # noqa: PTH116 - a name need not be UTF-8


class ListSink:
    """A sink that keeps batches in memory; they are committed together with the journal's record, or not at all.

    Parameters
    ----------
    transactions : Transactions
        The journal.
    failures : iterable of Exception
        Raised by the next calls of `append`, one each, before anything is kept.

    Attributes
    ----------
    batches : list of tuple
        (key, batch) of each that was committed, in order; the first has ``seq`` 1.
    """

    def __init__(self, transactions: Transactions, failures: Iterable[Exception] = ()) -> None:
        self._transactions = transactions
        self._failures = list(failures)
        self.batches: list[tuple[str, Any]] = []
        self.closed = False

    @property
    def next_seq(self) -> int:
        """Number that the next batch gets."""
        return len(self.batches) + 1

    def recover(self) -> None:
        """Do nothing: memory holds no torn writes."""

    def append(self, batch: Any, *, key: str, record: Callable[[Any, int], object]) -> int:
        """Keep a batch, and call ``record(connection, seq)`` in the same transaction; a key that is there is kept.

        Returns
        -------
        int
            The ``seq`` of the batch with this key.
        """
        if self._failures:
            raise self._failures.pop(0)
        known = [name for name, _ in self.batches]
        if key in known:
            return known.index(key) + 1
        seq = self.next_seq
        with self._transactions.transaction() as connection:
            record(connection, seq)
        self.batches.append((key, batch))
        return seq

    def tick(self) -> None:
        """Do nothing: there are no segments to seal."""

    def close(self) -> None:
        """Note that it was called."""
        self.closed = True
