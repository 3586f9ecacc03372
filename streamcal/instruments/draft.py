"""A first table for a camera that nobody knows: which of the keys that cameras use stand in these headers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from streamcal.instruments.detectors import is_image
from streamcal.instruments.values import Header, as_text, expand_section

FLAT = ("IMAGETYP", "IMGTYPE", "IMTYPE", "OBSTYPE", "DATA-TYP", "ESO DPR TYPE", "KOAIMTYP", "EXPTYPE", "FRAME")
EXPOSURE_ID = ("EXPID", "EXPNUM", "EXP-ID", "OBSID", "KOAID", "ARCFILE", "IMAGETAG")
EXPOSURE_TIME = ("EXPTIME", "EXPOSURE", "EXPOSED", "ITIME", "ELAPTIME", "XPOSURE", "TTIME")
START = ("MJD-BEG", "DATE-BEG", "MJD-OBS", "MJD-STR", "MJD")
CLOCK = ("TIME-OBS", "UT-STR", "UTSTART", "UT", "UTC")  # beside a DATE-OBS that is a day only
DETECTOR = ("CCDNUM", "DETPOS", "DET-ID", "DETECTOR", "CCDNAME", "DETNAM", "CAMERA", "LSST_NUM", "INSTRUME")
FILTER = ("FILTER", "FILTERS", "FILTNAM", "FILTER01", "FILTER1", "ESO INS FILT1 NAME")
RUN = ("RUNID", "RUNNUM", "RUN", "PROPID", "PROP-ID", "PROGRAM", "ESO TPL START")
SATURATION = ("SATURATE", "SATURAT", "SATLEVEL", "SATUR")
GAIN = ("GAIN", "EGAIN", "T_GAIN")
CORNER = ("AMPSEC", "CSEC")
# of the light, then of overscans by name; suffixed keys count before bare ones, then order
FAMILIES = (
    ("DATASEC", {"serial": "BIASSEC", "prescan": "PRESEC", "parallel": "POSTSEC"}),
    ("DSEC", {"serial": "BSEC"}),
    ("TRIMSEC", {"serial": "BIASSEC"}),
)
STEM = r"(.+?)(\.fits?)?(\.(gz|fz))?$"
NAMES = (  # of files begin anew each night, where the date does not tell
    {"key": "{DATE-OBS} {@name}", "pattern": r"^(\S+) " + STEM, "value": r"\1_\2"},
    {"key": "@name", "pattern": "^" + STEM},
)
_SUFFIX = re.compile(r"[A-Z]|[0-9]{1,2}")


def draft_instrument(headers: Sequence[Header]) -> dict[str, Any]:
    """Propose a table for a camera, from one of its files.

    Parameters
    ----------
    headers : sequence of mapping
        Plain headers of all HDUs in order.

    Returns
    -------
    dict
        A table that `Instrument.from_dict` takes. Where no key is known, the name of the file stands in, and the whole
        image counts as light: read it before use.
    """
    images = [header for header in headers if is_image(header)]
    merged: dict[str, Any] = {}
    for header in (*reversed(headers[1:]), *headers[:1]):
        merged |= header
    table: dict[str, Any] = {"name": _name(merged), "identify": _draft_identity(merged, images)}
    count = {"images": len(images)} if images else {}
    if "ESO DET OUT1 NX" in merged:
        return {"base": "eso", **table, "geometry": count}
    return {**table, "geometry": {**count, **_draft_geometry(images[0] if images else {})}}


def _name(merged: Header) -> str:
    return re.sub(r"\W+", "-", as_text(merged.get("INSTRUME", ""))).strip("-").lower() or "camera"


def _draft_identity(merged: Header, images: Sequence[Header]) -> dict[str, Any]:
    table: dict[str, Any] = {
        "flat": [{"key": key, "pattern": "flat"} for key in _present(FLAT, merged)]
        or [{"key": "@name", "pattern": "flat"}],
        "exposure_id": [*_present(EXPOSURE_ID, merged), *NAMES],
        "exposure_time": [*_present(EXPOSURE_TIME, merged)] or ["EXPTIME"],
        "start": [*_present(START, merged)][:1] + _draft_date(merged) or ["DATE-OBS"],
        "detector": _draft_detector(merged, images),
        "filter": [*_present(FILTER, merged)],
        "run": [*_present(RUN, merged)],
    }
    if "TIMESYS" in merged:
        table["start_scale_key"] = "TIMESYS"
    return {key: value for key, value in table.items() if value}


def _present(keys: Iterable[str], header: Header) -> Iterator[str]:
    return (key for key in keys if header.get(key) not in (None, ""))


def _draft_date(merged: Header) -> list[str]:
    date = as_text(merged.get("DATE-OBS", ""))
    if ":" in date:
        return ["DATE-OBS"]
    return [f"{{DATE-OBS}}T{{{key}}}" for key in _present(CLOCK, merged) if date][:1]


def _draft_detector(merged: Header, images: Sequence[Header]) -> list[str]:
    """Take the key that differs between the images, if there is one: they are detectors then, else amplifiers."""
    different = [key for key in DETECTOR if len({as_text(header.get(key, "")) for header in images}) > 1]
    return different[:1] or list(_present(DETECTOR, merged))[:1]


def _draft_geometry(image: Header) -> dict[str, Any]:
    families = [(light, overscans, _find_channels(light, image)) for light, overscans in FAMILIES]
    families = sorted((family for family in families if family[2]), key=lambda family: family[2] == [""])
    if not families:
        return {"data": "[*,*]", **_draft_properties(image, "", "")}
    light, overscans, channels = families[0]
    mark = "#" if channels != [""] else ""
    there = {name: f"{{{key}{mark}}}" for name, key in overscans.items() if key + channels[0] in image}
    table: dict[str, Any] = {"data": f"{{{light}{mark}}}"}
    if there or mark:  # what lies outside one channel's light is other channels' light
        table["overscan"] = there
    else:
        table["outside"] = True
    if mark:
        table |= {"channels": channels, "name": "#"}
    return table | _draft_properties(image, channels[0], mark)


def _find_channels(light: str, image: Header) -> list[str]:
    """Return the suffixes of a key whose values are sections, else an empty one where the bare key is a section."""
    suffixes = (key.removeprefix(light) for key in image if key.startswith(light))
    channels = [suffix for suffix in suffixes if _SUFFIX.fullmatch(suffix) and _is_section(light + suffix, image)]
    return sorted(channels, key=lambda channel: (len(channel), channel)) or ([""] if _is_section(light, image) else [])


def _is_section(key: str, image: Header) -> bool:
    text = expand_section(f"{{{key}}}", image)
    return text is not None and text.strip().startswith("[")


def _draft_properties(image: Header, channel: str, mark: str) -> dict[str, Any]:
    known = {"readout_corner": CORNER, "saturation": SATURATION, "gain": GAIN}
    found = {name: next((key for key in keys if key + channel in image), None) for name, keys in known.items()}
    return {name: f"{{{key}{mark}}}" for name, key in found.items() if key}
