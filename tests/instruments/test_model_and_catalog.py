"""Instrument tables are validated, found by name or path, and laid over each other."""

from pathlib import Path

import pytest

from streamcal.errors import ConfigError
from streamcal.instruments import Instrument, instrument_names, load_instrument

TABLE = {
    "name": "lab",
    "identify": {"flat": [{"key": "IMAGETYP", "pattern": "flat"}], "exposure_id": ["EXPID"]},
}


def test_shipped_names() -> None:
    """The cameras that come with streamcal, and those of plugins."""
    shipped = "comcam decam efosc2 esis eso hsc keck latiss lco lsstcam mycam simple simulated ts8"
    assert instrument_names(["mycam"]) == shipped.split()


@pytest.mark.parametrize("name", instrument_names())
def test_shipped_tables_are_valid(name: str) -> None:
    """Each file holds the instrument of its name, which survives the way to a worker."""
    instrument = load_instrument(name, base=Path())
    assert instrument.name == name
    assert Instrument.from_dict(instrument.to_dict()) == instrument


def test_unknown_name_tells_the_nearest() -> None:
    """A slip of the finger is answered by what was probably meant, and by all there is."""
    with pytest.raises(ConfigError) as caught:
        load_instrument("esiss", base=Path(), offered={"mycam": TABLE})
    expected = "instrument: 'esiss' is not known, did you mean 'esis'? known: comcam, decam, efosc2, esis, "
    assert str(caught.value).startswith(expected)


def test_offered_by_a_plugin() -> None:
    """A plugin's table is found by its name."""
    assert load_instrument("mycam", base=Path(), offered={"mycam": TABLE}).name == "lab"


def test_path_is_relative_to_the_base(tmp_path: Path) -> None:
    """An instrument file may lie beside the run configuration."""
    (tmp_path / "lab.toml").write_text(
        'name = "lab"\n[identify]\nexposure_id = ["N"]\nflat = [{key = "T", pattern = "f"}]\n'
    )
    assert load_instrument("lab.toml", base=tmp_path).identify.exposure_id == ("N",)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """The message says which file and why."""
    with pytest.raises(ConfigError, match=r"nowhere\.toml: No such file"):
        load_instrument("nowhere.toml", base=tmp_path)


def test_base_is_merged_table_by_table() -> None:
    """What is not said stays as it was; lists are replaced."""
    flat = [{"key": "@name", "pattern": "_0480[34]"}]
    instrument = load_instrument({"base": "esis", "identify": {"flat": flat}}, base=Path())
    esis = load_instrument("esis", base=Path())
    assert [rule.pattern for rule in instrument.identify.flat] == ["_0480[34]"]
    assert instrument.identify.exposure_time == esis.identify.exposure_time
    assert (instrument.name, instrument.amplifiers) == ("esis", esis.amplifiers)


def test_base_of_a_file_is_relative_to_that_file(tmp_path: Path) -> None:
    """Files can stand upon files."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.toml").write_text('base = "b.toml"\nname = "a"\n')
    (tmp_path / "inner" / "b.toml").write_text('base = "simple"\nname = "b"\n')
    assert load_instrument({"base": "inner/a.toml"}, base=tmp_path).name == "a"


@pytest.mark.parametrize("text", ['instrument = "a.toml"', '[instrument]\nbase = "a.toml"\n[pairing]\nmatch = "TIME"'])
def test_the_instrument_of_a_run_configuration(tmp_path: Path, text: str) -> None:
    """Whether it names one or holds one; paths are relative to the configuration."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "run.toml").write_text(text)
    (tmp_path / "inner" / "a.toml").write_text('base = "simple"\nname = "a"\n')
    assert load_instrument("inner/run.toml", base=tmp_path).name == "a"


def test_an_instrument_that_is_neither_table_nor_name(tmp_path: Path) -> None:
    """The file is named."""
    (tmp_path / "run.toml").write_text("instrument = 3")
    with pytest.raises(ConfigError, match=r"run\.toml: instrument: must be a table, or the name .*, got 3"):
        load_instrument("run.toml", base=tmp_path)


def test_circle_of_bases_is_an_error(tmp_path: Path) -> None:
    """It ends with a message instead of never."""
    (tmp_path / "a.toml").write_text('base = "a.toml"\n')
    with pytest.raises(ConfigError, match="circle"):
        load_instrument("a.toml", base=tmp_path)


def test_base_must_be_text() -> None:
    """Anything else is named."""
    with pytest.raises(ConfigError, match="base: must be the name or path of an instrument, got 3"):
        load_instrument({"base": 3}, base=Path())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"idenify": {}}, "idenify: unknown key, did you mean 'identify'?"),
        ({"geometry": {"image": 4}}, "geometry.image: unknown key, did you mean 'images'?"),
        ({"geometry": {"hdus": "("}}, "geometry.hdus: must be a regular expression, got '('"),
        ({"geometry": {"images": "4"}}, "geometry.images: input should be a valid integer, got '4'"),
        ({"amplifiers": [{"name": "a"}]}, "amplifiers: 'a' has no data section, and neither has geometry"),
        ({"amplifiers": [{"name": "a", "data": "[*,*]"}] * 2}, "must have different names, got 'a' twice"),
        ({"geometry": {"data": "1:10"}}, "must be a section such as '[1:1024,1:512]'"),
        ({"geometry": {"data": "{DATASEC"}}, "expected '}'"),
        ({"geometry": {"readout_corner": "lower"}}, "must be one of LL, LR, UL, UR"),
        ({"geometry": {"saturation": -1}}, "geometry.saturation"),
    ],
)
def test_wrong_tables_are_named(change: dict, message: str) -> None:
    """File and key stand before the rule that was broken."""
    with pytest.raises(ConfigError) as caught:
        Instrument.from_dict(TABLE | change, "lab.toml")
    assert str(caught.value).startswith("lab.toml: ")
    assert message in str(caught.value)


def test_flat_rule_is_required() -> None:
    """Without it nothing could be measured."""
    with pytest.raises(ConfigError, match=r"identify\.flat: missing"):
        Instrument.from_dict({"name": "a", "identify": {"exposure_id": ["N"]}})
