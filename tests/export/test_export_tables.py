"""Parquet, Feather and CSV hold what the tables hold."""

import csv
import json

import numpy as np
import pyarrow as pa
import pytest
from ptc_output import write_pairs, write_solutions
from pyarrow import feather, parquet

from streamcal import results
from streamcal.cli.export import export_output
from streamcal.errors import ConfigError
from streamcal.export.tables import write_table
from streamcal.ptc.solutions import solutions


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Twenty pairs of two amplifiers, fitted."""
    return write_solutions(write_pairs(tmp_path_factory.mktemp("export") / "out"))


@pytest.mark.parametrize(("kind", "read"), [("parquet", parquet.read_table), ("feather", feather.read_table)])
def test_arrow_forms_keep_values_types_and_units(output, tmp_path, capsys, kind, read):
    """The table that is read back equals the one written, metadata included."""
    path = tmp_path / f"deep/rows.{kind}"
    assert export_output(output, kind=kind, to=path) == 0
    table = read(path)
    original = results.read(output)
    assert table.schema.field("gain").metadata[b"unit"] == b"e-/ADU"
    assert table.select(["pair_id", "gain", "covariance"]).equals(original.select(["pair_id", "gain", "covariance"]))
    assert capsys.readouterr().out.split() == [str(path)]


def test_csv_holds_lists_as_json_and_units_in_a_first_line(output, tmp_path):
    """Any reader of CSV gets a row a measurement; a covariance matrix is JSON."""
    path = tmp_path / "rows.csv"
    export_output(output, kind="csv", to=path)
    units, *lines = path.read_text().splitlines()
    rows = list(csv.DictReader(lines))
    assert len(rows) == 40
    assert json.loads(units.removeprefix("# units: "))["variance"] == "ADU^2"
    first = results.read(output).to_pylist()[0]
    np.testing.assert_array_equal(json.loads(rows[0]["covariance"]), first["covariance"])
    assert float(rows[0]["gain"]) == first["gain"]
    assert json.loads(rows[0]["timings"]) == {"read": 0.1}


def test_nan_inside_lists_is_null_in_csv(tmp_path):
    """JSON has no NaN."""
    write_table(pa.table({"values": [[1.5, float("nan")], None]}), tmp_path / "t.csv", "csv")
    assert list(csv.reader((tmp_path / "t.csv").read_text().splitlines()[1:])) == [["values"], ["[1.5, null]"], []]


def test_solutions_and_parts_can_be_written(output, tmp_path, monkeypatch):
    """The ptc table, into the working folder by default."""
    monkeypatch.chdir(tmp_path)
    export_output(output, kind="parquet", table="ptc")
    assert parquet.read_table("ptc.parquet")["gain"].equals(solutions(output)["gain"])
    assert [path.name for path in tmp_path.iterdir()] == ["ptc.parquet"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"kind": "xls"}, "--format must be one of parquet, csv, feather, lsst-ptc, got 'xls'"),
        ({"kind": "csv", "table": "gains"}, "--table must be one of measurements, ptc, exposures, got 'gains'"),
        ({"kind": "lsst-ptc", "dummies": True}, "--dummies needs --partial"),
        ({"kind": "csv", "partial": True}, "--partial needs --format lsst-ptc"),
        ({"kind": "lsst-ptc", "table": "ptc"}, "--table needs --format parquet, csv or feather"),
        ({"kind": "csv", "model": "POLYNOMIAL"}, "--model needs --table ptc"),
        ({"kind": "csv", "detector": "S99"}, "no measurements of this group and detector"),
        ({"kind": "csv", "table": "ptc", "model": "POLYNOMIAL"}, "no ptc of this group and detector"),
        ({"kind": "lsst-ptc", "group": "RUNID=9"}, "no measurements of this group and detector"),
    ],
)
def test_wrong_choices_are_told(output, options, text):
    """In one line, with what there is."""
    with pytest.raises(ConfigError, match=text):
        export_output(output, **options)


@pytest.mark.parametrize("kind", ["csv", "parquet", "feather", "lsst-ptc"])
def test_a_place_that_cannot_be_written_is_told(output, tmp_path, kind):
    """One line, and no rubbish: a folder where a file is to be, a file where a folder is to be."""
    taken = tmp_path / "taken"
    taken.write_text("") if kind == "lsst-ptc" else taken.mkdir()
    with pytest.raises(ConfigError, match=r"taken.* cannot be written: "):
        export_output(output, kind=kind, to=taken)
    assert list(tmp_path.iterdir()) == [taken]


def test_an_unknown_form_is_an_error(tmp_path):
    """The function itself checks as well."""
    with pytest.raises(ValueError, match="kind must be one of parquet, feather, csv, got 'xls'"):
        write_table(pa.table({}), tmp_path / "t", "xls")
