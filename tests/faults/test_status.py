"""Status tells all of it, with the daemon up or down: errors by kind, what was set aside, rates, as text and JSON."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from streamcal.faults.site import add_pairs
from streamcal.status import read_status


@pytest.fixture
def troubled(make, finish):
    """Return a site with two pairs measured, one waiting exposure, and three rejected files of two kinds."""
    site = make()
    add_pairs(site.incoming, 2)
    for number in range(2):
        (site.incoming / f"text{number}.fits").write_bytes(b"not an image %d" % number)
    (site.incoming / "text.fits.gz").write_bytes(b"\x1f\x8bgarbage that is no gzip")
    finish(site)
    return site


def test_errors_by_kind(troubled):
    """Rejections of one kind are one line with their number, the newest kind first, each with its last text."""
    errors = read_status(troubled.output).errors
    assert sorted(error["count"] for error in errors) == [1, 2]
    (common,) = [error for error in errors if error["count"] == 2]
    assert common["kind"].startswith("file: not a FITS file: it begins with")
    assert "text" in common["text"]
    assert [error["time"] for error in errors] == sorted((error["time"] for error in errors), reverse=True)


def test_what_was_set_aside_and_rates(troubled):
    """What retry would try again, and what came and ended within the hour."""
    status = read_status(troubled.output)
    assert status.set_aside == {"pairs": 0, "files": 3}
    assert (status.pairs_last_hour, status.exposures_last_hour) == (2, 7)


def test_as_text_and_as_json(troubled):
    """The command prints the same for people and for programs."""

    def run(*options):
        command = [sys.executable, "-m", "streamcal", "status", str(troubled.output), *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    text = run()
    assert "daemon      down" in text
    assert "set aside   3 files, 0 pairs: streamcal retry" in text
    assert "2  file: not a FITS file" in text
    values = json.loads(run("--json"))
    assert values["set_aside"] == {"pairs": 0, "files": 3}
    assert len(values["errors"]) == 2


def test_failed_pairs_by_stage(make, finish, tmp_path):
    """Failed pairs are sorted by the stage that failed."""
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o755)
    (folder / "picky.py").write_text(
        "from streamcal import Stage, hookimpl\n"
        "def run(pair, settings, context):\n    raise ValueError('no, thanks')\n"
        "@hookimpl\ndef streamcal_stages():\n    return [Stage(name='picky', kind='pair', run=run)]\n"
    )
    site = make(pipeline={"stages": ["isr", "picky"], "plugin_folders": [str(folder)]})
    add_pairs(site.incoming, 2)
    finish(site)
    status = read_status(site.output)
    assert [(error["kind"], error["count"], error["text"]) for error in status.errors] == [
        ("pair: picky", 2, "ValueError: no, thanks")
    ]
    assert status.set_aside == {"pairs": 2, "files": 0}
