"""Settings of the built-in stages: documented, and wrong ones found with a message that helps; order of the chain."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from streamcal.errors import ConfigError

BUILTIN = ("isr", "crosstalk", "parallel_overscan", "covariance", "gain")
DOCS = Path(__file__).parents[2] / "docs" / "stages.md"


@pytest.mark.parametrize("name", BUILTIN)
def test_settings_and_columns_are_documented(plugins, name):
    """docs/stages.md lists each setting with its default, each column with its unit, and nothing else."""
    sections = re.split(r"^## ", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = next(section for section in sections if section.startswith(f"`{name}`"))
    documented = {row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", text, flags=re.MULTILINE)}
    fields, columns = plugins.stages[name].settings.model_fields, plugins.stages[name].columns
    settings = {key: (show_default(field.default), field.description) for key, field in fields.items()}
    assert documented == settings | {column.name: (column.unit or "text", column.description) for column in columns}


def show_default(value):
    """Return a default as the documentation shows it."""
    return "none" if value is None else f"`{json.dumps(value)}`"


@pytest.mark.parametrize(
    ("stage", "settings", "reason"),
    [
        ("isr", {"overscan": "seral"}, "isr.overscan: overscan must be serial, prescan, none or a section such as"),
        ("isr", {"model": "MEDAN"}, "isr.model: overscan model must be one of MEDIAN, MEAN, MEDIAN_PER_ROW, "),
        ("isr", {"skip_leading": -1}, "isr.skip_leading: input should be greater than or equal to 0, got -1"),
        ("isr", {"saturation": "high"}, "isr.saturation: must be a number above 0, or a table of them by amplifier"),
        ("isr", {"suspect": {"A": True}}, "isr.suspect: must be a number above 0, or a table of them by amplifier"),
        ("isr", {"suspect": 9.0, "saturation": 8.0}, "suspect must not be above saturation, got 9.0 and 8.0"),
        ("isr", {"bias": "b_{amp}"}, "isr.bias: must hold no other braces than {instrument}, {detector}, "),
        ("isr", {"read_noise": ["frames"]}, "read_noise lists 'frames', but noise_frames is not set"),
        ("isr", {"read_noise": ["header"], "noise_adu": 5}, "noise_adu is set, but read_noise does not list 'config'"),
        ("isr", {"noise_frames": ["a.fits"]}, "stages.isr.noise_frames: needs two files, got 1"),
        ("isr", {"noise_frames": []}, "stages.isr.noise_frames: needs two files, got 0"),
        ("isr", {"noise_frames": "a.fits"}, "stages.isr.noise_frames: input should be a valid array, got 'a.fits'"),
        ("isr", {"edge_levl": "AMP"}, "isr.edge_levl: unknown key, did you mean 'edge_level'?"),
        ("covariance", {"max_lag": 0}, "covariance.max_lag: input should be greater than or equal to 1, got 0"),
        ("covariance", {"max_lag": 2.5}, "covariance.max_lag: input should be a valid integer, got 2.5"),
        ("covariance", {"region": [5, 1, 0, 9]}, 'covariance.region: must be "AMP", "FULL" or [x0, x1, y0, y1] with'),
        ("covariance", {"blocks": [110]}, "covariance.blocks: must be [ny, nx], two whole numbers of at least 1"),
        ("covariance", {"bad_mask": ["BAT"]}, "covariance.bad_mask.0: input should be 'BAD', 'SAT', 'SUSPECT'"),
        ("crosstalk", {"matrix": [[0, 1], [1]]}, "matrix must be square, got 2 rows of [1, 2]"),
        ("crosstalk", {"matrix": [[0]], "file": "x.fits"}, "matrix and file exclude each other"),
        ("crosstalk", {"file": "x.fits", "units": "adu"}, "units goes with matrix; a file says it itself"),
        ("crosstalk", {"full_amplifier": True, "background": "AMP"}, "background must be NONE with full_amplifier"),
    ],
)
def test_wrong_settings_are_found(make_chain, stage, settings, reason):
    """One line that names the key, the rule and the value."""
    with pytest.raises(ConfigError) as raised:
        make_chain({stage: settings}, stages=("isr", "crosstalk", "covariance"))
    assert reason in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("stage", "toml"),
    [
        (
            "isr",
            'saturation = 60000\nsuspect = { A = 50000, B = 4.5e4 }\noverscan = "[3:50,*]"\nbias = "b_{detector}.fits"',
        ),
        ("isr", 'noise_frames = ["a.fits", "b.fits"]\nread_noise = ["overscan", "frames"]'),
        ("covariance", 'region = [0, 100, 0, 50]\nblocks = [110, 110]\nbad_mask = ["BAD", "CROSSTALK"]'),
        ("covariance", 'region = "FULL"\nmax_lag = 1'),
        ("crosstalk", 'matrix = [[0, 1e-4], [1e-4, 0]]\nunits = "electron"\ngains = { A = 1, B = 1.5 }'),
        ("gain", 'correction = "UNBIASED"'),
    ],
)
def test_right_settings_are_taken(make_chain, stage, toml):
    """Whatever the documentation allows can be written in TOML."""
    settings = tomllib.loads(toml)
    (link,) = (link for link in make_chain({stage: settings}, BUILTIN).links if link.stage.name == stage)
    taken = link.settings.model_dump(mode="json", include=settings.keys())
    assert taken == settings


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        (("crosstalk", "isr"), "'crosstalk' requires 'overscan', which no earlier stage provides"),
        (("isr", "gain", "covariance"), "'gain' requires 'pair_statistics', which no earlier stage provides"),
        (("covariance", "gain"), "'covariance' requires 'overscan', which no earlier stage provides"),
        (("isr", "covariance", "crosstalk"), "exposure stage 'crosstalk' must come before pair stage 'covariance'"),
        (("isr", "astrometry"), "unknown stage 'astrometry', known: covariance, crosstalk, gain, isr"),
    ],
)
def test_wrong_order_is_found(make_chain, stages, reason):
    """What a stage needs must come before it."""
    with pytest.raises(ConfigError, match=re.escape(reason)):
        make_chain(stages=stages)


def test_default_chain_has_all_contract_columns(make_chain):
    """The four default stages bring every column of a row that the core does not."""
    from streamcal.sink.columns import CONTRACT_ORDER, CORE_COLUMNS

    chain = make_chain(stages=("isr", "crosstalk", "covariance", "gain"))
    brought = {column.name for _, columns in chain.columns for column in columns}
    assert brought >= set(CONTRACT_ORDER) - {column.name for column in CORE_COLUMNS}
