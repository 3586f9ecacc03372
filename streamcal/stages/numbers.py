"""Settings that are one number for all amplifiers, or a table of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator


def _check_numbers(value: Any) -> Any:
    numbers = value.values() if isinstance(value, Mapping) else [value]
    if value is not None and not all(_is_positive(number) for number in numbers):
        msg = f"must be a number above 0, or a table of them by amplifier, got {value!r}"
        raise ValueError(msg)
    return value


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


PerAmplifier = Annotated[float | dict[str, float] | None, BeforeValidator(_check_numbers)]
"""One positive number for all amplifiers, or a table of them by amplifier; None: unknown."""


def number_for(setting: float | Mapping[str, float] | None, amplifier: str) -> float:
    """Return what a setting of type `PerAmplifier` says of one amplifier; NaN: nothing."""
    value = setting.get(amplifier) if isinstance(setting, Mapping) else setting
    return math.nan if value is None else float(value)
