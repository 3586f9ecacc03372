"""All that can be wrong before the first exposure, found at once and said in one line each."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from streamcal.config import Config
from streamcal.errors import ConfigError, PluginError, StateError


def find_problems(config: Config) -> list[str]:
    """Return what would keep a configuration from working, one line each; an empty list if nothing would.

    Parameters
    ----------
    config : Config
        As `load_config` gave it: its keys and types are right already.

    Returns
    -------
    list of str
        Each names file and key.
    """
    problems = [*_check_inputs(config), *_check_outputs(config)]
    for check in (_check_chain, _check_engine):
        try:
            check(config)
        except (ConfigError, PluginError) as exc:
            problems += str(exc).splitlines()
    return problems


def _check_inputs(config: Config) -> Iterator[str]:
    if not config.source.folders:
        yield f"{config.origin}: source.folders: no folder to watch is named"
    for folder in config.source.folders:
        if not folder.is_dir():
            yield f"{config.origin}: source.folders: {folder} is no folder"
        elif not os.access(folder, os.R_OK | os.X_OK):
            yield f"{config.origin}: source.folders: {folder} cannot be read"


def _check_outputs(config: Config) -> Iterator[str]:
    from streamcal.source.mounts import is_silent

    try:
        folders = {"output.folder": config.output_folder, "output.state": config.state_folder}
    except ConfigError as exc:
        yield str(exc)
        return
    for key, folder in folders.items():
        parent = _nearest_folder(folder)
        try:
            with tempfile.TemporaryFile(dir=parent):
                pass
        except OSError as exc:
            yield f"{config.origin}: {key}: {folder} cannot be written: {exc.strerror}"
    state = _nearest_folder(config.state_folder)
    if is_silent(state.stat().st_dev):
        yield f"{config.origin}: output.state: {config.state_folder} must be on a local disk"
    yield from _check_journal(config)


def _nearest_folder(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def _check_journal(config: Config) -> Iterator[str]:
    from streamcal.status import open_journal

    try:
        if journal := open_journal(config.state_folder):
            journal.close()
    except StateError as exc:
        yield f"{config.origin}: output.state: {exc}"


def _check_chain(config: Config) -> None:
    from streamcal.daemon import prepare

    prepare(config)


def _check_engine(config: Config) -> None:
    from streamcal.daemon import engine_options
    from streamcal.engine import check_options

    check_options(engine_options(config))
