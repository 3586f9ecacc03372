"""Values of files as what they must be, or refused by the name under which they stand there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class KindError(ValueError):
    """A file is whole, but what it holds is something else."""


def as_mapping(value: Any, name: str) -> dict[str, Any]:
    """Return a mapping with texts as keys, an empty one for None.

    Raises
    ------
    ValueError
        If it is none.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        msg = f"{name} must be a mapping, got {type(value).__name__}"
        raise ValueError(msg)  # noqa: TRY004 - the content is wrong, not the caller
    return {str(key): entry for key, entry in value.items()}


def as_flag(value: Any, name: str) -> bool:
    """Return true or false; texts are neither, as ``bool("False")`` is true.

    Raises
    ------
    ValueError
        If it is not true, false, 1 or 0.
    """
    return bool(as_array(value, name, bool))


def as_number(value: Any, name: str) -> float:
    """Return a finite number; texts that are numbers count.

    Raises
    ------
    ValueError
        If it is none.
    """
    array = as_array(value, name, float)
    if array.ndim or not np.isfinite(array):
        msg = f"{name} must be a finite number, got {value!r}"
        raise ValueError(msg)
    return float(array)


def as_array(values: ArrayLike, name: str, dtype: type) -> NDArray[Any]:
    """Return an own array of a type, without rounding or guessing.

    Parameters
    ----------
    values : array_like
        Numbers; YAML's texts that are numbers, such as ``1e-4``, count.
    name : str
        What the file calls it, for the error.
    dtype : {float, int, bool}
        Of ``bool`` they must be true, false, 1 or 0, of ``int`` whole.

    Returns
    -------
    ndarray of dtype
        Of the same shape.

    Raises
    ------
    ValueError
        If they are not all such numbers.
    """
    wanted = {float: "numbers", int: "whole numbers", bool: "true or false"}[dtype]
    try:
        given = np.array(values)
        numbers = given if given.dtype.kind in "biu" else given.astype(float)
    except (TypeError, ValueError, OverflowError):  # ragged, mappings, texts
        msg = f"{name} must be {wanted}, got {_shorten(values)}"
        raise ValueError(msg) from None
    exact = dtype is float or (given.dtype.kind in "biuf" and bool(np.all(numbers == np.rint(numbers))))
    if dtype is bool:
        exact = exact and bool(np.all((numbers == 0) | (numbers == 1)))
    if not exact:
        msg = f"{name} must be {wanted}, got {_shorten(values)}"
        raise ValueError(msg)
    array: NDArray[Any] = numbers.astype(dtype)
    return array


def as_scalar(value: Any, key: str) -> Any:
    """Return a text or a number as it is.

    Raises
    ------
    ValueError
        If it is a list or a mapping.
    """
    if isinstance(value, list | dict | tuple):
        msg = f"metadata {key} must be a text or a number, got {value!r}"
        raise ValueError(msg)  # noqa: TRY004 - the content is wrong, not the caller
    return value


def as_plain(value: Any) -> Any:
    """Return what every format can hold: no None, no numpy scalars, lists for tuples and arrays, no blanks at ends."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.rstrip()  # a FITS header keeps no trailing blanks
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def are_same(first: Any, second: Any) -> bool:
    """Compare attributes and metadata: NaN equal to NaN, in arrays, lists and dicts too."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(are_same(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(are_same, first, second))
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        floats = first.dtype.kind == "f" and second.dtype.kind == "f"
        return bool(np.array_equal(first, second, equal_nan=floats))
    return bool(first == second) or (_is_nan(first) and _is_nan(second))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and np.isnan(value)


def _shorten(value: Any, length: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}..."
