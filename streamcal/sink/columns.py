"""Columns of the result tables as data: what the core knows of each row, and the order that analysts rely on."""

from __future__ import annotations

from streamcal.hookspecs import Column

AUXILIARY_PREFIX = "aux_"

CORE_COLUMNS: tuple[Column, ...] = (
    Column(
        name="pair_id",
        type="string",
        unit="",
        description="Identity of the pair: blake2b-128 of instrument, detector, group, exposure ids and file digests.",
    ),
    Column(name="seq", type="int64", unit="1", description="Number of the commit that appended the row, from 1."),
    Column(name="instrument", type="string", unit="", description="Name of the instrument's table."),
    Column(name="detector", type="string", unit="", description="Name of the detector."),
    Column(name="amplifier", type="string", unit="", description="Name of the amplifier."),
    Column(name="group", type="string", unit="", description="Header keys and values that tell this run from others."),
    Column(name="exposure_id_1", type="string", unit="", description="Exposure id of the first flat."),
    Column(name="exposure_id_2", type="string", unit="", description="Exposure id of the second flat."),
    Column(
        name="path_1",
        type="string",
        unit="",
        description="File of the first flat; bytes that are no printable text appear as backslash, x and two digits.",
    ),
    Column(name="path_2", type="string", unit="", description="File of the second flat, written as path_1."),
    Column(name="exposure_time", type="float64", unit="s", description="Mean exposure time of the two flats."),
    Column(
        name="flux",
        type="float64",
        unit="as in the header",
        description="Mean of the header values that tell the amount of light; NaN where the headers hold none.",
    ),
    Column(name="mjd_start", type="float64", unit="d", description="Start of the earlier flat, MJD in TAI."),
    Column(name="mjd_start_utc", type="float64", unit="d", description="Start of the earlier flat, MJD in UTC."),
    Column(name="measured_at", type="timestamp[us, UTC]", unit="UTC", description="When the pair was measured."),
    Column(
        name="flags",
        type="uint64",
        unit="1",
        description="Bits that tell how far to trust the row; streamcal.results.decode_flags names them.",
    ),
    Column(name="timings", type="map<string, float64>", unit="s", description="Seconds by step, as stage:name."),
)
"""What the core itself knows of each row; stages declare all other columns."""

CONTRACT_ORDER: tuple[str, ...] = (
    *(column.name for column in CORE_COLUMNS[:-2]),
    *("mean_1", "mean_2", "mean", "mean_used", "delta", "variance", "covariance", "covariance_error", "n_pixels"),
    *("n_selected", "n_masked", "n_clipped", "row_mean_variance", "row_overscan_covariance"),
    *("read_noise", "read_noise_error", "read_noise_source", "overscan_level", "overscan_sigma", "amp_offset"),
    *("gain", "gain_error", "gain_statistic", "gain_correction", "gain_covariance_sum"),
    *("flags", "timings"),
)
"""Columns that analysts rely on, in their order in the table."""

EXPOSURE_COLUMNS: tuple[Column, ...] = (
    Column(name="seq", type="int64", unit="1", description="Number of the change; of one exposure the highest counts."),
    Column(
        name="number",
        type="int64",
        unit="1",
        description="Number of the exposure (one detector of one file content): the same in all rows about it.",
    ),
    Column(name="recorded_at", type="timestamp[us, UTC]", unit="UTC", description="When this became of the exposure."),
    Column(name="instrument", type="string", unit="", description="Name of the instrument's table."),
    Column(name="detector", type="string", unit="", description="Detector; empty if the file could not be read."),
    Column(name="exposure_id", type="string", unit="", description="Exposure id of the header."),
    Column(name="group", type="string", unit="", description="Header keys and values that tell this run from others."),
    Column(
        name="path",
        type="string",
        unit="",
        description="File; bytes that are no printable text appear as backslash, x and two digits.",
    ),
    Column(name="digest", type="string", unit="", description="xxh3-128 of the file's bytes; empty if not read."),
    Column(
        name="disposition",
        type="string",
        unit="",
        description="What became of it: waiting, paired, extra, orphan, ignored, rejected or duplicate.",
    ),
    Column(name="reason", type="string", unit="", description="Why it was not used; empty if it was."),
    Column(name="pair_id", type="string", unit="", description="Pair that it is a member of; empty if of none."),
    Column(name="exposure_time", type="float64", unit="s", description="Exposure time."),
    Column(
        name="flux",
        type="float64",
        unit="as in the header",
        description="Header value that tells the amount of light; NaN if there is none.",
    ),
    Column(name="mjd_start", type="float64", unit="d", description="Start of the exposure, MJD in TAI."),
    Column(name="mjd_start_utc", type="float64", unit="d", description="Start of the exposure, MJD in UTC."),
    Column(name="size", type="int64", unit="byte", description="Size of the file."),
)

OPTIONAL_COLUMNS = frozenset({"flux", "mjd_start", "mjd_start_utc"})
"""Core columns that a row may lack."""
