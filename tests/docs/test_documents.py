"""The documents say what the code does."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from streamcal.config import load_config
from streamcal.daemon import prepare
from streamcal.simulate import DEFAULT_CAMERA, simulate_run

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def load_generator():
    """Return docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_documents_are_up_to_date():
    """The reference of all keys and the example with all keys are what the code says now."""
    for path, text in load_generator().write_documents().items():
        assert path.read_text() == text, f"run: python docs/generate.py ({path.name} is out of date)"


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.toml")), ids=lambda path: path.name)
def test_shipped_configurations_load(path):
    """Each example configuration is valid, its instrument and stages included."""
    prepare(load_config(path))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """Relative links in the documents name files that exist."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_plugin_of_the_readme_works(tmp_path):
    """The README's stage, copied out of it, adds its column offline; it is under 30 lines."""
    text = (ROOT / "README.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "streamcal_stages" in block]
    (table,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) < 30
    folder = tmp_path / tomllib.loads(table)["pipeline"]["plugin_folders"][0]
    folder.mkdir(mode=0o755)
    (folder / "skew.py").write_text(code)
    (tmp_path / "run.toml").write_text(f'instrument = "simulated"\n{table}')
    simulate_run(tmp_path / "in", replace(DEFAULT_CAMERA, shape=(128, 96)), [1000.0])
    files = sorted((tmp_path / "in").glob("*.fits"))
    command = [sys.executable, "-m", "streamcal", "measure", *files, "-c", tmp_path / "run.toml", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 4
    assert all(abs(row["skew"]) < 0.5 for row in rows)


def test_every_command_stands_in_the_documents():
    """A command that exists is mentioned where users read."""
    from streamcal.cli.main import app

    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    text = "\n".join(page.read_text() for page in PAGES)
    assert {name for name in names if f"`{name}`" not in text and f"streamcal {name}" not in text} == set()
