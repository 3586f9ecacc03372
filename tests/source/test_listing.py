"""What a folder holds, by listing."""

import os
from pathlib import Path

import pytest

from streamcal.records import FileStat
from streamcal.source import listing as listing_module
from streamcal.source.listing import Listing, Selection

NAMES = ("*.fits", "*.fits.gz")


def list_all(root, known=None, n_names=1000, **options):
    """Return the candidates below a folder."""
    known = known or {}
    listing = Listing(str(root), Selection(NAMES, **options), lambda folder, _: known.get(folder, {}))
    found = []
    while not listing.done:
        found += listing.advance(n_names)[1]
    return found


def names(root, **options):
    """Return the paths of the candidates relative to the folder."""
    return {os.path.relpath(candidate.path, root) for candidate in list_all(root, **options)}


def touch(root, *paths):
    """Make empty files and the folders that they lie in."""
    for path in paths:
        Path(root, path).parent.mkdir(parents=True, exist_ok=True)
        Path(root, path).touch()


@pytest.mark.parametrize("name", ["a.fits", "A.FITS", "a.Fits.GZ", "a'\"\n;:.fits", os.fsdecode(b"\xff.fits")])
def test_fitting_names_are_taken(tmp_path, name):
    """Upper and lower case count alike, and a name may hold any byte."""
    touch(tmp_path, name)
    assert names(tmp_path) == {name}


@pytest.mark.parametrize("name", [".a.fits", "a.fits.tmp", "a.fits.PART", "a.filepart", "a.fits~", "a.fit", "fits"])
def test_other_names_are_not_taken(tmp_path, name):
    """Hidden, temporary and other names never count."""
    touch(tmp_path, name)
    assert names(tmp_path) == set()


def test_temporary_names_never_count_whatever_the_patterns():
    """A pattern that fits everything takes no temporary file."""
    selection = Selection(("*",))
    assert selection.takes_name("a")
    assert not any(selection.takes_name(name) for name in (".a", "a.tmp", "a.part", "a.filepart", "a~"))


def test_nested_folders_are_listed_but_hidden_ones(tmp_path):
    """Folders inside count, unless hidden or not wanted."""
    touch(tmp_path, "a.fits", "n/o/b.fits", ".hidden/c.fits", "n/.hidden/d.fits")
    assert names(tmp_path) == {"a.fits", "n/o/b.fits"}
    assert names(tmp_path, recursive=False) == {"a.fits"}


def test_excluded_folders_are_left_out_by_whatever_path(tmp_path):
    """A folder for results inside the watched one is skipped, also when it is named by a link."""
    touch(tmp_path, "in/a.fits", "in/out/b.fits", "in/out/deep/c.fits", "in/outer/d.fits")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    assert names(tmp_path / "in", exclude=(tmp_path / "link" / "out",)) == {"a.fits", "outer/d.fits"}


def test_only_regular_files_count(tmp_path):
    """Pipes and folders of a fitting name are not taken."""
    os.mkfifo(tmp_path / "pipe.fits")
    (tmp_path / "folder.fits").mkdir()
    assert names(tmp_path) == set()


def test_symbolic_links_count_only_when_asked_for(tmp_path):
    """Links to files and folders are skipped, or followed and given by the link's path."""
    touch(tmp_path, "real/a.fits")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "b.fits").symlink_to(tmp_path / "real" / "a.fits")
    (tmp_path / "root" / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "root" / "dangling.fits").symlink_to(tmp_path / "nothing")
    assert names(tmp_path / "root") == set()
    assert names(tmp_path / "root", follow_symlinks=True) == {"b.fits", "folder/a.fits"}


def test_a_loop_of_links_ends(tmp_path):
    """Links that lead back are followed once at most."""
    touch(tmp_path, "a.fits", "n/b.fits")
    (tmp_path / "n" / "up").symlink_to(tmp_path)
    (tmp_path / "self.fits").symlink_to(tmp_path / "self.fits")
    assert names(tmp_path, follow_symlinks=True) == {"a.fits", "n/b.fits"}


def test_known_files_are_not_found_again_unless_changed(tmp_path):
    """Only files that are not known exactly as they are come out."""
    touch(tmp_path, "known.fits", "changed.fits", "new.fits")
    now = FileStat.of((tmp_path / "known.fits").stat())
    known = {str(tmp_path): {"known.fits": now, "changed.fits": now}}
    assert {Path(candidate.path).name for candidate in list_all(tmp_path, known)} == {"changed.fits", "new.fits"}


def test_a_listing_can_be_interrupted_anywhere(tmp_path):
    """Looking at three names at a time finds everything once."""
    paths = {f"{folder}/{n}.fits" for folder in ("a", "b", "c") for n in range(5)}
    touch(tmp_path, *paths)
    found = [os.path.relpath(candidate.path, tmp_path) for candidate in list_all(tmp_path, n_names=3)]
    assert len(found) == 15
    assert set(found) == paths


def test_an_unreadable_folder_is_noted_and_the_rest_found(tmp_path, monkeypatch):
    """What cannot be listed is remembered with the reason; the listing goes on."""
    touch(tmp_path, "a.fits", "shut/b.fits", "open/c.fits")
    scandir = os.scandir

    def refuse(folder):
        if folder.endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    listing = Listing(str(tmp_path), Selection(NAMES), lambda *_: {})
    _, found = listing.advance(100)
    assert len(found) == 2
    assert listing.unreadable == {str(tmp_path / "shut"): "Permission denied"}
    assert listing.n_folders == 2


def test_a_vanished_folder_is_no_trouble(tmp_path):
    """A folder that goes while the listing is on its way is not unreadable."""
    listing = Listing(str(tmp_path / "gone"), Selection(NAMES), lambda *_: {})
    assert listing.advance(10) == (0, [])
    assert (listing.done, listing.unreadable) == (True, {})


@pytest.mark.parametrize(
    ("path", "reached"),
    [
        ("/r/a.fits", True),
        ("/r/n/a.fits", True),
        ("/r/.n/a.fits", False),
        ("/r/out/n/a.fits", False),
        ("/rest/a.fits", False),
    ],
)
def test_a_hint_counts_where_a_listing_would_come_to(path, reached):
    """Hidden, excluded and foreign folders are out of reach for hints as well."""
    assert Selection(NAMES, exclude=(Path("/r/out"),)).reaches("/r", path) == reached


def test_a_hint_in_a_nested_folder_counts_only_if_those_do():
    """Without recursion only files of the folder itself are within reach."""
    selection = Selection(NAMES, recursive=False)
    assert selection.reaches("/r", "/r/a.fits")
    assert not selection.reaches("/r", "/r/n/a.fits")


def test_what_is_known_is_asked_for_in_portions(tmp_path, monkeypatch):
    """Of a folder of any size a few names are held at a time, and each is asked for once."""
    monkeypatch.setattr(listing_module, "PORTION", 4)
    for number in range(10):
        (tmp_path / f"{number}.fits").touch()
    asked = []
    listing = Listing(str(tmp_path), Selection(NAMES), lambda _, names: asked.append(names) or {})
    n_names, found = listing.advance(100)
    assert (n_names, len(found)) == (10, 10)
    assert [len(names) for names in asked] == [4, 4, 2]
    assert sorted(name for names in asked for name in names) == [f"{number}.fits" for number in range(10)]
