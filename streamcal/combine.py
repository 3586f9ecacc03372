"""How the values that the two exposures of a pair have in one column become one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from streamcal.hookspecs import Column

_NUMBERS = ("max", "sum", "first")
_FITTING: dict[str, tuple[str, ...]] = {
    "float": ("median", "mean", *_NUMBERS),
    "int": _NUMBERS,
    "uint": _NUMBERS,
    "bool": ("max", "first"),
    "string": ("join", "first"),
}

_COMBINERS: dict[str, Callable[[list[Any]], Any]] = {
    "median": statistics.median,
    "mean": statistics.fmean,
    "max": max,
    "sum": sum,
    "first": lambda values: values[0],
    "join": lambda values: "+".join(dict.fromkeys(str(value) for value in values)),
}


def check_combine(columns: Sequence[Column]) -> None:
    """Check that two values of each column become one value of its type.

    Raises
    ------
    ValueError
        If ``combine`` is unknown or does not fit the type: a median of whole numbers need not be one.
    """
    for column in columns:
        fitting = _FITTING.get(column.type.rstrip("0123456789"), ("first",))
        if column.combine not in fitting:
            choices = ", ".join(fitting)
            msg = f"column {column.name!r}: combine of a {column.type} must be {choices}, got {column.combine!r}"
            raise ValueError(msg)


def combine_values(column: Column, values: Sequence[Any]) -> Any:
    """Make one value of those of several exposures, as the column says; NaN and None are left out.

    Where all are missing, the first is returned as it is.
    """
    present = [value for value in values if not _is_missing(value)]
    return _COMBINERS[column.combine](present) if present else values[0]


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, Real) and math.isnan(value))
