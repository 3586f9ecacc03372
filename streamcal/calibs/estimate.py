"""Measuring a crosstalk matrix: what bright sources on one amplifier leave on all others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcal.calibs.coefficients import choose_names
from streamcal.calibs.crosstalk import CrosstalkCalib
from streamcal.calibs.equations import NormalEquations
from streamcal.calibs.gains import Gains, fill_gains, order_gains
from streamcal.calibs.squares import Square, cut_squares, find_dark, noise_of
from streamcal.calibs.subtract import mask_bits
from streamcal.calibs.threads import one_blas_thread
from streamcal.calibs.validate import AMPLIFIERS_KEY, join_names
from streamcal.records import Exposure

TRUE_SOURCE_PASSES = 5  # each gains an order in the coefficients


@dataclass(frozen=True, kw_only=True, slots=True)
class EstimateOptions:
    """Choices of a measurement.

    Attributes
    ----------
    threshold : float
        This much above its amplifier's median a pixel is a bright source, adu or, with gains, electrons.
    do_sqr_crosstalk : bool
        Fit the quadratic term too.
    n_sigma : float
        Pixels this far from the fit, in units of the noise, are clipped.
    n_iter : int
        Number of fits, each on a new choice of pixels.
    min_pixels : int
        With fewer bright pixels a coefficient is 0, not valid, its error NaN.
    block_size : int
        Side of the squares, pixels.
    grow : int
        How far around a target's own light pixels are left out.
    bad_pixels : tuple of str
        Mask planes that are left out, at all amplifiers.
    """

    threshold: float = 30000.0
    do_sqr_crosstalk: bool = False
    n_sigma: float = 4.0
    n_iter: int = 5
    min_pixels: int = 100
    block_size: int = 64
    grow: int = 8
    bad_pixels: tuple[str, ...] = ("BAD", "SAT", "SUSPECT", "NO_DATA", "NONFINITE")

    @property
    def least_noise(self) -> float:
        """Noise that is assumed at least, so that a simulation without any can be fitted."""
        return 1e-6 * self.threshold

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises
        ------
        ValueError
            If a number is too small.
        """
        if not 0 < self.threshold < np.inf:
            msg = f"threshold must be above 0, got {self.threshold!r}"
            raise ValueError(msg)
        for name, least in (
            ("n_sigma", 1.0),
            ("n_iter", 1),
            ("min_pixels", 1),
            ("block_size", 8),
            ("grow", 0),
        ):
            if not getattr(self, name) >= least:
                msg = f"{name} must be at least {least}, got {getattr(self, name)!r}"
                raise ValueError(msg)


def estimate_crosstalk(
    exposures: Iterable[Exposure],
    *,
    gains: Gains | None = None,
    bad_amps: Iterable[str] = (),
    log: Any = None,
    **options: Any,
) -> CrosstalkCalib:
    """Measure linear, and if wanted quadratic, crosstalk coefficients with their errors from bright sources.

    Each target amplifier is fitted by least squares with all others at once, ``T = b + sum_s (c_s S_s + q_s S_s^2)``,
    on squares of the detector that hold a bright source anywhere; ``b`` is a plane of its own in each square, so that
    neither sky nor gradients enter. Pixels in and around the target's own light, also of stars fainter than the noise
    of a pixel, are left out, others are clipped about the fit, which starts from the median of ``T / S`` over bright
    ``S``. ``S`` is the whole signal above the bias: a quadratic term is to be subtracted without
    ``background_method``. As the sources are themselves observed with crosstalk, both terms are taken to the true
    sources at the end, ``C = c + cC``. Exposures are used one after the other and weighted by the noise found in them.

    Parameters
    ----------
    exposures : iterable of Exposure
        Of one detector, bias subtracted, with bright spots or stars; may be a generator.
    gains : mapping of str to float, or sequence of float, optional
        e-/ADU. With gains the coefficients are for electrons, else for adu.
    bad_amps : iterable of str
        Amplifiers that are neither sources nor targets. Without this, a pixel that is bad at one amplifier is left
        out at all of them.
    log : logger, optional
        Has ``warning(text)``.
    **options
        Fields of `EstimateOptions`.

    Returns
    -------
    CrosstalkCalib
        ``coeff_err`` is the standard error of the coefficient (the peer stores the scatter of the ratios): that of
        white noise, or more where squares and exposures scatter more than it lets them; NaN where nothing was
        measured, as on the diagonal; ``coeff_num`` the number of bright pixels; ``coeff_valid`` whether the
        coefficient exceeds its error.

    Raises
    ------
    ValueError
        If there is no exposure, if they differ in detector or amplifiers, if amplifiers differ in shape, or one that
        is not in ``bad_amps`` has no good pixel.
    """
    chosen = EstimateOptions(**options)
    calib: CrosstalkCalib | None = None
    found: list[NormalEquations] = []
    seen: list[Exposure] = []
    for exposure in exposures:
        if calib is None:
            calib, names = _start_calib(exposure, gains, log), list(exposure.amplifiers)
            bad = choose_names("bad_amps", bad_amps, names)
        _check_amplifiers(exposure, names)
        scale = np.ones(calib.n_amp) if gains is None else calib.fit_gains
        with one_blas_thread():
            found.append(_fit_exposure(_blank(exposure, bad), scale, chosen))
        seen.append(replace(exposure, amplifiers={}))  # who it was, without its pixels
    if calib is None:
        msg = "exposures must hold at least one, got none"
        raise ValueError(msg)
    total = reduce(add, found)
    total = replace(total, scatter=total.scatter + total.measure_scatter(found))
    _fill(calib, total, np.array([name not in bad for name in names]), chosen)
    calib.update_metadata_from_exposures(seen)
    calib.update_metadata(set_date=True)
    return calib


def _check_amplifiers(exposure: Exposure, names: Sequence[str]) -> None:
    if list(exposure.amplifiers) != names:
        msg = f"exposures must have the amplifiers {', '.join(names)} in this order, {exposure.info} has "
        msg += ", ".join(exposure.amplifiers)
        raise ValueError(msg)


def _start_calib(exposure: Exposure, gains: Gains | None, log: Any) -> CrosstalkCalib:
    names = list(exposure.amplifiers)
    calib = CrosstalkCalib(n_amp=len(names), log=log)
    calib.has_crosstalk = True
    calib.get_metadata()[AMPLIFIERS_KEY] = join_names(names)
    if gains is not None:
        calib.crosstalk_ratios_units = "electron"
        calib.fit_gains = fill_gains(order_gains(gains, names), names, calib.log)
        calib.amp_gain_ratios = calib.fit_gains[:, None] / calib.fit_gains
    return calib


def _blank(exposure: Exposure, bad: Collection[str]) -> Exposure:
    """Return an exposure in which bad amplifiers show nothing, so that they cost the others no pixel."""
    amplifiers = {
        name: replace(entry, data=np.zeros_like(entry.data), mask=np.zeros_like(entry.mask)) if name in bad else entry
        for name, entry in exposure.amplifiers.items()
    }
    return replace(exposure, amplifiers=amplifiers)


def _columns(square: Square, options: EstimateOptions) -> NDArray[np.float64]:
    """Return what the targets are fitted with.

    The quadratic term is of the whole signal, sky included: of signals less a level B it would leave ``2 q B`` in the
    linear coefficient. In units of the threshold all columns are of one order.
    """
    if not options.do_sqr_crosstalk:
        return square.pixels
    return np.vstack([square.pixels, (square.pixels + square.levels) ** 2 / options.threshold])


def _fit_exposure(exposure: Exposure, scale: NDArray[np.float64], options: EstimateOptions) -> NormalEquations:
    """Fit one exposure, clipping about the fit; return the equations of the pixels kept at last."""
    n_amp = len(scale)
    n_columns = n_amp * (2 if options.do_sqr_crosstalk else 1)
    every = cut_squares(exposure, scale, mask_bits(options.bad_pixels), options.block_size)
    squares = [square for square in every if (square.pixels > options.threshold).any()]
    if not squares:
        return NormalEquations.empty(n_amp, n_columns)
    coefficients = np.zeros((n_amp, n_columns))
    coefficients[:, :n_amp] = _median_ratios(squares, options.threshold)
    dark = [np.ones(square.pixels.shape, bool) for square in squares]
    for _ in range(options.n_iter):
        residuals = [_residual(*pair, coefficients, options) for pair in zip(squares, dark, strict=True)]
        noise = noise_of(residuals, options.least_noise)
        dark = find_dark(squares, residuals, noise, options.grow)
        kept = [near & (np.abs(row) <= options.n_sigma * noise) for near, row in zip(dark, residuals, strict=True)]
        parts = [
            NormalEquations.of_square(square, _columns(square, options), chosen, options.threshold)
            for square, chosen in zip(squares, kept, strict=True)
        ]
        normal = reduce(add, parts)
        coefficients, _ = normal.solve(normal.others)
    return replace(normal, scatter=normal.measure_scatter(parts)).weighted(options.least_noise)


def _residual(
    square: Square, free: NDArray[np.bool_], coefficients: NDArray[np.float64], options: EstimateOptions
) -> NDArray[np.float64]:
    """Return the targets less their crosstalk and less the plane of their own dark pixels, (n_amp, n)."""
    residual: NDArray[np.float64] = square.pixels - coefficients @ _columns(square, options)
    levels = [np.median(row[dark]) if dark.any() else 0.0 for row, dark in zip(residual, free, strict=True)]
    residual -= np.array(levels)[:, None]
    scatter = 1.4826 * np.median(np.abs(residual), axis=1, keepdims=True)
    limited = np.clip(residual, -3 * scatter, 3 * scatter) * free  # hits must not tilt the plane
    tilts = np.einsum("tij,tj->ti", square.invert_planes(free.astype(float)), limited @ square.plane)
    residual -= tilts @ square.plane.T
    return residual


def _median_ratios(squares: Sequence[Square], threshold: float) -> NDArray[np.float64]:
    """Return the median of target over source, (n_amp, n_amp), where the source is bright and the target is not."""
    pixels = np.concatenate([square.pixels[:, (square.pixels > threshold).any(axis=0)] for square in squares], axis=1)
    ratios = np.zeros((len(pixels), len(pixels)))
    for t, s in np.argwhere(~np.eye(len(pixels), dtype=bool)):
        chosen = (pixels[s] > threshold) & (pixels[t] < threshold)
        if chosen.any():
            ratios[t, s] = np.median(pixels[t, chosen] / pixels[s, chosen])
    return ratios


def _fill(calib: CrosstalkCalib, normal: NormalEquations, good: NDArray[np.bool_], options: EstimateOptions) -> None:
    """Solve for the coefficients between good amplifiers that have enough bright pixels, and set them."""
    n_amp = calib.n_amp
    calib.coeff_num = np.where(good[:, None] & good, normal.n_bright, 0.0).astype(np.int64)
    measured = (calib.coeff_num >= options.min_pixels) & ~np.eye(n_amp, dtype=bool)
    wanted = np.tile(measured, normal.matrix.shape[1] // n_amp)
    values, covariance = normal.solve(wanted)
    variances = np.diagonal(covariance, axis1=1, axis2=2) * normal.excess[:, None]
    errors = np.sqrt(np.where(wanted & (variances > 0), variances, np.nan))  # rounding leaves some elsewhere
    squares = values[:, n_amp:] / options.threshold if options.do_sqr_crosstalk else np.zeros((n_amp, n_amp))
    true, true_squares = _refer_to_true_sources(values[:, :n_amp], squares)
    calib.coeffs, calib.coeff_err = np.where(measured, true, 0.0), errors[:, :n_amp]
    calib.coeff_valid = measured & (np.abs(calib.coeffs) > calib.coeff_err)
    if options.do_sqr_crosstalk:
        calib.coeffs_sqr = np.where(measured, true_squares, 0.0)
        calib.coeff_err_sqr = errors[:, n_amp:] / options.threshold


def _refer_to_true_sources(
    linear: NDArray[np.float64], square: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the coefficients for true sources from those for observed ones, which show crosstalk themselves.

    Where only ``r`` is bright, ``S``, another source is observed as ``C_sr S + Q_sr S^2``. What is fitted to all
    observed sources is then ``C_tr = c_tr + sum_s c_ts C_sr`` and
    ``Q_tr = q_tr + sum_s (c_ts Q_sr + q_ts C_sr^2)``; higher powers of ``S`` are smaller still.
    """
    true, true_square = linear, square
    for _ in range(TRUE_SOURCE_PASSES):
        true, true_square = linear + linear @ true, square + linear @ true_square + square @ true**2
        np.fill_diagonal(true, 0.0)
        np.fill_diagonal(true_square, 0.0)
    return true, true_square
