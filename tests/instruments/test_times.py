"""Start times in TAI and UTC."""

import math

import pytest

from streamcal.instruments.times import start_times

LEAP = 37 / 86400  # d; TAI - UTC since 2017


@pytest.mark.parametrize("value", [60000.25, "60000.25", "2023-02-25T06:00:00", "2023-02-25T06:00:00Z"])
def test_utc_becomes_tai(value: object) -> None:
    """Numbers and dates mean the same instant; TAI is 37 s ahead."""
    tai, utc = start_times(value, "utc")
    assert utc == pytest.approx(60000.25, abs=1e-9)
    assert tai == pytest.approx(60000.25 + LEAP, abs=1e-9)


def test_tai_becomes_utc() -> None:
    """LSST writes TAI."""
    tai, utc = start_times("2023-02-25 06:00:00", "tai")
    assert (tai, utc) == (pytest.approx(60000.25, abs=1e-9), pytest.approx(60000.25 - LEAP, abs=1e-9))


def test_before_the_last_leap_second() -> None:
    """In 2016 the difference was 36 s."""
    tai, utc = start_times(57500.0, "utc")
    assert (tai - utc) * 86400 == pytest.approx(36, abs=1e-5)


@pytest.mark.parametrize("value", [None, True, "", "yesterday", "2013-11-02", "2023-13-45T99:00:00", math.nan])
def test_no_time_is_nan(value: object) -> None:
    """What is no time is no reason to refuse an exposure."""
    assert all(math.isnan(time) for time in start_times(value, "utc"))


def test_other_scales_are_nan() -> None:
    """A scale that is not known is not guessed."""
    assert all(math.isnan(time) for time in start_times(60000.0, "local"))


def test_far_years_do_not_warn() -> None:
    """A camera whose clock stands at 2099 gives a time all the same."""
    assert start_times("2099-01-01T00:00:00", "utc")[1] == pytest.approx(87704.0)
