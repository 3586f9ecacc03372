"""Workers log as the configuration says, and nothing else stands between the lines of a JSON log."""

import json

import pytest

PLUGIN = """
from streamcal import Stage, hookimpl

def talk(pair, settings, context):
    context.log.warning("odd light", amplifier="C00")
    print("a greeting")
    return {}

@hookimpl
def streamcal_stages():
    return [Stage(name="talk", kind="pair", run=talk)]
"""


@pytest.fixture
def run_once(site, start_daemon):
    """Measure one pair with a stage that talks; return what the daemon wrote."""

    def run(**log):
        site.simulate([1000.0])
        folder = site.folder / "plugins"
        folder.mkdir(mode=0o755)
        (folder / "talk.py").write_text(PLUGIN)
        (folder / "talk.py").chmod(0o644)
        pipeline = {"stages": ["isr", "talk"], "plugin_folders": [str(folder)]}
        config = site.write_config(pipeline=pipeline, engine={"kind": "local", "workers": 1}, log=log)
        daemon = start_daemon(config, "--once")
        assert daemon.process.wait(90) == 0
        return daemon.log_path.read_text()

    return run


def test_every_line_is_json(run_once):
    """Events of stages with their pair, and prints of plugins wrapped."""
    events = [json.loads(line) for line in run_once(level="info", format="json").splitlines()]
    (odd,) = [event for event in events if event["event"] == "odd light"]
    assert (odd["level"], odd["amplifier"], len(odd["pair_id"])) == ("warning", "C00", 32)
    assert "a greeting" in [event["line"] for event in events if event["event"] == "worker output"]


def test_the_level_holds_for_workers(run_once):
    """What is below it is not logged; on a console a print is itself."""
    text = run_once(level="error", format="console")
    assert "odd light" not in text
    assert "a greeting\n" in text
