"""Which file systems tell of changes: on network and user-space ones events of other machines never arrive."""

from __future__ import annotations

import os
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
SILENT = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "9p", "virtiofs", "fuse"),
        *("lustre", "gpfs", "ceph", "beegfs", "panfs", "orangefs", "pvfs2", "ocfs2", "gfs2"),
        *("vboxsf", "vmhgfs", "prl_fs", "drvfs"),
    )
)


def is_silent(device: int) -> bool:
    """Tell whether events of changes may not reach this host.

    Parameters
    ----------
    device : int
        ``st_dev`` of a file or folder.

    Returns
    -------
    bool
        True on file systems that are shared with other hosts or made by a program (FUSE); False on all others, also
        where the kernel does not say what the device is.
    """
    kind = find_kind(device)
    return kind in SILENT or kind.startswith("fuse.")


def find_kind(device: int) -> str:
    """Return the file-system type of a device, such as ``ext4`` or ``nfs4``; empty where it is not known.

    Parameters
    ----------
    device : int
        ``st_dev`` of a file or folder.
    """
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = MOUNTS.read_bytes().decode(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    # "36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw": optional fields end with a lone hyphen
    kinds = [line.partition(" - ")[2].split(" ")[0] for line in lines if line.split(" ")[2:3] == [wanted]]
    return kinds[-1] if kinds else ""
