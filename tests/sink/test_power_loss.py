"""The power fails again and again, at any moment: every batch that was committed is there, once."""

import random

import pytest

from streamcal import results
from streamcal.errors import StateError
from streamcal.faults import lossy

HISTORIES = 150
LAST = 12


def live_through(bench, files, dice):
    """Append all numbers, with the power failing every now and then; return how often it did."""
    losses, number = 0, 1
    while True:
        files.calls_left = dice.choice([5, 20, 60, 150]) + dice.randint(0, 60)
        try:
            sink = bench.open(files=files, roll_bytes=1500)
            while number <= LAST:
                assert bench.append(sink, number) == number
                number += 1
        except lossy.PowerLost:
            losses += 1
            files.lose_power()
            continue
        return losses


def test_power_loss(bench_class, tmp_path):
    """Unsynced writes are lost or torn in any order, and no row is lost, doubled or changed; no hand is needed."""
    losses = 0
    for seed in range(HISTORIES):
        dice = random.Random(seed)
        bench = bench_class(tmp_path / str(seed))
        files = lossy.LossyFiles(dice, bench.output)
        losses += live_through(bench, files, dice)
        files.dump(bench.output, bench.output)
        table = results.read(bench.output)
        assert table["value"].to_pylist()[::2] == [number + 0.5 for number in range(1, LAST + 1)], seed
        assert table["seq"].to_pylist()[::2] == list(range(1, LAST + 1))
        assert bench.done() == [f"pair{number}" for number in range(1, LAST + 1)]
        bench.close()
    assert losses > 2 * HISTORIES


@pytest.mark.parametrize("forgotten", ["file", "folder"])
def test_the_test_notices_a_missing_sync(bench_class, tmp_path, forgotten):
    """With a sync left out the same histories lose rows: the simulation can tell."""

    class Forgetful(lossy.LossyFiles):
        def sync(self, descriptor):
            if (self.opened[descriptor][1] is None) != (forgotten == "folder"):
                super().sync(descriptor)

    def live_through_all():
        for seed in range(HISTORIES):
            dice = random.Random(seed)
            bench = bench_class(tmp_path / str(seed))
            live_through(bench, Forgetful(dice, bench.output), dice)
            bench.close()

    with pytest.raises(StateError, match=r"missing data|damaged|not the journal"):
        live_through_all()
