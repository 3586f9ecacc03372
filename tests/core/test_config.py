"""The configuration: what is wrong is said in one line that names file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamcal.config import load_config, parse_config
from streamcal.errors import ConfigError

FILE = Path("/somewhere/run.toml")


def complaint(values: dict) -> str:
    """Return what is said about a configuration."""
    with pytest.raises(ConfigError) as caught:
        parse_config(values, FILE)
    return str(caught.value)


def test_unknown_key_names_the_nearest_known_one():
    """A misspelled key is an error that says what may have been meant."""
    text = complaint({"instrument": "simple", "pairing": {"tolerence_seconds": 1}})
    assert text == "/somewhere/run.toml: pairing.tolerence_seconds: unknown key, did you mean 'tolerance_seconds'?"


def test_unknown_key_far_from_all_lists_the_known_ones():
    """A key that resembles none is answered with those there are."""
    assert "unknown key, known here: format, level" in complaint({"instrument": "simple", "log": {"zzz": 1}})


def test_number_in_quotes_is_an_error():
    """Types are as TOML wrote them: "2" is no number."""
    assert "engine.workers: input should be a valid integer, got '2'" in complaint(
        {"instrument": "simple", "engine": {"workers": "2"}}
    )


def test_every_mistake_is_told_at_once():
    """Three mistakes are three lines."""
    text = complaint({"engine": {"workers": 0}, "pairing": {"match": "LIGHT"}})
    assert [line.split(": ")[1] for line in text.splitlines()] == ["instrument", "pairing.match", "engine.workers"]


def test_stage_named_twice_is_an_error():
    """A stage can run once in a chain."""
    assert "must name each stage once, got 'isr' twice" in complaint(
        {"instrument": "simple", "pipeline": {"stages": ["isr", "isr"]}}
    )


def test_relative_folders_are_relative_to_the_file():
    """The same configuration works from any working directory."""
    config = parse_config({"instrument": "simple", "source": {"folders": ["in"]}, "output": {"folder": "out"}}, FILE)
    assert config.source.folders == (Path("/somewhere/in"),)
    assert config.output_folder == Path("/somewhere/out")
    assert config.state_folder == Path("/somewhere/out/state")


def test_command_line_replaces_folders(tmp_path):
    """One configuration serves many folders."""
    path = tmp_path / "run.toml"
    path.write_text('instrument = "simple"\n[source]\nfolders = ["a"]\n[output]\nfolder = "b"\nstate = "c"\n')
    config = load_config(path, inputs=(Path("/data/x"),), output=Path("/data/y"))
    assert config.source.folders == (Path("/data/x"),)
    assert config.state_folder == Path("/data/y/state")


def test_output_that_nobody_named_is_an_error():
    """Asked for, a missing output folder is told with the option that would give it."""
    with pytest.raises(ConfigError, match=r"output\.folder is not set and --output was not given"):
        _ = parse_config({"instrument": "simple"}, FILE).output_folder


@pytest.mark.parametrize("content", [b"instrument = ", b"\xff\xfe", b"[a\n"])
def test_file_that_is_not_toml_is_an_error(tmp_path, content):
    """Rubbish in a configuration file is one line that names the file."""
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not valid TOML") as caught:
        load_config(path)
    assert str(path) in str(caught.value)


def test_missing_file_is_an_error(tmp_path):
    """A configuration that is not there is one line."""
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.toml")
