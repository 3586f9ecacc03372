"""All that can be wrong before the first exposure, found at once and said in one line each."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from streamcal.config import Config
from streamcal.errors import ConfigError, PluginError, StateError
from streamcal.hookspecs import CheckContext

if TYPE_CHECKING:
    from streamcal.chain import Link
    from streamcal.jobs import Workshop


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
    for check in (_check_stages, _check_engine):
        try:
            problems += check(config)
        except (ConfigError, PluginError) as exc:
            problems += str(exc).splitlines()
    return problems


def find_notes(config: Config) -> Iterator[str]:
    """Return what works, but perhaps not as meant; one line each."""
    if not config.pairing.group:
        fate = "taken for extras" if config.pairing.extras == "discard" else "paired with the first"
        yield f"{config.origin}: pairing.group is empty: a second run at the same levels will be {fate}"
    isr = config.stages.get("isr", {})
    if isr.get("overscan") == "none" and isr.get("bias") is None:
        fate = "means will hold the pedestal and gains will be wrong, unless the exposures come corrected"
        yield f"{config.origin}: stages.isr has neither overscan nor bias: {fate}"


def find_stage_problems(workshop: Workshop) -> list[str]:
    """Return what would make every pair fail, as far as the stages can tell now; one line each.

    Parameters
    ----------
    workshop : Workshop
        As `streamcal.daemon.prepare` gave it.

    Returns
    -------
    list of str
        Each names file and key; or the plugin whose own check fails.
    """
    recipe, instrument = workshop.recipe, workshop.instrument
    context = CheckContext(
        folders=tuple(Path(folder) for folder in recipe.folders),
        instrument=instrument.name,
        amplifiers=instrument.amplifier_names,
        n_amplifiers=instrument.n_amplifiers,
    )
    return [line for link in workshop.chain.links for line in _check_link(link, context, recipe.origin)]


def _check_link(link: Link, context: CheckContext, origin: str) -> list[str]:
    stage = link.stage
    if stage.check is None:
        return []
    try:
        return [f"{origin}: stages.{stage.name}.{line}" for line in stage.check(link.settings, context)]
    except Exception as exc:  # noqa: BLE001 - foreign code; the start must not hang on it
        return [f"plugin {link.plugin!r}: stage {stage.name!r}: check failed: {type(exc).__name__}: {exc}"]


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
    from streamcal.state import JOURNAL, is_announced, open_journal

    if not (is_announced(config.output_folder) or (config.state_folder / JOURNAL).exists()):
        return
    try:
        open_journal(config.state_folder, older=True).close()
    except StateError as exc:
        yield f"{config.origin}: output.state: {exc}"


def _check_stages(config: Config) -> list[str]:
    from streamcal.daemon import prepare

    return find_stage_problems(prepare(config))


def _check_engine(config: Config) -> list[str]:
    from streamcal.daemon import engine_options, naming
    from streamcal.engine import check_options

    with naming(config, "engine"):
        check_options(engine_options(config))
    return []
