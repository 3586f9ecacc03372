"""Find an instrument: shipped with streamcal, offered by a plugin, in a file, or written into the configuration."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from streamcal.config import read_toml
from streamcal.errors import ConfigError
from streamcal.instruments.model import Instrument

_DEEPEST = 10  # tables upon tables; more is a circle

Spec = str | Mapping[str, Any]
Tables = Mapping[str, Mapping[str, Any]]


def instrument_names(offered: Iterable[str] = ()) -> list[str]:
    """Return the names of all instruments that streamcal ships or plugins offer, sorted."""
    return sorted({*_shipped(), *offered})


def load_instrument(spec: Spec, *, base: Path, offered: Tables | None = None) -> Instrument:
    """Load the instrument that a configuration asks for.

    Parameters
    ----------
    spec : str or mapping
        A name, the path of a ``.toml`` file (a table, or a run configuration, whose ``instrument`` counts), or a
        table. A table (also one in a file) may have a key ``base`` with a name or path: it is then laid over that one,
        table by table; lists are replaced as a whole.
    base : Path
        Folder that relative paths are relative to.
    offered : mapping of str to mapping, optional
        Tables that plugins offer, by name.

    Raises
    ------
    ConfigError
        If there is no such instrument (the nearest name and all known ones are named), or its table is wrong.
    """
    origin = f"instrument {spec}" if isinstance(spec, str) else "instrument"
    return Instrument.from_dict(_resolve(spec, base, offered or {}, 0), origin)


def _resolve(spec: Spec, folder: Path, offered: Tables, depth: int) -> dict[str, Any]:
    """Return the table that a specification means, with its bases merged in."""
    if depth == _DEEPEST:
        msg = f"instrument: base: tables stand upon each other in a circle, at {spec!r}"
        raise ConfigError(msg)
    table, folder = _find(spec, folder, offered)
    below = table.pop("base", None)
    if below is None:
        return table
    if not isinstance(below, str):
        msg = f"instrument: base: must be the name or path of an instrument, got {below!r}"
        raise ConfigError(msg)
    return _merge(_resolve(below, folder, offered, depth + 1), table)


def _find(spec: Spec, folder: Path, offered: Tables) -> tuple[dict[str, Any], Path]:
    """Return a copy of the table, and the folder that paths in it are relative to."""
    if not isinstance(spec, str):
        return dict(spec), folder
    if spec in offered:
        return dict(offered[spec]), folder
    shipped = _shipped()
    if spec in shipped:
        return read_toml(shipped[spec]), folder
    if spec.endswith(".toml") or "/" in spec:
        path = folder / Path(spec).expanduser()
        return _unwrap(read_toml(path), spec), path.parent
    known = instrument_names(offered)
    close = difflib.get_close_matches(spec, known, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ";"
    msg = f"instrument: {spec!r} is not known{hint} known: {', '.join(known)}, or the path of a .toml file"
    raise ConfigError(msg)


def _unwrap(table: dict[str, Any], spec: str) -> dict[str, Any]:
    """Return the table of an instrument file; of a saved draft or run configuration, that of its ``instrument``."""
    own = table.get("instrument", table)
    if isinstance(own, str):
        return {"base": own}
    if not isinstance(own, dict):
        msg = f"{spec}: instrument: must be a table, or the name or path of an instrument, got {own!r}"
        raise ConfigError(msg)
    return own


def _shipped() -> dict[str, Path]:
    folder = Path(str(resources.files(__package__)))
    return {path.stem: path for path in folder.glob("*.toml")}


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
