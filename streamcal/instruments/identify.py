"""What an exposure is, by its header: a flat or not, which one, how long, how bright, when; one record a detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamcal.errors import ConfigError, ExposureError
from streamcal.instruments.detectors import split_detectors
from streamcal.instruments.layout import place_amplifiers
from streamcal.instruments.lookups import find_first, matches
from streamcal.instruments.model import SECONDS, IdentifyTable, Instrument, Lookup, Lookups
from streamcal.instruments.times import start_times
from streamcal.instruments.values import FILE_FACTS, Header, as_number, as_text, get_value, normal_key, template_keys
from streamcal.records import ExposureInfo, FileStat

NAMED_FACTS = ("@FILTER", "@RUN")  # what the instrument's table finds in a header, under names of our own


def check_facts(keys: Sequence[str]) -> None:
    """Check that keys which begin with ``@`` are known: no header has them, so a misspelled one would be empty.

    Raises
    ------
    ConfigError
        If one is not, or the braces of a template do not match; names the key and the known ones.
    """
    known = (*FILE_FACTS, *NAMED_FACTS)
    for key in keys:
        try:
            names = template_keys(key) if "{" in key else [normal_key(key)]
        except ValueError as exc:
            msg = f"{key!r}: {exc}"
            raise ConfigError(msg) from exc
        for name in names:
            if name.startswith("@") and name not in known:
                msg = f"unknown {name.lower()!r}, known: {', '.join(fact.lower() for fact in known)}, or a header key"
                raise ConfigError(msg)


def identify(  # noqa: PLR0913 - a file's identity has three parts
    instrument: Instrument,
    headers: Sequence[Header],
    path: str,
    stat: FileStat,
    digest: str,
    *,
    group_keys: Sequence[str] = (),
    auxiliary_keys: Sequence[str] = (),
) -> list[ExposureInfo]:
    """Say what a file is, detector by detector.

    Parameters
    ----------
    instrument : Instrument
        Its table.
    headers : sequence of mapping
        Headers of all HDUs in order, as `streamcal.instruments.values.plain_header` gives them.
    path, stat, digest
        Identity of the file.
    group_keys : sequence of str
        Keys that tell one run from another; ``@filter`` and ``@run`` are what the instrument's table says.
    auxiliary_keys : sequence of str
        Keys whose values the rows shall carry.

    Returns
    -------
    list of ExposureInfo
        A flat without exposure time, flux or start time has NaN there. The reason says why something is no flat.

    Raises
    ------
    NotWhole
        If there are fewer image HDUs than the instrument writes.
    ExposureError
        If there are more or none, or a flat has no exposure id or an impossible geometry.
    """
    exposures = []
    for detector in split_detectors(instrument, headers, path):
        facts = with_names(instrument.identify, detector.facts)
        reason = why_not_flat(instrument.identify, facts)
        if not reason:  # a bias or focus frame may have any geometry, nobody will measure it
            place_amplifiers(instrument, headers, detector)
        exposures.append(
            ExposureInfo(
                path=path,
                stat=stat,
                digest=digest,
                instrument=instrument.name,
                detector=detector.name,
                exposure_id=_exposure_id(instrument.identify, facts, required=not reason),
                is_flat=not reason,
                reason=reason,
                group=";".join(f"{key}={as_text(_or_empty(get_value(key, facts)))}" for key in group_keys),
                auxiliary={key: get_value(key, facts) for key in auxiliary_keys},
                **find_numbers(instrument.identify, facts),
            )
        )
    return exposures


def with_names(table: IdentifyTable, facts: Header) -> dict[str, Any]:
    """Return facts with ``@FILTER`` and ``@RUN`` among them."""
    return {
        **facts,
        **dict(zip(NAMED_FACTS, (find_first(table.filter, facts), find_first(table.run, facts)), strict=True)),
    }


def _or_empty(value: Any) -> Any:
    return "" if value is None else value


def find_numbers(table: IdentifyTable, facts: Header) -> dict[str, Any]:
    """Return exposure time (s), flux, and start (MJD, TAI and UTC) as `ExposureInfo` names them; NaN where unknown."""
    exposure_time = as_number(find_first(table.exposure_time, facts)) * SECONDS[table.exposure_time_unit]
    tai, utc = _find_start(table, facts, exposure_time)
    flux = as_number(find_first(table.flux, facts))
    return {"exposure_time": exposure_time, "flux": flux, "mjd_start": tai, "mjd_start_utc": utc}


def _find_start(table: IdentifyTable, facts: Header, exposure_time: float) -> tuple[float, float]:
    scale = as_text(facts.get(normal_key(table.start_scale_key), table.start_scale)).lower()
    end = find_first(table.end, facts)
    if end is None:
        return start_times(find_first(table.start, facts), scale)
    return start_times(end, scale, before=exposure_time)


def _exposure_id(table: IdentifyTable, facts: Header, *, required: bool) -> str:
    value = find_first(table.exposure_id, facts)
    if value is None and required:
        msg = f"the header has no exposure id: none of {_name_keys(table.exposure_id)}"
        raise ExposureError(msg)
    return "" if value is None else as_text(value)


def _name_keys(lookups: Lookups) -> str:
    return ", ".join(f"{item.key} ~ {item.pattern!r}" if isinstance(item, Lookup) else item for item in lookups)


def why_not_flat(table: IdentifyTable, facts: Header) -> str:
    """Return why an exposure is not a flat, in words that quote its header; empty if it is one."""
    for rule in table.not_flat:
        if matches(rule, facts):
            return f"not a flat: {_quote(rule.key, facts)}"
    if any(matches(rule, facts) for rule in table.flat):
        return ""
    keys = list(dict.fromkeys(rule.key for rule in table.flat))
    said = [_quote(key, facts) for key in keys if get_value(key, facts) is not None]
    return f"not a flat: {', '.join(said)}" if said else f"not a flat: the header has none of {', '.join(keys)}"


def _quote(key: str, facts: Header) -> str:
    return f"{key} = {get_value(key, facts)!r}"
