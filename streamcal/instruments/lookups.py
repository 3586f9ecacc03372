"""What a table's keys and patterns find in headers."""

from __future__ import annotations

import re
from typing import Any

from streamcal.instruments.model import Lookup, Lookups, Rule
from streamcal.instruments.values import Header, as_text, get_value


def find_first(lookups: Lookups, facts: Header) -> Any:
    """Return the value of the first key that is present and, if it has a pattern, matches; else None."""
    for lookup in lookups:
        value = look_up(lookup, facts)
        if value not in (None, ""):
            return value
    return None


def look_up(lookup: str | Lookup, facts: Header) -> Any:
    """Return the value of a key, or what a pattern takes of it; None where it is absent or does not match."""
    if isinstance(lookup, str):
        return get_value(lookup, facts)
    value = get_value(lookup.key, facts)
    match = None if value is None else re.search(lookup.pattern, as_text(value), re.IGNORECASE)
    if match is None or lookup.value is None:
        return match and match[1 if match.re.groups else 0]
    return match.expand(lookup.value)


def matches(rule: Rule, facts: Header) -> bool:
    """Tell whether the value that a rule asks for is there and matches its pattern."""
    value = get_value(rule.key, facts)
    return value is not None and re.search(rule.pattern, as_text(value), re.IGNORECASE) is not None
