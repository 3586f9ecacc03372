"""Pairs of exposures in memory, measured at one go: for those who come from a batch task."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from streamcal.chain import Chain, StageContext, build_chain, stage_log
from streamcal.errors import StageError
from streamcal.plugins import load_plugins
from streamcal.records import Amplifier, Exposure, Pair

CORRECTED_STAGES = ("isr", "covariance", "gain")
CORRECTED_SETTINGS = {"isr": {"overscan": "none"}}


@dataclass(frozen=True, kw_only=True, slots=True)
class ExposureResult:
    """What became of one input of `measure_exposures`."""

    exposure_id: str
    partner_id: str = ""  # of the other exposure of its pair; empty: it has none
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)  # columns by amplifier
    reason: str = ""  # why there are no rows

    @property
    def is_dummy(self) -> bool:
        """Whether it only fills its place."""
        return not self.rows


def measure_exposures(
    exposures: Mapping[Hashable, Sequence[Exposure]],
    ids: Sequence[Any],
    metadata: Sequence[Mapping[str, Any]] = (),
    *,
    chain: Chain | None = None,
) -> list[ExposureResult]:
    """Measure the pairs among exposures that are in memory.

    Of the exposures at a level the first two are its pair; more are discarded, a single one gives nothing, and both
    are warned of. A pair's rows stand at the place of its first exposure.

    Parameters
    ----------
    exposures : mapping of hashable to sequence of Exposure
        By what makes them a level: exposure time, flux, or number of the pair. They are not changed.
    ids : sequence
        Exposure ids of all inputs; their texts are compared.
    metadata : sequence of mapping, optional
        Task metadata of each input, in the order of ``ids``; its read noise (``RESIDUAL STDEV {amp}`` under ``isr``)
        counts as if it stood in the header.
    chain : Chain, optional
        Stages to run. Default: ``isr`` without overscan, ``covariance``, ``gain``, for exposures that are corrected
        already.

    Returns
    -------
    list of ExposureResult
        One for each id, in order; a dummy with its reason where there is no pair.

    Raises
    ------
    ValueError
        If ``metadata`` is not as long as ``ids``, an id is there twice, or that of an exposure is not among them.
    """
    names = [str(name) for name in ids]
    _check_ids(names, metadata, exposures)
    notes = dict(zip(names, metadata, strict=True)) if metadata else {}
    chain = chain or build_chain(CORRECTED_STAGES, CORRECTED_SETTINGS, load_plugins())
    results = {name: ExposureResult(exposure_id=name, reason="no exposure was given") for name in names}
    for level, members in exposures.items():
        for result in _measure_level(level, members, notes, chain):
            results[result.exposure_id] = result
    return list(results.values())


def _check_ids(names: Sequence[str], metadata: Sequence[Any], exposures: Mapping[Hashable, Sequence[Exposure]]) -> None:
    if metadata and len(metadata) != len(names):
        msg = f"metadata must be as many as ids, got {len(metadata)} and {len(names)}"
        raise ValueError(msg)
    if doubled := {name for name in names if names.count(name) > 1}:
        msg = f"ids must be different, got {min(doubled)!r} twice"
        raise ValueError(msg)
    given = {exposure.info.exposure_id for members in exposures.values() for exposure in members}
    if unknown := sorted(given - set(names)):
        msg = f"ids must hold the id of each exposure, {unknown[0]!r} is missing"
        raise ValueError(msg)


def _measure_level(
    level: Hashable, members: Sequence[Exposure], notes: Mapping[str, Mapping[str, Any]], chain: Chain
) -> Iterator[ExposureResult]:
    log = structlog.get_logger("streamcal.batch").bind(level=level)
    ids = [exposure.info.exposure_id for exposure in members]
    for extra in ids[2:]:
        log.warning("extra exposure discarded", exposure_id=extra)
        yield ExposureResult(exposure_id=extra, reason=f"more than two exposures at {level}")
    if len(ids) == 1:
        log.warning("single exposure gives no pair", exposure_id=ids[0])
        yield ExposureResult(exposure_id=ids[0], reason=f"a single exposure at {level}")
    if len(ids) < 2:
        return
    first, second = (_copy(exposure, notes.get(exposure.info.exposure_id, {})) for exposure in members[:2])
    rows, reason = _measure_pair(first, second, chain)
    yield ExposureResult(exposure_id=ids[0], partner_id=ids[1], rows=rows, reason=reason)
    yield ExposureResult(exposure_id=ids[1], partner_id=ids[0], reason=f"measured with {ids[0]}")


def _measure_pair(first: Exposure, second: Exposure, chain: Chain) -> tuple[dict[str, dict[str, Any]], str]:
    pair = Pair(pair_id=f"{first.info}+{second.info.exposure_id}", first=first, second=second)
    log = stage_log(pair_id=pair.pair_id, detector=first.info.detector)
    try:
        return chain.run(pair, StageContext(log=log, load_exposure=_refuse)), ""
    except StageError as exc:
        log.exception("pair failed", stage=exc.stage)
        return {}, f"stage {exc.stage!r}: {exc}"


def _refuse(path: Path) -> Exposure:
    msg = f"{path}: exposures in memory have no instrument by which another file could be read"
    raise StageError(msg)


def _copy(exposure: Exposure, notes: Mapping[str, Any]) -> Exposure:
    """Return an exposure that stages may consume, its task metadata beside its header."""
    amplifiers = {name: _copy_amplifier(amplifier) for name, amplifier in exposure.amplifiers.items()}
    header = {**exposure.header, **notes}
    return replace(exposure, header=header, amplifiers=amplifiers, metadata=dict(exposure.metadata))


def _copy_amplifier(amplifier: Amplifier) -> Amplifier:
    return replace(
        amplifier,
        data=amplifier.data.copy(),
        mask=amplifier.mask.copy(),
        overscan=dict(amplifier.overscan),
        metadata=dict(amplifier.metadata),
    )
