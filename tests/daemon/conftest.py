"""Simulated exposures, run configurations, and the daemon as it is used: in this process or as one of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from streamcal import results
from streamcal.config import Config, parse_config
from streamcal.simulate import DEFAULT_CAMERA, simulate_run
from streamcal.template import write_template

CAMERA = replace(DEFAULT_CAMERA, shape=(128, 96), prescan=4, overscan=16)
DEADLINE = 90.0  # s; only to end a hanging test


class Site:
    """A folder of incoming exposures and a folder of results."""

    def __init__(self, folder: Path) -> None:
        self.incoming = folder / "incoming"
        self.output = folder / "output"
        self.folder = folder
        self.incoming.mkdir()

    def simulate(self, levels: list[float], folder: Path | None = None, **options: Any) -> None:
        """Write flats."""
        simulate_run(folder or self.incoming, CAMERA, levels, **options)

    def values(self, **tables: dict[str, Any]) -> dict[str, Any]:
        """Return a run configuration as plain values."""
        values: dict[str, Any] = {
            "instrument": "simulated",
            "source": {"folders": [str(self.incoming)], "settle_seconds": 0.05, "rescan_seconds": 0.2},
            "output": {"folder": str(self.output)},
            "engine": {"kind": "inline"},
            "pairing": {"group": ["@run"]},
        }
        for name, table in tables.items():
            values[name] = {**values.get(name, {}), **table}
        return values

    def config(self, **tables: dict[str, Any]) -> Config:
        """Return a run configuration."""
        return parse_config(self.values(**tables), self.folder / "streamcal.toml")

    def write_config(self, **tables: dict[str, Any]) -> Path:
        """Write a run configuration; return its path."""
        path = self.folder / "streamcal.toml"
        path.write_text(write_template(self.values(**tables), {}, path.name))
        return path

    def rows(self) -> pa.Table:
        """Return the committed rows."""
        return results.read(self.output)

    def pairs(self) -> list[tuple[str, str, str]]:
        """Return detector and exposure ids of each measured pair, in order of commit, each once."""
        rows = self.rows().to_pylist()
        return list(dict.fromkeys((row["detector"], row["exposure_id_1"], row["exposure_id_2"]) for row in rows))

    def dispositions(self) -> dict[str, str]:
        """Return what became of each file, by name."""
        rows = results.exposures(self.output).to_pylist()
        return {Path(row["path"]).name: row["disposition"] for row in rows}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return an empty site."""
    return Site(tmp_path)


class Daemon:
    """The daemon as a process."""

    def __init__(self, config: Path, *options: str) -> None:
        self.log_path = config.with_name(f"daemon-{time.monotonic_ns()}.log")
        command = [sys.executable, "-m", "streamcal", "run", str(config), *options]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env={**os.environ, "NO_COLOR": "1"})

    def events(self) -> list[dict[str, Any]]:
        """Return what it has logged."""
        lines = self.log_path.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Wait until something is true; fail if the daemon ends before."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            if value := condition():
                return value
            if self.process.poll() is not None:
                pytest.fail(f"daemon ended with {self.process.returncode}: {self.log_path.read_text()[-3000:]}")
            time.sleep(0.02)
        return pytest.fail(f"waited in vain: {self.log_path.read_text()[-3000:]}")

    def wait_for_event(self, name: str) -> dict[str, Any]:
        """Wait until it has logged an event."""
        return self.wait_for(lambda: next((event for event in self.events() if event["event"] == name), None))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


@pytest.fixture
def start_daemon() -> Iterator[Callable[..., Daemon]]:
    """Start daemons; end by their ids those that a test leaves running."""
    daemons: list[Daemon] = []

    def start(config: Path, *options: str) -> Daemon:
        daemons.append(Daemon(config, *options))
        return daemons[-1]

    yield start
    for daemon in daemons:
        if daemon.process.poll() is None:
            daemon.process.kill()
        daemon.process.wait(DEADLINE)
