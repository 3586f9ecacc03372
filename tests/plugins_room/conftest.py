"""Plugins of all kinds, made for a test: files in a folder, and packages with entry points."""

import sys
import textwrap
from dataclasses import replace
from types import SimpleNamespace

import pytest

from streamcal.chain import Link
from streamcal.hookspecs import Column, NoSettings, Stage
from streamcal.plugins import load_plugins
from streamcal.testing import SMALL_CAMERA, RecordingContext, make_pair

TINY_CAMERA = replace(SMALL_CAMERA, shape=(8, 8), overscan=4)


@pytest.fixture
def folder(tmp_path):
    """Make an empty plugin folder that nobody else can write, whatever the umask."""
    path = tmp_path / "stages"
    path.mkdir()
    path.chmod(0o755)
    return path


@pytest.fixture
def write_plugin(folder):
    """Write a plugin file into the folder; return its path."""

    def write(name, text):
        path = folder / f"{name}.py"
        path.write_text("from streamcal import *\n" + textwrap.dedent(text))
        path.chmod(0o644)
        return path

    return write


@pytest.fixture
def load(folder):
    """Load the plugins of the folder beside the installed ones."""
    return lambda **options: load_plugins([folder], **options)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package of one module, as pip would leave it behind, with an entry point."""

    def write(package, text, *, entry, attribute="", version="1.2.3"):
        site = tmp_path / "site"
        metadata = site / f"{package}-{version}.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        (metadata / "entry_points.txt").write_text(f"[streamcal]\n{entry} = {package}{attribute}\n")
        (site / f"{package}.py").write_text("from streamcal import *\n" + textwrap.dedent(text))
        monkeypatch.syspath_prepend(site)
        monkeypatch.delitem(sys.modules, package, raising=False)

    return write


STAGE = """
@hookimpl
def streamcal_stages():
    return [Stage(name="{name}", kind="pair", run=lambda pair, settings, context: {{}}, columns=({columns}))]
"""


@pytest.fixture
def stage_text():
    """Write the text of a plugin that offers one stage which does nothing."""
    return lambda name, columns="": STAGE.format(name=name, columns=columns)


@pytest.fixture
def column():
    """Make a column; only what a test is about need be given."""

    def make(name="value", **changes):
        return Column(**{"name": name, "type": "float64", "unit": "1", "description": "A value."} | changes)

    return make


@pytest.fixture
def offer():
    """Stand in for loaded plugins that offer just these stages, each by a plugin ``NAME_plugin`` of version 1."""

    def make(*stages, version="1"):
        return SimpleNamespace(
            stages={stage.name: stage for stage in stages},
            plugin_of=lambda stage: f"{stage}_plugin",
            version_of=lambda _: version,
        )

    return make


@pytest.fixture
def link():
    """Make a link of a stage that does what a function does."""

    def make(run, *columns, kind="pair", name="mine"):
        stage = Stage(name=name, kind=kind, run=run, columns=columns)
        return Link(stage=stage, settings=NoSettings(), plugin=f"{name}_plugin")

    return make


@pytest.fixture
def pair():
    """Make a pair of four amplifiers, tiny."""
    return make_pair(camera=TINY_CAMERA)


@pytest.fixture
def context():
    """Make a context that remembers."""
    return RecordingContext()
