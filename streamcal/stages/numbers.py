"""Settings that are one number for all amplifiers, or a table of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator

from streamcal.errors import StageError


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


def find_strangers(settings: BaseModel, keys: Collection[str], amplifiers: Collection[str]) -> list[str]:
    """Say in one line each which tables by amplifier name what is no amplifier.

    Parameters
    ----------
    settings : BaseModel
        Of a stage.
    keys : collection of str
        Which of the settings are of type `PerAmplifier`.
    amplifiers : collection of str
        Those there are.
    """
    tables = {key: value for key in keys if isinstance(value := getattr(settings, key), Mapping)}
    return [
        f"{key}: {name!r} is no amplifier, known: {', '.join(amplifiers)}"
        for key, table in tables.items()
        for name in table
        if name not in amplifiers
    ]


def require_amplifiers(settings: BaseModel, keys: Collection[str], amplifiers: Collection[str]) -> None:
    """Check that tables by amplifier name amplifiers of an exposure, see `find_strangers`.

    Raises
    ------
    StageError
        If one does not; names setting, key and amplifiers.
    """
    if strangers := find_strangers(settings, keys, amplifiers):
        raise StageError(strangers[0])
