"""Killed at, and failing in, every writing system call of a twelve-pair run with rolling, sealing and recovery."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from streamcal.faults.calls import EFFECTS, Fault, count_calls, has_strace, list_faults, thin
from streamcal.faults.compare import compare
from streamcal.faults.sweep import Mode, prepare_sweep

pytestmark = pytest.mark.skipif(not has_strace(), reason="strace is not installed")

SHARE = {"kill": 10, "EIO": 4, "ENOSPC": 4, "nothing written": 3}  # faults of a short run, in about equal steps


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Return a run to break, on three daemons at a time: some of them wait for a disk to be freed."""
    with prepare_sweep(tmp_path_factory.mktemp("sweep"), parallel=3) as sweep:
        yield sweep


def test_the_run_rolls_and_seals(sweep):
    """What is broken is a run with all that a table can do."""
    sealed = sorted(path.name for path in (sweep.quiet.output / "measurements" / "sealed").iterdir())
    assert len(sealed) >= 2
    assert {"pwrite64", "fdatasync", "rename", "unlink", "mkdir", "openat"} <= {call for call, _ in sweep.calls}


@pytest.mark.parametrize("effect", EFFECTS)
def test_some_calls(sweep, effect):
    """At calls all over the run: 0 lost, 0 doubled, 0 wrong, and no reader sees what is not committed."""
    faults = list(list_faults(sweep.calls, effect))
    chosen = faults[len(faults) // (2 * SHARE[effect]) :: len(faults) // SHARE[effect]]
    assert sweep.run(chosen, 1).failures == []


def test_rare_calls(sweep):
    """Killed at each rename, removal and new folder: the steps of rolling and sealing."""
    rare = [fault for fault in list_faults(sweep.calls, "kill") if fault.call in {"unlink", "rename", "mkdir"}]
    findings = sweep.run(thin(rare, 4), 1)
    assert findings.failures == []
    assert findings.hits >= 7


@pytest.mark.parametrize("mode", [Mode(watch=True), Mode(engine="local")], ids=["watching", "local"])
def test_other_modes(sweep, mode):
    """The daemon that watches, and the one with a worker process: some kills and errors within their first half."""
    dice = random.Random(mode.engine)
    other = replace(sweep, mode=mode)
    faults = [
        Fault(call, dice.randint(1, sweep.calls[call, ""] // 2), effect)
        for call, effect in (("pwrite64", "kill"), ("fdatasync", "kill"), ("rename", "EIO"))[: 3 if mode.watch else 2]
    ]
    findings = other.run(faults, 1)
    assert findings.failures == []
    assert findings.hits == len(faults)


@pytest.mark.long
@pytest.mark.timeout(8 * 3600)
@pytest.mark.parametrize("effect", EFFECTS)
def test_every_call(sweep, effect):
    """At every single call, until a run has none."""
    assert sweep.run(list(list_faults(sweep.calls, effect)), 1).failures == []
    assert sweep.run_beyond(effect, 1).failures == []


def test_counting():
    """Calls are counted by kind, opens by file and only of files of the site that are made."""
    log = """
pwrite64(4</home/site/journal.db>, ""..., 512, 0) = 512
openat(AT_FDCWD</>, "/home/site/new", O_WRONLY|O_CREAT|O_CLOEXEC, 0644) = 5</home/site/new>
openat(AT_FDCWD</>, "/home/site/new", O_RDONLY|O_CLOEXEC) = 5</home/site/new>
openat(AT_FDCWD</>, "/home/site/old", O_RDONLY|O_CLOEXEC) = 5</home/site/old>
openat(AT_FDCWD</>, "/elsewhere", O_WRONLY|O_CREAT|O_CLOEXEC, 0644) = 5</elsewhere>
pwrite64(4</home/site/journal.db>, ""..., 512, 0) = -1 EIO (Input/output error) (INJECTED)
"""
    found = count_calls(log.splitlines(), Path("/home/site"))
    assert found == {("pwrite64", ""): 2, ("openat", "new"): 2}


def test_the_sweep_notices_lost_rows(sweep):
    """A run whose results are not those expected is found out: the comparison can fail."""
    rows = dict(sweep.expected.rows)
    key = next(iter(rows))
    rows[key] = rows[key].replace("'gain'", "'gaim'")
    broken = replace(sweep, expected=replace(sweep.expected, rows=rows))
    (failure,) = broken.run([Fault("fdatasync", 5)], 1).failures
    assert f"row of {key}" in failure


def test_the_sweep_notices_forgotten_files(sweep, tmp_path):
    """A file that neither run has noted is found out."""
    (tmp_path / "new.fits").touch()
    verdict = compare(sweep.expected, sweep.expected, tmp_path)
    assert verdict.lost == (f"{tmp_path / 'new.fits'} has no disposition",)


@pytest.mark.parametrize(("when", "said"), [(5000, "never happened"), (99_999, "strace refuses")])
def test_the_sweep_notices_a_fault_that_does_not_happen(sweep, when, said, monkeypatch):
    """A call that no run has, and one that strace cannot count to, are no success."""
    monkeypatch.setattr("streamcal.faults.sweep.TRIES", 1)
    (failure,) = sweep.run([Fault("fdatasync", when)], 1).failures
    assert said in failure
