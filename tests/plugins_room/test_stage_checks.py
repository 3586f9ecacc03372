"""What stages find wrong with their settings before the first exposure, and who tells."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from streamcal import CheckContext
from streamcal.chain import Chain, Link, build_chain
from streamcal.check import find_problems, find_stage_problems
from streamcal.config import parse_config
from streamcal.daemon import prepare
from streamcal.hookspecs import NoSettings, Stage
from streamcal.instruments import load_instrument
from streamcal.plugins import load_plugins

FLAT = {"flat": [{"key": "IMAGETYP", "pattern": "flat"}], "exposure_id": ["OBSID"]}
TWO = {"amplifiers": [{"name": name, "data": "[1:9,1:9]"} for name in ("A", "B")]}


def configure(folder, stages, **instrument):
    """Return a configuration beside which files lie, of a camera with amplifiers A and B."""
    (folder / "in").mkdir(exist_ok=True)
    return parse_config(
        {
            "instrument": {"name": "cam", "identify": FLAT, **(instrument or TWO)},
            "source": {"folders": ["in"]},
            "output": {"folder": "out"},
            "stages": stages,
        },
        folder / "run.toml",
    )


@pytest.mark.parametrize("key", ["bias", "dark", "bad_pixels"])
@pytest.mark.parametrize("name", ["none.fits", "/no/such.fits"])
def test_a_missing_file_is_found(tmp_path, key, name):
    """Whatever the stage isr reads for every pair: the line names file, key and path."""
    (problem,) = find_problems(configure(tmp_path, {"isr": {key: name}}))
    assert problem.startswith(f"{tmp_path}/run.toml: stages.isr.{key}: no file '{name}'")
    assert (str(tmp_path / "in") in problem) == (name == "none.fits")


def test_a_file_that_is_there_is_fine(tmp_path):
    """In a watched folder, or beside the configuration."""
    config = configure(tmp_path, {"isr": {"bias": "b.fits", "noise_frames": ["d1.fits", "in/d2.fits"]}})
    for name in ("b.fits", "in/d1.fits", "in/d2.fits"):
        (tmp_path / name).touch()
    assert find_problems(config) == []


def test_each_noise_frame_is_looked_for(tmp_path):
    """One of the two is missing."""
    (tmp_path / "d1.fits").touch()
    (problem,) = find_problems(configure(tmp_path, {"isr": {"noise_frames": ["d1.fits", "d2.fits"]}}))
    assert "stages.isr.noise_frames: no file 'd2.fits'" in problem


@pytest.mark.parametrize(("name", "lines"), [("calib/bias_{detector}.fits", 0), ("calb/{detector}.fits", 1)])
def test_of_a_pattern_the_folder_is_looked_for(tmp_path, name, lines):
    """What hangs on an exposure cannot be known; the folder before it can."""
    (tmp_path / "calib").mkdir()
    problems = find_problems(configure(tmp_path, {"isr": {"bias": name}}))
    assert len(problems) == lines
    assert all("no folder 'calb'" in problem for problem in problems)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"file": "xtalk.ecsv"}, ["file: no file 'xtalk.ecsv' (looked for in: "]),
        ({"file": "xtalk"}, []),
        ({"file": "xtalk/*.ecsv"}, []),
        ({"file": "crosstalk/{detector}/*.ecsv"}, ["file: no folder 'crosstalk' (looked for in: "]),
        ({"file": "xtalk.ecsv", "missing": "skip"}, []),
        ({"matrix": [[0, 1e-4], [1e-4, 0]]}, []),
        ({"matrix": [[0]]}, ["matrix: must be 2 x 2 for the amplifiers of cam, got 1 x 1"]),
        ({"gains": {"A": 1.0, "C": 2.0}}, ["gains: 'C' is no amplifier, known: A, B"]),
    ],
)
def test_a_crosstalk_calibration_must_be_there_and_fit(tmp_path, settings, said):
    """A file, or the folder before the open part of its name; the size of a matrix; amplifiers of gains."""
    (tmp_path / "xtalk").mkdir()
    problems = find_problems(configure(tmp_path, {"crosstalk": settings}))
    assert len(problems) == len(said)
    assert all(f"stages.crosstalk.{text}" in problem for text, problem in zip(said, problems, strict=True))


def test_tables_name_amplifiers_of_the_instrument(tmp_path):
    """Where its table lists them."""
    stages = {"isr": {"saturation": {"A": 9.0, "b": 9.0}}}
    (problem,) = find_problems(configure(tmp_path, stages))
    assert problem.endswith("stages.isr.saturation: 'b' is no amplifier, known: A, B")
    assert find_problems(configure(tmp_path, stages, geometry={"images": 2})) == []


@pytest.mark.parametrize(
    ("table", "names", "number"),
    [
        (TWO, ("A", "B"), 2),
        ({"geometry": {"images": 16}}, (), 16),
        ({"geometry": {"images": 4, "channels": ["A", "B"]}}, (), 0),
        ({"geometry": {"images": 4}, "identify": {**FLAT, "detector": ["CCD"]}}, (), 0),
        ({}, (), 0),
    ],
)
def test_what_an_instrument_tells_of_its_amplifiers(tmp_path, table, names, number):
    """Names and number where they are listed, the number where each image is one, else nothing."""
    instrument = load_instrument({"name": "cam", "identify": FLAT, **table}, base=tmp_path)
    assert (instrument.amplifier_names, instrument.n_amplifiers) == (names, number)


def test_a_check_is_given_what_is_known(tmp_path):
    """Settings, folders, and the instrument's amplifiers."""
    given = []
    workshop = make_workshop(tmp_path, lambda *arguments: given.extend(arguments) or ())
    assert find_stage_problems(workshop) == []
    settings, context = given
    assert settings == NoSettings()
    folders = (tmp_path / "in", tmp_path)
    assert context == CheckContext(folders=folders, instrument="cam", amplifiers=("A", "B"), n_amplifiers=2)


def make_workshop(folder, check):
    """Return a workshop whose only stage has this check."""
    prepared = prepare(configure(folder, {}))
    stage = Stage(name="odd", kind="pair", run=print, check=check)
    chain = Chain([Link(stage=stage, settings=NoSettings(), plugin="oddity")])
    return SimpleNamespace(recipe=prepared.recipe, instrument=prepared.instrument, chain=chain)


def test_a_check_that_fails_is_a_problem_itself(tmp_path):
    """It names the plugin; the others are told all the same."""
    problems = find_stage_problems(make_workshop(tmp_path, lambda settings, context: 1 / 0))
    assert problems == ["plugin 'oddity': stage 'odd': check failed: ZeroDivisionError: division by zero"]


def test_a_check_must_be_a_function(tmp_path):
    """Else the plugin is refused."""
    path = Path(tmp_path / "odd.py")
    path.write_text(
        "from streamcal import Stage, hookimpl\n@hookimpl\ndef streamcal_stages():\n"
        "    return [Stage(name='odd', kind='pair', run=print, check='yes')]\n"
    )
    path.chmod(0o644)
    tmp_path.chmod(0o755)
    with pytest.raises(Exception, match="plugin 'odd': stage 'odd': check must be a function, got 'yes'"):
        load_plugins([tmp_path])


def test_stages_of_one_name_are_checked_with_their_own_settings(tmp_path):
    """A chain built as the daemon builds it calls the built-in checks."""
    chain = build_chain(["isr"], {"isr": {"bias": "none.fits"}}, load_plugins())
    workshop = make_workshop(tmp_path, None)
    workshop.chain = chain
    assert len(find_stage_problems(workshop)) == 1
