"""What a supervisor sees: readiness, a watchdog fed by the main loop, exit codes, and the unit that comes with it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from streamcal.faults.daemons import wait_until_done
from streamcal.faults.site import add_pairs

UNIT = Path(__file__).parents[2] / "config" / "streamcal.service"


@pytest.fixture
def notices(tmp_path, monkeypatch):
    """Return a socket as systemd opens it."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(address)
        channel.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield channel


def test_readiness_and_watchdog(make, start, notices):
    """READY=1 when it watches, WATCHDOG=1 while the loop turns and not while it hangs, STOPPING=1 at the end."""
    site = make()
    process = start(site)
    assert notices.recv(100) == b"READY=1"
    process.wait_for_event("watching")
    assert [notices.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
    process.process.send_signal(signal.SIGSTOP)
    notices.settimeout(3)
    with pytest.raises(TimeoutError):
        [notices.recv(100) for _ in range(2)]  # one may have been on its way
    process.process.send_signal(signal.SIGCONT)
    notices.settimeout(60)
    assert notices.recv(100) == b"WATCHDOG=1"
    process.process.send_signal(signal.SIGTERM)
    told = [notices.recv(100)]
    while told[-1] == b"WATCHDOG=1":
        told.append(notices.recv(100))
    assert told[-1] == b"STOPPING=1"
    assert process.wait() == 0


def test_the_watchdog_is_fed_while_it_waits_for_the_disk(make, start, notices):
    """Paused is not hanging: no supervisor may restart a daemon that waits."""
    site = make()
    process = start(site)
    process.wait_for_event("watching")
    shutil.move(site.output / "measurements", site.home / "away")
    add_pairs(site.incoming, 1)
    process.wait_for_event("paused")
    while notices.recv(100) != b"WATCHDOG=1":
        pass
    began = time.monotonic()
    assert notices.recv(100) == b"WATCHDOG=1"
    assert time.monotonic() - began < 30  # half of WatchdogSec
    shutil.move(site.home / "away", site.output / "measurements")
    wait_until_done(process, 1)
    assert process.stop() == 0


def test_heartbeat_says_what_it_waits_for(make, start):
    """Status tells of a pause and its reason."""
    site = make()
    process = start(site)
    process.wait_for_event("watching")
    shutil.move(site.output / "measurements", site.home / "away")
    add_pairs(site.incoming, 1)
    status = process.wait_for_status(lambda status: status.heartbeat.get("paused_because"))
    assert "measurements" in status.heartbeat["paused_because"]
    shutil.move(site.home / "away", site.output / "measurements")
    process.wait_for_status(lambda status: status.heartbeat.get("paused_because") == "")
    assert process.stop() == 0


def test_the_unit_says_what_the_daemon_needs():
    """Readiness, watchdog, restart, and hardening that numba survives."""
    lines = UNIT.read_text().splitlines()
    wanted = ("Type=notify", "WatchdogSec=60", "KillMode=mixed", "Restart=on-failure", "OOMPolicy=continue")
    for line in (*wanted, "NoNewPrivileges=yes", "ProtectSystem=strict", "StartLimitIntervalSec=0"):
        assert line in lines
    assert not any(line.startswith("MemoryDenyWriteExecute") for line in lines)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_unit_is_one(tmp_path):
    """Systemd reads it without complaint and calls its exposure small."""
    unit = tmp_path / "streamcal.service"
    unit.write_text(UNIT.read_text().replace("/opt/streamcal/.venv/bin/streamcal", "/bin/true"))
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ})
    if "Unknown" in found.stderr or "unrecognized" in found.stderr or "bus" in found.stderr:
        pytest.skip(f"systemd-analyze cannot judge a file here: {found.stderr.strip()}")
    assert "Unknown key" not in found.stderr
    assert found.returncode == 0, found.stdout[-300:] + found.stderr
