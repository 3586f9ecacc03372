"""docs/plugins.md says what the code does, and its examples work as they stand there."""

import inspect
import json
import re
import textwrap
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamcal import CheckContext, InstrumentTable, Stage, hookspecs
from streamcal.cli.main import app
from streamcal.combine import _FITTING
from streamcal.hookspecs import Column, Context
from streamcal.instruments import load_instrument
from streamcal.measure import Difference
from streamcal.plugins import load_plugins
from streamcal.records import Amplifier
from streamcal.sink.schema import arrow_type
from streamcal.testing import RecordingContext, make_pair

DOCS = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
HOOKS = [name for name in vars(hookspecs) if name.startswith("streamcal_")]
RUN = """
    instrument = "simulated"
    [source]
    folders = ["incoming"]
    [output]
    folder = "output"
"""


def section(title):
    """Return the text under a heading."""
    level = title.split(" ", maxsplit=1)[0]
    return DOCS.split(f"{title}\n")[1].split(f"\n{level} ")[0]


def examples(title):
    """Return the indented blocks under a heading."""
    blocks = re.findall(r"(?:^    .*\n(?:\n+(?=    ))?)+", section(title), re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks]


def table(title, column=0):
    """Return the names in backticks of one column of the tables under a heading, row by row."""
    rows = [line.split(" | ") for line in section(title).splitlines() if line.startswith("| ")]
    return [re.findall(r"`([^`]+)`", row[column]) for row in rows]


def drop(folder, name, text):
    """Write a plugin file that nobody else can write."""
    folder.mkdir()
    folder.chmod(0o755)
    (folder / name).write_text(text)
    (folder / name).chmod(0o644)
    return folder


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented(hook):
    """With its exact signature, under its own heading."""
    signature = str(inspect.signature(getattr(hookspecs, hook))).replace("'", "")
    assert examples(f"### {hook}")[0] == f"{hook}{signature}\n"


def test_no_other_hook_is_documented():
    """A hook that has gone leaves the documentation too."""
    assert re.findall(r"^### (streamcal_\w+)$", DOCS, re.MULTILINE) == HOOKS


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_tested(hook):
    """By a test of its name, below."""
    assert callable(globals().get(f"test_hook_{hook}"))


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_names_its_version(hook):
    """And shows a plugin that Python can at least compile."""
    text = inspect.getdoc(getattr(hookspecs, hook))
    assert ".. versionadded:: 0.1" in text
    example = text.split("::\n", maxsplit=1)[1].split("\nReturns\n")[0]
    assert f"def {hook}():" in example
    compile(textwrap.dedent(example), hook, "exec")


@pytest.mark.parametrize("descriptor", [Stage, InstrumentTable])
def test_descriptors_are_documented(descriptor):
    """Their arguments, in order."""
    arguments = re.search(rf"^    {descriptor.__name__}\(\*, (.+)\)$", section("## Hooks"), re.MULTILINE)[1]
    assert [argument.split("=")[0] for argument in arguments.split(", ")] == [item.name for item in fields(descriptor)]


def test_stage_arguments_are_explained():
    """Each in the table."""
    names = [name for row in table("### streamcal_stages") for name in row]
    assert sorted(set(names) & {item.name for item in fields(Stage)}) == sorted(item.name for item in fields(Stage))


def test_context_is_documented():
    """All of it, and nothing that is not there."""
    text = section("## What a stage is given, and gives")
    named = set(re.findall(r"^\| `context\.(\w+)", text, re.MULTILINE))
    assert named == {name for name in vars(Context) if not name.startswith("_")}


def test_check_context_is_documented():
    """All of it, and nothing that is not there."""
    paragraph = re.search(r"a `streamcal.CheckContext`, has (.+?)\n\n", DOCS, re.DOTALL)[1]
    assert re.findall(r"`(\w+)`", paragraph) == [item.name for item in fields(CheckContext)]


def test_difference_is_documented_as_it_is():
    """Every name in the paragraph is an attribute."""
    paragraph = re.search(r"^The difference has (.+?)\n\n", DOCS, re.MULTILINE | re.DOTALL)[1]
    assert [name for name in re.findall(r"`(\w+)`", paragraph) if not hasattr(Difference, name)] == []


def test_amplifier_is_documented():
    """Every field but its name."""
    paragraph = re.search(r"^An amplifier has (.+?)\n\n", DOCS, re.MULTILINE | re.DOTALL)[1]
    missing = {item.name for item in fields(Amplifier)} - set(re.findall(r"`(\w+)`", paragraph))
    assert missing == {"name"}


def test_column_types_are_documented():
    """Those named mean a type."""
    paragraph = re.search(r"^- `type`: (.+?)\n- ", DOCS, re.MULTILINE | re.DOTALL)[1]
    names = [name.replace("...", "float64") for name in re.findall(r"`([^`]+)`", paragraph)]
    assert {"float64", "bool", "string"} <= set(names)
    assert all(arrow_type(name) for name in names)


def test_combine_rules_are_documented():
    """Each with the types that it fits."""
    kinds = {"numbers": {"float", "int", "uint"}, "all types": set(_FITTING)}
    for line in section("## Columns").splitlines():
        if not (match := re.match(r"^\| `(\w+)`(?: \(default\))? \| .+ \| (.*`.*|numbers.*|all types) \|$", line)):
            continue
        named = set().union(*(kinds.get(item, {item.strip("`").rstrip("0123456789")}) for item in match[2].split(", ")))
        assert named == {kind for kind, rules in _FITTING.items() if match[1] in rules}
        assert (match[1] == Column.__dataclass_fields__["combine"].default) == ("(default)" in line)


def test_facts_of_the_built_in_stages_are_documented():
    """What each provides beside its columns."""
    plugins = load_plugins()
    stages = [name for row in table("## Order") for name in row]
    documented = dict(zip([row[0] for row in table("## Order") if row], table("## Order", 1)[1:], strict=True))
    built_in = {name: stage for name, stage in plugins.stages.items() if name != "normality"}
    assert documented == {name: list(stage.provides) for name, stage in built_in.items()}
    assert stages == list(dict.fromkeys(stages))


@pytest.fixture
def run_folder(tmp_path):
    """Write the stage and the configuration of the first example, and simulated flats."""
    stage, config, *_ = examples("## A stage in one file")
    drop(tmp_path / "my_stages", "skew.py", stage)
    (tmp_path / "run.toml").write_text(textwrap.dedent(RUN) + config)
    command = ["simulate", str(tmp_path / "incoming"), "--pairs", "1", "--rows", "128", "--columns", "128"]
    result = CliRunner().invoke(app, [*command, "--lowest", "20000"])
    assert result.exit_code == 0, result.output
    return tmp_path


def test_the_example_is_short():
    """A stage that adds a column, in under 30 lines of code."""
    stage = examples("## A stage in one file")[0]
    assert len([line for line in stage.splitlines() if line.strip()]) < 30


def test_the_example_is_measured_offline(run_folder):
    """As the page says; of Gaussian light the skewness is 0 within five errors."""
    first, second = sorted((run_folder / "incoming").glob("*.fits"))
    command = ["measure", str(first), str(second), "-c", str(run_folder / "run.toml"), "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(rows) == 4
    assert all(0 < abs(row["skew"]) < 5 * (6 / 128**2) ** 0.5 for row in rows)


def test_the_example_passes_the_check(run_folder):
    """And the plugin is listed."""
    result = CliRunner().invoke(app, ["check", str(run_folder / "run.toml")])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(app, ["plugins", "-c", str(run_folder / "run.toml"), "--json"])
    assert ["skew"] in [info["stages"] for info in json.loads(result.stdout)]


def test_the_shown_message_is_the_real_one(run_folder):
    """For a misspelled setting."""
    config = run_folder / "run.toml"
    config.write_text(config.read_text().replace("min_pixels", "min_pixel"))
    error = CliRunner().invoke(app, ["check", str(config)]).exception
    shown = examples("## Settings")[0].strip().removeprefix("streamcal.toml")
    assert str(error) == f"{config}{shown}"


def test_hook_streamcal_stages(tmp_path):
    """The example's stage, run as the page tests it."""
    folder = drop(tmp_path / "plugins", "skew.py", examples("## A stage in one file")[0])
    stage = load_plugins([folder]).stages["skew"]
    space = {"measure_skew": stage.run, "SkewSettings": stage.settings}
    exec(examples("## Testing a stage")[0], space)
    space["test_skew_of_steady_light"]()
    assert stage.run(make_pair(), stage.settings(min_pixels=10**6), RecordingContext("skew")) == {}


def test_hook_streamcal_instruments(tmp_path):
    """The example's camera is a camera, laid over the one it names."""
    folder = drop(tmp_path / "plugins", "bench.py", examples("### streamcal_instruments")[1])
    offered = {name: offer.table for name, offer in load_plugins([folder]).instruments.items()}
    instrument = load_instrument("bench", base=tmp_path, offered=offered)
    assert instrument.geometry.images == 4
    assert instrument.identify.detector == ("CHIP",)
