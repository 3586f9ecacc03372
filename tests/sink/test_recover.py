"""What a restart finds, mends or refuses."""

import shutil

import pytest

from streamcal import results
from streamcal.errors import RetryLater, StateError
from streamcal.sink.recovery import Recovery


def values(bench):
    """Return the first value of each batch."""
    return results.read(bench.output)["value"].to_pylist()[::2]


@pytest.fixture
def written(bench):
    """Three commits: one in a sealed segment, two in the live one."""
    sink = bench.open(roll_bytes=1000)
    for number in (1, 2, 3):
        bench.append(sink, number)
        sink._roll_bytes = 1 if number == 1 else 1 << 40
    assert bench.sealed(1).exists()
    assert bench.live(2).exists()
    return bench


def test_nothing_to_do(written):
    """After an orderly end there is nothing to mend, and the report says so."""
    recovery = written.open(recover=False).recover()
    assert recovery == Recovery()
    assert not recovery


def test_torn_tail_of_every_length(written):
    """A batch of which any number of bytes was written is cut off, and its bytes are counted."""
    live = written.live(2)
    committed = live.read_bytes()
    length = written.journal.query("SELECT length FROM batch WHERE seq = 3")[0][0]
    torn = committed[-length:]
    for size in range(1, length + 1):
        live.write_bytes(committed + torn[:size])
        assert written.open(recover=False).recover() == Recovery(torn_bytes=size)
        assert live.read_bytes() == committed


def test_reader_does_not_see_a_torn_tail(written):
    """Before the restart as well, readers see the committed rows only."""
    live = written.live(2)
    live.write_bytes(live.read_bytes() + live.read_bytes()[-300:])
    assert values(written) == [1.5, 2.5, 3.5]


def test_new_segment_that_was_not_committed(written):
    """A live file that the journal does not know was begun and not finished: it goes."""
    sink = written.open(roll_seconds=1)
    written.now += 2
    sink.tick()
    written.live(3).write_bytes(b"begun")
    (written.table / "sealed" / ".000003.arrow.tmp").write_bytes(b"begun")
    recovery = written.open(recover=False).recover()
    assert recovery.removed == ("live/000003.arrows", "sealed/.000003.arrow.tmp")
    assert not written.live(3).exists()
    assert values(written) == [1.5, 2.5, 3.5]


def test_current_is_restored(written):
    """CURRENT is written anew from the journal, whatever a loss of power left of it."""
    path = written.table / "CURRENT"
    good = path.read_bytes()
    for left in (b"", b"{}", b"\0" * 50, b'{"segment": 1'):
        path.write_bytes(left)
        with pytest.raises(StateError, match="CURRENT: damaged; the daemon writes it anew"):
            results.read(written.output)
        written.open()
        assert path.read_bytes() == good
    path.unlink()
    written.open()
    assert path.read_bytes() == good


def test_restart_on_a_full_disk(written):
    """Where nothing needs to be mended a restart writes nothing, and so needs no room."""
    files = written.FailingFiles()
    written.open(files=files)
    assert files.log == []


@pytest.mark.parametrize("cut", [1, 300, None])
def test_live_segment_shorter_than_committed(written, cut):
    """Committed bytes that are gone are never papered over."""
    live = written.live(2)
    if cut is None:
        live.unlink()
    else:
        live.write_bytes(live.read_bytes()[:-cut])
    with pytest.raises(StateError, match=r"missing data: .*live/000002\.arrows .* the journal committed \d+ bytes"):
        written.open()


@pytest.mark.parametrize("cut", [1, None])
def test_sealed_segment_missing_or_cut(written, cut):
    """The same for sealed segments."""
    sealed = written.sealed(1)
    if cut is None:
        sealed.unlink()
    else:
        sealed.write_bytes(sealed.read_bytes()[:-cut])
    with pytest.raises(StateError, match=r"missing data: .*sealed/000001\.arrow .* the journal committed \d+ bytes"):
        written.open()


def test_last_batch_damaged(written):
    """A last batch of other bytes than committed stops the start, naming file and offset."""
    live = written.live(2)
    data = bytearray(live.read_bytes())
    data[-20] ^= 1
    live.write_bytes(data)
    offset = written.journal.query("SELECT offset FROM batch WHERE seq = 3")[0][0]
    with pytest.raises(StateError, match=rf"000002\.arrows: damaged at byte {offset}: the checksum"):
        written.open()


def test_damaged_live_segment_is_not_sealed(written):
    """What is damaged is never copied as if it were right, and the live file stays."""
    live = written.live(2)
    data = bytearray(live.read_bytes())
    offset, length = written.journal.query("SELECT offset, length FROM batch WHERE seq = 2")[0]
    data[offset + length - 20] ^= 1
    live.write_bytes(data)
    sink = written.open(roll_bytes=1)
    with pytest.raises(StateError, match=rf"000002\.arrows: damaged at byte {offset}: checksum"):
        written.append(sink, 4)
    assert live.exists()
    assert not written.sealed(2).exists()


def test_results_without_their_journal(written):
    """A lost or older journal must not make it delete results it does not know."""
    written.close()
    written.state.unlink()
    before = sorted(path.name for path in written.table.rglob("*"))
    with pytest.raises(StateError, match="speaks of commit 3, the journal knows 0: it is not the journal of these"):
        written.open()
    (written.table / "CURRENT").unlink()
    with pytest.raises(StateError, match=r"000002\.arrows is not in the journal"):
        written.open()
    assert sorted(path.name for path in written.table.rglob("*")) == [name for name in before if name != "CURRENT"]


def test_journal_without_its_results(written):
    """An output that was emptied, or is not mounted, is not begun anew."""
    shutil.rmtree(written.output)
    with pytest.raises(StateError, match=r"missing data: the folder .* is gone"):
        written.open()
    assert not written.output.exists()


@pytest.mark.parametrize(
    "name", ["live/notes.txt", "live/000002.arrow", "live/0000003.arrows", "sealed/000001.arrows", "sealed/mine.tmp"]
)
def test_foreign_files_are_left_alone(written, name):
    """What has no name that a sink gives is not touched, however near it comes."""
    notes = written.table / name
    notes.write_text("mine")
    assert not written.open(recover=False).recover()
    assert notes.read_text() == "mine"


def test_unfinished_seal_on_a_full_disk(written):
    """A recovery that cannot finish says so and is called again."""
    files = written.FailingFiles(calls={"rename"})
    sink = written.open(roll_bytes=1, files=files)
    files.at = files.count + 2  # the sealed file, then CURRENT
    with pytest.raises(written.Killed):
        written.append(sink, 4)
    files = written.FailingFiles(at=1, error=28, calls={"rename"})
    sink = written.open(files=files, recover=False)
    with pytest.raises(RetryLater, match="No space left"):
        sink.recover()
    assert not sink.recover().torn_bytes
    assert written.append(sink, 4) == 4
    assert values(written) == [1.5, 2.5, 3.5, 4.5]


def test_unfinished_seal_is_finished(written):
    """A sealed file beside its live one is read back, journaled, and the live one goes."""
    files = written.FailingFiles()
    sink = written.open(roll_bytes=1, files=files)
    files.unlink = lambda _: (_ for _ in ()).throw(written.Killed)
    with pytest.raises(written.Killed):
        written.append(sink, 4)
    written.close()
    journal = type(written.journal)(written.state)
    journal.connection.execute("UPDATE segment SET state = 'live' WHERE number = 2")  # as if killed a moment earlier
    journal.connection.close()
    assert written.live(2).exists()
    assert written.sealed(2).exists()
    assert written.open(recover=False).recover() == Recovery(sealed=2)
    assert not written.live(2).exists()
    assert values(written) == [1.5, 2.5, 3.5]
