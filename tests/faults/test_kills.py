"""Killed, stopped and interrupted at any instant: the rows of an undisturbed run, each once."""

from __future__ import annotations

import random
import signal
import time

import pytest

from streamcal.faults.daemons import wait_until_done
from streamcal.faults.kills import Hunt
from streamcal.faults.site import add_pairs, digest_folder

LOCAL = {"kind": "local", "workers": 2}


@pytest.mark.parametrize(
    ("kills", "pairs"),
    [(6, 10), pytest.param(200, 100, marks=[pytest.mark.long, pytest.mark.timeout(3600)])],
)
def test_random_kills(tmp_path, kills, pairs):
    """Killed at random instants while exposures come, on either engine: 0 lost, 0 doubled, 0 wrong."""
    verdict = Hunt(folder=tmp_path, pairs=pairs, kills=kills, dice=random.Random(kills)).run()
    assert verdict, str(verdict)


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
