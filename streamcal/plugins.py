"""Plugins: found by entry point or in configured folders, loaded once, checked before the first exposure.

Built-in stages enter by the same hooks as foreign ones. pluggy collects; the order of stages is the configuration's
(`streamcal.chain`). Nothing is loaded on import: `load_plugins` makes a manager and passes it on.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from streamcal import __version__, hookspecs
from streamcal.errors import PluginError
from streamcal.hookspecs import PROJECT, InstrumentTable, Stage

ENTRY_POINT_GROUP = "streamcal"
BUILTIN_PLUGINS = ("isr", "crosstalk", "parallel", "covariance", "gain")


@dataclass(frozen=True, kw_only=True, slots=True)
class PluginInfo:
    """Where a plugin comes from and what it offers."""

    name: str
    version: str
    path: str
    hooks: tuple[str, ...]
    stages: tuple[str, ...]
    instruments: tuple[str, ...]


class Plugins:
    """The loaded plugins, with typed access to what they offer.

    Parameters
    ----------
    manager : pluggy.PluginManager
        With all plugins registered and checked.
    """

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self._manager = manager
        self.stages: dict[str, Stage] = {}
        self.instruments: dict[str, InstrumentTable] = {}
        self._stage_plugins: dict[str, str] = {}
        for name, _ in self._plugins():
            self._collect(name)

    def _plugins(self) -> list[tuple[str, Any]]:
        return [(name, plugin) for name, plugin in self._manager.list_name_plugin() if plugin is not None]

    def _collect(self, plugin: str) -> None:
        for stage in self._call(plugin, "streamcal_stages"):
            _check_type(stage, Stage, plugin, "streamcal_stages")
            if stage.name in self.stages:
                owner = self._stage_plugins[stage.name]
                msg = f"stage {stage.name!r} is offered twice, by plugin {owner!r} and by plugin {plugin!r}"
                raise PluginError(msg)
            self.stages[stage.name] = stage
            self._stage_plugins[stage.name] = plugin
        for table in self._call(plugin, "streamcal_instruments"):
            _check_type(table, InstrumentTable, plugin, "streamcal_instruments")
            if table.name in self.instruments:
                msg = f"instrument {table.name!r} is offered twice, again by plugin {plugin!r}"
                raise PluginError(msg)
            self.instruments[table.name] = table

    def _call(self, plugin: str, hook: str) -> list[Any]:
        """Call one hook of one plugin alone, so that it is known who offered what."""
        caller = getattr(self._manager.hook, hook)
        own = [implementation for implementation in caller.get_hookimpls() if implementation.plugin_name == plugin]
        return [offer for implementation in own for offer in _list_offers(implementation, plugin, hook)]

    def plugin_of(self, stage: str) -> str:
        """Return the name of the plugin that offers a stage."""
        return self._stage_plugins[stage]

    def describe(self) -> list[PluginInfo]:
        """Return what is loaded, in order of name."""
        return sorted((self._describe(name, plugin) for name, plugin in self._plugins()), key=lambda info: info.name)

    def _describe(self, name: str, plugin: Any) -> PluginInfo:
        callers = self._manager.get_hookcallers(plugin) or []
        return PluginInfo(
            name=name,
            version=self._version(plugin),
            path=str(getattr(plugin, "__file__", "") or ""),
            hooks=tuple(sorted(caller.name for caller in callers)),
            stages=tuple(stage for stage, owner in self._stage_plugins.items() if owner == name),
            instruments=tuple(table.name for table in self._call(name, "streamcal_instruments")),
        )

    def _version(self, plugin: Any) -> str:
        for module, distribution in self._manager.list_plugin_distinfo():
            if module is plugin:
                return str(distribution.version)
        if str(getattr(plugin, "__name__", "")).startswith(f"{PROJECT}.stages."):
            return __version__
        return str(getattr(plugin, "__version__", ""))


def load_plugins(folders: Sequence[Path] = (), disabled: Sequence[str] = ()) -> Plugins:
    """Load the built-in stages, the installed plugins and the plugin files of some folders.

    Parameters
    ----------
    folders : sequence of Path
        Each ``.py`` file in them is a plugin; only the owner may be able to write them.
    disabled : sequence of str
        Names of plugins that are left out.

    Returns
    -------
    Plugins
        All of them, checked.

    Raises
    ------
    PluginError
        If a plugin cannot be imported, implements a hook that does not exist, or offers something impossible.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    for name in disabled:
        manager.set_blocked(name)
    for name, module in _find_plugins(manager, folders, disabled):
        _register(manager, name, module)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as exc:
        msg = f"plugin {manager.get_name(exc.plugin)!r}: {exc}, known: {', '.join(_hook_names())}"
        raise PluginError(msg) from exc
    return Plugins(manager)


def _find_plugins(
    manager: pluggy.PluginManager, folders: Sequence[Path], disabled: Sequence[str]
) -> Iterator[tuple[str, Any]]:
    for name in BUILTIN_PLUGINS:
        yield name, importlib.import_module(f"{PROJECT}.stages.{name}")
    _load_entry_points(manager)
    for folder in folders:
        for path in list_plugin_files(folder):
            if path.stem not in disabled:
                yield path.stem, _load_file(path)


def _load_entry_points(manager: pluggy.PluginManager) -> None:
    try:
        manager.load_setuptools_entrypoints(ENTRY_POINT_GROUP)
    except pluggy.PluginValidationError as exc:
        msg = f"plugin {manager.get_name(exc.plugin) or exc.plugin!r}: {exc}"
        raise PluginError(msg) from exc
    except Exception as exc:  # whatever an import may raise
        names = sorted({entry.name for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)})
        msg = f"an installed plugin ({', '.join(names)}) cannot be loaded: {type(exc).__name__}: {exc}"
        raise PluginError(msg) from exc


def _register(manager: pluggy.PluginManager, name: str, module: Any) -> None:
    if manager.is_blocked(name):
        return
    if manager.has_plugin(name):
        msg = f"plugin {name!r} is there twice: {getattr(manager.get_plugin(name), '__file__', '')}, {module.__file__}"
        raise PluginError(msg)
    try:
        manager.register(module, name)
    except pluggy.PluginValidationError as exc:
        msg = f"plugin {name!r}: {exc}"
        raise PluginError(msg) from exc


def list_plugin_files(folder: Path) -> list[Path]:
    """Return the plugin files of a folder, in order of name.

    Raises
    ------
    PluginError
        If the folder cannot be read, or it or one of its files could be written by another user.
    """
    try:
        files = sorted(
            path for path in folder.iterdir() if path.suffix == ".py" and not path.name.startswith(("_", "."))
        )
    except OSError as exc:
        msg = f"plugin folder {folder}: {exc.strerror or exc}"
        raise PluginError(msg) from exc
    for path in (folder, *files):
        _check_private(path)
    return files


def _check_private(path: Path) -> None:
    status = path.stat()
    if status.st_uid not in {0, os.geteuid()}:
        msg = f"plugin path {path} belongs to another user (uid {status.st_uid})"
        raise PluginError(msg)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        msg = f"plugin path {path} can be written by other users; chmod go-w {path}"
        raise PluginError(msg)


def _load_file(path: Path) -> ModuleType:
    digest = hashlib.blake2b(os.fsencode(path.absolute()), digest_size=6).hexdigest()
    name = f"streamcal_plugin_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        msg = f"plugin file {path} cannot be imported"
        raise PluginError(msg)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as exc:  # whatever an import may raise
        del sys.modules[name]
        msg = f"plugin file {path} cannot be loaded: {type(exc).__name__}: {exc}"
        raise PluginError(msg) from exc
    return module


def _list_offers(implementation: Any, plugin: str, hook: str) -> list[Any]:
    try:
        return list(implementation.function() or ())
    except Exception as exc:
        msg = f"plugin {plugin!r}: {hook} failed: {type(exc).__name__}: {exc}"
        raise PluginError(msg) from exc


def _check_type(offer: Any, kind: type, plugin: str, hook: str) -> None:
    if not isinstance(offer, kind):
        msg = f"plugin {plugin!r}: {hook} must give {kind.__name__} objects, got {offer!r}"
        raise PluginError(msg)


def _hook_names() -> list[str]:
    return sorted(name for name in vars(hookspecs) if name.startswith("streamcal_"))
