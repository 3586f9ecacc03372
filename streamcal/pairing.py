"""Exposures become pairs: two of one detector and group, at one level, whatever came between.

The rules are here, the memory is not: the exposures that wait are those that the journal says are waiting, so a
restart changes nothing, and late, repeated and out-of-order files meet the same rules.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from streamcal.config import PairingConfig
from streamcal.journal import JournaledExposure, id_number
from streamcal.paths import show_path
from streamcal.records import Disposition, ExposureInfo, PairRecord

SECONDS_PER_DAY = 86400.0


class Shelf(Protocol):
    """What is known of earlier exposures; the journal is one."""

    def same_exposures(self, info: ExposureInfo) -> list[JournaledExposure]:
        """Return the accepted exposures of the same detector and exposure id."""

    def open_exposures(self, info: ExposureInfo, low: float, high: float) -> list[JournaledExposure]:
        """Return waiting and orphaned exposures of the same detector and group at a level in ``low..high``."""

    def has_pair(self, info: ExposureInfo, low: float, high: float) -> bool:
        """Tell whether the same detector and group has a pair already at a level in ``low..high``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What an exposure becomes.

    Attributes
    ----------
    disposition : Disposition
        ``PAIRED`` comes with a partner, ``WAITING`` and ``EXTRA`` and the others without.
    reason : str
        Why, in words an operator understands.
    partner : JournaledExposure or None
        The exposure it makes a pair with.
    """

    disposition: Disposition
    reason: str = ""
    partner: JournaledExposure | None = None


def judge(exposure: JournaledExposure, config: PairingConfig, shelf: Shelf) -> Verdict:
    """Decide what becomes of an exposure that has just come.

    Parameters
    ----------
    exposure : JournaledExposure
        The newcomer.
    config : PairingConfig
        The rules.
    shelf : Shelf
        What is known of earlier exposures; not changed.

    Returns
    -------
    Verdict
        The caller records it.
    """
    info = exposure.info
    return (
        _judge_alone(info, config)
        or _judge_identity(exposure, shelf.same_exposures(info))
        or _judge_level(exposure, config, shelf)
    )


def _judge_alone(info: ExposureInfo, config: PairingConfig) -> Verdict | None:
    if not info.is_flat:
        return Verdict(disposition=Disposition.IGNORED, reason=info.reason or "not a flat")
    value = level(info, config)
    if not math.isfinite(value):
        return Verdict(disposition=Disposition.REJECTED, reason=_missing_level(info, config))
    if config.match == "EXPID" and not math.isfinite(info.exposure_time):
        return Verdict(disposition=Disposition.REJECTED, reason="flat without a finite exposure time")
    return None


def _missing_level(info: ExposureInfo, config: PairingConfig) -> str:
    if config.match == "EXPID":
        return f"exposure id must be an integer to pair by EXPID, got {info.exposure_id!r}"
    return f"flat without a finite {'exposure time' if config.match == 'TIME' else 'flux'}"


def _judge_identity(exposure: JournaledExposure, known: Sequence[JournaledExposure]) -> Verdict | None:
    earlier = [other for other in known if other.number != exposure.number]
    for other in earlier:
        if other.info.digest == exposure.info.digest:
            return Verdict(
                disposition=Disposition.DUPLICATE, reason=f"same id and content as {show_path(other.info.path)}"
            )
    if earlier:
        path = show_path(earlier[0].info.path)
        reason = f"exposure id {exposure.info.exposure_id} came before with other content, in {path}"
        return Verdict(disposition=Disposition.REJECTED, reason=reason)
    return None


def _judge_level(exposure: JournaledExposure, config: PairingConfig, shelf: Shelf) -> Verdict:
    info = exposure.info
    low, high = level_range(info, config)
    partners = [other for other in shelf.open_exposures(info, low, high) if other.number != exposure.number]
    copies = [other for other in partners if other.info.digest == info.digest]
    if copies:
        reason = f"same content as {show_path(copies[0].info.path)}, under another id"
        return Verdict(disposition=Disposition.DUPLICATE, reason=reason)
    partner = choose_partner(info, partners, config)
    if partner is not None:
        return Verdict(disposition=Disposition.PAIRED, partner=partner)
    if config.match != "EXPID" and config.extras == "discard" and shelf.has_pair(info, low, high):
        return Verdict(disposition=Disposition.EXTRA, reason="its level has a pair already")
    return Verdict(disposition=Disposition.WAITING)


def level(info: ExposureInfo, config: PairingConfig) -> float:
    """Return the number by which exposures are matched: exposure time (s), flux, or the exposure id; NaN if none."""
    if config.match == "TIME":
        return info.exposure_time
    if config.match == "FLUX":
        return info.flux
    number = id_number(info.exposure_id)
    return math.nan if number is None else float(number)


def level_range(info: ExposureInfo, config: PairingConfig) -> tuple[float, float]:
    """Return the levels between which a partner may lie (a superset: `matches` decides)."""
    value = level(info, config)
    if config.match == "TIME":
        margin = config.tolerance_seconds * (1 + 1e-9) + 1e-12
    elif config.match == "FLUX":
        margin = abs(value) * config.flux_tolerance / max(1 - config.flux_tolerance, 1e-9)
    else:
        margin = 1.0
    return value - margin, value + margin


def choose_partner(
    info: ExposureInfo, others: Sequence[JournaledExposure], config: PairingConfig
) -> JournaledExposure | None:
    """Return the nearest in exposure id, else the longest known, of those that match; None if none does."""
    fitting = [other for other in others if matches(info, other.info, config)]
    return min(fitting, key=lambda other: (_id_distance(info, other.info), other.number), default=None)


def matches(one: ExposureInfo, other: ExposureInfo, config: PairingConfig) -> bool:
    """Tell whether two exposures of one detector and group may make a pair.

    Parameters
    ----------
    one, other : ExposureInfo
        In any order.
    config : PairingConfig
        The rules.
    """
    if config.match == "FLUX":
        close = abs(one.flux - other.flux) <= config.flux_tolerance * max(abs(one.flux), abs(other.flux))
    else:
        close = _equal_times(one, other, config)
    if config.match == "EXPID":
        close = close and _neighbours(one, other, config)
    return close and _near(one, other, config)


def _equal_times(one: ExposureInfo, other: ExposureInfo, config: PairingConfig) -> bool:
    # decimal times such as 0.1 + 0.2 must not fall out of a tolerance that they meet on paper
    return abs(one.exposure_time - other.exposure_time) <= config.tolerance_seconds * (1 + 1e-9) + 1e-12


def _neighbours(one: ExposureInfo, other: ExposureInfo, config: PairingConfig) -> bool:
    numbers = id_number(one.exposure_id), id_number(other.exposure_id)
    if numbers[0] is None or numbers[1] is None or abs(numbers[0] - numbers[1]) != 1:
        return False
    odd = min(numbers[0], numbers[1]) % 2 == 1
    return config.first_id_parity == "any" or odd == (config.first_id_parity == "odd")


def _near(one: ExposureInfo, other: ExposureInfo, config: PairingConfig) -> bool:
    if not config.max_separation:
        return True
    if config.separation_unit == "ids":
        return _id_distance(one, other) <= config.max_separation
    distance = abs(one.mjd_start - other.mjd_start) * SECONDS_PER_DAY
    return distance <= config.max_separation + 1e-3  # MJD in double precision resolves microseconds


def _id_distance(one: ExposureInfo, other: ExposureInfo) -> float:
    numbers = id_number(one.exposure_id), id_number(other.exposure_id)
    return math.inf if numbers[0] is None or numbers[1] is None else abs(numbers[0] - numbers[1])


def id_order(info: ExposureInfo) -> tuple[bool, int, str]:
    """Return a sort key: by exposure id as a number where it is one, then as text."""
    number = id_number(info.exposure_id)
    return number is None, number or 0, info.exposure_id


def form_pair(one: ExposureInfo, other: ExposureInfo) -> PairRecord:
    """Make the pair of two exposures, ordered by exposure id, with an id that follows from its inputs alone.

    Parameters
    ----------
    one, other : ExposureInfo
        In any order.

    Returns
    -------
    PairRecord
        Its ``pair_id`` is blake2b-128 of instrument, detector, group, both exposure ids and both digests.
    """
    if id_number(one.exposure_id) is None or id_number(other.exposure_id) is None:
        first, second = sorted((one, other), key=lambda info: info.exposure_id)
    else:
        first, second = sorted((one, other), key=id_order)
    parts = (first.instrument, first.detector, first.group, first.exposure_id, second.exposure_id)
    text = "\0".join((*parts, first.digest, second.digest))
    pair_id = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return PairRecord(pair_id=pair_id, first=first, second=second)
