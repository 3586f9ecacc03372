"""`streamcal measure`: one pair, from two files to a table of amplifiers, without daemon or journal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer

from streamcal.cli.tables import SHOWN, SHOWN_LAST, format_json, format_row, make_table, print_table
from streamcal.config import Config, load_config, parse_config
from streamcal.errors import ExposureError, NotWhole, StageError
from streamcal.jobs import Workshop, inspect_job, measure_rows, serialize_rows
from streamcal.pairing import form_pair
from streamcal.records import Candidate, ExposureInfo, FileStat

EXIT_DONE, EXIT_REJECTED = 0, 3


def measure_files(first: Path, second: Path, config: Path | None, instrument: str, *, as_json: bool) -> int:
    """Measure two files as a pair and print the rows; return the exit code.

    Raises
    ------
    ConfigError, PluginError
        If the configuration cannot work.
    """
    from streamcal.daemon import prepare
    from streamcal.logs import configure_logs

    settings = load_config(config) if config else parse_config({"instrument": instrument})
    configure_logs("warning", settings.log.format)
    workshop = prepare(look_beside(settings, first))
    try:
        rows = _measure(first, second, workshop)
    except (ExposureError, NotWhole) as exc:
        return complain(str(exc))
    except StageError as exc:
        return complain(blame(exc), exc.detail)
    _print(rows, workshop, as_json=as_json)
    return EXIT_DONE


def look_beside(settings: Config, file: Path) -> Config:
    """Let stages find files with relative names (darks, masks) beside the exposures too."""
    folders = (*settings.source.folders, file.absolute().parent)
    return settings.model_copy(update={"source": settings.source.model_copy(update={"folders": folders})})


def _measure(first: Path, second: Path, workshop: Workshop) -> list[dict[str, Any]]:
    one, other = _inspect(first, workshop), _inspect(second, workshop)
    common = [detector for detector in one if detector in other]
    if not common:
        msg = f"the files have no detector in common: {', '.join(one)} and {', '.join(other)}"
        raise ExposureError(msg)
    companions = {info.exposure_id: infos for infos in (one, other) for info in infos.values()}
    rows: list[dict[str, Any]] = []
    for detector in common:
        if one[detector].digest == other[detector].digest:
            msg = f"{first} and {second} have the same content"
            raise ExposureError(msg)
        measured = measure_rows(form_pair(one[detector], other[detector]), workshop, companions)
        serialize_rows(measured, workshop)  # a value of a wrong type is found here as it would be in the daemon
        rows += measured
    return rows


def _inspect(path: Path, workshop: Workshop) -> dict[str, ExposureInfo]:
    infos = inspect_path(path, workshop)
    for info in infos.values():
        if not info.is_flat:
            typer.echo(f"streamcal: {path}: {info.reason}; measured all the same", err=True)
    return infos


def inspect_path(path: Path, workshop: Workshop) -> dict[str, ExposureInfo]:
    """Look into a file; return what it holds by detector.

    Raises
    ------
    ExposureError, NotWhole
        If it cannot be used.
    """
    import json

    from streamcal.instruments.inspect import inspect_file

    try:
        status = os.stat(path)  # noqa: PTH116 - the name is kept as it was given
    except OSError as exc:
        msg = f"{path}: {exc.strerror}"
        raise ExposureError(msg) from exc
    candidate = Candidate(path=str(path.absolute()), stat=FileStat.of(status))
    found = json.loads(inspect_file(inspect_job(candidate, workshop.recipe)))
    return {values["detector"]: ExposureInfo.from_dict(values) for values in found["exposures"]}


def blame(error: StageError) -> str:
    """Return what a stage could not do, with its name and its plugin's where it is known."""
    return f"stage {error.stage!r} of plugin {error.plugin!r}: {error}" if error.plugin else str(error)


def complain(text: str, detail: str = "") -> int:
    """Say on stderr why something was rejected; return the exit code that says so."""
    if detail:
        typer.echo(detail.rstrip(), err=True)
    typer.echo(f"streamcal: {text}", err=True)
    return EXIT_REJECTED


def _print(rows: list[dict[str, Any]], workshop: Workshop, *, as_json: bool) -> None:
    if as_json:
        for row in rows:
            typer.echo(format_json({**dict.fromkeys(workshop.schema.names), **row}))
        return
    columns = (*SHOWN, *_foreign_columns(workshop), *SHOWN_LAST)
    table = make_table(columns)
    for row in rows:
        table.add_row(*format_row(row, columns))
    print_table(table)


def _foreign_columns(workshop: Workshop) -> list[str]:
    """Return the columns of stages that are not built in: those one tries a plugin for."""
    from streamcal.plugins import BUILTIN_PLUGINS

    owner = workshop.plugins.plugin_of
    foreign = [columns for stage, columns in workshop.chain.columns if owner(stage) not in BUILTIN_PLUGINS]
    return [column.name for columns in foreign for column in columns]
