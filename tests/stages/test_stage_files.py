"""Files that settings name, and the cache of what was made of them."""

import pytest

from streamcal.errors import StageError
from streamcal.stages.files import FileCache, find_file, search_file


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{instrument}/{detector}.txt", "cam/d0.txt"),
        ("{stem}_meta.json", "x.1_meta.json"),
        ("{name}.json", "x.1.fits.gz.json"),
        ("id{exposure_id}", "id7"),
    ],
)
def test_patterns_take_the_exposure_at_hand(made, tmp_path, pattern, name):
    """Braces are replaced by what the exposure and its file are called."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert find_file(pattern, made.info("7", path="/data/x.1.fits.gz"), [tmp_path / "no", tmp_path]) == path


def test_the_first_folder_wins(made, tmp_path):
    """Folders are looked into in order; absolute paths need none."""
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").touch()
    assert find_file("f", made.info(), [tmp_path / "b", tmp_path / "a"]) == tmp_path / "b" / "f"
    assert find_file(str(tmp_path / "a" / "f"), made.info(), []) == tmp_path / "a" / "f"


def test_beside_the_exposure(made, tmp_path):
    """{folder} is the folder of the exposure's file."""
    (tmp_path / "f.json").touch()
    info = made.info(path=str(tmp_path / "f.fits"))
    assert search_file("{folder}/{stem}.json", info, []) == tmp_path / "f.json"
    assert search_file("{folder}/other.json", info, []) is None


@pytest.mark.parametrize("detector", ["../secret", "..", "/etc"])
def test_a_header_does_not_lead_elsewhere(made, tmp_path, detector):
    """What a header says cannot name another folder; where the pattern does not ask for it, it does not matter."""
    (tmp_path / "f").touch()
    info = made.info(detector=detector)
    with pytest.raises(StageError, match="cannot stand in a file name, as"):
        find_file("{detector}/f", info, [tmp_path])
    assert find_file("f", info, [tmp_path]) == tmp_path / "f"


def test_cache_loads_once_until_the_file_changes(tmp_path):
    """A file is looked at each time, and read again only when it is another."""
    path, loads = tmp_path / "f", []
    path.write_text("1")
    cache = FileCache(size=2)
    for _ in range(2):
        assert cache.get((path,), "key", lambda: loads.append("read") or path.read_text()) == "1"
    path.write_text("22")
    assert cache.get((path,), "key", lambda: loads.append("again") or path.read_text()) == "22"
    assert loads == ["read", "again"]


def test_cache_forgets_what_was_used_longest_ago(tmp_path):
    """It holds no more entries than it may."""
    path, loads = tmp_path / "f", []
    path.touch()
    cache = FileCache(size=2)
    for key in "abacab":
        cache.get((path,), key, lambda key=key: loads.append(key))
    assert loads == ["a", "b", "c", "b"]
