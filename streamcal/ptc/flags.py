"""What may be said against a solution: one registry of bits."""

from __future__ import annotations

from streamcal.flags import _DescribedFlag


class FitFlag(_DescribedFlag):
    """Bits of the ``flags`` column of the ``ptc`` table (uint64)."""

    TOO_FEW_LEVELS = 1 << 0, "too few usable levels of light: nothing was fitted"
    DEAD = 1 << 1, "no pair has signal: nothing was fitted"
    NOT_MEASURED = 1 << 2, "the measurements lack what the model needs: nothing was fitted"
    NOT_CONVERGED = 1 << 3, "the fit did not come to an end: all numbers are NaN"
    IMPLAUSIBLE = 1 << 4, "the fit ended at an impossible or undetermined gain: all numbers are NaN"
    NO_NOISE = 1 << 5, "the fitted noise variance is not above zero: noise is NaN"
    POOR_FIT = (
        1 << 6,
        "chi2 of the variances or of the covariances is too large for their errors; these are scaled up by its root",
    )
    TURNOFF_NOT_REACHED = 1 << 7, "no pair lies above the turnoff: it is at least the number given"
    GAIN_CHANGED = (
        1 << 8,
        "the gain differs from the last accepted one by more than the limit and than the errors allow",
    )
    NOISE_CHANGED = (
        1 << 9,
        "the noise differs from the last accepted one by more than the limit and than the errors allow",
    )
    NOISE_HIGH = 1 << 10, "the noise is above the limit"
    TURNOFF_LOW = 1 << 11, "the turnoff is below the limit"
    GAIN_STEP = 1 << 12, "the gain of the pairs changes with time, within the group, by more than the limit"
    ACCEPTED = 1 << 13, "somebody accepted it: later solutions are compared with it, whatever it was compared with"
    SATURATED = 1 << 14, "the pairs have light and no variance: nothing was fitted"


BAD = (
    FitFlag.TOO_FEW_LEVELS
    | FitFlag.DEAD
    | FitFlag.SATURATED
    | FitFlag.NOT_MEASURED
    | FitFlag.NOT_CONVERGED
    | FitFlag.IMPLAUSIBLE
)
"""Bits of amplifiers without a solution."""

LIMITS = FitFlag.GAIN_CHANGED | FitFlag.NOISE_CHANGED | FitFlag.NOISE_HIGH | FitFlag.TURNOFF_LOW | FitFlag.GAIN_STEP
"""Bits of solutions outside the configured limits."""


def decode_fit_flags(value: int) -> list[str]:
    """Return the names of the bits set in the ``flags`` of a solution; unknown ones as ``BIT_<n>``."""
    known = {int(flag): flag.name or "" for flag in FitFlag}
    return [known.get(1 << bit, f"BIT_{bit}") for bit in range(int(value).bit_length()) if int(value) >> bit & 1]
