"""File systems on which events do not tell of changes."""

import os

import pytest

from streamcal.source import mounts

MOUNTINFO = """\
36 35 8:1 / / rw,noatime master:1 - ext4 /dev/root rw
37 36 0:44 / /data\\040flats rw shared:2 master:3 - nfs4 server:/export rw,vers=4.2
38 36 0:45 / /home/x rw - fuse.sshfs host: rw
39 36 0:46 / /fast rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("minor", "kind", "silent"),
    [(44, "nfs4", True), (45, "fuse.sshfs", True), (46, "tmpfs", False), (99, "", False)],
)
def test_the_kind_of_file_system_is_read_from_the_kernel(tmp_path, monkeypatch, minor, kind, silent):
    """Network and user-space file systems are silent; an unknown device is not."""
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "mountinfo")
    mounts.MOUNTS.write_text(MOUNTINFO)
    device = os.makedev(0, minor)
    assert (mounts.find_kind(device), mounts.is_silent(device)) == (kind, silent)


def test_without_mountinfo_nothing_is_known(tmp_path, monkeypatch):
    """Where the kernel does not say, events are trusted."""
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "absent")
    assert not mounts.is_silent(os.makedev(8, 1))


def test_the_real_mountinfo_is_understood():
    """The file system of /proc is known by its name."""
    assert mounts.find_kind(os.stat("/proc").st_dev) == "proc"  # noqa: PTH116
