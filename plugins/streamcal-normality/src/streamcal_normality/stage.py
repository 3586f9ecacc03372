"""The stage ``normality``: a Gaussian fitted to the difference of two flats, and two tests of whether it is one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from pydantic import Field

from streamcal import Column, Pair, Settings, Stage, hookimpl
from streamcal.hookspecs import Context
from streamcal_normality.evening import even_out
from streamcal_normality.gaussian import fit_gaussian
from streamcal_normality.lilliefors import lilliefors_p

DITHER_QUANTA = 0.75
"""Width of the dither in digitisation steps.

Values on a lattice of step q, dithered by a Gaussian of width s, follow the smooth distribution that was sampled but
for a ripple of relative height ``2 exp(-2 (pi s / q)^2)``: 3e-5 here, invisible below 1e9 pixels.
"""


class NormalitySettings(Settings):
    """Settings of the stage ``normality``."""

    n_bins: int = Field(100, ge=10, le=10000, description="Bins of the histogram.")
    range_sigmas: float = Field(
        4.0, ge=1.5, le=5.0, description="The histogram reaches so many standard deviations to either side."
    )
    min_pixels: int = Field(1000, ge=100, description="An amplifier with fewer used pixels is not measured.")
    quantum: float = Field(
        1.0, ge=0, description="Step of the digitised pixels (ADU), smoothed by a Gaussian dither; 0: not digitised."
    )
    even_out: bool = Field(
        True, description="Scale each difference by the noise of its pixel's level: uneven light is then no mixture."
    )


def measure_normality(pair: Pair, settings: NormalitySettings, context: Context) -> dict[str, dict[str, Any]]:
    r"""Compare the level-matched difference D of each amplifier with a Gaussian.

    Of the used pixels of ``pair.difference(name)``: good in both flats, and not clipped. They are dithered,
    :math:`D + d` with :math:`d \sim N(0, s^2)`, and brought to one width by `streamcal_normality.evening.even_out`.
    With the width of `streamcal_normality.gaussian.fit_gaussian`,

    .. math:: \mathrm{variance} = (\sigma_\mathrm{fit}^2 - s^2) / 2,

    which is what ``variance`` of the stage ``covariance`` measures, digitisation included: of Gaussian light they
    agree within their common error, a tail that only ``variance`` feels sets them apart. The p-value is that of
    `streamcal_normality.lilliefors.lilliefors_p` on the same values.

    The dither makes digitised values continuous; it comes from a generator seeded by pair and amplifier, so that a
    pair measured again gives the same numbers.

    Parameters
    ----------
    pair : Pair
        Overscan subtracted, masked; ADU.
    settings : NormalitySettings
        Histogram, dither, least number of pixels.
    context : Context
        Of the running stage.

    Returns
    -------
    dict of str to dict
        The columns `COLUMNS` by amplifier; NaN for one with fewer than ``min_pixels`` used pixels, and fit and
        chi-square also where the histogram cannot be fitted.
    """
    return {name: _measure(pair, name, settings, context) for name in pair.measured}


def _measure(pair: Pair, name: str, settings: NormalitySettings, context: Context) -> dict[str, float]:
    difference = pair.difference(name)
    values = difference.difference[difference.used]
    if values.size < settings.min_pixels:
        context.log.warning("too few pixels for normality", amplifier=name, pixels=int(values.size))
        return dict.fromkeys((column.name for column in COLUMNS), math.nan)
    dither = DITHER_QUANTA * settings.quantum
    with context.timer("dither"):
        values = values + dither * _random_generator(pair.pair_id, name).standard_normal(values.size)
    if settings.even_out:
        with context.timer("even out"):
            values = even_out(values, difference.total[difference.used])
    with context.timer("fit"):
        fit = fit_gaussian(values, settings.n_bins, settings.range_sigmas)
    with context.timer("ks"):
        p_value = lilliefors_p(values)
    return {
        "normality_variance": (fit.sigma**2 - dither**2) / 2,
        "normality_variance_error": fit.sigma * fit.sigma_error,
        "normality_chi2_dof": fit.chi2_dof,
        "normality_ks_p": p_value,
    }


def _random_generator(pair_id: str, amplifier: str) -> np.random.Generator:
    digest = hashlib.blake2b(f"{pair_id}:{amplifier}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _column(name: str, unit: str, description: str) -> Column:
    return Column(name=name, type="float64", unit=unit, description=description)


COLUMNS = (
    _column(
        "normality_variance",
        "ADU^2",
        "Half the variance of the Gaussian fitted to the core of the difference of the flats; compare with variance.",
    ),
    _column("normality_variance_error", "ADU^2", "Standard error of normality_variance, for independent pixels."),
    _column("normality_chi2_dof", "1", "Chi-square per degree of freedom of that fit; 1 for a Gaussian."),
    _column(
        "normality_ks_p",
        "1",
        "Lilliefors p-value of the difference: Kolmogorov-Smirnov, mean and variance estimated from the same pixels.",
    ),
)


@hookimpl
def streamcal_stages() -> Iterable[Stage]:
    """Offer the stage ``normality``."""
    return [
        Stage(
            name="normality",
            kind="pair",
            run=measure_normality,
            settings=NormalitySettings,
            requires=("overscan",),
            columns=COLUMNS,
        )
    ]
