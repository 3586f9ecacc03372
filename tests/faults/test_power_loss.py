"""The power fails: a state machine over a file system that loses what was not synced, of any history of two tables."""

from __future__ import annotations

import pytest

from streamcal.errors import StateError
from streamcal.faults import lossy
from streamcal.faults.power import lose_power_often

SHORT, LONG = 1000, 10_000  # histories


@pytest.mark.timeout(300)
def test_power_loss():
    """Whatever happens in whatever order: 0 rows lost, 0 doubled, 0 wrong, no hand needed."""
    lose_power_often(SHORT)


@pytest.mark.long
@pytest.mark.timeout(4 * 3600)
def test_power_loss_in_many_histories():
    """The same, ten times as often, and otherwise than in the short form."""
    lose_power_often(LONG, 1)


@pytest.mark.parametrize("forgotten", ["file", "folder"])
def test_the_machine_notices_a_missing_sync(forgotten, monkeypatch):
    """With the syncs of files, or of folders, left out it finds a history that loses rows."""
    true_sync = lossy.LossyFiles.sync

    def sync(files, descriptor):
        if (files.opened[descriptor][1] is None) != (forgotten == "folder"):
            true_sync(files, descriptor)

    monkeypatch.setattr(lossy.LossyFiles, "sync", sync)
    with pytest.raises(StateError, match=r"missing data|damaged|not the journal"):
        lose_power_often(SHORT, shrink=False)
