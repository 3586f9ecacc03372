"""`streamcal plugins`: what is installed, and what each plugin offers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import typer

from streamcal.config import load_config
from streamcal.plugins import load_plugins


def show_plugins(config: Path | None, folders: Sequence[Path], *, as_json: bool) -> None:
    """Print name, version, path, hooks and stages of each plugin."""
    pipeline = load_config(config).pipeline if config else None
    folders = (*folders, *(pipeline.plugin_folders if pipeline else ()))
    infos = load_plugins(folders, pipeline.disabled_plugins if pipeline else ()).describe()
    if as_json:
        typer.echo(json.dumps([asdict(info) for info in infos], indent=2))
        return
    from rich.table import Table

    from streamcal.cli.tables import print_table

    table = Table("name", "version", "hooks", "stages", "path", box=None, pad_edge=False)
    for info in infos:
        offers = ", ".join((*info.stages, *info.instruments))
        table.add_row(info.name, info.version, ", ".join(info.hooks), offers, info.path)
    print_table(table)
