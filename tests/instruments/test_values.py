"""Keys and templates pick values from plain headers."""

import json
import math

import pytest
from astropy.io import fits

from streamcal.instruments.values import (
    as_number,
    as_text,
    expand,
    expand_section,
    file_facts,
    get_value,
    plain_header,
    template_keys,
)


def test_plain_header_holds_what_json_can_hold() -> None:
    """Comments, history and cards without a value are left out; HIERARCH keys lose the word."""
    header = fits.Header()
    header["EXPTIME"] = 1.5
    header["HIERARCH ESO DPR TYPE"] = "FLAT "
    header["EMPTY"] = fits.card.UNDEFINED
    header["COMMENT"] = "words"
    header["HISTORY"] = "more words"
    plain = plain_header(header)
    assert plain == {"EXPTIME": 1.5, "ESO DPR TYPE": "FLAT"}
    assert json.loads(json.dumps(plain)) == plain


@pytest.mark.parametrize("key", ["ESO DPR TYPE", "eso dpr type", "HIERARCH ESO DPR TYPE", "{ESO DPR TYPE}"])
def test_keys_in_any_case_with_or_without_the_word(key: str) -> None:
    """All ways to write a key mean the same card."""
    assert get_value(key, {"ESO DPR TYPE": "FLAT"}) == "FLAT"


@pytest.mark.parametrize(
    ("value", "text"), [(4803, "4803"), (17301.0, "17301"), (0.5, "0.5"), (True, "T"), (" a ", "a"), (math.nan, "nan")]
)
def test_text_of_values(value: object, text: str) -> None:
    """Whole numbers have no point, logical values are as FITS writes them."""
    assert as_text(value) == text


@pytest.mark.parametrize("value", [None, True, "abc", "", math.nan])
def test_what_is_no_number_is_nan(value: object) -> None:
    """NaN says that nothing usable was there."""
    assert math.isnan(as_number(value))


def test_numbers_in_text_are_numbers() -> None:
    """Some cameras quote their numbers."""
    assert as_number(" 2.5 ") == 2.5


def test_template_with_format() -> None:
    """LSST-like ids are composed of day and sequence number."""
    assert expand("{DAYOBS}{SEQNUM:05d}", {"DAYOBS": "20190319", "SEQNUM": 17}) == "2019031900017"


def test_template_with_missing_key_is_none() -> None:
    """A template is present only when all of its keys are."""
    assert expand("{DATE-OBS}T{UT}", {"DATE-OBS": "2013-11-02"}) is None


def test_template_with_empty_value_is_none() -> None:
    """An empty key is an absent one: half a time or name would be taken for a whole one."""
    assert expand("{DATE-OBS}T{TIME-OBS}", {"DATE-OBS": "2013-11-02", "TIME-OBS": " "}) is None
    assert expand("{RAFTBAY}_{CCDSLOT}", {"RAFTBAY": "R22", "CCDSLOT": ""}) is None


@pytest.mark.parametrize(
    ("value", "text"), [("42", "00042"), (42.0, "00042"), (" 42 ", "00042"), ("x", None), (4.5, None), (True, "00001")]
)
def test_format_of_numbers_in_text(value: object, text: str | None) -> None:
    """Quoted numbers are numbers; what does not fit the format counts as absent."""
    assert expand("{SEQNUM:05d}", {"SEQNUM": value}) == text


def test_format_that_is_none() -> None:
    """A slip in a template is found when the instrument is loaded, not taken for absent values."""
    assert template_keys("{A:05d}{B:>8}{C:.2f}") == ["A", "B", "C"]
    with pytest.raises(ValueError, match="'5z' is no format"):
        template_keys("{SEQNUM:5z}")


def test_sections_of_numbers_and_sums() -> None:
    """HSC and ESO headers give bounds and widths instead of sections."""
    facts = {"T_EFMN11": 9, "T_EFMX11": 520, "ESO DET OUT1 PRSCX": 6, "ESO DET OUT1 NX": 1024}
    assert expand_section("[{T_EFMN11}:{T_EFMX11},1:10]", facts) == "[9:520,1:10]"
    nx = "[{ESO DET OUT1 PRSCX}+1:{ESO DET OUT1 PRSCX}+{ESO DET OUT1 NX},5 - 1:10]"
    assert expand_section(nx, facts) == "[7:1030,4:10]"


@pytest.mark.parametrize("value", ["UNKNOWN", "n/a", " ", "None"])
def test_cameras_that_do_not_know_their_section(value: str) -> None:
    """Their words for it count as no section."""
    assert expand_section("{BIASSEC}", {"BIASSEC": value}) is None


def test_unmatched_braces() -> None:
    """A template is checked when the instrument is loaded."""
    with pytest.raises(ValueError, match="expected '}'"):
        template_keys("{DATASEC")


def test_file_facts() -> None:
    """Name, folder and path, for cameras whose headers do not tell."""
    assert file_facts("/data/flats/a:b.fits") == {
        "@NAME": "a:b.fits",
        "@FOLDER": "flats",
        "@PATH": "/data/flats/a:b.fits",
    }
