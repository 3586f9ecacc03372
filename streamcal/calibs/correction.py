"""The subtraction of crosstalk: what a `CrosstalkCalib` does with its coefficients."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamcal.calibs.coefficients import Coefficients, Units, find_unused, pixel_scale, same_detector
from streamcal.calibs.coupling import orient
from streamcal.calibs.detector import Detector, Region
from streamcal.calibs.gains import Gains
from streamcal.calibs.subtract import (
    Background,
    SubtractOptions,
    copy_exposure,
    mask_bits,
    median_level,
    refuse_background,
    subtract_exposure,
)
from streamcal.records import Exposure

OWN_COEFFICIENTS = frozenset({"crosstalk_coeffs", "crosstalk_coeffs_sqr", "crosstalk_coeffs_valid"})


class CrosstalkCorrection:
    """The part of `streamcal.calibs.CrosstalkCalib` that subtracts; its attributes are explained there."""

    has_crosstalk: bool
    crosstalk_ratios_units: str
    coeffs: NDArray[np.float64]
    coeff_valid: NDArray[np.bool_]
    coeffs_sqr: NDArray[np.float64]
    fit_gains: NDArray[np.float64]
    inter_chip: dict[str, NDArray[np.float64]]
    log: Any

    @staticmethod
    def extract_amp(exposure: Exposure, amplifier: str, target: str) -> NDArray[Any]:
        """Return the pixels of an amplifier, mirrored so that they lie as those of a target do.

        Parameters
        ----------
        exposure : Exposure
            Has both amplifiers.
        amplifier, target : str
            Whose pixels, and whose readout corner.

        Returns
        -------
        (ny, nx) ndarray
            A copy; equal indices in it and in the target's ``data`` are read at the same time.
        """
        chosen = exposure.amplifiers[amplifier]
        oriented = orient(chosen.data, chosen.readout_corner)
        return orient(oriented, exposure.amplifiers[target].readout_corner).copy()

    @staticmethod
    def calculate_background(
        pixels: NDArray[Any], mask: NDArray[Any] | None = None, bad_pixels: Iterable[str] = ("BAD",)
    ) -> float:
        """Return the median of the finite pixels that are in none of the mask planes; NaN when there are none.

        Parameters
        ----------
        pixels : ndarray of float
            Of more than about 260 000 every n-th row is taken.
        mask : ndarray of int, optional
            Bits of `streamcal.flags.MaskBit`, of the same shape.
        bad_pixels : iterable of str
            Names of mask planes.
        """
        return median_level(pixels, mask, mask_bits(bad_pixels))

    def subtract_crosstalk(  # noqa: PLR0913 - each is a choice of its own, all have defaults
        self,
        exposure: Exposure,
        source: Exposure | None = None,
        *,
        crosstalk_coeffs: ArrayLike | None = None,
        crosstalk_coeffs_sqr: ArrayLike | None = None,
        crosstalk_coeffs_valid: ArrayLike | None = None,
        do_sqr_crosstalk: bool = False,
        bad_amps: Iterable[str] = (),
        bad_source_amps: Iterable[str] | None = None,
        units: Units = "adu",
        gains: Gains | None = None,
        source_gains: Gains | None = None,
        bad_pixels: Iterable[str] = ("BAD",),
        background_method: Background | None = None,
        min_pixel_to_mask: float = 45000.0,
        do_subtrahend_masking: bool = False,
        mask_plane: str = "CROSSTALK",
        full_amplifier: bool = False,
        parallel_overscan: bool = False,
        iterations: int = 1,
        share_masks: bool = False,
    ) -> Exposure:
        """Return an exposure without the crosstalk from itself or from another one.

        ``corrected_t = observed_t - sum_s [ coeffs[t, s] S_s + coeffs_sqr[t, s] S_s^2 ]``, with ``S_s`` the source
        less its background, mirrored to the readout corner of the target. Source pixels that are NaN or infinite
        add nothing, and mark what they would have touched.

        Parameters
        ----------
        exposure : Exposure
            The targets; amplifiers in the order of the coefficients. Not changed.
        source : Exposure, optional
            Where the crosstalk comes from (another detector); default: the exposure itself. Not changed. One without
            a detector's name counts as another detector.
        crosstalk_coeffs, crosstalk_coeffs_sqr : (n_target, n_source) array_like, optional
            ``[target, source]``, in the unit ``crosstalk_ratios_units``, in place of those of the calibration, which
            count only if it says ``has_crosstalk``. When the first is given and the second is not, there is no
            quadratic term.
        crosstalk_coeffs_valid : (n_target, n_source) array_like of bool or 0/1, optional
            Only these are used; default: ``coeff_valid``, or all of the coefficients given. Those that are not finite
            never are.
        do_sqr_crosstalk : bool
            Subtract the quadratic term too, also where the linear coefficient is zero.
        bad_amps : iterable of str
            Amplifiers of the exposure that are neither targets nor sources.
        bad_source_amps : iterable of str, optional
            Amplifiers of ``source`` that are no sources; default: ``bad_amps``, if the source is of the same detector,
            else none.
        units : {"adu", "electron"}
            Unit of the pixels, in and out. Where it is not that of the coefficients the gains convert.
        gains : mapping of str to float, or sequence of float, optional
            e-/ADU of the exposure's amplifiers; default: ``fit_gains``. Bad ones are replaced by the median.
        source_gains : mapping of str to float, or sequence of float, optional
            The same for the source's amplifiers; default: ``gains``, if the source is of the same detector.
        bad_pixels : iterable of str
            Mask planes that are left out of backgrounds.
        background_method : {None, "AMP", "DETECTOR"}
            Subtract from each source the median of its amplifier, or of the detector.
        min_pixel_to_mask : float
            Targets are masked under source pixels this far above the median of the source detector, or more. In the
            unit of the coefficients.
        do_subtrahend_masking : bool
            Mask instead where what is subtracted differs this much from its median in the amplifier.
        mask_plane : str
            Name of the mask plane to set.
        full_amplifier : bool
            Correct all arrays of ``overscan`` too, by name.
        parallel_overscan : bool
            Correct ``overscan["parallel"]`` only. Overscan counts as source relative to its own median, because it
            still holds the bias level.
        iterations : int
            Passes: the first takes the observed image for the true one, an error of second order in the
            coefficients; each further one gains an order. For coefficients above 1e-3. With a ``source`` there is
            nothing to gain: it is taken as it is given, so give it without crosstalk of its own if that matters.
        share_masks : bool
            Mark in the masks of ``exposure``, which are the result's then, instead of copies: for callers that need
            ``exposure`` no more, and memory as large as the image.

        Returns
        -------
        Exposure
            Own arrays, but for shared masks; pixels are float32 (float64 where they were).

        Raises
        ------
        ValueError
            If a choice is unknown or without effect, amplifiers are unknown or not as many as coefficients, coupled
            ones differ in shape, or gains are needed and there is none.
        """
        if crosstalk_coeffs_sqr is not None and not do_sqr_crosstalk:
            msg = "crosstalk_coeffs_sqr goes with do_sqr_crosstalk=True"
            raise ValueError(msg)
        origin = _choose_origin(exposure, source, source_gains=source_gains, bad_source_amps=bad_source_amps)
        options = SubtractOptions(
            bad_pixels=tuple(bad_pixels),
            min_pixel_to_mask=min_pixel_to_mask,
            mask_plane=mask_plane,
            do_subtrahend_masking=do_subtrahend_masking,
            full_amplifier=full_amplifier,
            parallel_overscan=parallel_overscan,
            background_method=background_method,
            iterations=iterations,
            share_masks=share_masks,
        )
        own = crosstalk_coeffs is None
        stored = (self.coeffs, self.coeffs_sqr) if self.has_crosstalk else np.zeros((2, *np.shape(self.coeffs)))
        quadratic = stored[1] if own and crosstalk_coeffs_sqr is None else crosstalk_coeffs_sqr
        coefficients = Coefficients.choose(
            stored[0] if crosstalk_coeffs is None else crosstalk_coeffs,
            quadratic if do_sqr_crosstalk else None,
            self.coeff_valid if own and crosstalk_coeffs_valid is None else crosstalk_coeffs_valid,
            find_unused(exposure, origin, bad_amps, bad_source_amps),
            self._scales(exposure, origin, units, gains, source_gains),
        )
        return subtract_exposure(exposure, source, coefficients, options)

    def _scales(
        self, exposure: Exposure, origin: Exposure, units: Units, gains: Gains | None, source_gains: Gains | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the scales of target and source pixels; the calibration knows gains of its own detector only."""
        own = self.fit_gains if gains is None else gains
        other = own if source_gains is None and same_detector(exposure, origin) else source_gains
        wanted = self.crosstalk_ratios_units
        return (
            pixel_scale(exposure, units, wanted, own, self.log),
            pixel_scale(origin, units, wanted, other, self.log),
        )

    def apply(
        self,
        exposure: Exposure,
        sources: Mapping[str, Exposure] | None = None,
        *,
        source_options: Mapping[str, Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> Exposure:
        """Return an exposure without any crosstalk: first that from other detectors, then its own.

        Parameters
        ----------
        exposure : Exposure
            Not changed.
        sources : mapping of str to Exposure, optional
            Exposures of the detectors in ``inter_chip``, by their names there. A missing one is warned of and its
            crosstalk stays in.
        source_options : mapping of str to mapping, optional
            By detector, options of `subtract_crosstalk` for its exposure alone: ``source_gains``,
            ``bad_source_amps``, ``crosstalk_coeffs_valid``, ``crosstalk_coeffs_sqr`` and all others.
        **options
            Of `subtract_crosstalk`, for all alike; but ``crosstalk_coeffs``, ``crosstalk_coeffs_sqr`` and
            ``crosstalk_coeffs_valid`` are of the detector's own amplifiers.

        Returns
        -------
        Exposure
            Own arrays, also where there is no crosstalk to subtract.

        Raises
        ------
        ValueError
            If there are no coefficients for one of the sources, or as `subtract_crosstalk`.
        """
        _check_detectors(self.inter_chip, sources=sources, source_options=source_options)
        result = exposure
        shared = {key: value for key, value in options.items() if key not in OWN_COEFFICIENTS}
        for name, matrix in self.inter_chip.items():
            if not sources or name not in sources:
                msg = f"no exposure of detector {name}: its crosstalk onto {exposure.info} stays in"
                self.log.warning(msg)
                continue
            chosen = shared | {"crosstalk_coeffs": matrix} | dict((source_options or {}).get(name, {}))
            result = self.subtract_crosstalk(result, sources[name], **chosen)
        own = self.has_crosstalk or not options.keys().isdisjoint({"crosstalk_coeffs", "crosstalk_coeffs_sqr"})
        if own:
            return self.subtract_crosstalk(result, **options)
        return copy_exposure(result, share_masks=options.get("share_masks", False))

    def subtract_crosstalk_image(  # noqa: PLR0913 - two images, each with mask and layout
        self,
        detector: Detector,
        image: NDArray[Any],
        mask: NDArray[Any] | None = None,
        *,
        source: NDArray[Any] | None = None,
        source_detector: Detector | None = None,
        source_mask: NDArray[Any] | None = None,
        region: Region = "trimmed",
        **options: Any,
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return an assembled image without crosstalk, and its mask.

        Parameters
        ----------
        detector : Detector
            Where the amplifiers lie.
        image : (ny, nx) ndarray
            The targets, and the sources if these are no others. Not changed.
        mask : (ny, nx) ndarray of int, optional
            Bits of `streamcal.flags.MaskBit`; default: all clear. Not changed.
        source : (ny, nx) ndarray, optional
            The sources. Not changed.
        source_detector : Detector, optional
            Of which detector the source is; default: an unknown one with the same layout, so that ``bad_amps`` and
            gains of this detector do not hold for it.
        source_mask : (ny, nx) ndarray of int, optional
            As ``mask``, of the source. Not changed.
        region : {"trimmed", "raw_data", "raw", "raw_parallel"}
            What is corrected: an image without overscan; of one with overscan, the light-sensitive pixels, the whole
            amplifiers, or the parallel overscan. Overscan must be bias subtracted.
        **options
            Of `subtract_crosstalk`.

        Returns
        -------
        tuple of (ny, nx) ndarray
            Image (float32, or float64 where it was) and mask (uint32, or of the type given).

        Raises
        ------
        ValueError
            If a section is unknown or outside the image, if overscan would count as background, and as
            `subtract_crosstalk`.
        """
        if region in {"raw", "raw_parallel"}:
            refuse_background(options.get("background_method"))
        exposure, origin = detector.split(image, mask, region=region), None
        if source is not None:
            origin = (source_detector or replace(detector, name="")).split(source, source_mask, region=region)
        elif source_detector is not None or source_mask is not None:
            msg = "source_detector and source_mask go with source"
            raise ValueError(msg)
        corrected = self.subtract_crosstalk(exposure, origin, **options)
        result = image.astype(np.result_type(*(entry.data for entry in corrected.amplifiers.values())))
        result_mask = np.zeros(image.shape, np.uint32) if mask is None else mask.copy()
        detector.assemble(corrected, result, result_mask, region=region)
        return result, result_mask


def _choose_origin(exposure: Exposure, source: Exposure | None, **of_source: Any) -> Exposure:
    """Return where the crosstalk comes from; refuse what is said of a source that there is not."""
    useless = [name for name, value in of_source.items() if value is not None]
    if source is None and useless:
        msg = f"{useless[0]} goes with source"
        raise ValueError(msg)
    return exposure if source is None else source


def _check_detectors(inter_chip: Collection[str], **given: Collection[str] | None) -> None:
    for argument, names in given.items():
        unknown = sorted(set(names or ()) - set(inter_chip))
        if unknown:
            msg = f"{argument} must be of {', '.join(inter_chip) or 'no detector'}, got {', '.join(unknown)}"
            raise ValueError(msg)
