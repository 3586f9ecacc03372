"""A chain runs on a pair: columns, flags, notes and timings; whatever a stage does wrong is that stage's."""

import numpy as np
import pytest

from streamcal import MaskBit, RowFlag
from streamcal.chain import Chain
from streamcal.errors import ExposureError, RetryLater, StageError, WorkerDied
from streamcal.records import Exposure

NAMES = ("C00", "C01", "C10", "C11")


def rows_of(value, names=NAMES, **more):
    """Return one value for the column ``value`` of each amplifier."""
    return {name: {"value": value, **more} for name in names}


def fail(chain, pair, context):
    """Run a chain that must fail; return the error."""
    with pytest.raises(StageError) as caught:
        chain.run(pair, context)
    return caught.value


def test_pair_stage_adds_its_columns(link, column, pair, context):
    """Beside the flags that every row has."""
    chain = Chain([link(lambda *_: rows_of(2.5), column())])
    assert chain.run(pair, context) == {name: {"flags": 0, "value": 2.5} for name in NAMES}


def test_pair_stage_may_leave_amplifiers_out(link, column, pair, context):
    """Their rows lack the column."""
    chain = Chain([link(lambda *_: rows_of(2.5, ["C01"]), column())])
    assert chain.run(pair, context) == {name: {"flags": 0} for name in NAMES} | {"C01": {"flags": 0, "value": 2.5}}


def test_later_stage_sees_what_earlier_ones_measured(link, column, pair, context):
    """In `pair.measured`."""

    def double(pair, *_):
        return {name: {"twice": 2 * row["value"]} for name, row in pair.measured.items()}

    chain = Chain([link(lambda *_: rows_of(2.5), column()), link(double, column("twice"), name="double")])
    assert chain.run(pair, context)["C10"] == {"flags": 0, "value": 2.5, "twice": 5.0}


def test_flags_are_joined(link, column, pair, context):
    """Those of exposure stages, of both exposures, and of pair stages, by OR."""

    def reduce(exposure, *_):
        bit = RowFlag.NO_OVERSCAN if exposure is pair.first else RowFlag.NO_CROSSTALK
        for amplifier in exposure.amplifiers.values():
            amplifier.metadata["flags"] = int(bit)
        return exposure

    measure = [
        link(lambda *_: rows_of(1.0, flags=np.uint64(RowFlag.SHAPE_DRIFT)), column()),
        link(lambda *_: rows_of(1.0, flags=RowFlag.NO_OVERSCAN), column()),
    ]
    rows = Chain([link(reduce, kind="exposure"), *measure]).run(pair, context)
    assert rows["C00"]["flags"] == RowFlag.NO_OVERSCAN | RowFlag.NO_CROSSTALK | RowFlag.SHAPE_DRIFT


def test_flags_of_an_exposure_stage_are_taken_once(link, pair, context):
    """The next exposure stage does not find them again."""
    seen = []

    def first(exposure, *_):
        exposure.amplifiers["C00"].metadata["flags"] = int(RowFlag.NO_OVERSCAN)
        return exposure

    def second(exposure, *_):
        seen.append("flags" in exposure.amplifiers["C00"].metadata)
        return exposure

    Chain([link(first, kind="exposure"), link(second, kind="exposure")]).run(pair, context)
    assert seen == [False, False]


def test_exposure_stage_runs_on_both_in_order(link, pair, context):
    """What it returns goes on, changed or new."""
    seen = []

    def copy(exposure, *_):
        seen.append(exposure.info.exposure_id)
        return Exposure(info=exposure.info, header={"NEW": 1}, amplifiers=exposure.amplifiers)

    Chain([link(copy, kind="exposure")]).run(pair, context)
    assert seen == ["1", "2"]
    assert (pair.first.header, pair.second.header) == ({"NEW": 1}, {"NEW": 1})


def test_columns_of_an_exposure_stage_are_combined(link, column, pair, context):
    """3 and 5 become 4 by median and 8 by sum; what only one exposure knows counts alone."""

    def note(exposure, *_):
        value = 3.0 if exposure is pair.first else 5.0
        for amplifier in exposure.amplifiers.values():
            known = value if value == 5.0 else float("nan")
            amplifier.metadata |= {"level": value, "total": value, "known": known}
        return exposure

    columns = column("level"), column("total", combine="sum"), column("known")
    rows = Chain([link(note, *columns, kind="exposure")]).run(pair, context)
    assert rows["C11"] == {"flags": 0, "level": 4.0, "total": 8.0, "known": 5.0}


def test_amplifiers_of_only_one_exposure_have_no_row(link, column, pair, context):
    """A row is of both."""
    del pair.second.amplifiers["C00"]
    rows = Chain([link(lambda pair, *_: rows_of(1.0, pair.measured), column())]).run(pair, context)
    assert list(rows) == ["C01", "C10", "C11"]


def test_difference_is_shared_by_pair_stages(link, pair, context):
    """It is made once, of what the exposure stages left: here of exposures with one pixel masked."""
    seen = []

    def mask(exposure, *_):
        exposure.amplifiers["C00"].mask[0, 0] = MaskBit.BAD
        return exposure

    def look(pair, *_):
        seen.append(pair.difference("C00"))
        return {}

    Chain([link(mask, kind="exposure"), link(look), link(look)]).run(pair, context)
    assert seen[0] is seen[1]
    assert seen[0].n_masked == 1


def test_timings_of_stages_and_their_blocks(link, pair, context):
    """Both exposures count together, a block entered twice as well; a stage that fails is timed too."""

    def work(exposure, _, context):
        with context.timer("block"):
            pass
        return exposure

    def crash(*_):
        raise ValueError

    fail(Chain([link(work, kind="exposure", name="one"), link(crash, name="other")]), pair, context)
    assert list(context.timings) == ["one:block", "one", "other"]
    assert all(seconds >= 0 for seconds in context.timings.values())
    assert context.timings["one"] >= context.timings["one:block"]


def test_notes_go_under_the_stage_and_are_seen_later(link, pair, context):
    """By full name."""
    seen = []

    def note(_pair, _settings, context):
        context.note("offset", 3)
        return {}

    def read(_pair, _settings, context):
        seen.append(context.metadata["one:offset"])
        return {}

    Chain([link(note, name="one"), link(read, name="other")]).run(pair, context)
    assert seen == [3]
    assert context.metadata == {"one:offset": 3}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("x"), "KeyError: 'x'"),
        (ExposureError("no such dark"), "ExposureError: no such dark"),
        (StageError("too dark"), "too dark"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
@pytest.mark.parametrize("kind", ["exposure", "pair"])
def test_stage_that_raises(kind, error, text, link, pair, context):
    """Whatever it raises is a `StageError` that names stage and plugin and holds the traceback."""

    def crash(*_):
        raise error

    failure = fail(Chain([link(crash, kind=kind)]), pair, context)
    assert (str(failure), failure.stage, failure.plugin) == (text, "mine", "mine_plugin")
    assert "in crash" in failure.detail
    assert failure.__cause__ is error


def test_retry_later_is_no_fault_of_this_pair(link, pair, context):
    """It comes through as it is."""
    reason = RetryLater("its neighbour has not come", after_seconds=2.0)

    def wait(*_):
        raise reason

    with pytest.raises(RetryLater) as caught:
        Chain([link(wait)]).run(pair, context)
    assert caught.value is reason


def test_a_lack_of_memory_is_not_held_against_the_pair(link, pair, context):
    """It counts as the worker's end, whose memory a leak of others may have taken; the stage is named all the same."""

    def fill(*_):
        raise MemoryError

    with pytest.raises(WorkerDied, match=r"worker (ran out of|exceeded) memory") as caught:
        Chain([link(fill)]).run(pair, context)
    assert (caught.value.stage, caught.value.plugin) == ("mine", "mine_plugin")
    assert "in fill" in caught.value.detail


def test_exposure_stages_before_another_run_on_a_single_exposure(link, pair, context):
    """In their order; neither the stage itself, nor pair stages, nor what comes after it."""
    ran = []

    def note(name, kind="exposure"):
        return link(lambda exposure, *_: ran.append(name) or exposure, name=name, kind=kind)

    chain = Chain([note("a"), note("b", "pair"), note("c"), note("d"), note("e")])
    assert chain.run_before("d", pair.first, context) is pair.first
    assert ran == ["a", "c"]


def test_interruption_is_nobodys_failure(link, pair, context):
    """Ctrl-C stops the program, not the pair."""

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Chain([link(interrupt)]).run(pair, context)


def test_stages_behind_a_failure_do_not_run(link, pair, context):
    """The pair is given up."""
    ran = []
    fail(Chain([link(lambda *_: 1 / 0), link(lambda *_: ran.append(1))]), pair, context)
    assert ran == []


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (None, "a pair stage must return a mapping of amplifier to columns, got NoneType"),
        ([1], "a pair stage must return a mapping of amplifier to columns, got list"),
        ({"C00": 1.0}, "returned for amplifier 'C00' no mapping of column to value, got float"),
        ({"C99": {"value": 1.0}}, "returned amplifier 'C99', which the pair does not have (C00, C01, C10, C11)"),
        ({"C00": {}}, "returned amplifier 'C00' without declared column 'value'"),
        ({"C00": {"value": 1.0, "more": 2}}, "returned amplifier 'C00' with undeclared column 'more'"),
        (
            {"C00": {"valeu": 1.0}},
            "returned amplifier 'C00' without declared column 'value' and with undeclared column 'valeu'",
        ),
        ({"C00": {"value": 1.0, "flags": 0.5}}, "flags of amplifier 'C00' must be bits of RowFlag, got 0.5"),
        ({"C00": {"value": 1.0, "flags": -1}}, "flags of amplifier 'C00' must be bits of RowFlag, got -1"),
    ],
)
def test_pair_stage_that_returns_something_else(returned, text, link, column, pair, context):
    """The message says what; stage and plugin are named."""
    failure = fail(Chain([link(lambda *_: returned, column())]), pair, context)
    assert (str(failure), failure.stage, failure.plugin) == (text, "mine", "mine_plugin")


def test_exposure_stage_that_returns_nothing(link, pair, context):
    """The classic: it worked in place and forgot to return."""
    failure = fail(Chain([link(lambda *_: None, kind="exposure")]), pair, context)
    assert str(failure) == "an exposure stage must return an Exposure, got NoneType"
    assert failure.plugin == "mine_plugin"


def test_exposure_stage_that_loses_an_amplifier(link, pair, context):
    """It is named."""

    def lose(exposure, *_):
        del exposure.amplifiers["C10"]
        return exposure

    failure = fail(Chain([link(lose, kind="exposure")]), pair, context)
    assert str(failure) == "returned an exposure without amplifier 'C10'"


def test_exposure_stage_that_forgets_a_column(link, column, pair, context):
    """Column and amplifier are named."""
    failure = fail(Chain([link(lambda exposure, *_: exposure, column(), kind="exposure")]), pair, context)
    assert str(failure) == "column 'value' is declared but was not found in the metadata of amplifier 'C00'"
    assert (failure.stage, failure.plugin) == ("mine", "mine_plugin")
