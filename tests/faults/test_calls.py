"""Killed at, and failing in, every writing system call of a twelve-pair run with rolling, sealing and recovery."""

from __future__ import annotations

import pytest

from streamcal.faults.calls import EFFECTS, Fault, has_strace, list_faults, thin
from streamcal.faults.sweep import prepare_sweep

pytestmark = pytest.mark.skipif(not has_strace(), reason="strace is not installed")

SHARE = {"kill": 12, "EIO": 5, "ENOSPC": 5, "nothing written": 3}  # faults of a short run, in about equal steps


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Return a run to break, on three daemons at a time: some of them wait for a disk to be freed."""
    with prepare_sweep(tmp_path_factory.mktemp("sweep"), parallel=3) as sweep:
        yield sweep


def test_the_run_rolls_and_seals(sweep):
    """What is broken is a run with all that a table can do."""
    sealed = sorted(path.name for path in (sweep.quiet.output / "measurements" / "sealed").iterdir())
    assert len(sealed) >= 2
    assert {"pwrite64", "fdatasync", "rename", "unlink", "mkdir", "openat"} <= sweep.calls.keys()


@pytest.mark.parametrize("effect", EFFECTS)
def test_some_calls(sweep, effect):
    """At calls all over the run: 0 lost, 0 doubled, 0 wrong, and no reader sees what is not committed."""
    faults = list(list_faults(sweep.calls, effect))
    chosen = faults[len(faults) // (2 * SHARE[effect]) :: len(faults) // SHARE[effect]]
    bad = sweep.run(chosen, 1, lambda _fault, _verdict: None)
    assert not bad, {str(fault): str(verdict) for fault, verdict in bad.items()}


def test_rare_calls(sweep):
    """Killed at each rename, removal and new folder: the steps of rolling and sealing."""
    rare = [fault for fault in list_faults(sweep.calls, "kill") if fault.call in {"unlink", "rename", "mkdir"}]
    bad = sweep.run(thin(rare, 3), 1, lambda _fault, _verdict: None)
    assert not bad, {str(fault): str(verdict) for fault, verdict in bad.items()}


@pytest.mark.long
@pytest.mark.timeout(8 * 3600)
@pytest.mark.parametrize("effect", EFFECTS)
def test_every_call(sweep, effect):
    """At every single call."""
    bad = sweep.run(list(list_faults(sweep.calls, effect)), 1, lambda _fault, _verdict: None)
    assert not bad, {str(fault): str(verdict) for fault, verdict in bad.items()}


def test_the_sweep_notices_lost_rows(sweep):
    """A run whose results are not those expected is found out: the comparison can fail."""
    expected = dict(sweep.expected.rows)
    key = next(iter(expected))
    expected[key] = expected[key].replace("'gain'", "'gaim'")
    broken = type(sweep)(
        folder=sweep.folder,
        quiet=sweep.quiet,
        expected=type(sweep.expected)(rows=expected, doubled=(), dispositions=sweep.expected.dispositions, faults=()),
        calls=sweep.calls,
        nurseries=sweep.nurseries,
    )
    fault = Fault("fdatasync", 5)
    assert list(broken.run([fault], 1, lambda _fault, _verdict: None)) == [fault]
