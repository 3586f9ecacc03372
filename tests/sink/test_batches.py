"""Rows become batches exactly, or not at all."""

import math
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from streamcal.hookspecs import Column
from streamcal.sink.batches import build_batch, set_seq
from streamcal.sink.schema import exposures_schema, measurement_schema

TYPES = {
    "real": "float64",
    "small": "int16",
    "bits": "uint64",
    "yes": "bool",
    "text": "string",
    "matrix": "list<list<float64>>",
    "counts": "list<list<int64>>",
}
COLUMNS = [Column(name=name, type=kind, unit="1", description="X.") for name, kind in TYPES.items()]
SCHEMA = measurement_schema([("stage", COLUMNS)], ["RUN"], chain_digest="")
CORE = {
    "pair_id": "p",
    "seq": 0,
    "instrument": "i",
    "detector": "d",
    "amplifier": "C00",
    "group": "",
    "exposure_id_1": "1",
    "exposure_id_2": "2",
    "path_1": "a",
    "path_2": "b",
    "exposure_time": 1.5,
    "measured_at": datetime(2026, 1, 2, tzinfo=UTC),
    "flags": 2**63,
    "timings": {"isr:overscan": 0.25},
}


def build(**values):
    """Build a batch of one row."""
    return build_batch(SCHEMA, [{**CORE, **values}])


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("real", 3, 3.0),
        ("real", np.float32(0.5), 0.5),
        ("real", np.int64(4), 4.0),
        ("real", None, None),
        ("small", np.int8(-3), -3),
        ("bits", 2**64 - 1, 2**64 - 1),
        ("yes", np.bool_(True), True),
        ("text", np.str_("x"), "x"),
        ("matrix", np.array([[1, 2], [3, 4]], dtype=np.float32), [[1.0, 2.0], [3.0, 4.0]]),
        ("matrix", [np.array([1.0]), (2,), None], [[1.0], [2.0], None]),
        ("counts", np.array([[1], [2]]), [[1], [2]]),
        ("flags", 2**63, 2**63),
        ("timings", {"a": 1}, [("a", 1.0)]),
        ("aux_run", "R1", "R1"),
    ],
)
def test_values_that_fit(name, value, stored):
    """Numbers of Python and numpy, arrays and None are stored as they are."""
    assert build(**{name: value})[name].to_pylist() == [stored]


def test_nan_is_no_null():
    """NaN stays NaN."""
    assert math.isnan(build(real=float("nan"))["real"][0].as_py())


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("real", "1.5", "must be float64, got str '1.5'"),
        ("real", True, "must be float64, got bool True"),
        ("real", np.bool_(True), "must be float64, got bool True"),
        ("real", 1 + 2j, "got complex"),
        ("small", 1.0, "must be int16, got float 1.0"),
        ("small", True, "must be int16, got bool True"),
        ("yes", 1, "must be bool, got int 1"),
        ("text", 5, "must be string, got int 5"),
        ("text", b"x", "must be string, got bytes b'x'"),
        ("matrix", 1.0, "got float 1.0"),
        ("matrix", [1.0], "got float 1.0"),
        ("matrix", "ab", "got str 'ab'"),
        ("counts", np.array([[1.0]]), "got float 1.0"),
        ("timings", [("a", 1.0)], "got list"),
        ("timings", {1: 1.0}, "got int 1"),
        ("measured_at", datetime(2026, 1, 2), "without a time zone"),  # noqa: DTZ001 - it must be refused
        ("measured_at", 5, "got int 5"),
        ("real", np.ma.masked, "got MaskedConstant"),
    ],
)
def test_values_of_another_type(name, value, text):
    """Nothing is cast in silence; the message names column, amplifier, type and value."""
    with pytest.raises(
        ValueError, match=rf"column '{name}', amplifier 'C00': must be .*{text.removeprefix('must be ')}"
    ):
        build(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("small", 40000), ("bits", -1), ("bits", 2**64), ("text", "\udcff")])
def test_values_out_of_range(name, value):
    """A value beyond the column's range is an error that names the column."""
    with pytest.raises(ValueError, match=f"column '{name}': a value does not fit into"):
        build(**{name: value})


def test_missing_columns():
    """A core column must be there; columns of stages, auxiliary and optional ones may be missing."""
    row = build_batch(SCHEMA, [CORE]).to_pylist()[0]
    assert [name for name, value in row.items() if value is None] == [
        *("flux", "mjd_start", "mjd_start_utc"),
        *TYPES,
        "aux_run",
    ]
    rows = [{name: value for name, value in CORE.items() if name != "detector"}]
    with pytest.raises(ValueError, match="column 'detector', amplifier 'C00': missing"):
        build_batch(SCHEMA, rows)


def test_undeclared_column():
    """A column that nobody declared is an error."""
    with pytest.raises(ValueError, match="column 'surprise', amplifier 'C00': not declared"):
        build(surprise=1.0)


def test_long_value_is_shortened_in_the_message():
    """A message stays one readable line."""
    with pytest.raises(ValueError, match=r"got list .{,60}\.\.\.$"):
        build(real=list(range(1000)))


def test_exposures_table():
    """Rows of the exposures table are built the same way; all their columns are required."""
    schema = exposures_schema()
    with pytest.raises(ValueError, match="column 'seq': missing"):
        build_batch(schema, [{}])


def test_set_seq():
    """The number of the commit is filled into all rows; nothing else changes."""
    batch = set_seq(build_batch(SCHEMA, [CORE, CORE]), 7)
    assert batch["seq"].to_pylist() == [7, 7]
    assert batch.schema.equals(SCHEMA, check_metadata=True)


def test_batch_without_rows():
    """No rows make an empty batch of the right schema."""
    assert build_batch(SCHEMA, []).schema.equals(SCHEMA, check_metadata=True)
    assert isinstance(build_batch(SCHEMA, []), pa.RecordBatch)
