"""A chain is checked before the first exposure: names, settings, order and columns."""

import pytest
from pydantic import Field

from streamcal.chain import build_chain
from streamcal.errors import ConfigError, PluginError
from streamcal.hookspecs import Settings, Stage


class LimitSettings(Settings):
    """Settings for these tests."""

    limit: float = Field(1.0, gt=0, description="A limit.")
    name: str = "x"


def make_stage(name, kind="pair", **values):
    """Make a stage that is never run."""
    return Stage(name=name, kind=kind, run=print, **values)


def refuse(error, names, settings, plugins, message):
    """Check the message of a chain that cannot be built."""
    with pytest.raises(error) as caught:
        build_chain(names, settings, plugins, "run.toml")
    assert str(caught.value) == message


def test_stages_come_in_the_configured_order(offer, column):
    """That of the plugins does not matter."""
    plugins = offer(make_stage("b", columns=(column("b_value"),)), make_stage("a", columns=(column("a_value"),)))
    chain = build_chain(["a", "b"], {}, plugins)
    assert [(stage, [item.name for item in items]) for stage, items in chain.columns] == [
        ("a", ["a_value"]),
        ("b", ["b_value"]),
    ]
    assert [link.plugin for link in chain.links] == ["a_plugin", "b_plugin"]


def test_settings_reach_their_stage(offer):
    """Given ones as they are, others as their defaults."""
    chain = build_chain(["a"], {"a": {"limit": 3}}, offer(make_stage("a", settings=LimitSettings)))
    assert chain.links[0].settings == LimitSettings(limit=3.0)


def test_unknown_stage(offer):
    """The message names the file, the key and the stages that there are."""
    plugins = offer(make_stage("b"), make_stage("a"))
    refuse(ConfigError, ["c"], {}, plugins, "run.toml: pipeline.stages: unknown stage 'c', known: a, b")


def test_settings_of_an_unknown_stage(offer):
    """They would have no effect."""
    refuse(ConfigError, ["a"], {"c": {}}, offer(make_stage("a")), "run.toml: stages.c: unknown stage, known: a")


def test_settings_of_a_stage_that_does_not_run_are_kept(offer):
    """A stage can be taken out of the list for a while."""
    plugins = offer(make_stage("a"), make_stage("b", settings=LimitSettings))
    assert len(build_chain(["a"], {"b": {"limit": 2.0}}, plugins).links) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limt": 1.0}, "run.toml: stages.a.limt: unknown key, did you mean 'limit'?"),
        ({"limit": "1"}, "run.toml: stages.a.limit: input should be a valid number, got '1'"),
        ({"limit": 0}, "run.toml: stages.a.limit: input should be greater than 0, got 0"),
        ({"name": 5}, "run.toml: stages.a.name: input should be a valid string, got 5"),
    ],
)
def test_wrong_settings(settings, message, offer):
    """File and key are named, and the nearest key for an unknown one."""
    refuse(ConfigError, ["a"], {"a": settings}, offer(make_stage("a", settings=LimitSettings)), message)


def test_every_wrong_setting_is_told(offer):
    """A line each."""
    message = (
        "run.toml: stages.a.limit: input should be greater than 0, got -1\n"
        "run.toml: stages.a.limits: unknown key, did you mean 'limit'?"
    )
    plugins = offer(make_stage("a", settings=LimitSettings))
    refuse(ConfigError, ["a"], {"a": {"limit": -1, "limits": 1}}, plugins, message)


def test_stage_without_settings_takes_none(offer):
    """A setting that nobody reads is an error."""
    message = "run.toml: stages.a.limit: unknown key"
    refuse(ConfigError, ["a"], {"a": {"limit": 1}}, offer(make_stage("a")), message)


@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
def test_unmet_requirement(names, offer):
    """A provider behind the stage is too late."""
    plugins = offer(make_stage("a", requires=("light",)), make_stage("b", provides=("light",)))
    message = "run.toml: pipeline.stages: 'a' requires 'light', which no earlier stage provides"
    refuse(ConfigError, names, {}, plugins, message)


def test_met_requirements(offer, column):
    """Facts and columns of earlier stages both count."""
    first = make_stage("a", provides=("light",), columns=(column("value"),))
    build_chain(["a", "b"], {}, offer(first, make_stage("b", requires=("light", "value"))))


def test_own_column_is_no_input(offer, column):
    """A stage cannot require what it provides itself."""
    plugins = offer(make_stage("a", requires=("value",), columns=(column("value"),)))
    message = "run.toml: pipeline.stages: 'a' requires 'value', which no earlier stage provides"
    refuse(ConfigError, ["a"], {}, plugins, message)


def test_exposure_stage_after_pair_stage(offer):
    """What the pair stage measured would be of other pixels."""
    plugins = offer(make_stage("a"), make_stage("b"), make_stage("c", "exposure"))
    message = "run.toml: pipeline.stages: exposure stage 'c' must come before pair stage 'a'"
    refuse(ConfigError, ["a", "b", "c"], {}, plugins, message)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"type": ""}, "column 'value': type must be "),
        ({"type": "float"}, "column 'value': type must be "),
        ({"unit": ""}, "column 'value': unit must be given ('1' for a pure number), got ''"),
        ({"description": " "}, "column 'value': description must be given, got ' '"),
        ({"name": "Value"}, "column name must be lower case letters, digits and underscores, got 'Value'"),
        ({"name": "pair_id"}, "column 'pair_id' exists already"),
        ({"name": "aux_filter"}, "column 'aux_filter' exists already"),
    ],
)
def test_incomplete_column(changes, rule, offer, column):
    """Plugin and stage are named: the schema must be known before the first exposure."""
    plugins = offer(make_stage("a", columns=(column(**changes),)))
    with pytest.raises(PluginError) as caught:
        build_chain(["a"], {}, plugins)
    assert str(caught.value).startswith(f"plugin 'a_plugin': stage 'a': {rule}")


def test_column_declared_twice(offer, column):
    """Both stages are named."""
    plugins = offer(make_stage("a", columns=(column(),)), make_stage("b", columns=(column(),)))
    refuse(PluginError, ["a", "b"], {}, plugins, "column 'value' is declared by stage 'a' and by 'b'")


def test_combine_rule_of_an_exposure_stage_must_fit(offer, column):
    """Plugin, stage and column are named."""
    plugins = offer(make_stage("a", "exposure", columns=(column(type="string", unit=""),)))
    message = "plugin 'a_plugin': stage 'a': column 'value': combine of a string must be join, first, got 'median'"
    refuse(PluginError, ["a"], {}, plugins, message)


def test_combine_rule_of_a_pair_stage_does_not_matter(offer, column):
    """It has one value already."""
    build_chain(["a"], {}, offer(make_stage("a", columns=(column(type="string", unit=""),))))


def test_digest_tells_chains_apart(offer):
    """Equal ones have one digest; another order, setting or version of a plugin makes another."""
    stages = make_stage("a", settings=LimitSettings), make_stage("b")
    digests = [
        build_chain(["a", "b"], {}, offer(*stages)).digest,
        build_chain(["b", "a"], {}, offer(*stages)).digest,
        build_chain(["a", "b"], {"a": {"limit": 2.0}}, offer(*stages)).digest,
        build_chain(["a", "b"], {}, offer(*stages, version="2")).digest,
    ]
    assert build_chain(["a", "b"], {"a": {"limit": 1.0}}, offer(*stages)).digest == digests[0]
    assert len(set(digests)) == 4
