"""What became of each exposure, read back."""

from datetime import UTC, datetime

import pytest

from streamcal import results
from streamcal.sink.arrow import ArrowSink
from streamcal.sink.schema import build_batch, exposures_schema

BLANK = {
    "recorded_at": datetime(2026, 1, 2, tzinfo=UTC),
    "instrument": "simple",
    "exposure_id": "1",
    "group": "",
    "reason": "",
    "pair_id": "",
    "exposure_time": 1.0,
    "flux": float("nan"),
    "mjd_start": 61000.0,
    "mjd_start_utc": 61000.0,
    "size": 2880,
}


@pytest.fixture
def write(bench):
    """Append one commit per row of (path, digest, detector, disposition)."""
    sink = ArrowSink(bench.output, "exposures", bench.journal, roll_bytes=1 << 40, roll_seconds=1e9)
    sink.recover()

    def append(*rows):
        for path, digest, detector, disposition in rows:
            seq = sink.next_seq
            own = {"seq": seq, "path": path, "digest": digest, "detector": detector, "disposition": disposition}
            batch = build_batch(exposures_schema(), [{**BLANK, **own}])
            sink.append(batch, key=str(seq), record=lambda *_: None)

    return append


def standing(bench, **options):
    """Return path, digest, detector and disposition of each row."""
    table = results.exposures(bench.output, **options)
    return [tuple(row[name] for name in ("path", "digest", "detector", "disposition")) for row in table.to_pylist()]


def test_the_newest_counts(bench, write):
    """Of each detector of a file the newest row stands; the history has all of them."""
    rows = [("a", "1", "d0", "waiting"), ("a", "1", "d1", "waiting"), ("a", "1", "d0", "paired")]
    write(*rows)
    assert standing(bench) == rows[1:]
    assert standing(bench, history=True) == rows


def test_other_content_is_another_exposure(bench, write):
    """A file that was measured and then rewritten stands with both contents."""
    rows = [("a", "1", "d0", "paired"), ("a", "2", "d0", "rejected")]
    write(*rows)
    assert standing(bench) == rows


@pytest.mark.parametrize("unread", [("a", "", "", "rejected"), ("a", "1", "", "rejected")])
def test_file_that_became_readable(bench, write, unread):
    """What was said of a file that could not be read stands only until it could."""
    write(unread)
    assert standing(bench) == [unread]
    write(("a", "2", "d0", "waiting"))
    assert standing(bench) == [("a", "2", "d0", "waiting")]


def test_file_that_became_unreadable(bench, write):
    """A file that was measured and is unreadable now stands with both."""
    rows = [("a", "1", "d0", "paired"), ("a", "", "", "rejected")]
    write(*rows)
    assert standing(bench) == rows


def test_no_exposures_yet(bench, write):
    """Before the first commit the table is empty and has all its columns."""
    table = results.exposures(bench.output)
    assert table.num_rows == 0
    assert table.column_names == exposures_schema().names


def test_flags_are_decoded():
    """The decoder of flags is part of the analyst's interface."""
    assert results.decode_flags(5) == ["READ_NOISE_MISSING", "TOO_FEW_PIXELS"]
