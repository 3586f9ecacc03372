"""Killed, stopped and interrupted at any instant: the rows of an undisturbed run, each once."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from streamcal import results
from streamcal.faults.compare import read_outcome
from streamcal.faults.daemons import run_to_end, wait_until_done
from streamcal.faults.kills import FIT, Hunt, Lives
from streamcal.faults.site import ROWS_PER_PAIR, add_pairs, digest_folder

LOCAL = {"kind": "local", "workers": 2}


@pytest.mark.parametrize(
    ("kills", "pairs"),
    [(6, 14), pytest.param(200, 100, marks=[pytest.mark.long, pytest.mark.timeout(3600)])],
)
def test_random_kills(tmp_path, kills, pairs):
    """Killed at random instants while exposures come, on either engine: 0 lost, 0 doubled, 0 wrong."""
    hunt = Hunt(folder=tmp_path, pairs=pairs, kills=kills, dice=random.Random(kills))
    verdict = hunt.run()
    assert verdict, str(verdict)
    assert hunt.lives.problem == ""


def test_kills_that_hit_nothing_are_noticed():
    """Daemons killed before they do anything, or all on one engine, are no test."""
    lives = Lives(killed=12, watching=6, working=2, local=2)
    assert lives.problem == ""
    assert "local 1 < 2" in replace(lives, local=1).problem
    assert "watching 5 < 6" in replace(lives, watching=5).problem
    assert "working 1 < 2" in replace(lives, working=1).problem


def test_kills_among_triplets(tmp_path):
    """Three exposures a level: whichever two come first make the pair, measured once; the third is extra."""
    site = Hunt(folder=tmp_path, pairs=6, kills=3, dice=random.Random(3), flats_per_level=3).disturb()
    outcome = read_outcome(site.output)
    assert (outcome.doubled, outcome.faults) == ((), ())
    assert sorted(Counter(pair_id for pair_id, _ in outcome.rows).values()) == [ROWS_PER_PAIR] * 6
    assert Counter(disposition for disposition, _, _ in outcome.dispositions.values()) == {"paired": 12, "extra": 6}
    assert Counter(pair_id for _, _, pair_id in outcome.dispositions.values() if pair_id) == dict.fromkeys(
        {pair_id for pair_id, _ in outcome.rows}, 2
    )


def test_kills_while_curves_are_fitted(tmp_path):
    """The last solutions are those of all pairs, as if nobody had disturbed; earlier ones are there once each."""
    site = Hunt(folder=tmp_path, pairs=10, kills=3, dice=random.Random(4), fit=True).disturb()
    run_to_end(site)
    quiet = site.sibling("quiet", fit=FIT)
    run_to_end(quiet, starts=1)
    expected, found = (results.solutions(one.output).to_pylist() for one in (quiet, site))
    assert [row["n_pairs"] for row in found] == [10] * ROWS_PER_PAIR
    assert [row["amplifier"] for row in found] == [row["amplifier"] for row in expected]
    assert all(np.isfinite(row["gain"]) for row in expected)
    for name in ("gain", "gain_error", "noise", "a00", "chi2_dof"):
        np.testing.assert_allclose([row[name] for row in found], [row[name] for row in expected], rtol=1e-6)
    history = results.solutions(site.output, history=True)
    assert len(history) == len({(row["seq"], row["amplifier"]) for row in history.to_pylist()})


def test_stopped_in_the_middle(make, start, check):
    """SIGTERM, two of them, and a pause by SIGSTOP, each in the middle of a run: the next start goes on."""
    site = make(engine=LOCAL)
    add_pairs(site.incoming, 6)
    before = digest_folder(site.incoming)
    for signals in ([signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM], [signal.SIGSTOP, signal.SIGCONT]):
        process = start(site)
        process.wait_for_event("watching")
        for number in signals:
            process.process.send_signal(number)
            time.sleep(0.05)
        if signals[0] == signal.SIGTERM:
            assert process.wait() in {0, 1, -signal.SIGTERM}  # stopped at once, by itself or in its last moments
    wait_until_done(process, 6)
    assert process.stop() == 0
    check(site)
    assert digest_folder(site.incoming) == before
