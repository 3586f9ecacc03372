"""Plugins: found by entry point or in configured folders, loaded once, checked before the first exposure.

Built-in stages enter by the same hooks as foreign ones. pluggy collects; the order of stages is the configuration's
(`streamcal.chain`). Nothing is loaded on import: `load_plugins` makes a manager and passes it on.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import inspect
import os
import re
import stat
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pluggy
from pydantic import BaseModel

from streamcal import __version__, hookspecs
from streamcal.errors import PluginError
from streamcal.hookspecs import PROJECT, Column, InstrumentTable, Stage

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
    versions : mapping of str to str
        Version by plugin; empty where it tells none.
    """

    def __init__(self, manager: pluggy.PluginManager, versions: Mapping[str, str]) -> None:
        self._manager = manager
        self._versions = dict(versions)
        self.stages: dict[str, Stage] = {}
        self.instruments: dict[str, InstrumentTable] = {}
        self._stage_plugins: dict[str, str] = {}
        self._instrument_plugins: dict[str, str] = {}
        for name, _ in self._plugins():
            self._collect(name)

    def _plugins(self) -> list[tuple[str, Any]]:
        return [(name, plugin) for name, plugin in self._manager.list_name_plugin() if plugin is not None]

    def _collect(self, plugin: str) -> None:
        for stage in self._call(plugin, "streamcal_stages"):
            _check_type(stage, Stage, plugin, "streamcal_stages")
            _check_stage(stage, plugin)
            if stage.name in self.stages:
                owner = self._stage_plugins[stage.name]
                msg = f"stage {stage.name!r} is offered twice, by plugin {owner!r} and by plugin {plugin!r}"
                raise PluginError(msg)
            self.stages[stage.name] = stage
            self._stage_plugins[stage.name] = plugin
        for table in self._call(plugin, "streamcal_instruments"):
            _check_type(table, InstrumentTable, plugin, "streamcal_instruments")
            self._check_instrument(table, plugin)
            self.instruments[table.name] = table
            self._instrument_plugins[table.name] = plugin

    def _check_instrument(self, table: InstrumentTable, plugin: str) -> None:
        from streamcal.instruments import instrument_names

        if table.name in self.instruments:
            owner = self._instrument_plugins[table.name]
            msg = f"instrument {table.name!r} is offered twice, by plugin {owner!r} and by plugin {plugin!r}"
            raise PluginError(msg)
        if table.name in instrument_names():
            msg = f"instrument {table.name!r} of plugin {plugin!r} comes with streamcal already; give it another name"
            raise PluginError(msg)

    def _call(self, plugin: str, hook: str) -> list[Any]:
        """Call one hook of one plugin alone, so that it is known who offered what."""
        caller = getattr(self._manager.hook, hook)
        own = [implementation for implementation in caller.get_hookimpls() if implementation.plugin_name == plugin]
        return [offer for implementation in own for offer in _list_offers(implementation, plugin, hook)]

    def plugin_of(self, stage: str) -> str:
        """Return the name of the plugin that offers a stage."""
        return self._stage_plugins[stage]

    def version_of(self, plugin: str) -> str:
        """Return the version of a plugin; empty if it tells none."""
        return self._versions[plugin]

    def describe(self) -> list[PluginInfo]:
        """Return what is loaded, in order of name."""
        return sorted((self._describe(name, plugin) for name, plugin in self._plugins()), key=lambda info: info.name)

    def _describe(self, name: str, plugin: Any) -> PluginInfo:
        callers = self._manager.get_hookcallers(plugin) or []
        return PluginInfo(
            name=name,
            version=self._versions[name],
            path=_find_file(plugin),
            hooks=tuple(sorted(caller.name for caller in callers)),
            stages=tuple(stage for stage, owner in self._stage_plugins.items() if owner == name),
            instruments=tuple(table for table, owner in self._instrument_plugins.items() if owner == name),
        )


def _find_file(plugin: Any) -> str:
    """Return the file of a plugin's module; a plugin may also be an object of one."""
    module = sys.modules.get(getattr(plugin, "__module__", ""), plugin)
    return str(getattr(module, "__file__", "") or "")


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
    versions = {}
    for name, plugin, version in _find_plugins(folders, disabled):
        _register(manager, name, plugin)
        versions[name] = version
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as exc:
        what = _one_line(exc).partition(" in plugin ")[0]  # what follows is the module as Python shows it
        msg = f"plugin {manager.get_name(exc.plugin)!r}: {what}, known: {', '.join(_hook_names())}"
        raise PluginError(msg) from exc
    return Plugins(manager, versions)


def _find_plugins(folders: Sequence[Path], disabled: Collection[str]) -> Iterator[tuple[str, Any, str]]:
    """Load plugin after plugin: its name, what holds its hooks, and its version."""
    for name in BUILTIN_PLUGINS:
        if name not in disabled:
            yield name, importlib.import_module(f"{PROJECT}.stages.{name}"), __version__
    # not pluggy's own loader: it passes over a second plugin of one name in silence
    for entry in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        if entry.name not in disabled:
            yield entry.name, _load_entry_point(entry), entry.dist.version if entry.dist else ""
    for folder in folders:
        for path in list_plugin_files(folder):
            if path.stem not in disabled:
                module = _load_file(path)
                yield path.stem, module, str(getattr(module, "__version__", ""))


def _load_entry_point(entry: importlib.metadata.EntryPoint) -> Any:
    try:
        return entry.load()
    except (Exception, SystemExit) as exc:  # whatever an import may raise
        package = f" of {entry.dist.name}" if entry.dist else ""
        msg = f"plugin {entry.name!r} ({entry.value}{package}) cannot be loaded: {type(exc).__name__}: {_one_line(exc)}"
        raise PluginError(msg) from exc


def _register(manager: pluggy.PluginManager, name: str, plugin: Any) -> None:
    if manager.has_plugin(name):
        places = [getattr(holder, "__file__", holder) for holder in (manager.get_plugin(name), plugin)]
        msg = f"plugin {name!r} is there twice: {places[0]}, {places[1]}"
        raise PluginError(msg)
    try:
        manager.register(plugin, name)
    except ValueError as exc:  # the same module under two names
        msg = f"plugin {name!r} is there twice: it is registered as {manager.get_name(plugin)!r} too"
        raise PluginError(msg) from exc
    except pluggy.PluginValidationError as exc:
        msg = f"plugin {name!r}: {_one_line(exc)}"
        raise PluginError(msg) from exc
    for hook, function in inspect.getmembers(plugin, inspect.isfunction):
        if hook.startswith(f"{PROJECT}_") and not hasattr(function, f"{PROJECT}_impl"):
            msg = f"plugin {name!r}: {hook} is not marked with @hookimpl, so nobody would call it"
            raise PluginError(msg)


def list_plugin_files(folder: Path) -> list[Path]:
    """Return the plugin files of a folder, in order of name.

    Raises
    ------
    PluginError
        If the folder cannot be read, or it or one of its files could be written by another user.
    """
    path = folder
    try:
        files = sorted(item for item in folder.iterdir() if item.suffix == ".py" and item.name[0] not in "_.")
        for path in (folder, *files):
            _check_private(path)
    except OSError as exc:
        msg = f"plugin path {path}: {exc.strerror or exc}"
        raise PluginError(msg) from exc
    return files


def _check_private(path: Path) -> None:
    """Refuse a path that another user can write, or replace: the folders above it count, where it really lies."""
    place = path.resolve()
    trusted = {0, os.geteuid(), Path("/").stat().st_uid}  # the owner of / can do anything anyway
    for part in (place, *place.parents):
        status = part.stat()
        if status.st_uid not in trusted:
            msg = f"plugin path {path}: {part} belongs to another user (uid {status.st_uid})"
            raise PluginError(msg)
        is_sticky = part != place and bool(status.st_mode & stat.S_ISVTX)  # like /tmp: nobody can replace our entries
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not is_sticky:
            msg = f"plugin path {path}: {part} can be written by other users; chmod go-w {part}"
            raise PluginError(msg)


class _FreshLoader(SourceFileLoader):
    """Compile the file itself: a cache beside it could be out of date, or somebody else's."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def _load_file(path: Path) -> ModuleType:
    digest = hashlib.blake2b(os.fsencode(path.absolute()), digest_size=6).hexdigest()
    name = f"streamcal_plugin_{path.stem}_{digest}"
    loader = _FreshLoader(name, str(path))
    spec = ModuleSpec(name, loader, origin=str(path))
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as exc:  # whatever an import may raise
        del sys.modules[name]
        msg = f"plugin file {path} cannot be loaded: {type(exc).__name__}: {_one_line(exc)}"
        raise PluginError(msg) from exc
    return module


def _list_offers(implementation: Any, plugin: str, hook: str) -> list[Any]:
    try:
        return list(implementation.function() or ())
    except (Exception, SystemExit) as exc:
        msg = f"plugin {plugin!r}: {hook} failed: {type(exc).__name__}: {_one_line(exc)}"
        raise PluginError(msg) from exc


def _check_type(offer: Any, kind: type, plugin: str, hook: str) -> None:
    if not isinstance(offer, kind):
        msg = f"plugin {plugin!r}: {hook} must give {kind.__name__} objects, got {offer!r}"
        raise PluginError(msg)


def _check_stage(stage: Stage, plugin: str) -> None:
    """Check what type annotations ask for and nobody enforces, before it fails somewhere far away."""
    settings = stage.settings
    rules = (
        (_is_name(stage.name), f"name must be letters, digits, _ or -, got {stage.name!r}"),
        (stage.kind in {"exposure", "pair"}, f"kind must be 'exposure' or 'pair', got {stage.kind!r}"),
        (callable(stage.run), f"run must be a function, got {stage.run!r}"),
        (isinstance(settings, type) and issubclass(settings, BaseModel), f"settings must be a model, got {settings!r}"),
        (_holds(stage.requires, str), f"requires must be a tuple of names, got {stage.requires!r}"),
        (_holds(stage.provides, str), f"provides must be a tuple of names, got {stage.provides!r}"),
        (_holds(stage.columns, Column), f"columns must be a tuple of Column objects, got {stage.columns!r}"),
        (stage.check is None or callable(stage.check), f"check must be a function, got {stage.check!r}"),
    )
    for holds, rule in rules:
        if not holds:
            msg = f"plugin {plugin!r}: stage {stage.name!r}: {rule}"
            raise PluginError(msg)


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) is not None


def _holds(items: Any, kind: type) -> bool:
    return isinstance(items, (tuple, list)) and all(isinstance(item, kind) for item in items)


def _one_line(error: BaseException) -> str:
    return ", ".join(line.strip() for line in str(error).splitlines() if line.strip())


def _hook_names() -> list[str]:
    return sorted(name for name in vars(hookspecs) if name.startswith("streamcal_"))
