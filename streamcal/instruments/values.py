"""Values from headers: plain dictionaries of what cards say, and the keys, templates and patterns that pick from them.

A *key* is the name of a header card (``HIERARCH`` keys by their name, without the word), or one of the facts that are
not in any header and begin with ``@``: ``@name``, ``@folder`` and ``@path`` of the file, ``@hdu``. Case does not
matter. A *template* is a text with keys in braces, ``{DAYOBS}_{SEQNUM:06d}``; a value takes the place of each.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import PurePath
from typing import Any

Header = Mapping[str, Any]

_SUM = re.compile(r"[0-9]+(?:\s*[+-]\s*[0-9]+)+")
_RANGE = re.compile(r"([0-9]+)\s*:\s*([0-9]+)")
_NO_SECTION = frozenset({"", "UNKNOWN", "N/A", "NONE", "[0:0,0:0]"})
_COMMENTARY = frozenset({"", "COMMENT", "HISTORY", "CONTINUE", "END"})


def plain_header(cards: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the cards of a header as plain values that JSON can hold.

    Parameters
    ----------
    cards : mapping, or iterable of pairs
        Keys and values. Of a key that is there twice the first counts.

    Returns
    -------
    dict
        Upper-case keys, ``HIERARCH`` keys without the word; no comments, history, or cards without a value.
    """
    header: dict[str, Any] = {}
    for name, value in cards.items() if isinstance(cards, Mapping) else cards:
        key = normal_key(name)
        if key not in _COMMENTARY and (plain := _plain(value)) is not None:
            header.setdefault(key, plain)
    return header


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip()
    return value if isinstance(value, (bool, int, float)) else None


def normal_key(key: str) -> str:
    """Return a key the way `plain_header` writes it."""
    return key.strip().upper().removeprefix("HIERARCH ").strip()


FILE_FACTS = ("@NAME", "@FOLDER", "@PATH")


def file_facts(path: str) -> dict[str, str]:
    """Return what the place of a file says, for cameras whose headers do not tell."""
    place = PurePath(path)
    return dict(zip(FILE_FACTS, (place.name, place.parent.name, path), strict=True))


def as_text(value: Any) -> str:
    """Return a value as text: whole numbers without a point, logical values as FITS writes them."""
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def as_number(value: Any) -> float:
    """Return a value as a number; NaN where it is none."""
    if isinstance(value, bool) or value is None:
        return math.nan
    try:
        return float(value)
    except ValueError:
        return math.nan


def get_value(key_or_template: str, facts: Header) -> Any:
    """Return the value of a key or of a template with keys in braces; None where a key is missing."""
    if "{" in key_or_template:
        return expand(key_or_template, facts)
    return facts.get(normal_key(key_or_template))


def template_keys(template: str) -> list[str]:
    """Return the keys of a template.

    Raises
    ------
    ValueError
        If its braces do not match, or what stands behind a colon is no format of Python's.
    """
    fields = [(key, form or "") for _, key, form, _ in string.Formatter().parse(template) if key is not None]
    for _, form in fields:
        if _format(1, form) is None and _format("a", form) is None:
            msg = f"{form!r} is no format"
            raise ValueError(msg)
    return [normal_key(key) for key, _ in fields]


def expand(template: str, facts: Header) -> str | None:
    """Put the values of keys in the place of their braces.

    Parameters
    ----------
    template : str
        Such as ``{DATASEC}`` or ``[{T_EFMN11}:{T_EFMX11},1:10]``.
    facts : mapping
        Values by normal key.

    Returns
    -------
    str or None
        None where a key is missing, its value is empty, or does not fit the format behind its colon, also as a number.
    """
    parts = []
    for literal, key, form, _ in string.Formatter().parse(template):
        parts.append(literal)
        if key is None:
            continue
        text = _format(facts.get(normal_key(key)), form or "")
        if not text:
            return None
        parts.append(text)
    return "".join(parts)


def _format(value: Any, form: str) -> str | None:
    """Return a value in a format, where need be as the number that it quotes; None where it does not fit."""
    if value is None or not form:
        return None if value is None else as_text(value)
    number = as_number(value)
    values = [value, *([int(number)] if number.is_integer() else [number] if math.isfinite(number) else [])]
    for candidate in values:
        with suppress(ValueError):
            return format(candidate, form)
    return None


def expand_section(template: str, facts: Header) -> str | None:
    """Expand a template that gives an image section; sums such as ``6+1024`` are carried out.

    Returns
    -------
    str or None
        None where a key is missing or empty, or where cameras say that they do not know or have none: ``UNKNOWN``,
        ``N/A``, ``[0:0,0:0]``, or a sum that leaves nothing (``[7:6+0,1:10]``).
    """
    text = expand(template, facts)
    return None if text is None else read_section(text)


def read_section(text: str) -> str | None:
    """Return an image section with its sums carried out; None for what `expand_section` takes for no section."""
    if "".join(text.split()).upper() in _NO_SECTION:
        return None
    section = _SUM.sub(lambda match: str(_add(match[0])), text)
    # "[2:1,...]" is two columns, flipped, when a header says so; when widths are added up it is none
    empty = section != text and any(int(last) == int(first) - 1 for first, last in _RANGE.findall(section))
    return None if empty else section


def _add(text: str) -> int:
    return sum(int(term) for term in re.findall(r"[+-]?[0-9]+", text.replace(" ", "")))
