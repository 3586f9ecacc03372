"""Reading what is committed, all of it, checked."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from streamcal import results
from streamcal.errors import StateError
from streamcal.sink import reader as reader_module
from streamcal.sink.reader import TableReader

MORE = {"value": pa.float64(), "more": pa.int64()}


def write(bench, numbers, *, per_segment=2, columns=None):
    """Append numbers, so many to a segment."""
    sink = bench.open()
    for number in numbers:
        sink._roll_bytes = 1 if (number - 1) % per_segment == 0 else 1 << 40
        bench.append(sink, number, columns)
    return sink


def test_sealed_and_live_rows(bench):
    """All segments, sealed and live, come in order of commit."""
    write(bench, range(1, 6))
    table = results.read(bench.output)
    assert table["value"].to_pylist()[::2] == [1.5, 2.5, 3.5, 4.5, 5.5]
    assert table["seq"].to_pylist()[::2] == [1, 2, 3, 4, 5]
    assert bench.sealed(2).exists()
    assert bench.live(3).exists()


def test_path_as_text(bench):
    """An output may be given as text."""
    write(bench, [1])
    assert results.read(str(bench.output)).num_rows == 2


def test_metadata_is_the_tables(bench):
    """The schema keeps its own metadata and loses those of single segments."""
    write(bench, [1])
    assert results.read(bench.output).schema.metadata == {b"note": b"small"}


def test_columns_and_filter(bench):
    """Columns come in the order asked for; the filter may use others."""
    write(bench, range(1, 6))
    condition = (pc.field("name") == "n4") | (pc.field("seq") == 1)
    table = results.read(bench.output, ["value", "seq"], condition)
    assert table.to_pydict() == {"value": [1.5, None, 4.5], "seq": [1, 1, 4]}


def test_chosen_columns_do_not_keep_the_others_in_memory(bench):
    """A table of one column takes the memory of one column."""
    sink = bench.open()
    for number in range(50):
        bench.append(sink, number)
    before = pa.total_allocated_bytes()
    table = results.read(bench.output, ["seq"])
    assert table["seq"].to_pylist()[-1] == 50
    assert pa.total_allocated_bytes() - before < bench.live().stat().st_size / 2
    buffers = {buffer.address for chunk in table["seq"].chunks for buffer in chunk.buffers() if buffer}
    assert len(buffers) == table["seq"].num_chunks


def test_column_that_came_later(bench):
    """Rows from before a column hold null there; a filter on it works on all segments."""
    write(bench, [1, 2])
    write(bench, [3], columns=MORE)
    table = results.read(bench.output)
    assert table.column_names == ["seq", "value", "more", "name"]
    assert table["more"].to_pylist() == [None] * 4 + [3, -3]
    assert results.read(bench.output, filter=pc.field("more") > 0)["seq"].to_pylist() == [3]


def test_unknown_column(bench):
    """An unknown column is an error that lists the known ones."""
    write(bench, [1])
    with pytest.raises(ValueError, match="columns must be among seq, value, name; got 'gian'"):
        results.read(bench.output, ["gian"])


def test_several_outputs(bench, tmp_path):
    """Outputs follow one another; numbers of different width become the wider one."""
    write(bench, [1])
    other = type(bench)(tmp_path / "other")
    write(other, [2], columns={"value": pa.float64(), "name": pa.string(), "more": pa.int64()})
    table = results.read([bench.output, other.output])
    other.close()
    assert table["value"].to_pylist()[::2] == [1.5, 2.5]
    assert table["more"].to_pylist() == [None, None, 2, -2]


def test_outputs_that_do_not_fit(bench, tmp_path):
    """Columns of one name and types that cannot become one are an error that names the column."""
    write(bench, [1])
    other = type(bench)(tmp_path / "other")
    write(other, [2], columns={"name": pa.int64()})
    other.close()
    with pytest.raises(ValueError, match=r"do not fit together: .* name "):
        results.read([bench.output, other.output])


def test_no_output(tmp_path):
    """A folder that is no output is an error that names it."""
    with pytest.raises(FileNotFoundError, match=r"nowhere is no output .* no folder 'measurements'"):
        results.read(tmp_path / "nowhere")


def test_before_the_first_commit(bench):
    """An output without rows gives an empty table that has the columns asked for."""
    bench.open()
    table = results.read(bench.output)
    assert table.num_rows == 0
    assert table.column_names[:2] == ["pair_id", "seq"]
    assert results.read(bench.output, ["gain", "flags"]).column_names == ["gain", "flags"]


def test_only_what_current_says(bench):
    """Rows behind the published offset are not read, be they whole or torn."""
    sink = bench.open()
    bench.append(sink, 1)
    said = (bench.table / "CURRENT").read_bytes()
    bench.append(sink, 2)
    (bench.table / "CURRENT").write_bytes(said)
    assert results.read(bench.output)["value"].to_pylist() == [1.5, None]


@pytest.mark.parametrize(("kind", "number"), [("live", 3), ("sealed", 1), ("sealed", 2)])
def test_any_damage_is_noticed(bench, kind, number):
    """A flipped bit anywhere in what is read, schemas included, is an error that names file and offset."""
    write(bench, range(1, 6))
    path = getattr(bench, kind)(number)
    data = path.read_bytes()
    used = used_bytes(bench, number, path)
    for byte in range(8 if kind == "sealed" else 0, used, 7):
        path.write_bytes(data[:byte] + bytes([data[byte] ^ 1 << byte % 8]) + data[byte + 1 :])
        with pytest.raises(StateError, match=rf"{path.name}: damaged at byte \d+: "):
            results.read(bench.output)
    path.write_bytes(data)
    assert results.read(bench.output).num_rows == 10


def used_bytes(bench, number, path):
    """Return where the batches of a segment end."""
    reader = TableReader(bench.table)
    content = reader.read_segment(number, reader.current())
    return content.end


def test_zeros_are_no_end(bench):
    """Bytes that were lost to zeros read as an end marker; they are damage, not an end."""
    sink = write(bench, range(1, 6), per_segment=3)
    offset, length = bench.journal.query("SELECT offset, length FROM batch WHERE seq = 5")[0]
    live = bench.live(2)
    data = live.read_bytes()
    live.write_bytes(data[:offset] + bytes(length))
    with pytest.raises(StateError, match=rf"000002\.arrows: damaged at byte {offset}: an end marker"):
        results.read(bench.output)
    sink.close()


def test_segment_that_is_gone(bench, monkeypatch):
    """A segment that does not come back is missing data, not fewer rows."""
    monkeypatch.setattr(reader_module, "PATIENCE", 0.0)
    write(bench, range(1, 6))
    bench.sealed(1).unlink()
    with pytest.raises(StateError, match=r"missing data: .*sealed/000001\.arrow"):
        results.read(bench.output)


def test_live_segment_shorter_than_published(bench, monkeypatch):
    """Bytes that CURRENT speaks of and that do not appear are missing data."""
    monkeypatch.setattr(reader_module, "PATIENCE", 0.0)
    write(bench, [1])
    live = bench.live()
    live.write_bytes(live.read_bytes()[:-1])
    with pytest.raises(StateError, match=r"missing data: .*live/000001\.arrows, of which \d+ bytes are committed"):
        results.read(bench.output)


def test_segment_that_moves_while_it_is_looked_for(bench, monkeypatch):
    """A segment that is sealed between two looks is found at its new place."""
    sink = write(bench, [1, 2])
    looks = []
    real = reader_module._read_if_there

    def look(path, offset=0, length=None):
        if path.parent.name == "live" and not looks:
            looks.append(path)
            sink._roll_bytes = 1
            sink.tick()
        return real(path, offset, length)

    monkeypatch.setattr(reader_module, "_read_if_there", look)
    reader = TableReader(bench.table)
    assert reader.read_segment(1, reader.current()).rows == 4
    assert looks
    assert not bench.live().exists()


def test_segment_under_another_name(bench):
    """A file that was copied over another segment is not taken for it."""
    write(bench, range(1, 6))
    data = bench.sealed(1).read_bytes()
    bench.sealed(2).write_bytes(data)
    with pytest.raises(StateError, match=r"000002\.arrow: damaged at byte 8: .* another segment"):
        results.read(bench.output)
