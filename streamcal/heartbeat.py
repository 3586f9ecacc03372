"""Signs of life: a heartbeat file for `streamcal status`, and readiness and watchdog messages for systemd."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

PERIOD = 2.0  # s


def write_atomically(path: Path, text: str) -> None:
    """Replace a small file so that a reader sees the old or the new one, whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


class Heartbeat:
    """Tells others, every other second, that the main loop is turning.

    Parameters
    ----------
    path : Path
        The heartbeat file.
    describe : callable
        What to write into it.
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, path: Path, describe: Callable[[], dict[str, Any]], clock: Callable[[], float]) -> None:
        self._path = path
        self._describe = describe
        self._clock = clock
        self._due = float("-inf")

    def beat(self) -> None:
        """Write the file and tell systemd's watchdog, if it is time to."""
        now = self._clock()
        if now < self._due:
            return
        self._due = now + PERIOD
        notify("WATCHDOG=1")
        with contextlib.suppress(OSError):  # a full disk must not stop the loop that waits for it to be freed
            write_atomically(self._path, json.dumps(self._describe()))


def notify(message: str) -> None:
    """Tell systemd something (``READY=1``, ``WATCHDOG=1``, ``STOPPING=1``), where it asked for it.

    Parameters
    ----------
    message : str
        See sd_notify(3); the socket is named by ``NOTIFY_SOCKET``.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
    ):
        channel.sendto(message.encode(), "\0" + address[1:] if address.startswith("@") else address)
