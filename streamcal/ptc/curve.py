"""The measured photon transfer curve of one amplifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curve:
    """Means, variances and covariances of n pairs of one amplifier, in any order.

    Attributes
    ----------
    mean : (n,) ndarray of float64
        Mean signal, ADU; NaN where nothing was measured.
    variance : (n,) ndarray of float64
        Half the variance of the difference, ADU^2.
    covariance : (n, s, s) ndarray of float64
        ``[pair, i, j]``: lag i along x, j along y; ADU^2.
    error : (n, s, s) ndarray of float64
        Standard errors of the covariances, ADU^2; ``[:, 0, 0]`` is also that of the variance.
    light : (n,) ndarray of float64
        What orders the levels where there is no mean: exposure time or flux. NaN: unknown.
    """

    mean: Array
    variance: Array
    covariance: Array
    error: Array
    light: Array

    @classmethod
    def of(
        cls,
        mean: ArrayLike,
        variance: ArrayLike,
        error: ArrayLike,
        covariance: ArrayLike | None = None,
        light: ArrayLike | None = None,
    ) -> Self:
        """Make a curve of plain arrays.

        Parameters
        ----------
        mean, variance : (n,) array_like
            ADU and ADU^2.
        error : (n,) or (n, s, s) array_like
            Standard errors of the variances, or of all covariances, ADU^2.
        covariance : (n, s, s) array_like, optional
            ADU^2; without it there is the variance alone.
        light : (n,) array_like, optional
            See the class.

        Raises
        ------
        ValueError
            If shapes do not fit together.
        """
        mean, variance, error = (np.asarray(item, dtype=np.float64) for item in (mean, variance, error))
        matrices = variance[:, None, None] if covariance is None else np.asarray(covariance, dtype=np.float64)
        errors = error[:, None, None] if error.ndim == 1 else error
        if matrices.shape != errors.shape or matrices.shape[:1] != mean.shape or variance.shape != mean.shape:
            msg = f"shapes must fit: mean {mean.shape}, variance {variance.shape}, covariance {matrices.shape}, "
            msg += f"error {errors.shape}"
            raise ValueError(msg)
        level = np.full(mean.shape, np.nan) if light is None else np.asarray(light, dtype=np.float64)
        return cls(mean=mean, variance=variance, covariance=matrices, error=errors, light=level)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.mean)
