"""A plugin's life in a run: it fails on one pair, the others go on, it is mended, and the pair is tried again."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from streamcal import results
from streamcal.chain import Chain
from streamcal.cli.main import app
from streamcal.errors import StageError
from streamcal.jobs import open_workshop, serialize_rows
from streamcal.sink.schema import measurement_schema

STAGE = """
from streamcal import Column, Stage, hookimpl

def measure(pair, settings, context):
    if pair.measured["C00"]["mean"] > {limit}:
        raise RuntimeError("too bright for me")
    return {{name: {{"level": row["mean"]}} for name, row in pair.measured.items()}}

@hookimpl
def streamcal_stages():
    level = Column(name="level", type="float64", unit="ADU", description="The mean again.")
    return [Stage(name="level", kind="pair", run=measure, requires=("mean",), columns=(level,))]
"""
RUN = """
instrument = "simulated"
[source]
folders = ["incoming"]
settle_seconds = 0.0
[output]
folder = "output"
[pipeline]
stages = ["isr", "covariance", "level"]
plugin_folders = ["stages"]
[stages.covariance]
min_good_pixels = 1000
[engine]
kind = "inline"
"""


@pytest.fixture
def run(tmp_path):
    """Write a configuration and two pairs, at some 200 and 60000 e-; return what runs a command in that folder."""
    (tmp_path / "stages").mkdir(mode=0o755)
    (tmp_path / "run.toml").write_text(RUN)

    def invoke(*arguments):
        return CliRunner().invoke(app, [*arguments])

    made = invoke("simulate", str(tmp_path / "incoming"), "--pairs", "2", "--rows", "32", "--columns", "64")
    assert made.exit_code == 0, made.output
    return invoke


def write_stage(tmp_path, limit):
    """Write the stage, or mend it."""
    path = tmp_path / "stages" / "level.py"
    path.write_text(STAGE.format(limit=limit))
    path.chmod(0o644)


def test_failure_costs_that_pair_until_it_is_retried(tmp_path, run):
    """Exit code 3, one pair's rows, a record with stage, plugin, error; mended and retried, the other rows follow."""
    write_stage(tmp_path, 1000)
    configuration, output = str(tmp_path / "run.toml"), tmp_path / "output"
    assert run("run", configuration, "--once").exit_code == 3
    assert results.read(output).num_rows == 4
    status = json.loads(run("status", str(output), "--json").stdout)
    (failure,) = status["failures"]
    assert (failure["stage"], failure["plugin"]) == ("level", "level")
    assert failure["error"] == "RuntimeError: too bright for me"

    write_stage(tmp_path, 1e9)
    open_workshop.cache_clear()  # as a new process would
    assert "again: 1;" in run("retry", str(output)).stdout
    assert run("run", configuration, "--once").exit_code == 0
    table = results.read(output)
    assert table.num_rows == 8
    assert table["level"].to_pylist() == table["mean"].to_pylist()


def test_measure_shows_the_traceback(tmp_path, run):
    """On stderr, with stage and plugin; nothing on stdout."""
    write_stage(tmp_path, 0)
    first, second = sorted((tmp_path / "incoming").glob("*.fits"))[:2]
    result = run("measure", str(first), str(second), "-c", str(tmp_path / "run.toml"))
    assert result.exit_code == 3
    assert 'stages/level.py", line 6, in measure' in result.stderr
    assert "streamcal: stage 'level' of plugin 'level': RuntimeError: too bright for me" in result.stderr
    assert result.stdout == ""


def test_new_column_lies_beside_rows_without_it(tmp_path, run):
    """Rows that were there stay; a reader gets nulls for them."""
    configuration = tmp_path / "run.toml"
    configuration.write_text(RUN.replace(', "level"]', "]"))
    assert run("run", str(configuration), "--once").exit_code == 0
    write_stage(tmp_path, 1e9)
    configuration.write_text(RUN)
    more = ("--pairs", "1", "--first-id", "101", "--lowest", "5000", "--rows", "32", "--columns", "64", "--seed", "2")
    assert run("simulate", str(tmp_path / "incoming"), *more).exit_code == 0
    assert run("run", str(configuration), "--once").exit_code == 0
    table = results.read(tmp_path / "output")
    assert [value is None for value in table["level"].to_pylist()] == [True] * 8 + [False] * 4


@pytest.mark.parametrize("value", ["text", [1.0], True])
def test_value_of_a_wrong_type_is_that_stages_failure(value, column, link):
    """Column, type and amplifier are told; stage and plugin are named."""
    chain = Chain([link(print, column("level"), name="mine")])
    schema = measurement_schema(chain.columns, chain_digest=chain.digest)
    plugins = SimpleNamespace(plugin_of=lambda stage: f"{stage}_plugin")
    with pytest.raises(StageError, match="column 'level', amplifier 'C00': must be float64, got") as caught:
        serialize_rows([make_row(schema, level=value)], SimpleNamespace(schema=schema, chain=chain, plugins=plugins))
    assert (caught.value.stage, caught.value.plugin) == ("mine", "mine_plugin")


def make_row(schema, **values):
    """Make a row with something in each column of the core."""
    fillers = {"string": "", "double": 1.0, "int64": 1, "uint64": 0, "map<string, double>": {}}
    row = {field.name: fillers.get(str(field.type), datetime.now(UTC)) for field in schema}
    return row | {"amplifier": "C00"} | values
