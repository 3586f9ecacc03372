"""What a process tells of itself is the same for the same code, and names what is not."""

from __future__ import annotations

import json

import pytest

from streamcal import __version__
from streamcal.config import parse_config
from streamcal.daemon import make_run_engine, prepare
from streamcal.fingerprint import digest_files, digest_kernels, find_sources, take_fingerprint


@pytest.fixture
def fingerprint(tmp_path, monkeypatch):
    """Take the fingerprint of a run with a folder of plugins, with what the daemon would give its engine."""
    monkeypatch.setattr("streamcal.daemon.make_engine", lambda options: options)

    def take():
        plugins = tmp_path / "plugins"
        config = parse_config({"instrument": "simulated", "pipeline": {"plugin_folders": [str(plugins)]}})
        options = make_run_engine(config, prepare(config).recipe)
        return json.loads(take_fingerprint(options.start_payload))

    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o700)
    (folder / "mine.py").write_text('"""A plugin."""\n')
    (folder / "mine.py").chmod(0o600)
    return take


def test_fingerprint_names_its_parts(fingerprint):
    """Version, sources, stages, kernels and each plugin stand in it."""
    facts = fingerprint()
    assert facts["streamcal"] == __version__
    assert {"streamcal sources", "stages", "kernels", "plugin mine", "plugin isr"} <= facts.keys()
    assert facts == fingerprint()


def test_a_plugin_of_other_content_shows(fingerprint, tmp_path):
    """A plugin file that was edited on one machine only is told apart, and nothing else is."""
    before = fingerprint()
    (tmp_path / "plugins" / "mine.py").write_text('"""A plugin, edited."""\n')
    after = fingerprint()
    assert {name for name in before if before[name] != after[name]} == {"plugin mine"}


def test_a_helper_module_of_a_plugin_shows(tmp_path):
    """Of a package all counts, whichever module of it is the plugin; of a lone file that file."""
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "inner/__init__.py", "inner/plugin.py", "helper.py", "table.csv"):
        (package / name).write_text(name)
    (tmp_path / "lone.py").write_text("")
    names = {str(path.relative_to(package)) for path in find_sources(package / "inner" / "plugin.py")}
    assert names == {"__init__.py", "inner/__init__.py", "inner/plugin.py", "helper.py", "table.csv"}
    assert find_sources(package / "__init__.py") == find_sources(package / "inner" / "plugin.py")
    assert find_sources(tmp_path / "lone.py") == [tmp_path / "lone.py"]


def test_libraries_show(fingerprint, monkeypatch):
    """Another version of one of them is named, and one that is not installed is no error."""
    from importlib.metadata import PackageNotFoundError, version

    def tell(name):
        if name == "imagecodecs":
            raise PackageNotFoundError
        return {"numpy": "0.1"}.get(name) or version(name)

    before = fingerprint()
    monkeypatch.setattr("streamcal.fingerprint.version", tell)
    after = fingerprint()
    assert {name for name in before if before[name] != after.get(name)} - {"imagecodecs"} == {"numpy"}
    assert {"python", "scipy", "numba", "astropy"} <= after.keys()


def test_kernels_digest_their_numbers(monkeypatch):
    """The digest is that of the numbers: the same twice, another when a number differs in its last bit."""
    import numpy as np

    from streamcal import measure

    before = digest_kernels()
    assert before == digest_kernels()
    real = measure.measure_amplifier

    def slightly_off(first, *args, **options):
        return real(np.nextafter(np.asarray(first, dtype=float), np.inf), *args, **options)

    monkeypatch.setattr(measure, "measure_amplifier", slightly_off)
    assert digest_kernels() != before


def test_files_digest_their_content_in_order(tmp_path):
    """Where one file ends and the next begins counts."""
    for name, text in (("a", "xy"), ("b", "z"), ("c", "x"), ("d", "yz")):
        (tmp_path / name).write_text(text)
    pairs = [digest_files([tmp_path / name for name in names]) for names in ("ab", "cd")]
    assert pairs[0] != pairs[1]
