"""`streamcal init`: a commented configuration to start from."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from streamcal.config import DEFAULT_STAGES
from streamcal.errors import ConfigError
from streamcal.instruments import Instrument, load_instrument
from streamcal.plugins import load_plugins
from streamcal.template import write_template

NAME = "streamcal.toml"


def write_configuration(folder: Path, instrument: str, group: Sequence[str] | None) -> Path:
    """Write a configuration into a folder; return its path.

    Parameters
    ----------
    folder : Path
        Made if needed.
    instrument : str
        Name of an instrument or path of its file.
    group : sequence of str or None
        Header keys that tell one run from another; None: ask, or take what the instrument knows.

    Raises
    ------
    ConfigError
        If there is a configuration already, or the instrument does not exist.
    """
    path = folder / NAME
    if path.exists():
        msg = f"{path} is there already"
        raise ConfigError(msg)
    plugins = load_plugins()
    offered = {name: offer.table for name, offer in plugins.instruments.items()}
    table = load_instrument(instrument, base=folder.absolute(), offered=offered)
    values = {
        "instrument": instrument,
        "source": {"folders": ["incoming"]},
        "output": {"folder": "output"},
        "pairing": {"group": list(_ask_group(table) if group is None else group)},
        "stages": table.init,
    }
    stages = {name: plugins.stages[name].settings for name in DEFAULT_STAGES}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(write_template(values, stages, NAME))
    except OSError as exc:
        msg = f"{path} cannot be written: {exc.strerror}"
        raise ConfigError(msg) from exc
    return path


def _ask_group(instrument: Instrument) -> list[str]:
    """Ask by which header keys runs are told apart: without any, a second run of a night would be extras."""
    known = [
        name for name, keys in (("@run", instrument.identify.run), ("@filter", instrument.identify.filter)) if keys
    ]
    if not sys.stdin.isatty():
        return known
    typer.echo("Which header keys tell one run from another (run id, filter, night, binning)?")
    typer.echo("Without any, a second run at the same levels is taken for extras of the first.")
    answer = typer.prompt("Keys, separated by commas", default=",".join(known) or "none")
    return [key.strip() for key in answer.split(",") if key.strip() and key.strip() != "none"]
