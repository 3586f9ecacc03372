"""The command line as a user meets it: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from streamcal import results
from streamcal.check import find_notes, find_problems
from streamcal.cli.init import write_configuration
from streamcal.config import load_config
from streamcal.instruments import instrument_names
from streamcal.simulate import DEFAULT_CAMERA, simulate_run
from streamcal.testing import make_flat_pair

CAMERA = replace(DEFAULT_CAMERA, shape=(128, 96), prescan=4, overscan=16)


def streamcal(*arguments, cwd=None):
    """Run a command; return its result."""
    command = [sys.executable, "-m", "streamcal", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=cwd)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """Return a folder with incoming flats, one of them broken, a configuration, and the output of one run on them."""
    folder = tmp_path_factory.mktemp("run")
    simulate_run(folder / "incoming", CAMERA, [1000.0, 2000.0])
    (folder / "incoming" / "broken.fits").write_bytes(b"no FITS at all\n" * 300)
    assert streamcal("init", "--instrument", "simulated", folder).returncode == 0
    done = streamcal("run", folder / "streamcal.toml", "--once")
    assert done.returncode == 3, done.stderr
    return folder


def test_help_imports_nothing_heavy():
    """The command line is instant: no numba, astropy, numpy or pyarrow until a command needs them."""
    code = "import sys, streamcal.cli; print(sorted({'numba', 'astropy', 'numpy', 'pyarrow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_lists_the_commands():
    """Every command of the contract that there is stands in the help."""
    text = streamcal("--help").stdout
    for name in ("init", "check", "run", "measure", "tail", "status", "retry", "simulate", "plugins"):
        assert name in text


def test_status_imports_no_numerics(run_folder):
    """Status is instant too."""
    code = (
        "import sys; from streamcal.cli.status import show_status; from pathlib import Path;"
        f"show_status(Path({str(run_folder / 'output')!r}), as_json=True);"
        "assert not {'numba', 'astropy', 'pyarrow'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("instrument", instrument_names())
def test_init_writes_what_check_accepts(tmp_path, instrument):
    """A fresh configuration is complete: with its folder made, only the bias frames that it names are missing."""
    path = write_configuration(tmp_path, instrument, group=["@run"])
    (tmp_path / "incoming").mkdir()
    missing = {problem.split(":")[1].strip() for problem in find_problems(load_config(path))}
    assert missing == ({"stages.isr.bias", "stages.isr.noise_frames"} if instrument == "simple" else set())


def write_simple(path, image, kind):
    """Write a file the way a camera without overscan does."""
    header = fits.Header({"IMAGETYP": kind, "EXPTIME": 2.0, "DATE-OBS": f"2026-01-02T03:04:0{path.stem[-1]}"})
    fits.PrimaryHDU((image + 1000).round().astype(np.uint16), header).writeto(path)


def test_a_camera_without_overscan_from_init_to_gain(tmp_path):
    """Its bias frames tell level and read noise; without them check refuses, naming both."""
    path, folder = write_configuration(tmp_path, "simple", group=["@filter"]), tmp_path / "incoming"
    folder.mkdir()
    assert ["no file 'bias-" in problem for problem in find_problems(load_config(path))] == [True] * 3
    rng = np.random.default_rng(1)
    for name, flat in enumerate(make_flat_pair(shape=(256, 256)), 1):
        write_simple(folder / f"flat-{name}.fits", flat, "Flat Field")
        write_simple(folder / f"bias-{name}.fits", rng.normal(0, 4, flat.shape), "Bias Frame")
    done = streamcal("run", path, "--once")
    assert done.returncode == 0, done.stderr
    (row,) = results.read(tmp_path / "output").to_pylist()
    assert results.decode_flags(row["flags"]) == ["NO_CROSSTALK", "NO_OVERSCAN"]
    assert (row["read_noise_source"], row["read_noise"]) == ("frames", pytest.approx(4.0, rel=0.02))
    assert row["mean"] == pytest.approx(10000 / 1.5, rel=0.001)
    assert row["gain"] == pytest.approx(1.5, abs=4 * row["gain_error"])


def test_a_pedestal_that_nothing_takes_off_is_noted(tmp_path):
    """The configuration can be right, for exposures that come corrected: check says it and goes on, and so does run."""
    path = write_configuration(tmp_path, "simulated", group=["@run"])
    path.write_text(path.read_text().replace('# overscan = "serial"', 'overscan = "none"'))
    (tmp_path / "incoming").mkdir()
    config = load_config(path)
    (note,) = find_notes(config)
    assert (find_problems(config), "stages.isr has neither overscan nor bias" in note) == ([], True)
    assert note in streamcal("run", path, "--once").stderr


def test_init_never_overwrites(run_folder):
    """A configuration that is there stays."""
    done = streamcal("init", run_folder)
    assert done.returncode == 2
    assert "is there already" in done.stderr


def test_init_explains_every_key(tmp_path):
    """Each key that is set or commented out has its sentence above it."""
    streamcal("init", "--instrument", "simulated", "--group", "RUNID", tmp_path)
    lines = (tmp_path / "streamcal.toml").read_text().splitlines()
    keys = [i for i, line in enumerate(lines) if " =" in line and not line.startswith("# Keys")]
    assert len(keys) > 60
    assert all(lines[i - 1].startswith("# ") for i in keys)
    assert tomllib.loads("\n".join(lines))["pairing"]["group"] == ["RUNID"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('instrument = "simulatd"', "run.toml: instrument: 'simulatd' is not known, did you mean 'simulated'?"),
        ('instrument = "mine.toml"', "run.toml: instrument: "),
        (
            'instrument = "simulated"\n[pairing]\ngroup = ["@rn"]',
            "run.toml: pairing.group: unknown '@rn', known: @name, ",
        ),
        (
            'instrument = "simulated"\n[pipeline]\nauxiliary_keys = ["@filtr"]',
            "pipeline.auxiliary_keys: unknown '@filtr', known: @name, @folder, @path, @filter, @run, or a header key",
        ),
        ('instrument = "simulated"\n[pairing]\nmach = "TIME"', "pairing.mach: unknown key, did you mean 'match'?"),
        ('instrument = "simulated"\n[engine]\nworkers = "two"', "engine.workers: input should be a valid integer"),
        ('instrument = "simulated"\n[pipeline]\nstages = ["isr", "gian"]', "unknown stage 'gian', known: "),
        ('instrument = "simulated"\n[pipeline]\nstages = ["isr", "gain"]', "'gain' requires 'pair_statistics'"),
        (
            'instrument = "simulated"\n[stages.isr]\nmodle = "MEAN"',
            "stages.isr.modle: unknown key, did you mean 'model'?",
        ),
        ('instrument = "simulated"\n[stages.gain]\ncorrection = "BEST"', "stages.gain.correction"),
        ('instrument = "simulated"\n[engine]\nkind = "cloud"', "run.toml: engine.kind must be one of inline, local"),
        (
            'instrument = "simulated"\n[output]\nfolder = "/proc/nowhere"',
            "output.folder: /proc/nowhere cannot be written",
        ),
        (
            'instrument = "simulated"\n[pipeline]\nplugin_folders = ["none"]',
            "run.toml: pipeline.plugin_folders: plugin path ",
        ),
    ],
)
def test_check_finds_what_is_wrong(tmp_path, text, complaint):
    """Each mistake is one line that names file and key, exit code 2, no traceback."""
    path = tmp_path / "run.toml"
    path.write_text(text + "\n" + ("" if "[output]" in text else '[output]\nfolder = "out"\n'))
    done = streamcal("check", path)
    assert done.returncode == 2
    assert any(complaint in line for line in done.stderr.splitlines()), done.stderr
    assert "Traceback" not in done.stderr


def test_check_tells_everything_at_once(tmp_path):
    """A missing folder and an unknown stage are two lines of one answer."""
    path = tmp_path / "run.toml"
    path.write_text(
        'instrument = "simulated"\n[source]\nfolders = ["none"]\n'
        '[output]\nfolder = "out"\n[pipeline]\nstages = ["nothing"]\n'
    )
    lines = streamcal("check", path).stderr.splitlines()
    assert len(lines) == 2
    assert "none is no folder" in lines[0]
    assert "unknown stage 'nothing'" in lines[1]


@pytest.mark.parametrize(
    ("pairing", "note"),
    [
        ("", "pairing.group is empty: a second run at the same levels will be taken for extras"),
        ('extras = "pair"', "pairing.group is empty: a second run at the same levels will be paired with the first"),
        ('group = ["@run"]', ""),
    ],
)
def test_check_notes_that_runs_are_not_told_apart(tmp_path, pairing, note):
    """On stderr, with exit code 0: it may be meant."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "run.toml"
    tables = f'[source]\nfolders = ["in"]\n[output]\nfolder = "out"\n[pairing]\n{pairing}\n'
    path.write_text(f'instrument = "simulated"\n{tables}')
    done = streamcal("check", path)
    assert done.returncode == 0
    assert done.stderr == (f"streamcal: note: {path}: {note}\n" if note else "")


def test_check_leaves_no_trace(tmp_path):
    """Checking makes no folders and no files."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "run.toml"
    path.write_text('instrument = "simulated"\n[source]\nfolders = ["in"]\n[output]\nfolder = "out"\n')
    assert streamcal("check", path).returncode == 0
    assert sorted(item.name for item in tmp_path.iterdir()) == ["in", "run.toml"]


def test_wrong_usage_is_exit_code_2():
    """What the command line does not understand is wrong usage."""
    assert streamcal("run").returncode == 2
    assert streamcal("frobnicate").returncode == 2


def test_tail_shows_rows(run_folder):
    """The latest rows as a table on stdout."""
    done = streamcal("tail", run_folder / "output", "-n", 4)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines[1:5]] == ["C00", "C01", "C10", "C11"]
    assert len(lines) == 5


def test_tail_as_json_holds_every_column(run_folder):
    """One row a line, complete, flags by name too."""
    rows = [json.loads(line) for line in streamcal("tail", run_folder / "output", "--json").stdout.splitlines()]
    assert len(rows) == 8
    assert len(rows[0]["covariance"]) == len(rows[0]["covariance"][0]) == 10
    assert rows[0]["flag_names"] == ["NO_CROSSTALK"]
    assert rows[0]["timings"]["isr"] > 0


def test_tail_knows_its_columns(run_folder):
    """An unknown column is answered with those there are."""
    done = streamcal("tail", run_folder / "output", "--column", "gian")
    assert done.returncode == 2
    assert "gian" in done.stderr
    assert "gain" in done.stderr


def test_tail_follows_until_nothing_comes(run_folder):
    """With --follow and a timeout it ends by itself."""
    done = streamcal("tail", run_folder / "output", "--follow", "--timeout", 0.2, "--json", "-n", 1)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)


def test_status_tells_what_came_and_what_became_of_it(run_folder):
    """Counts, and the reason of each refusal."""
    done = streamcal("status", run_folder / "output")
    assert done.returncode == 0
    for text in ("daemon      down", "8", "2 done", "4 paired", "1 rejected", "broken.fits"):
        assert text in done.stdout


def test_status_files_lists_every_input(run_folder):
    """Every input file with its disposition."""
    lines = streamcal("status", run_folder / "output", "--files").stdout.splitlines()
    assert [line.split()[0] for line in lines].count("paired") == 4
    assert any(line.startswith("rejected") and "broken.fits" in line for line in lines)


def test_status_of_no_output_is_wrong_usage(tmp_path):
    """A folder that is no output is told in one line."""
    done = streamcal("status", tmp_path)
    assert done.returncode == 2
    assert "is not an output of streamcal" in done.stderr


def test_measure_one_pair(run_folder):
    """Two files, no daemon, no journal: a table of four amplifiers."""
    files = sorted((run_folder / "incoming").glob("SIM*"))[:2]
    done = streamcal("measure", *files, "--instrument", "simulated")
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()[1:5]] == ["C00", "C01", "C10", "C11"]


def test_measure_gives_the_rows_of_the_daemon(run_folder):
    """Offline and live are the same numbers, bit for bit."""
    files = sorted((run_folder / "incoming").glob("SIM*"))[:2]
    done = streamcal("measure", *files, "-c", run_folder / "streamcal.toml", "--json")
    offline = [json.loads(line) for line in done.stdout.splitlines()]
    live = [json.loads(line) for line in streamcal("tail", run_folder / "output", "--json").stdout.splitlines()][:4]
    for one, other in zip(offline, live, strict=True):
        left_out = {"measured_at", "timings", "seq"}
        assert {key: value for key, value in one.items() if key not in left_out} == {
            key: value for key, value in other.items() if key not in left_out
        }


def test_measure_refuses_what_is_no_pair(run_folder):
    """A broken file is one line and exit code 3."""
    good = next((run_folder / "incoming").glob("SIM*"))
    done = streamcal("measure", good, run_folder / "incoming" / "broken.fits", "--instrument", "simulated")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert streamcal("measure", good, good, "--instrument", "simulated").returncode == 3


def test_plugins_lists_the_built_in_stages():
    """Name, version, path, hooks and stages of each."""
    infos = {info["name"]: info for info in json.loads(streamcal("plugins", "--json").stdout)}
    assert infos["isr"]["stages"] == ["isr"]
    assert infos["gain"]["hooks"] == ["streamcal_stages"]
    assert Path(infos["gain"]["path"]).name == "gain.py"
    assert infos["covariance"]["version"]


def test_simulate_writes_a_run_and_its_truth(tmp_path):
    """Flats that the simulated instrument reads, and truth.json."""
    done = streamcal("simulate", tmp_path / "in", "--pairs", 2, "--rows", 64, "--columns", 48)
    assert done.returncode == 0
    assert len(list((tmp_path / "in").glob("*.fits"))) == 4
    assert (tmp_path / "in" / "truth.json").exists()
    again = streamcal("simulate", tmp_path / "in", "--pairs", 2, "--rows", 64, "--columns", 48)
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_broken_pipe_is_quiet(run_folder):
    """``| head`` ends a tail without a traceback."""
    command = f"{sys.executable} -m streamcal tail {run_folder / 'output'} --json | head -c 10"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_a_reader_that_stalls_holds_nobody_up(run_folder):
    """Listing files into a pager that nobody scrolls keeps no lock on the journal."""
    from streamcal.status import list_files

    journal = run_folder / "output" / "state" / "journal.db"
    files = list_files(run_folder / "output")
    next(files)
    with sqlite3.connect(journal, timeout=0) as other:
        other.execute("BEGIN EXCLUSIVE")
        other.execute("ROLLBACK")
    other.close()
    assert len(list(files)) == 4


def test_tail_waits_for_an_output_that_is_not_there(tmp_path):
    """With --follow it may be started before the daemon."""
    done = streamcal("tail", tmp_path / "later", "--follow", "--timeout", 0.2)
    assert (done.returncode, done.stderr) == (0, "")
    assert streamcal("tail", tmp_path / "never").returncode == 2


@pytest.mark.parametrize("command", [("init", "/proc/x"), ("simulate", "/proc/x")])
def test_a_place_that_cannot_be_written_is_one_line(command):
    """No traceback for a folder that cannot be made."""
    done = streamcal(*command)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_retry_says_what_it_found(run_folder):
    """A rejected file is named by any path of it; what matches nothing is exit code 1."""
    done = streamcal(
        "retry", run_folder / "output", "--file", run_folder / "output" / ".." / "incoming" / "broken.fits"
    )
    assert (done.returncode, done.stdout.strip()[-1]) == (0, "1"), done.stderr
    done = streamcal("retry", run_folder / "output", "--rejected")
    assert (done.returncode, done.stdout.strip()[-1]) == (0, "1")
    assert streamcal("retry", run_folder / "output", "--file", "/nowhere/x.fits").returncode == 1
    assert streamcal("retry", run_folder / "output", "zzzz").returncode == 1


def test_check_tells_that_the_journal_has_gone(run_folder, tmp_path):
    """An output that has been one and has no journal cannot be gone on with: check says so before a start does."""
    shutil.copytree(run_folder, tmp_path / "run")
    config = load_config(tmp_path / "run" / "streamcal.toml", output=tmp_path / "run" / "output")
    assert [problem for problem in find_problems(config) if "output.state" in problem] == []
    (tmp_path / "run" / "output" / "state" / "journal.db").unlink()
    assert [problem for problem in find_problems(config) if "output.state: journal" in problem]
