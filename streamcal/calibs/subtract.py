"""Crosstalk subtraction on exposures: which pixels, which backgrounds, which unit, what is masked."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streamcal.calibs.coefficients import Coefficients
from streamcal.calibs.coupling import mark_bright_sources, mark_large_subtrahends, orient, subtract_coupled
from streamcal.flags import MaskBit
from streamcal.records import Amplifier, Exposure

Background = Literal["AMP", "DETECTOR"]
MEDIAN_SAMPLE = 1 << 18  # of more pixels every n-th row is taken: the error is 1/400 of their scatter


@dataclass(frozen=True, kw_only=True, slots=True)
class SubtractOptions:
    """Choices of a subtraction; see `streamcal.calibs.CrosstalkCalib.subtract_crosstalk`."""

    bad_pixels: tuple[str, ...] = ("BAD",)
    min_pixel_to_mask: float = 45000.0
    mask_plane: str = "CROSSTALK"
    do_subtrahend_masking: bool = False
    full_amplifier: bool = False
    parallel_overscan: bool = False
    background_method: Background | None = None
    iterations: int = 1
    share_masks: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises
        ------
        ValueError
            If a value is not among its choices, or two choices exclude each other.
        """
        mask_bits((*self.bad_pixels, self.mask_plane))
        if self.background_method not in {None, "AMP", "DETECTOR"}:
            msg = f"background_method must be None, 'AMP' or 'DETECTOR', got {self.background_method!r}"
            raise ValueError(msg)
        if not isinstance(self.iterations, int | np.integer) or self.iterations < 1:
            msg = f"iterations must be a whole number of at least 1, got {self.iterations!r}"
            raise ValueError(msg)
        if self.full_amplifier and self.parallel_overscan:
            msg = "full_amplifier and parallel_overscan exclude each other"
            raise ValueError(msg)
        if self.full_amplifier or self.parallel_overscan:
            refuse_background(self.background_method)


def refuse_background(method: Background | None) -> None:
    """Refuse a background where overscan is among the pixels that are corrected.

    Raises
    ------
    ValueError
        If there is a method.
    """
    if method:
        msg = "background_method must be None when overscan is corrected: overscan holds no background"
        raise ValueError(msg)


def mask_bits(planes: Iterable[str]) -> int:
    """Return the bits of mask planes given by name.

    Raises
    ------
    ValueError
        If there is no such plane.
    """
    bits = 0
    for plane in planes:
        if plane not in MaskBit.__members__:
            msg = f"mask plane must be one of {', '.join(MaskBit.__members__)}, got {plane!r}"
            raise ValueError(msg)
        bits |= MaskBit[plane]
    return bits


def median_level(pixels: NDArray[Any], mask: NDArray[Any] | None, bits: int) -> float:
    """Return the median of the finite pixels without these mask bits; NaN when there are none.

    Parameters
    ----------
    pixels : ndarray of float
        Any shape. Of more than about 260 000 pixels every n-th row is taken.
    mask : ndarray of int or None
        Of the same shape.
    bits : int
        Pixels with one of these bits do not count.
    """
    step = _step(pixels.size)
    return _median(_good_pixels(pixels[::step], None if mask is None else mask[::step], bits))


def detector_median(exposure: Exposure, scale: NDArray[np.float64], bits: int) -> float:
    """Return the median over all amplifiers of the scaled pixels without these mask bits; NaN when there are none.

    Parameters
    ----------
    exposure : Exposure
        Its ``data`` and ``mask`` are used; of more than about 260 000 pixels every n-th row.
    scale : (n_amp,) ndarray
        Factor of each amplifier.
    bits : int
        Pixels with one of these bits do not count.
    """
    step = _step(sum(entry.data.size for entry in exposure.amplifiers.values()))
    samples = [
        factor * _good_pixels(entry.data[::step], entry.mask[::step], bits)
        for factor, entry in zip(scale, exposure.amplifiers.values(), strict=True)
    ]
    return _median(np.concatenate(samples))


def _step(size: int) -> int:
    return max(1, -(-size // MEDIAN_SAMPLE))


def _good_pixels(pixels: NDArray[Any], mask: NDArray[Any] | None, bits: int) -> NDArray[Any]:
    good = np.isfinite(pixels)
    if mask is not None:
        good &= (mask & bits) == 0
    chosen: NDArray[Any] = pixels[good]
    return chosen


def _median(values: NDArray[Any]) -> float:
    return float(np.median(values)) if values.size else float("nan")


def subtract_exposure(
    exposure: Exposure, source: Exposure | None, coefficients: Coefficients, options: SubtractOptions
) -> Exposure:
    """Return a copy of an exposure without the crosstalk of a source exposure.

    Parameters
    ----------
    exposure : Exposure
        The targets; not changed, but for the masks where these are shared.
    source : Exposure or None
        The sources, not changed; None: the exposure itself.
    coefficients : Coefficients
        In the order of the amplifiers.
    options : SubtractOptions
        The choices.

    Returns
    -------
    Exposure
        Own arrays; corrected ones are float32, or float64 where the input was.

    Raises
    ------
    ValueError
        If an overscan to be corrected is missing, or coupled amplifiers differ in shape.
    """
    pieces = _pieces(exposure, options)
    result = copy_exposure(exposure, pieces, share_masks=options.share_masks)
    for piece in pieces:
        subtrahend = _subtract_piece(result, source, piece, coefficients, options)
        if piece == "data":
            _mark(result, source or exposure, subtrahend, coefficients, options)
    return result


def _pieces(exposure: Exposure, options: SubtractOptions) -> list[str]:
    """Name the arrays of each amplifier that are corrected: ``data``, or keys of its ``overscan``."""
    if options.parallel_overscan:
        return ["parallel"]
    first = next(iter(exposure.amplifiers.values()))
    return ["data", *first.overscan] if options.full_amplifier else ["data"]


def _subtract_piece(
    result: Exposure, source: Exposure | None, piece: str, coefficients: Coefficients, options: SubtractOptions
) -> list[NDArray[np.float32]]:
    """Correct one piece of all amplifiers in place; return what was subtracted, where the masking needs it."""
    targets = _oriented(result, piece)
    sources = targets if source is None else _oriented(source, piece)
    coupling = coefficients.coupling(_backgrounds(source or result, piece, coefficients.source_scale, options))
    keep = options.do_subtrahend_masking
    subtrahend = [np.zeros(target.shape, np.float32) for target in targets] if keep else []
    for rows, columns in _alike(targets, sources, coupling.coupled):
        subtract_coupled(
            [targets[t] for t in rows],
            coupling.select(rows, columns),
            sources=None if source is None else [sources[s] for s in columns],
            iterations=options.iterations,
            subtrahend=[subtrahend[t] for t in rows] if keep else None,
        )
    return subtrahend


def _alike(
    targets: Sequence[NDArray[Any]], sources: Sequence[NDArray[Any]], coupled: NDArray[np.bool_]
) -> Iterator[tuple[list[int], list[int]]]:
    """Group targets and sources by their shape; amplifiers of different shapes must not be coupled."""
    for t, s in np.argwhere(coupled):
        if targets[t].shape != sources[s].shape:
            msg = f"target amplifier {t} has shape {targets[t].shape}, its source {s} has {sources[s].shape}"
            raise ValueError(msg)
    for shape in dict.fromkeys(target.shape for target in targets):
        rows = [t for t, target in enumerate(targets) if target.shape == shape]
        columns = [s for s, source in enumerate(sources) if source.shape == shape]
        if columns:
            yield rows, columns


def _backgrounds(
    source: Exposure, piece: str, scale: NDArray[np.float64], options: SubtractOptions
) -> NDArray[np.float64] | None:
    """Return the level of each source that does not count, in the unit of the pixels."""
    if piece != "data":  # overscan still holds the bias level, which carries no signal
        return np.array([median_level(pixels, None, 0) for pixels in _oriented(source, piece)])
    bits = mask_bits(options.bad_pixels)
    if options.background_method == "AMP":
        return np.array([median_level(entry.data, entry.mask, bits) for entry in source.amplifiers.values()])
    if options.background_method == "DETECTOR":
        return detector_median(source, scale, bits) / scale
    return None


def _mark(
    result: Exposure,
    origin: Exposure,
    subtrahend: Sequence[NDArray[np.float32]],
    coefficients: Coefficients,
    options: SubtractOptions,
) -> None:
    """Set the mask plane in the result: under bright sources, or where much was subtracted."""
    bit = mask_bits((options.mask_plane,))
    masks = [orient(entry.mask, entry.readout_corner) for entry in result.amplifiers.values()]
    levels = np.full(len(origin.amplifiers), np.inf)
    if options.do_subtrahend_masking:
        mark_large_subtrahends(masks, subtrahend, options.min_pixel_to_mask / coefficients.target_scale, bit)
    else:
        median = detector_median(origin, coefficients.source_scale, mask_bits(options.bad_pixels))
        levels = (options.min_pixel_to_mask + median) / coefficients.source_scale
    mark_bright_sources(masks, _oriented(origin, "data"), levels, coefficients.coupling().coupled, bit)


def _oriented(exposure: Exposure, piece: str) -> list[NDArray[Any]]:
    """Return views of one piece of all amplifiers, outputs at ``[0, 0]``."""
    return [orient(_pixels(entry, piece), entry.readout_corner) for entry in exposure.amplifiers.values()]


def _pixels(amplifier: Amplifier, piece: str) -> NDArray[Any]:
    if piece == "data":
        return amplifier.data
    if piece not in amplifier.overscan:
        msg = (
            f"amplifier {amplifier.name!r} has no overscan {piece!r}, it has {', '.join(amplifier.overscan) or 'none'}"
        )
        raise ValueError(msg)
    return amplifier.overscan[piece]


def copy_exposure(exposure: Exposure, pieces: Sequence[str] = (), *, share_masks: bool = False) -> Exposure:
    """Return an exposure with own pixels, masks, header and notes; ``raw`` stays shared.

    Parameters
    ----------
    exposure : Exposure
        What to copy; its ``data`` become floating.
    pieces : sequence of str
        Overscan that becomes floating, too.
    share_masks : bool
        The masks stay those of the original.
    """
    amplifiers = {
        name: _copy_amplifier(amplifier, pieces, amplifier.mask if share_masks else amplifier.mask.copy())
        for name, amplifier in exposure.amplifiers.items()
    }
    return replace(
        exposure, amplifiers=amplifiers, header=dict(exposure.header), metadata=copy.deepcopy(dict(exposure.metadata))
    )


def _copy_amplifier(amplifier: Amplifier, pieces: Sequence[str], mask: NDArray[Any]) -> Amplifier:
    overscan = {
        name: _floating(pixels) if name in pieces else pixels.copy() for name, pixels in amplifier.overscan.items()
    }
    return replace(
        amplifier,
        data=_floating(amplifier.data),
        mask=mask,
        overscan=overscan,
        metadata=copy.deepcopy(dict(amplifier.metadata)),
    )


def _floating(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return a copy that can hold the corrected values."""
    return pixels.astype(np.float64 if pixels.dtype == np.float64 else np.float32)
