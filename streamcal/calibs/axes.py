"""The one place where ``[target, source]`` (Python) and ``[source][target]`` (files) are turned into each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamcal.calibs.values import as_array

AXES_KEY = "CROSSTALK_AXES"
FILE_AXES = "source,target"
PYTHON_AXES = "target,source"

# Cameras whose deployed files hold the matrices between chips in the other order than those within one: the script
# that made DECam's from "victim source coefficient" turned the latter only.
TURNED_BETWEEN_CHIPS = ("decam",)


def axes_of(metadata: Mapping[str, Any], *, between_chips: bool = False) -> str:
    """Return how a file lays its matrices out: as it says, else as its kind is known to.

    Parameters
    ----------
    metadata : mapping
        Of the file.
    between_chips : bool
        Ask for the inter-chip matrices, not for those of the detector's own amplifiers.
    """
    turned = between_chips and str(metadata.get("INSTRUME", "")).strip().lower() in TURNED_BETWEEN_CHIPS
    return str(metadata.get(AXES_KEY) or (PYTHON_AXES if turned else FILE_AXES))


def from_file(values: ArrayLike, n_amp: int, name: str, dtype: type, axes: str = FILE_AXES) -> NDArray[Any]:
    """Return a matrix of a file as ``[target, source]``.

    Parameters
    ----------
    values : array_like
        ``n_amp ** 2`` numbers in C order, flat or nested.
    n_amp : int
        Number of amplifiers.
    name : str
        What the file calls it, for the error.
    dtype : type
        Element type of the result.
    axes : {"source,target", "target,source"}
        How the file lays the matrix out; what is deployed is ``"source,target"``.

    Returns
    -------
    (n_amp, n_amp) ndarray
        Rows are targets, columns are sources; an own copy.

    Raises
    ------
    ValueError
        If the number of values is not ``n_amp ** 2``, they are of another type, or the axes are unknown.
    """
    if axes not in (FILE_AXES, PYTHON_AXES):
        msg = f"{AXES_KEY} must be {FILE_AXES!r} or {PYTHON_AXES!r}, got {axes!r}"
        raise ValueError(msg)
    flat = as_array(values, name, dtype).ravel()
    if flat.size != n_amp**2:
        msg = f"{name} must hold {n_amp} x {n_amp} values, got {flat.size}"
        raise ValueError(msg)
    matrix = flat.reshape(n_amp, n_amp)
    return matrix.T.copy() if axes == FILE_AXES else matrix


def to_file(matrix: NDArray[Any]) -> NDArray[Any]:
    """Return a ``[target, source]`` matrix as files hold it.

    Parameters
    ----------
    matrix : (n_amp, n_amp) ndarray
        Rows are targets, columns are sources.

    Returns
    -------
    (n_amp ** 2,) ndarray
        C order of ``[source][target]``.
    """
    return np.asarray(matrix).T.ravel()
