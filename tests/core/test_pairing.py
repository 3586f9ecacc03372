"""The rules of pairing, each by itself, on a journal in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcal.config import PairingConfig
from streamcal.journal import Journal
from streamcal.pairing import form_pair, judge, level, matches
from streamcal.records import Disposition, ExposureInfo, FileStat

STAT = FileStat(size=1, mtime_ns=1, inode=1, device=1)


def flat(exposure_id: int | str, time: float = 1.0, **values) -> ExposureInfo:
    """Return what the header of a flat says."""
    values = {"digest": f"digest-{exposure_id}", "path": f"/in/{exposure_id}.fits", "detector": "S00"} | values
    return ExposureInfo(
        stat=STAT, instrument="cam", exposure_id=str(exposure_id), is_flat=True, exposure_time=time, **values
    )


def run(exposures: Iterable[ExposureInfo], **rules) -> tuple[list[str], dict[str, Disposition]]:
    """Offer exposures in this order; return the pairs formed and what became of each exposure."""
    config = PairingConfig(**rules)
    journal = Journal(Path(":memory:"))
    pairs = []
    numbers = {}
    for info in exposures:
        number = journal.add_exposure(info, level(info, config))
        numbers[f"{info.detector}/{info.exposure_id}/{info.digest}"] = number
        verdict = judge(journal.exposure(number), config, journal)
        if verdict.partner is None:
            journal.set_disposition(number, verdict.disposition, verdict.reason)
        else:
            record = form_pair(verdict.partner.info, info)
            journal.add_pair(record, verdict.partner.number, number)
            pairs.append(f"{record.first.exposure_id}+{record.second.exposure_id}")
    ends = {key.split("/")[1]: Disposition(journal.exposure(n).disposition) for key, n in numbers.items()}
    journal.close()
    return pairs, ends


def test_two_equal_times_are_a_pair():
    """TIME: two exposures of equal exposure time make a pair."""
    assert run([flat(1), flat(2)])[0] == ["1+2"]


def test_interleaved_levels_pair_rightly():
    """A B A B makes A+A and B+B, whatever came between."""
    assert run([flat(1, 1.0), flat(2, 5.0), flat(3, 1.0), flat(4, 5.0)])[0] == ["1+3", "2+4"]


def test_members_are_ordered_by_id_not_by_arrival():
    """Ids are compared as integers: 9 comes before 10, also when it arrives later."""
    assert run([flat(10), flat(9)])[0] == ["9+10"]


def test_lost_exposure_costs_one_pair_only():
    """EXPID: without exposure 2 the pairs after it keep their phase."""
    pairs, ends = run([flat(1), flat(3), flat(4), flat(5), flat(6)], match="EXPID", first_id_parity="odd")
    assert pairs == ["3+4", "5+6"]
    assert ends["1"] == Disposition.WAITING


@pytest.mark.parametrize(("gap", "paired"), [(0.005, True), (0.0051, False), (-0.005, True)])
def test_tolerance_is_inclusive(gap, paired):
    """Exposure times that differ by exactly the tolerance are equal."""
    assert bool(run([flat(1, 1.0), flat(2, 1.0 + gap)])[0]) is paired


def test_tolerance_holds_on_paper_not_in_binary():
    """0.1 + 0.2 equals 0.3 within a tolerance of zero point nothing."""
    assert run([flat(1, 0.3), flat(2, 0.1 + 0.2)], tolerance_seconds=0.0)[0] == ["1+2"]


def test_third_at_a_level_is_extra():
    """Discard, the batch task's rule: what comes after the pair is extra."""
    pairs, ends = run([flat(1), flat(2), flat(3), flat(4)])
    assert pairs == ["1+2"]
    assert ends["3"] == ends["4"] == Disposition.EXTRA


def test_four_at_a_level_can_make_two_pairs():
    """With extras = "pair" four exposures of one level make two pairs."""
    assert run([flat(1), flat(2), flat(3), flat(4)], extras="pair")[0] == ["1+2", "3+4"]


def test_groups_keep_apart():
    """A second run at the same level is no extra of the first, and no partner either."""
    pairs, _ = run([flat(1, group="RUN=1"), flat(2, group="RUN=2"), flat(3, group="RUN=1"), flat(4, group="RUN=2")])
    assert pairs == ["1+3", "2+4"]


def test_detectors_keep_apart():
    """Two detectors interleaved make a pair each."""
    exposures = [flat(i, detector=d, digest=f"{i}{d}") for i in (1, 2) for d in ("S00", "S01")]
    assert run(exposures)[0] == ["1+2", "1+2"]


def test_equal_fluxes_are_a_pair():
    """FLUX: the tolerance is relative."""
    assert run([flat(1, flux=1000.0), flat(2, flux=1000.9)], match="FLUX")[0] == ["1+2"]
    assert run([flat(1, flux=1000.0), flat(2, flux=1002.0)], match="FLUX")[0] == []


def test_neighbours_of_other_exposure_time_are_no_pair():
    """EXPID asks for equal exposure times as well."""
    assert run([flat(1, 1.0), flat(2, 2.0)], match="EXPID")[0] == []


@pytest.mark.parametrize(("parity", "pairs"), [("even", ["2+3"]), ("odd", ["1+2", "3+4"]), ("any", ["1+2", "3+4"])])
def test_parity_tells_which_neighbour(parity, pairs):
    """EXPID: the parity of the lower id is configurable."""
    assert run([flat(1), flat(2), flat(3), flat(4)], match="EXPID", first_id_parity=parity)[0] == pairs


@pytest.mark.parametrize(
    ("rules", "reason"),
    [({}, "flat without a finite exposure time"), ({"match": "FLUX"}, "flat without a finite flux")],
)
def test_flat_without_a_level_is_rejected(rules, reason):
    """No finite key: rejected with a reason."""
    journal = Journal(Path(":memory:"))
    number = journal.add_exposure(flat(1, math.nan), math.nan)
    verdict = judge(journal.exposure(number), PairingConfig(**rules), journal)
    journal.close()
    assert (verdict.disposition, verdict.reason) == (Disposition.REJECTED, reason)


def test_exposure_id_that_is_no_number_is_rejected_for_expid():
    """Neighbouring ids are integers."""
    assert run([flat("a")], match="EXPID")[1] == {"a": Disposition.REJECTED}


def test_same_id_and_content_is_a_duplicate():
    """A file delivered twice counts once."""
    copy = flat(1, path="/in/again.fits")
    pairs, ends = run([flat(1), copy, flat(2)])
    assert pairs == ["1+2"]
    assert ends["1"] == Disposition.DUPLICATE


def test_same_id_with_other_content_is_rejected():
    """Two contents cannot have one identity; the first holds."""
    pairs, ends = run([flat(1), flat(1, digest="other"), flat(2)])
    assert pairs == ["1+2"]
    assert ends["1"] == Disposition.REJECTED


def test_same_content_under_another_id_never_pairs_with_itself():
    """A copy under another name would have no noise at all."""
    pairs, ends = run([flat("a", digest="same"), flat("b", digest="same")])
    assert pairs == []
    assert ends["b"] == Disposition.DUPLICATE


@pytest.mark.parametrize(("unit", "limit", "paired"), [("ids", 3, True), ("ids", 2, False), ("seconds", 60, True)])
def test_members_must_lie_close(unit, limit, paired):
    """max_separation limits ids or seconds."""
    exposures = [flat(1, mjd_start=60000.0), flat(4, mjd_start=60000.0 + 50 / 86400)]
    assert bool(run(exposures, max_separation=limit, separation_unit=unit)[0]) is paired


def test_separation_without_a_start_time_is_too_far():
    """Where the header has no time, nearness cannot be shown."""
    assert run([flat(1), flat(2)], max_separation=60)[0] == []


def test_not_a_flat_is_ignored():
    """What is no flat needs no partner."""
    bias = ExposureInfo(
        path="/in/b.fits", stat=STAT, digest="d", instrument="cam", detector="0", exposure_id="7", is_flat=False,
        reason="not a flat: IMAGETYP = 'BIAS'",
    )  # fmt: skip
    assert run([bias])[1] == {"7": Disposition.IGNORED}


def test_pair_id_follows_from_inputs_alone():
    """Same inputs, same id, in either order; another content, another id."""
    assert form_pair(flat(1), flat(2)).pair_id == form_pair(flat(2), flat(1)).pair_id
    assert form_pair(flat(1), flat(2)).pair_id != form_pair(flat(1), flat(2, digest="x")).pair_id
    assert len(form_pair(flat(1), flat(2)).pair_id) == 32


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_arrival_order_does_not_matter(order):
    """Two levels of two exposures make the same two pairs in whatever order they come."""
    exposures = [flat(1, 1.0), flat(2, 1.0), flat(3, 2.0), flat(4, 2.0)]
    assert sorted(run([exposures[i] for i in order])[0]) == ["1+2", "3+4"]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["a", "b"])), max_size=12), st.randoms())
def test_every_exposure_has_one_end_and_pairs_match(levels, random):
    """Whatever comes in whatever order: members of a pair match, none is in two, and none is forgotten."""
    exposures = [flat(i, float(1 + t), group=g) for i, (t, g) in enumerate(levels)]
    random.shuffle(exposures)
    pairs, ends = run(exposures, extras="pair")
    members = [name for pair in pairs for name in pair.split("+")]
    assert len(members) == len(set(members))
    by_id = {info.exposure_id: info for info in exposures}
    for pair in pairs:
        one, other = (by_id[name] for name in pair.split("+"))
        assert matches(one, other, PairingConfig())
        assert one.group == other.group
    assert set(ends) == set(by_id)
    waiting = [by_id[name] for name, end in ends.items() if end == Disposition.WAITING]
    assert len({(info.exposure_time, info.group) for info in waiting}) == len(waiting)


@given(st.floats(0.001, 1e4), st.floats(-0.02, 0.02))
def test_level_range_misses_no_match(time, gap):
    """The indexed look-up is never narrower than the rule."""
    one, other = flat(1, time), flat(2, max(time + gap, 0.0))
    found = bool(run([one, other])[0])
    assert found == matches(one, other, PairingConfig())
