"""What all tests share: no threads left behind, logs as they were, files to make."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the long form of the tests that have one (docs/promises.md)."""
    parser.addoption("--long", action="store_true", help="run the long form of tests too: hours")


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker of long forms."""
    config.addinivalue_line("markers", "long: the long form of a test, run with --long")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out long forms unless asked for."""
    if config.getoption("--long"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="takes long: --long"))


@pytest.fixture(autouse=True)
def no_leaked_threads() -> Iterator[None]:
    """Fail a test that leaves a thread of its own running."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    while leaked := [thread for thread in threading.enumerate() if thread not in before and thread.is_alive()]:
        if time.monotonic() > deadline:
            pytest.fail(f"threads left behind: {leaked}")
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def fresh_logs() -> Iterator[None]:
    """Leave structlog as it was found."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of the real exposures; skip where it is not at hand."""
    folder = Path(os.environ.get("STREAMCAL_REFERENCE", "/nowhere")).absolute()
    if not folder.is_dir():
        pytest.skip("needs the reference exposures: STREAMCAL_REFERENCE does not name their folder")
    return folder
