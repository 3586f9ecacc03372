"""Status tells all of it, with the daemon up or down: errors by kind, what was set aside, rates, as text and JSON."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time

import pytest

from streamcal.cli.status import _describe
from streamcal.config import load_config
from streamcal.daemon import run_daemon
from streamcal.faults.site import Site, add_pairs, make_site
from streamcal.journal import Journal
from streamcal.lock import StateLock
from streamcal.records import ExposureInfo
from streamcal.status import read_status


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a site with two pairs measured and three rejected files of two kinds."""
    folder = tmp_path_factory.mktemp("finished")
    site = make_site(folder / "incoming", folder / "run")
    add_pairs(site.incoming, 2)
    for number in range(2):
        (site.incoming / f"text{number}.fits").write_bytes(b"not an image %d" % number)
    (site.incoming / "text.fits.gz").write_bytes(b"\x1f\x8bgarbage that is no gzip")
    assert run_daemon(load_config(site.config), once=True) == 3
    return site


@pytest.fixture
def troubled(finished, tmp_path):
    """Return the same with a copy of its output that may be changed."""
    shutil.copytree(finished.home, tmp_path / "run")
    return Site(incoming=finished.incoming, home=tmp_path / "run")


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
    assert f"set aside   3 files: streamcal retry {troubled.output} --rejected" in text
    assert "pairs: streamcal retry" not in text
    assert "2  file: not a FITS file" in text
    values = json.loads(run("--json"))
    assert values["set_aside"] == {"pairs": 0, "files": 3}
    assert len(values["errors"]) == 2


def test_the_commands_that_it_names_do_it(troubled):
    """Whoever copies its line has the rejected files looked into again."""
    (line,) = [line for line in "\n".join(_describe(read_status(troubled.output))).splitlines() if "set aside" in line]
    _, _, command = line.partition(": streamcal ")
    done = subprocess.run(
        [sys.executable, "-m", "streamcal", *shlex.split(command)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "failed pairs to be measured again: 0; rejected files to be looked into again: 3"


def test_backlog(troubled):
    """What is still to be done is told with the oldest of each kind, with the daemon down too."""
    journal = Journal(troubled.state / "journal.db", clock=lambda: time.time() - 100)
    (journaled,) = journal.exposures_of_file(str(troubled.incoming / "text0.fits"))
    info = ExposureInfo.from_dict({**journaled.info.to_dict(), "path": "/in/new.fits"})
    journal.add_exposure(info, 1.0)
    journal.query("UPDATE pair SET state = 'ready', ended_at = NULL, formed_at = 7.0 WHERE number = 1")
    journal.query("UPDATE tally SET count = 1 WHERE name = 'pair:done'")
    journal.query("INSERT OR REPLACE INTO tally VALUES ('pair:ready', 1)")
    journal.close()
    status = read_status(troubled.output)
    assert status.backlog["pair"] == {"count": 1, "path": "/in/new.fits", "seconds": pytest.approx(100, abs=60)}
    assert (status.backlog["measure"]["count"], "read" in status.backlog) == (1, False)
    assert status.backlog["measure"]["seconds"] > 1e9
    text = "\n".join(_describe(status))
    assert "backlog     1 exposures to pair; the oldest has waited for 1" in text
    assert "backlog     1 pairs to measure; the oldest has waited for" in text
    assert "files that came since the daemon went down are not known yet" in text


def test_backlog_of_files(troubled):
    """With the daemon up, files that were seen and not read yet are told too, by the age of the oldest."""
    source = {"n_settling": 3, "oldest_settling": ["/in/a\n.fits", 50.0]}
    leave_heartbeat(troubled, json.dumps({"time": time.time() - 10, "engine": {}, "source": source}))
    assert "read" not in read_status(troubled.output).backlog
    with StateLock(troubled.state):
        backlog = read_status(troubled.output).backlog
    assert backlog == {"read": {"count": 3, "path": "/in/a\\x0a.fits", "seconds": pytest.approx(60, abs=30)}}


def leave_heartbeat(site, text):
    """Put a heartbeat in the place of the daemon's."""
    (site.state / "heartbeat.json").write_text(text)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"pid":3}', '{"time": "now"}', '{"time": 3.0, "source": [], "engine": {}}']
)
def test_a_damaged_heartbeat_is_none(troubled, text):
    """The rest is told without it."""
    leave_heartbeat(troubled, text)
    assert next(_describe(read_status(troubled.output))) == "daemon      down"


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
