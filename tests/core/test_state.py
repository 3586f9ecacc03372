"""Where the state of an output lies, and whose it is: outputs that are moved, copied, or whose state is away."""

from __future__ import annotations

import json
import shutil

import pytest

from streamcal.errors import ConfigError, StateError
from streamcal.journal import Journal
from streamcal.state import announce, find_state, open_journal


@pytest.fixture
def place(tmp_path):
    """Return a function that makes an output with a state inside or elsewhere, as a daemon does."""

    def place(state):
        output, state = tmp_path / "output", tmp_path / state
        for folder in (output, state):
            folder.mkdir(parents=True, exist_ok=True)
        Journal(state / "journal.db").close()
        announce(output, state, {"streamcal": "1"})
        return output, state

    return place


def test_it_is_found(place):
    """Inside the output or elsewhere."""
    for name in ("output/state", "elsewhere"):
        output, state = place(name)
        assert find_state(output) == state


def test_moved_with_its_output(place, tmp_path):
    """A state inside goes where the output goes."""
    output, _ = place("output/state")
    output.rename(tmp_path / "moved")
    assert find_state(tmp_path / "moved") == tmp_path / "moved" / "state"


def test_copied_with_its_output(place, tmp_path):
    """A copy has a state of its own."""
    output, _ = place("output/state")
    shutil.copytree(output, tmp_path / "copy")
    assert find_state(tmp_path / "copy") == tmp_path / "copy" / "state"


@pytest.mark.parametrize("keep", [True, False])
def test_copied_without_its_state(place, tmp_path, keep):
    """A copy does not act on the original's state, whether the original is still there or not."""
    output, _ = place("elsewhere")
    shutil.copytree(output, tmp_path / "copy")
    if not keep:
        shutil.rmtree(output)
    with pytest.raises(StateError, match=r"elsewhere does not belong to .*copy"):
        find_state(tmp_path / "copy")
    announce(tmp_path / "copy", tmp_path / "elsewhere", {})
    assert find_state(tmp_path / "copy") == tmp_path / "elsewhere"


def test_linked_state(place, tmp_path):
    """A state that is only linked into the output does not go where a copy goes."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "state").symlink_to(tmp_path / "disk")
    output, state = place("output/state")
    assert find_state(output) == state
    shutil.copytree(output, tmp_path / "copy", symlinks=True)
    with pytest.raises(StateError, match="does not belong to"):
        find_state(tmp_path / "copy")


def test_told_by_an_earlier_version(place, tmp_path):
    """A state that was told by its full path is found inside the output, and in no copy of it."""
    output, state = place("output/state")
    (output / "streamcal.json").write_text(json.dumps({"state": str(state)}))
    assert find_state(output) == state
    shutil.copytree(output, tmp_path / "copy")
    with pytest.raises(StateError, match="does not belong to"):
        find_state(tmp_path / "copy")


def test_journal_that_is_away(place):
    """An empty mount point in the place of the state is said, with the path."""
    output, state = place("elsewhere")
    (state / "journal.db").unlink()
    with pytest.raises(StateError, match=r"elsewhere/journal\.db is not there"):
        find_state(output)
    shutil.rmtree(state)
    with pytest.raises(StateError, match=r"elsewhere/journal\.db is not there"):
        find_state(output)


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"state": 1'])
def test_what_is_no_output(tmp_path, text):
    """Another folder, or one whose announcement is damaged, is told."""
    if text is not None:
        (tmp_path / "streamcal.json").write_text(text)
    with pytest.raises(ConfigError, match="is not an output" if text is None else "cannot be read"):
        find_state(tmp_path)


@pytest.mark.parametrize(
    ("version", "said"), [(1, "verify --repair"), (99, "version 99, this streamcal reads 2$"), (0, "version 0")]
)
def test_journal_of_another_version(place, version, said):
    """An older one is brought up to date by whoever may write it, not by readers; of a newer one nothing is known."""
    _, state = place("elsewhere")
    journal = Journal(state / "journal.db")
    journal.query(f"PRAGMA user_version = {version}")
    journal.close()
    with pytest.raises(StateError, match=said):
        open_journal(state)
