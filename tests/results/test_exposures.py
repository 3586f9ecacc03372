"""What became of each exposure, read back."""

from datetime import UTC, datetime

import pytest

from streamcal import results
from streamcal.sink.arrow import ArrowSink
from streamcal.sink.schema import build_batch, exposures_schema

BLANK = {
    "recorded_at": datetime(2026, 1, 2, tzinfo=UTC),
    "instrument": "simple",
    "detector": "d0",
    "digest": "",
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
    """Append one commit, of rows (number, path, disposition)."""
    sink = ArrowSink(bench.output / "exposures", "exposures", bench.journal, roll_bytes=1 << 40, roll_seconds=1e9)
    sink.recover()

    def append(*rows):
        own = [{"seq": 1, "number": number, "path": path, "disposition": what} for number, path, what in rows]
        batch = build_batch(exposures_schema(), [{**BLANK, **row} for row in own])
        sink.append(batch, key=str(sink.next_seq), record=lambda *_: None)

    return append


def standing(bench, **options):
    """Return number, path and disposition of each row."""
    table = results.exposures(bench.output, **options)
    return [(row["number"], row["path"], row["disposition"]) for row in table.to_pylist()]


def test_the_newest_row_counts(bench, write):
    """Of each exposure the newest row stands, over commits and inside one; the history has all of them."""
    rows = [(1, "a", "waiting"), (2, "a", "waiting"), (1, "a", "paired"), (3, "b", "rejected"), (3, "b", "waiting")]
    write(*rows[:2])
    write(*rows[2:])
    assert standing(bench) == [(2, "a", "waiting"), (1, "a", "paired"), (3, "b", "waiting")]
    assert standing(bench, history=True) == rows


def test_exposures_of_several_outputs(bench, write, tmp_path):
    """Numbers of one output say nothing of another one's."""
    write((1, "a", "paired"))
    table = results.exposures([bench.output, bench.output])
    assert table["path"].to_pylist() == ["a", "a"]


def test_no_exposures_yet(bench, write):
    """Before the first commit the table is empty and has all its columns."""
    table = results.exposures(bench.output)
    assert table.num_rows == 0
    assert table.column_names == exposures_schema().names


def test_flags_are_decoded():
    """The decoder of flags is part of the analyst's interface."""
    assert results.decode_flags(5) == ["READ_NOISE_MISSING", "TOO_FEW_PIXELS"]
