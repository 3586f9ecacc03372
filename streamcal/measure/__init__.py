"""Numerics on arrays: clipping, overscan, covariances, gain. Nothing here reads options or files."""

from streamcal.measure.amplifier import AmplifierMeasurement, measure_amplifier
from streamcal.measure.batch import (
    ImageAreas,
    LagCovariance,
    MeanVarianceCovariance,
    gain_from_flat_pair,
    image_areas_masks_stats,
    make_cov_array,
    measure_mean_var_cov,
)
from streamcal.measure.blocks import measure_pair_statistics
from streamcal.measure.clipping import ClippedStatistics, clip_statistics, truncation_factor
from streamcal.measure.covariance import lag_covariances, measure_covariances
from streamcal.measure.flatpair import DEFAULT_BAD_MASK, Difference, match_levels
from streamcal.measure.gain import (
    CORRECTIONS,
    GainResult,
    GainStatistic,
    check_correction,
    measure_gain_statistic,
    solve_gain,
)
from streamcal.measure.overscan import (
    OVERSCAN_MODELS,
    Overscan,
    fit_overscan,
    median_variance_factor,
    row_overscan_covariance,
)
from streamcal.measure.readnoise import read_noise_from_metadata
from streamcal.measure.statistics import PairSettings, PairStatistics, measure_difference
from streamcal.measure.warm import warm_kernels

__all__ = [
    "CORRECTIONS",
    "DEFAULT_BAD_MASK",
    "OVERSCAN_MODELS",
    "AmplifierMeasurement",
    "ClippedStatistics",
    "Difference",
    "GainResult",
    "GainStatistic",
    "ImageAreas",
    "LagCovariance",
    "MeanVarianceCovariance",
    "Overscan",
    "PairSettings",
    "PairStatistics",
    "check_correction",
    "clip_statistics",
    "fit_overscan",
    "gain_from_flat_pair",
    "image_areas_masks_stats",
    "lag_covariances",
    "make_cov_array",
    "match_levels",
    "measure_amplifier",
    "measure_covariances",
    "measure_difference",
    "measure_gain_statistic",
    "measure_mean_var_cov",
    "measure_pair_statistics",
    "median_variance_factor",
    "read_noise_from_metadata",
    "row_overscan_covariance",
    "solve_gain",
    "truncation_factor",
    "warm_kernels",
]
