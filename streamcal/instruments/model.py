"""The instrument table: which header keys say what an exposure is, and where its amplifiers lie."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from streamcal.config import Table, validate
from streamcal.instruments.sections import is_section
from streamcal.instruments.values import template_keys
from streamcal.records import ReadoutCorner

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0}
CHANNEL = "#"  # in names and keys: the channel's text takes its place; no FITS keyword holds this sign


def _check_template(text: str) -> str:
    template_keys(text)
    return text


def _check_section(text: str) -> str:
    if not template_keys(text) and not is_section(text):
        msg = f"must be a section such as '[1:1024,1:512]' or hold a header key in braces, got {text!r}"
        raise ValueError(msg)
    return text


def _check_corner(text: str) -> str:
    if not template_keys(text) and text not in ReadoutCorner.__members__:
        msg = f"must be one of {', '.join(ReadoutCorner)} or hold a header key in braces, got {text!r}"
        raise ValueError(msg)
    return text


def _check_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as exc:
        msg = f"must be a regular expression, got {text!r}: {exc}"
        raise ValueError(msg) from exc
    return text


Key = Annotated[str, Field(min_length=1), AfterValidator(_check_template)]
Pattern = Annotated[str, AfterValidator(_check_pattern)]
TemplateText = Annotated[str, AfterValidator(_check_template)]
SectionText = Annotated[str, AfterValidator(_check_section)]
CornerText = Annotated[str, AfterValidator(_check_corner)]


class Rule(Table):
    """Something that a header value says when it matches a pattern."""

    key: Key = Field(description="Header key, template, or @name, @folder, @path of the file.")
    pattern: Pattern = Field(description="Regular expression, searched for anywhere in the value, in any case.")


class Lookup(Table):
    """A header key from whose value a pattern takes a part."""

    key: Key = Field(description="Header key, template, or @name, @folder, @path of the file.")
    pattern: Pattern = Field(
        description="Regular expression; its first group is taken, else all that matches. No match: the key is absent."
    )
    value: str | None = Field(
        None, description=r"Taken instead where the pattern matches; \1, \2, ... stand for the pattern's groups."
    )

    @model_validator(mode="after")
    def _check_value(self) -> Self:
        try:
            re.compile(self.pattern).sub(self.value or "", "")
        except (re.error, IndexError) as exc:
            msg = f"value must hold no other groups than the pattern's, got {self.value!r}: {exc}"
            raise ValueError(msg) from exc
        return self


Lookups = tuple[Key | Lookup, ...]
Sections = SectionText | Lookup | tuple[SectionText | Lookup, ...]
Corners = CornerText | Lookup | tuple[CornerText | Lookup, ...]


class IdentifyTable(Table):
    """Which header keys say what an exposure is; of a list of keys the first that is present wins."""

    flat: tuple[Rule, ...] = Field(min_length=1, description="An exposure is a flat if any of these matches.")
    not_flat: tuple[Rule, ...] = Field((), description="It is none after all if any of these matches.")
    exposure_id: Lookups = Field(min_length=1, description="Identity of the exposure, the same for all its detectors.")
    exposure_time: Lookups = Field(("EXPTIME",), description="Exposure time.")
    exposure_time_unit: Literal["s", "ms", "us", "min"] = Field("s", description="Unit of the exposure time.")
    flux: Lookups = Field((), description="Light level that the header claims, for pairing by FLUX.")
    start: Lookups = Field(("MJD-OBS", "DATE-OBS"), description="Start of the exposure: MJD (a number) or ISO date.")
    end: Lookups = Field(
        (), description="End of the exposure: where it is present, it less the exposure time is the start."
    )
    start_scale: Literal["utc", "tai"] = Field("utc", description="Time scale of start and end.")
    start_scale_key: str = Field("", description="Key that names the time scale where it is present, such as TIMESYS.")
    detector: Lookups = Field((), description="Name of the detector; several in one file are told apart by it.")
    detector_names: dict[str, str] = Field({}, description="Names of detectors, by what their key says.")
    detector_name: str = Field("0", min_length=1, description="Name of the detector where no key gives it.")
    filter: Lookups = Field((), description="Filter; groups and auxiliary keys can ask for it as @filter.")
    run: Lookups = Field((), description="Run or sequence; groups and auxiliary keys can ask for it as @run.")


class LayoutTable(Table):
    """Where an amplifier lies in its array; texts in braces are replaced by header values."""

    data: Sections | None = Field(None, description="Section of the light; of a list the first whose keys are present.")
    overscan: dict[str, Sections] | None = Field(
        None, description="Sections by name (serial, prescan, parallel, ...); those whose keys are absent are left out."
    )
    readout_corner: Corners | None = Field(
        None,
        description="LL, LR, UL, UR, or a section whose reversed ranges tell; default: the ranges of the data section.",
    )
    saturation: Annotated[float, Field(gt=0)] | TemplateText | None = Field(
        None, description="Level at and above which pixels are saturated (ADU, raw), or a key in braces."
    )
    suspect: Annotated[float, Field(gt=0)] | TemplateText | None = Field(
        None, description="Level at and above which pixels are suspect (ADU, raw), or a key in braces."
    )
    gain: Annotated[float, Field(gt=0)] | TemplateText | None = Field(
        None, description="Gain that is claimed (e-/ADU), or a key in braces; a hint, never used silently."
    )


class ImageCount(Rule):
    """Another number of image HDUs, of files in whose header a value matches a pattern."""

    images: int = Field(ge=1, description="Number of image HDUs in such a file.")


class GeometryTable(LayoutTable):
    """Where the amplifiers lie; what stands here holds for each of them that does not say otherwise."""

    images: int | None = Field(None, ge=1, description="Number of image HDUs in each file; fewer: it is not whole yet.")
    other_images: tuple[ImageCount, ...] = Field((), description="Files with another number of them; the first counts.")
    hdus: Pattern = Field("", description="Regular expression for the EXTNAME of the image HDUs that count.")
    shape: tuple[int, int] | None = Field(None, description="Rows and columns that each image must have.")
    origin: Literal["array", "output"] = Field(
        "array",
        description="Where sections count from: the first pixel of the array, or the corner of it that is read first.",
    )
    binning: Lookups = Field(
        (),
        description="Binning, such as 2 2 or 2,2 (columns, rows); where present, shape and sections are unbinned ones.",
    )
    name: TemplateText | tuple[TemplateText, ...] = Field(
        ("{EXTNAME}", "{@hdu}"), description="Name of an amplifier where no [[amplifiers]] are listed."
    )
    channels: tuple[str, ...] = Field(
        ("",),
        min_length=1,
        description="Of several amplifiers in one HDU: what takes the place of # in keys; absent ones are left out.",
    )
    outside: bool = Field(
        False,
        description="Take what lies outside the data section as serial, prescan and parallel, where no key gives them.",
    )


class AmplifierTable(LayoutTable):
    """One amplifier, explicitly."""

    name: str = Field(min_length=1, description="Name of the amplifier, unique in its detector.")
    extension: int | str | None = Field(
        None, description="EXTNAME or number of its HDU; default: each image HDU of the detector has one."
    )


class Instrument(Table):
    """A camera: how to tell what an exposure is, and where its amplifiers lie."""

    name: str = Field(min_length=1, description="Name of the instrument, as it appears in the rows.")
    identify: IdentifyTable = Field(description="Which header keys say what an exposure is.")
    geometry: GeometryTable = Field(GeometryTable(), description="Where amplifiers lie: for all of them.")
    amplifiers: tuple[AmplifierTable, ...] = Field(
        (), description="Amplifiers one by one; without them there is one for each image HDU and channel."
    )
    init: dict[str, dict[str, Any]] = Field(
        {}, description="Settings of stages that streamcal init writes into a configuration for this camera, by stage."
    )

    @model_validator(mode="after")
    def _check_amplifiers(self) -> Self:
        places = [(amplifier.name, amplifier.extension) for amplifier in self.amplifiers]
        for place in places:
            if places.count(place) > 1:
                msg = f"amplifiers must have different names, got {place[0]!r} twice"
                raise ValueError(msg)
        for amplifier in self.amplifiers:
            if amplifier.data is None and self.geometry.data is None:
                msg = f"amplifiers: {amplifier.name!r} has no data section, and neither has geometry"
                raise ValueError(msg)
        return self

    @property
    def amplifier_names(self) -> tuple[str, ...]:
        """Names of the amplifiers of each exposure, in order; empty where headers tell them."""
        return tuple(dict.fromkeys(amplifier.name for amplifier in self.amplifiers))

    @property
    def n_amplifiers(self) -> int:
        """Number of amplifiers of each exposure; 0 where only headers tell it."""
        if self.amplifiers:
            return len(self.amplifier_names)
        is_plain = not self.identify.detector and len(self.geometry.channels) == 1
        return self.geometry.images or 0 if is_plain else 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], origin: str = "instrument") -> Self:
        """Validate a table.

        Raises
        ------
        ConfigError
            One line per thing that is wrong, each naming origin and key.
        """
        return validate(cls, values, origin)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold and `from_dict` takes."""
        return self.model_dump(mode="json", exclude_defaults=True)
