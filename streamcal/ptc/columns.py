"""Columns of the ``ptc`` table: names, types, units and descriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamcal.hookspecs import Column

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = "1"


def _number(name: str, unit: str, description: str) -> Column:
    return Column(name=name, type="float64", unit=unit, description=description)


def _count(name: str, description: str) -> Column:
    return Column(name=name, type="int64", unit="1", description=description)


def _text(name: str, description: str) -> Column:
    return Column(name=name, type="string", unit="", description=description)


def _matrix(name: str, unit: str, description: str) -> tuple[Column, Column]:
    kind = "list<list<float64>>"
    return (
        Column(name=name, type=kind, unit=unit, description=f"{description}; [i][j]: lag i along x, j along y."),
        Column(name=f"{name}_error", type=kind, unit=unit, description=f"Standard errors of {name}."),
    )


def _per_pair(name: str, kind: str, unit: str, description: str) -> Column:
    return Column(name=name, type=f"list<{kind}>", unit=unit, description=f"{description}, by pair.")


SOLUTION_COLUMNS: tuple[Column, ...] = (
    _count("seq", "Number of the commit that appended the row; of one amplifier and group the highest counts."),
    _text("group", "Header keys and values that tell this run from others."),
    _text("instrument", "Name of the instrument's table."),
    _text("detector", "Name of the detector."),
    _text("amplifier", "Name of the amplifier."),
    _text("model", "Model that was fitted."),
    _number("gain", "e-/ADU", "Gain; NaN where there is no solution."),
    _number("gain_error", "e-/ADU", "Standard error of the gain."),
    _number("noise", "e-", "Root of n_00: read noise and digitisation noise."),
    _number("noise_error", "e-", "Standard error of the noise."),
    _number("a00", "1/e-", "Relative change of a pixel's area per electron of its own."),
    _number("a00_error", "1/e-", "Standard error of a00."),
    _number("turnoff", "ADU", "Mean of the highest pair that was used."),
    _number("turnoff_error", "ADU", "Half the gap between it and the next pair above, or else below."),
    _number("chi2_dof", "1", "Reduced chi^2."),
    _count("dof", "Degrees of freedom."),
    _count("n_pairs", "Number of pairs of the group."),
    _count("n_used", "Number of pairs that were fitted."),
    Column(
        name="flags",
        type="uint64",
        unit="1",
        description="What is to be said against the solution; streamcal.ptc.decode_fit_flags names the bits.",
    ),
    _text("reason", "Why there is no solution, or which limit is broken; empty if nothing is."),
    Column(name="solved_at", type="timestamp[us, UTC]", unit="UTC", description="When the fit was made."),
    *_matrix("a_matrix", "1/e-", "Relative change of a pixel's area per electron in a neighbour"),
    *_matrix("b_matrix", "1/e-", "Change of a_ij with charge; NaN where the model has none"),
    *_matrix("noise_matrix", "e-^2", "Covariances without light"),
    _count("first_seq", "Commit of the group's first pair in the measurements."),
    _count("last_seq", "Commit of the last pair that was known to the fit."),
    _number("mjd_start", "d", "Start of the group's first flat, MJD in TAI."),
    _per_pair("pair_seq", "int64", "1", "Commit of each pair in the measurements; the lists below follow its order"),
    _per_pair("mean", "float64", "ADU", "Mean signal"),
    _per_pair("variance", "float64", "ADU^2", "Variance, per-row overscan covariance taken off"),
    _per_pair("variance_error", "float64", "ADU^2", "Standard error of the variance, white-noise theory"),
    _per_pair("model_variance", "float64", "ADU^2", "Variance of the fitted curve at this mean"),
    _per_pair("used", "bool", "", "Whether the pair was fitted"),
    _per_pair("dropped", "string", "", "Why it was not; empty if it was"),
    Column(
        name="parameters",
        type="list<float64>",
        unit="those of gain, a, n and ab",
        description="All parameters: gain, a, n, ab row by row; of the variance alone gain, a00, n00, k (1/ADU).",
    ),
    Column(
        name="parameters_error",
        type="list<float64>",
        unit="those of gain, a, n and ab",
        description="Standard errors of the parameters.",
    ),
    Column(
        name="parameter_covariance",
        type="list<list<float64>>",
        unit="products of the units of gain, a, n and ab",
        description="Covariance of all parameters (gain, a, n, ab, each matrix row by row), if asked for; else null.",
    ),
)


def solution_schema() -> pa.Schema:
    """Return the schema of the ``ptc`` table; each field's metadata holds unit and description."""
    import pyarrow as pa

    from streamcal import __version__
    from streamcal.sink.schema import arrow_type, schema_id

    fields = [
        pa.field(
            column.name, arrow_type(column.type), metadata={"unit": column.unit, "description": column.description}
        )
        for column in SOLUTION_COLUMNS
    ]
    schema = pa.schema(fields, metadata={"schema_version": SCHEMA_VERSION, "streamcal_version": __version__})
    return schema.with_metadata({**schema.metadata, b"schema_id": schema_id(schema)})
