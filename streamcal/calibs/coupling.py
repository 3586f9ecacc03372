"""Coupled amplifiers as one matrix product: arrays laid out alike in, crosstalk subtracted in place.

Every array here is *oriented*: the pixel nearest to its amplifier's output is ``[0, 0]``, so that equal indices are
pixels read at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcal.calibs.threads import one_blas_thread
from streamcal.records import ReadoutCorner

BLOCK_PIXELS = 8192  # of each of the amplifiers: two blocks of 16 amplifiers in float32 stay in a 1 MB cache


def orient(array: NDArray[Any], corner: ReadoutCorner) -> NDArray[Any]:
    """Return a view with the output at ``[0, 0]``; applied twice it gives the array back.

    Parameters
    ----------
    array : (ny, nx) ndarray
        Pixels in stored orientation.
    corner : ReadoutCorner
        Corner of the stored array at which the output sits.

    Returns
    -------
    (ny, nx) ndarray
        A view, mirrored in y for the upper corners, in x for the right ones.
    """
    return array[:: -1 if corner in {"UL", "UR"} else 1, :: -1 if corner in {"LR", "UR"} else 1]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Coupling:
    """What a set of source amplifiers adds to a set of targets, in the unit of the pixels.

    ``sum_s linear[t, s] (S_s - background[s]) + quadratic[t, s] (S_s - background[s])^2``

    Attributes
    ----------
    linear, quadratic : (n_target, n_source) ndarray of float32
        Finite. The quadratic term, per unit of the pixels, may be absent.
    background : (n_source, 1) ndarray of float32 or None
        Level of each source that does not count. NaN: the source counts nowhere.
    """

    linear: NDArray[np.float32]
    quadratic: NDArray[np.float32] | None = None
    background: NDArray[np.float32] | None = None

    @property
    def coupled(self) -> NDArray[np.bool_]:
        """Which source touches which target, (n_target, n_source)."""
        coupled: NDArray[np.bool_] = self.linear != 0
        return coupled if self.quadratic is None else coupled | (self.quadratic != 0)

    def select(self, targets: Sequence[int], sources: Sequence[int]) -> Coupling:
        """Return the coupling of some of the amplifiers."""
        square = np.ix_(targets, sources)
        return Coupling(
            linear=self.linear[square],
            quadratic=None if self.quadratic is None else self.quadratic[square],
            background=None if self.background is None else self.background[list(sources)],
        )

    def contribution(self, template: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the sources add to each target.

        Parameters
        ----------
        template : (n_source, n) ndarray of float32
            Source pixels; those that are NaN or infinite add nothing.

        Returns
        -------
        (n_target, n) ndarray of float32
            To be subtracted.
        """
        if self.background is not None:
            template = template - self.background
        with np.errstate(invalid="ignore", over="ignore"):
            clean = np.isfinite(template.sum())  # one pass in the cache; NaN times zero is NaN in a matrix product
        if not clean:
            template = np.where(np.isfinite(template), template, np.float32(0))
        added: NDArray[np.float32] = self.linear @ template
        if self.quadratic is not None:
            added += self.quadratic @ (template * template)
        return added


def subtract_coupled(
    targets: Sequence[NDArray[Any]],
    coupling: Coupling,
    *,
    sources: Sequence[NDArray[Any]] | None = None,
    iterations: int = 1,
    subtrahend: Sequence[NDArray[np.float32]] | None = None,
) -> None:
    """Subtract from the targets, in place, what the sources add to them.

    One pass takes the uncorrected pixels for the true ones and is right to first order in the coefficients. Each
    further pass takes the corrected pixels of the last one: ``x <- observed - K(x)``, one order more. The coupling
    is from pixel to pixel, so all passes run over a block while it is in the cache.

    Parameters
    ----------
    targets : sequence of (ny, nx) ndarray of float
        Oriented, of one shape. Changed.
    coupling : Coupling
        The coefficients.
    sources : sequence of (ny, nx) ndarray, optional
        Oriented, of the same shape, not changed; default: the targets themselves. Passes after the first change
        nothing then, as these sources are not corrected.
    iterations : int
        Number of passes, at least 1.
    subtrahend : sequence of (ny, nx) ndarray of float32, optional
        One per target, filled with what was subtracted.
    """
    with one_blas_thread():
        for rows in _row_blocks(targets[0].shape):
            observed = _gather(targets if sources is None else sources, rows)
            added = coupling.contribution(observed)
            for _ in range(iterations - 1 if sources is None else 0):
                added = coupling.contribution(observed - added)
            blocks = added.reshape(len(targets), -1, targets[0].shape[1])
            for target, block in zip(targets, blocks, strict=True):
                target[rows] -= block
            for kept, block in zip(subtrahend or (), blocks, strict=False):
                kept[rows] = block


def mark_bright_sources(
    masks: Sequence[NDArray[Any]],
    sources: Sequence[NDArray[Any]],
    levels: NDArray[np.float64],
    coupled: NDArray[np.bool_],
    bit: int,
) -> None:
    """Set a bit, in place, in each target under a coupled source pixel that is at or above its level, or not finite.

    Parameters
    ----------
    masks : sequence of (ny, nx) ndarray of int
        Masks of the targets, oriented. Changed.
    sources : sequence of (ny, nx) ndarray of float
        Oriented.
    levels : (n_source,) ndarray
        Level of each source; infinite or NaN: only pixels that are not finite are marked.
    coupled : (n_target, n_source) ndarray of bool
        Which source touches which target.
    bit : int
        The bit to set.
    """
    for s, (source, level) in enumerate(zip(sources, levels, strict=True)):
        limit = np.inf if np.isnan(level) else level
        if source.min() > -np.inf and source.max() < limit:  # not so with a NaN: the usual case needs no array
            continue
        touched = ~((source > -np.inf) & (source < limit))
        for t in np.flatnonzero(coupled[:, s]).tolist():
            masks[t][touched] |= masks[t].dtype.type(bit)


def mark_large_subtrahends(
    masks: Sequence[NDArray[Any]], subtrahend: Sequence[NDArray[np.float32]], thresholds: NDArray[np.float64], bit: int
) -> None:
    """Set a bit, in place, where what was subtracted differs from its amplifier's median by the threshold or more.

    Parameters
    ----------
    masks : sequence of (ny, nx) ndarray of int
        Masks of the targets, oriented. Changed.
    subtrahend : sequence of (ny, nx) ndarray of float32
        What `subtract_coupled` subtracted.
    thresholds : (n_target,) ndarray
        In the unit of the pixels.
    bit : int
        The bit to set.
    """
    for mask, values, threshold in zip(masks, subtrahend, thresholds, strict=True):
        mask[np.abs(values - np.median(values)) >= threshold] |= mask.dtype.type(bit)


def _row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    height = max(1, BLOCK_PIXELS // max(1, shape[1]))
    for start in range(0, shape[0], height):
        yield slice(start, min(start + height, shape[0]))


def _gather(arrays: Sequence[NDArray[Any]], rows: slice) -> NDArray[np.float32]:
    """Return a copy of these rows of all arrays, (n, rows * nx)."""
    block = np.empty((len(arrays), rows.stop - rows.start, arrays[0].shape[1]), np.float32)
    for row, array in zip(block, arrays, strict=True):
        row[...] = array[rows]
    return block.reshape(len(arrays), -1)
