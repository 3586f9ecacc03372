"""Two values of a column become one, as the column says."""

import math

import numpy as np
import pytest

from streamcal.combine import check_combine, combine_values

NAN = float("nan")


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        ("median", [3.0, 4.0], 3.5),
        ("mean", [3.0, 4.0], 3.5),
        ("max", [3.0, 4.0], 4.0),
        ("max", [True, False], True),
        ("sum", [3, 4], 7),
        ("first", [3, 4], 3),
        ("first", [[1.0], [2.0]], [1.0]),
        ("join", ["overscan", "header"], "overscan+header"),
        ("join", ["overscan", "overscan"], "overscan"),
    ],
)
def test_rules(rule, values, expected, column):
    """By hand."""
    assert combine_values(column(combine=rule), values) == expected


def test_median_and_mean_differ_from_three_on(column):
    """Of 1, 2 and 9 the median is 2 and the mean 4."""
    assert combine_values(column(combine="median"), [1.0, 2.0, 9.0]) == 2.0
    assert combine_values(column(combine="mean"), [1.0, 2.0, 9.0]) == 4.0


@pytest.mark.parametrize("missing", [None, NAN, np.float32("nan"), np.float64("nan")])
@pytest.mark.parametrize("rule", ["median", "mean", "max", "sum", "first"])
def test_missing_values_are_left_out(rule, missing, column):
    """NaN of any type and None do not spoil what the other exposure tells."""
    assert combine_values(column(combine=rule), [missing, 4.0]) == 4.0
    assert combine_values(column(combine=rule), [4.0, missing]) == 4.0


def test_nothing_but_missing_values_stays_missing(column):
    """NaN stays NaN, None stays None."""
    assert math.isnan(combine_values(column(), [NAN, NAN]))
    assert combine_values(column(type="string", combine="join"), [None, None]) is None


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        *(("float64", rule) for rule in ("median", "mean", "max", "sum", "first")),
        *(("int32", rule) for rule in ("max", "sum", "first")),
        *(("uint8", rule) for rule in ("max", "sum", "first")),
        *(("bool", rule) for rule in ("max", "first")),
        *(("string", rule) for rule in ("join", "first")),
        *((kind, "first") for kind in ("list<float64>", "map<string, float64>", "timestamp[us, UTC]")),
    ],
)
def test_rules_that_fit(kind, rule, column):
    """They give a value of the column's type."""
    check_combine([column(type=kind, combine=rule)])


@pytest.mark.parametrize(
    ("kind", "rule"),
    [("int64", "median"), ("bool", "sum"), ("string", "median"), ("float64", "join"), ("list<float64>", "mean")],
)
def test_rules_that_do_not_fit(kind, rule, column):
    """The median of whole numbers need not be one; the message names column, rules that fit, and the one given."""
    with pytest.raises(ValueError, match=f"column 'value': combine of a .* must be .*first.*, got '{rule}'"):
        check_combine([column(type=kind, combine=rule)])


def test_unknown_rule(column):
    """It is found before the first pair."""
    with pytest.raises(ValueError, match="must be median, mean, max, sum, first, got 'average'"):
        check_combine([column(combine="average")])
