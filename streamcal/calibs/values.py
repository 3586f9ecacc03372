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


def _shorten(value: Any, length: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}..."
