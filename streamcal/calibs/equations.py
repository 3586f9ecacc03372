"""Normal equations of a crosstalk matrix: sums over pixels, their solution, and how far their parts scatter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import add

import numpy as np
from numpy.typing import NDArray

from streamcal.calibs.squares import Square


@dataclass(frozen=True, slots=True, eq=False)
class NormalEquations:
    """Normal equations of all targets, in which each square of the detector has a plane of its own taken off.

    Attributes
    ----------
    matrix : (n_amp, p, p) ndarray of float64
        By target: products of all amplifiers with each other (and with their squares: p is then twice n_amp) over
        the pixels used for that target. Row and column ``t`` of ``matrix[t]`` are the target itself.
    freedom : (n_amp,) ndarray of float64
        Pixels used less planes' parameters.
    n_bright : (n_amp, n_amp) ndarray of float64
        Pixels used on which the source is bright, ``[target, source]``.
    scatter : (2, n_amp) ndarray of float64
        Of the parts that were summed: what `measure_scatter` says of them.
    """

    matrix: NDArray[np.float64]
    freedom: NDArray[np.float64]
    n_bright: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @classmethod
    def empty(cls, n_amp: int, n_columns: int) -> NormalEquations:
        """Return equations of no pixel."""
        matrix, n_bright = np.zeros((n_amp, n_columns, n_columns)), np.zeros((n_amp, n_amp))
        return cls(matrix, np.zeros(n_amp), n_bright, np.zeros((2, n_amp)))

    @classmethod
    def of_square(
        cls, square: Square, columns: NDArray[np.float64], kept: NDArray[np.bool_], threshold: float
    ) -> NormalEquations:
        """Return the equations of a square.

        Parameters
        ----------
        square : Square
            Of n pixels.
        columns : (p, n) ndarray of float64
            What the targets are fitted with.
        kept : (n_amp, n) ndarray of bool
            By target, the pixels to use.
        threshold : float
            Above it a source is bright.
        """
        weights = kept.astype(float)
        (n_columns, n), n_amp = columns.shape, len(weights)
        weighted = (weights[:, None, :] * columns).reshape(n_amp * n_columns, n)
        products = (weighted @ columns.T).reshape(n_amp, n_columns, n_columns)
        tilts = (weighted @ square.plane).reshape(n_amp, n_columns, -1)
        products -= tilts @ square.invert_planes(weights) @ tilts.transpose(0, 2, 1)
        n_bright = weights @ (square.pixels > threshold).astype(float).T
        freedom = np.maximum(weights.sum(axis=1) - square.plane.shape[1], 0.0)
        return cls(products, freedom, n_bright, np.zeros((2, n_amp)))

    @property
    def targets(self) -> NDArray[np.float64]:
        """The products of each target with all, (n_amp, p)."""
        return np.array([matrix[t] for t, matrix in enumerate(self.matrix)])

    @property
    def others(self) -> NDArray[np.bool_]:
        """All coefficients but those of a target with itself, (n_amp, p)."""
        n_amp, n_columns, _ = self.matrix.shape
        return np.tile(~np.eye(n_amp, dtype=bool), n_columns // n_amp)

    @property
    def bright(self) -> NDArray[np.bool_]:
        """Those of ``others`` of which the source is bright somewhere, (n_amp, p)."""
        return self.others & np.tile(self.n_bright > 0, self.matrix.shape[1] // len(self.matrix))

    def solve(self, wanted: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return coefficients, (n_amp, p), and their covariances for unit noise, (n_amp, p, p); 0 where not wanted."""
        chosen = np.where(wanted[:, :, None] & wanted[:, None, :], self.matrix, 0.0)
        inverse = np.linalg.pinv(chosen, hermitian=True)
        return np.einsum("tij,tj->ti", inverse, np.where(wanted, self.targets, 0.0)), inverse

    def measure_scatter(self, parts: Sequence[NormalEquations]) -> NDArray[np.float64]:
        """Return how far parts scatter about the solution of their sum, these equations, by target.

        With the solution ``c`` and its covariance ``V`` for unit noise, a part of matrix ``A`` misses its equations by
        ``r = b - A c``, and for white noise of unit variance ``r' V r`` is ``tr(V A) - tr(V A V A)`` on average. Faint
        light, or noise that is correlated over less than a part, makes it more.

        Parameters
        ----------
        parts : sequence of NormalEquations
            Statistically independent of each other.

        Returns
        -------
        (2, n_amp) ndarray of float64
            Sums of both over the parts. Only coefficients with bright sources count.
        """
        solution, covariance = self.solve(self.bright)
        found = np.zeros((2, len(self.matrix)))
        for part in parts:
            missed = part.targets - np.einsum("tij,tj->ti", part.matrix, solution)
            found[0] += np.einsum("ti,tij,tj->t", missed, covariance, missed)
            share = covariance @ part.matrix
            found[1] += np.einsum("tii->t", share) - np.einsum("tij,tji->t", share, share)
        return found

    @property
    def excess(self) -> NDArray[np.float64]:
        """By how much the scatter between parts exceeds that of white noise, (n_amp,), a ratio of variances >= 1."""
        ratio: NDArray[np.float64] = np.maximum(self.scatter[0] / np.maximum(self.scatter[1], 1.0), 1.0)
        return ratio

    def weighted(self, least: float) -> NormalEquations:
        """Return the same in units of the noise found in each target, which is taken to be at least this."""
        rest = np.diagonal(self.targets) - np.einsum("ti,ti->t", self.solve(self.others)[0], self.targets)
        freedom = np.maximum(self.freedom - np.count_nonzero(self.others, axis=1), 1.0)
        variance = np.maximum(rest / freedom, least**2)
        scatter = self.scatter / np.stack([variance, np.ones_like(variance)])
        return replace(self, matrix=self.matrix / variance[:, None, None], scatter=scatter)

    def __add__(self, other: NormalEquations) -> NormalEquations:
        mine, theirs = ((each.matrix, each.freedom, each.n_bright, each.scatter) for each in (self, other))
        return NormalEquations(*map(add, mine, theirs))
