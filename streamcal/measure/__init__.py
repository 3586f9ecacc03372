"""Numerics on arrays: clipping, overscan, covariances, gain. Nothing here reads options or files."""

from streamcal.measure.amplifier import AmplifierMeasurement, measure_amplifier
from streamcal.measure.blocks import measure_pair_statistics
from streamcal.measure.clipping import ClippedStatistics, clip_statistics, truncation_factor
from streamcal.measure.covariance import lag_covariances, measure_covariances
from streamcal.measure.flatpair import DEFAULT_BAD_MASK, Difference, match_levels
from streamcal.measure.gain import CORRECTIONS, GainResult, GainStatistic, measure_gain_statistic, solve_gain
from streamcal.measure.kernels import warm_kernels
from streamcal.measure.statistics import PairSettings, PairStatistics, measure_difference

__all__ = [
    "CORRECTIONS",
    "DEFAULT_BAD_MASK",
    "AmplifierMeasurement",
    "ClippedStatistics",
    "Difference",
    "GainResult",
    "GainStatistic",
    "PairSettings",
    "PairStatistics",
    "clip_statistics",
    "lag_covariances",
    "match_levels",
    "measure_amplifier",
    "measure_covariances",
    "measure_difference",
    "measure_gain_statistic",
    "measure_pair_statistics",
    "solve_gain",
    "truncation_factor",
    "warm_kernels",
]
