"""The two registries of bits: what is wrong with a pixel, and how far to trust a row.

Each bit is declared once, with its name and what it means; constants, `decode_flags` and the tables in the
documentation follow from here.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Self


class _DescribedFlag(IntFlag):
    """An integer flag whose members carry a sentence of explanation."""

    description: str

    def __new__(cls, value: int, description: str = "") -> Self:
        member = int.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member


class MaskBit(_DescribedFlag):
    """Bits of a pixel mask (uint32)."""

    BAD = 1 << 0, "listed as bad by the bad-pixel file or the instrument"
    SAT = 1 << 1, "at or above the saturation level"
    SUSPECT = 1 << 2, "at or above the suspect level"
    NO_DATA = 1 << 3, "no data were read here"
    EDGE = 1 << 4, "closer to an edge of the amplifier or detector than configured"
    CROSSTALK = 1 << 5, "touched by a crosstalk correction above the masking threshold"
    NONFINITE = 1 << 6, "NaN or infinite"


class RowFlag(_DescribedFlag):
    """Bits of the ``flags`` column (uint64): how far to trust a row."""

    READ_NOISE_MISSING = 1 << 0, "no read noise was found although the correction needs it: gain is the NONE value"
    NO_REAL_ROOT = 1 << 1, "the FULL correction has no real solution: gain is NaN"
    TOO_FEW_PIXELS = 1 << 2, "fewer good pixels than min_good_pixels: nothing was measured"
    VARIANCE_MISMATCH = 1 << 3, "variance and C_00 differ by more than threshold_percent"
    MEAN_MISMATCH = 1 << 4, "mean_used differs from mean by more than 0.1 %: clipped means are of other pixels"
    NONPOSITIVE_SUM = 1 << 5, "too many pixels with a sum of the two flats <= 0: the gain statistic is NaN"
    SHAPE_DRIFT = (
        1 << 6,
        "covariances at long lags, or C_01 or C_10, show that the light changed its shape between the flats",
    )
    NONPOSITIVE_MEAN = 1 << 7, "a mean level is not above zero: nothing was measured"
    GAIN_INVALID = 1 << 8, "the gain is not a positive finite number"
    NONFINITE_PIXELS = 1 << 9, "some pixels are NaN or infinite; they were left out"
    NO_CROSSTALK = 1 << 10, "no crosstalk coefficients for this detector: the pixels were passed through uncorrected"
    READ_NOISE_CONFIGURED = 1 << 11, "the read noise is the configured number, not a measurement"
    NO_OVERSCAN = 1 << 12, "no overscan was subtracted"
    CROSSTALK_INCOMPLETE = (
        1 << 13,
        "some crosstalk stays in: another detector's exposure did not come in time, or a coefficient is not finite",
    )
    ZERO_VARIANCE = 1 << 14, "the two flats do not differ at all: saturated, or no light was measured"
    NO_BIAS_LEVEL = (
        1 << 15,
        "neither overscan nor bias was subtracted by isr: mean and gain are wrong unless the exposures came corrected",
    )
    CROSSTALK_GAIN_REPLACED = (
        1 << 16,
        "crosstalk coefficients are for electrons, and an amplifier's gain is unknown: the others' median was used",
    )


def decode_flags(value: int) -> list[str]:
    """Return the names of the bits set in a ``flags`` value.

    Parameters
    ----------
    value : int
        A value of the ``flags`` column.

    Returns
    -------
    list of str
        Names in order of their bits; a bit unknown to this version appears as ``BIT_<n>``.
    """
    value = int(value)
    known = {int(flag): flag.name or "" for flag in RowFlag}
    return [known.get(1 << bit, f"BIT_{bit}") for bit in range(value.bit_length()) if value >> bit & 1]


def describe_flags(registry: type[_DescribedFlag]) -> list[tuple[int, str, str]]:
    """Return (bit number, name, description) of each bit of a registry, for the documentation."""
    return [(int(flag).bit_length() - 1, flag.name or "", flag.description) for flag in registry]
