"""Types, units, order and checks of the tables' columns."""

import subprocess
import sys

import pyarrow as pa
import pytest

from streamcal.errors import ConfigError
from streamcal.hookspecs import Column
from streamcal.sink.columns import CONTRACT_ORDER, CORE_COLUMNS, EXPOSURE_COLUMNS
from streamcal.sink.schema import (
    arrow_type,
    auxiliary_column,
    change_of_type,
    check_columns,
    exposures_schema,
    measurement_schema,
    schema_id,
)

GAIN = Column(name="gain", type="float64", unit="electron/adu", description="Gain.")
SKEW = Column(name="skew", type="list<float64>", unit="1", description="Skewness.")


def column(**changes):
    """Make a column that is right but for the changes."""
    return Column(**{"name": "x", "type": "float64", "unit": "1", "description": "An x.", **changes})


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("float64", pa.float64()),
        ("uint64", pa.uint64()),
        ("bool", pa.bool_()),
        ("timestamp[us, UTC]", pa.timestamp("us", tz="UTC")),
        ("map<string, float64>", pa.map_(pa.string(), pa.float64())),
        ("list<list<int64>>", pa.list_(pa.list_(pa.int64()))),
        ("list<map<string, list<string>>>", pa.list_(pa.map_(pa.string(), pa.list_(pa.string())))),
    ],
)
def test_type_texts(text, kind):
    """Each type text means one Arrow type, nested at will."""
    assert arrow_type(text) == kind


@pytest.mark.parametrize("text", ["float", "list<>", "list<float64", "map<int64, string>", "list<object>", ""])
def test_unknown_type_text(text):
    """What is no type is an error that quotes it."""
    with pytest.raises(ValueError, match="type must be"):
        arrow_type(text)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": "Gain"}, "column name must be lower case .* got 'Gain'"),
        ({"name": "2nd"}, "got '2nd'"),
        ({"name": "seq"}, "column 'seq' exists already"),
        ({"name": "aux_x"}, "column 'aux_x' exists already"),
        ({"type": "double"}, "column 'x': type must be .* got 'double'"),
        ({"unit": ""}, "column 'x': unit must be given"),
        ({"type": "list<int64>", "unit": ""}, "column 'x': unit must be given"),
        ({"description": " "}, "column 'x': description must be given"),
    ],
)
def test_wrong_columns(changes, text):
    """A column that cannot be described in the file is refused by name."""
    with pytest.raises(ValueError, match=text):
        check_columns([column(**changes)])


def test_column_declared_twice():
    """One stage cannot declare a column twice."""
    with pytest.raises(ValueError, match="column 'x' exists already"):
        check_columns([column(), column()])


@pytest.mark.parametrize("kind", ["string", "bool", "list<string>", "map<string, bool>"])
def test_text_needs_no_unit(kind):
    """Texts and truth values have no unit."""
    check_columns([column(type=kind, unit="")])


def test_order_of_columns():
    """Contract columns come in contract order wherever they are declared, then other stages', then auxiliary ones."""
    schema = measurement_schema([("odd", [SKEW]), ("gain", [GAIN])], ["DATE-OBS"], chain_digest="d", version="1")
    contract = [name for name in CONTRACT_ORDER if name in schema.names]
    assert schema.names == [*contract, "skew", "aux_date_obs"]
    assert schema.names.index("gain") == schema.names.index("flags") - 1


def test_core_columns_are_in_the_contract():
    """Every core column has its place, none twice, and can be described in the file."""
    names = [column.name for column in CORE_COLUMNS]
    assert set(names) <= set(CONTRACT_ORDER)
    assert len(set(CONTRACT_ORDER)) == len(CONTRACT_ORDER) == 42
    assert all(column.description.endswith(".") for column in (*CORE_COLUMNS, *EXPOSURE_COLUMNS))


@pytest.mark.parametrize("schema", [measurement_schema([("s", [SKEW])], ["RUN"], chain_digest="d"), exposures_schema()])
def test_every_field_is_described(schema):
    """Unit and description are in the file; only texts and truth values have an empty unit."""
    for field in schema:
        assert field.metadata[b"description"]
        assert field.metadata[b"unit"] or field.type in (pa.string(), pa.bool_())


def test_metadata_of_the_schema():
    """The file tells version, chain and digest; a stage's column tells its stage."""
    schema = measurement_schema([("isr", []), ("skew", [SKEW])], chain_digest="abc", version="1.2")
    assert schema.metadata[b"stages"] == b'["isr", "skew"]'
    assert schema.metadata[b"chain_digest"] == b"abc"
    assert schema.metadata[b"streamcal_version"] == b"1.2"
    assert schema.metadata[b"schema_version"] == b"1"
    assert schema.field("skew").metadata[b"stage"] == b"skew"
    assert b"stage" not in schema.field("seq").metadata


def test_schema_id_tells_schemas_apart():
    """Equal declarations give equal ids, and each change of them another one; the id itself does not count."""
    ids = {
        measurement_schema(stages, keys, chain_digest=digest).metadata[b"schema_id"]
        for stages, keys, digest in [([], [], "d"), ([], [], "e"), ([], ["RUN"], "d"), ([("s", [SKEW])], [], "d")]
    }
    assert len(ids) == 4
    schema = measurement_schema([], chain_digest="d")
    assert schema_id(schema).encode() == schema.metadata[b"schema_id"] in ids


@pytest.mark.parametrize(
    ("key", "name"), [("DATE-OBS", "aux_date_obs"), ("HIERARCH ESO DET  Temp", "aux_hierarch_eso_det_temp")]
)
def test_auxiliary_column(key, name):
    """Whatever a header key holds, its column is lower case with single underscores."""
    assert auxiliary_column(key) == name


def test_auxiliary_keys_that_collide():
    """Two keys that become one column are an error that names both."""
    with pytest.raises(ConfigError, match="'DATE-OBS' and 'DATE_OBS' both become the column 'aux_date_obs'"):
        measurement_schema([], ["DATE-OBS", "DATE_OBS"], chain_digest="")


def test_change_of_type():
    """Only a column of one name and two types is a change; new and lost columns are not."""
    old, new = pa.schema([("a", pa.int64()), ("b", pa.string())]), pa.schema([("b", pa.string()), ("c", pa.int64())])
    assert change_of_type(old, new) == ""
    text = "column 'a' is float64 now and was int64 in earlier rows"
    assert change_of_type(old, pa.schema([("a", pa.float64())])) == text


def test_tables_need_no_arrow():
    """The journal, and with it the command line, takes the tables without loading Arrow or numpy."""
    code = "import sys, streamcal.sink.tables; sys.exit(bool({'pyarrow', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
