"""`streamcal fit`: photon transfer curves on demand, shown, stored, and held against limits."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from streamcal.cli.tables import format_value
from streamcal.config import read_toml, validate
from streamcal.errors import ConfigError
from streamcal.lock import StateLock, lock_owner
from streamcal.ptc.flags import BAD, LIMITS, FitFlag, decode_fit_flags
from streamcal.ptc.settings import FitConfig
from streamcal.state import JOURNAL, find_state

if TYPE_CHECKING:
    from rich.table import Table

    from streamcal.ptc.observations import GroupKey
    from streamcal.sink.arrow import ArrowSink

EXIT_DONE, EXIT_REJECTED = 0, 3

SHOWN = {"amplifier": "", "gain": "e-/ADU", "noise": "e-", "a00": "1/e-", "turnoff": "ADU", "chi2_dof": "", "pairs": ""}
SIGNS = {">": FitFlag.TURNOFF_NOT_REACHED, "poor": FitFlag.POOR_FIT}


def fit_output(  # noqa: PLR0913 - each is an option of the command
    output: Path,
    *,
    config: Path | None = None,
    model: str | None = None,
    group: str | None = None,
    detector: str | None = None,
    save: bool = True,
    check: bool = False,
    accept: bool = False,
    as_json: bool = False,
) -> int:
    """Fit the curves of an output and print the solutions; return the exit code.

    Parameters
    ----------
    output : Path
        Output folder of a run.
    config : Path, optional
        Run configuration whose ``[fit]`` holds; by default that of the run, if it is still there.
    model : str, optional
        Model in place of the configured one.
    group, detector : str, optional
        Only these; all by default.
    save : bool
        Append the solutions to the ``ptc`` table. While a daemon is at work only it may write: then it is asked to fit
        the same groups with the same settings, at once, and to store what it finds.
    check : bool
        Return 3 if an amplifier has no solution or breaks a limit.
    accept : bool
        Have later solutions compared with these, whatever they would be compared with themselves.
    as_json : bool
        A line of JSON an amplifier.

    Raises
    ------
    ConfigError
        If the configuration is wrong, the folder no output, or there is nothing of this group or detector.
    StateError
        If the output is damaged.
    """
    if accept and not save:
        msg = "--accept needs --save: solutions that are not stored cannot be compared with"
        raise ConfigError(msg)
    from streamcal.ptc.observations import choose_groups
    from streamcal.ptc.solutions import fit_rows

    need_output(output)
    settings = load_fit_config(output, config, model)
    keys = choose_groups(output, group, detector)
    rows: list[dict[str, Any]] = []
    for key in _show_progress(keys):
        rows += fit_rows(output.absolute(), key, settings, accept=accept, fresh=rows)
    if save and not _ask_daemon(output, keys, settings, accept=accept):
        _save(output, rows)
    _print(rows, as_json=as_json)
    failed = any(row["flags"] & (BAD | LIMITS) for row in rows)
    return EXIT_REJECTED if check and failed else EXIT_DONE


def need_output(output: Path) -> None:
    """Raise ConfigError unless a folder is an output with measurements."""
    if not (output / "measurements").is_dir():
        msg = f"{output} is no output of streamcal, or none yet: it has no folder 'measurements'"
        raise ConfigError(msg)


def load_fit_config(output: Path, config: Path | None, model: str | None = None) -> FitConfig:
    """Return ``[fit]`` of a configuration, or of that which the output was made with; defaults if it has gone.

    Raises
    ------
    ConfigError
        If it is wrong; names file and key.
    """
    path = config or _find_configuration(output)
    values: dict[str, Any] = dict(read_toml(path).get("fit", {})) if path else {}
    if model is not None:
        values["model"] = model
    return validate(FitConfig, values, str(path) if path else "--model", "fit." if path else "")


def _find_configuration(output: Path) -> Path | None:
    try:
        named = json.loads((output / "streamcal.json").read_text()).get("configuration", "")
    except (OSError, ValueError):
        return None
    path = Path(named) if named else None
    return path if path and path.is_file() else None


def _show_progress(keys: Sequence[GroupKey]) -> Iterator[GroupKey]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(keys, "fitting", console=console, transient=True, disable=not console.is_terminal or len(keys) < 2)


def _ask_daemon(output: Path, keys: Sequence[GroupKey], settings: FitConfig, *, accept: bool) -> bool:
    """Leave a request for a daemon that is at work; return whether there is one."""
    from streamcal import requests

    state = find_state(output)
    owner = lock_owner(state)
    if owner is not None:
        values = {"groups": [key.to_dict() for key in keys], "fit": settings.model_dump(mode="json"), "accept": accept}
        requests.leave(state / "requests", {"command": "fit", **values})
        typer.echo(
            f"streamcal: the daemon ({owner}) is at work: it will fit these groups too, and store them", err=True
        )
    return owner is not None


def _save(output: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Append the solutions, one commit a group."""
    from streamcal.ptc.columns import solution_schema
    from streamcal.ptc.observations import split_groups
    from streamcal.sink.schema import build_batch

    state = find_state(output)
    with StateLock(state), _open_sink(output, state) as sink:
        for of_group in split_groups(rows).values():
            seq = sink.next_seq
            for row in of_group:
                row["seq"] = seq
            batch = build_batch(solution_schema(), of_group)
            sink.append(batch, key=_make_key(), record=lambda _db, _seq: None)


def _make_key() -> str:
    import uuid

    return uuid.uuid4().hex


@contextmanager
def _open_sink(output: Path, state: Path) -> Iterator[ArrowSink]:
    from streamcal.journal import Journal
    from streamcal.sink.arrow import ArrowSink

    journal = Journal(state / JOURNAL, create=False)
    try:
        sink = ArrowSink(output / "ptc", "ptc", journal, roll_bytes=64_000_000, roll_seconds=86400.0)
        sink.recover()
        yield sink
        sink.close()
    finally:
        journal.close()


def _print(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        for row in rows:
            typer.echo(format_solution(row))
        return
    from rich.console import Console

    from streamcal.ptc.observations import split_groups

    console = Console(soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 120)
    for of_group in split_groups(rows).values():
        console.print(_make_table(of_group))
        for line in _write_notes(of_group):
            console.print(line, soft_wrap=True, highlight=False)


def _write_notes(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what is to be said of some amplifiers, and what the signs in the table mean."""
    for row in rows:
        if row["reason"]:
            yield f"{row['amplifier']}: {row['reason']}"
    for sign, flag in SIGNS.items():
        if any(row["flags"] & flag for row in rows):
            yield f"{sign}  {flag.name}: {flag.description}"


def _make_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of one group's amplifiers."""
    from rich.table import Table

    title = "  ".join(filter(None, (rows[0]["detector"], rows[0]["group"], rows[0]["model"])))
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for name, unit in SHOWN.items():
        table.add_column(f"{name}\n{unit}", justify="left" if name == "amplifier" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(_format(name, row) for name in SHOWN))
    return table


def format_solution(row: Mapping[str, Any]) -> str:
    """Return a solution as one line of JSON; flags by name as well, NaN as null."""
    values = {name: _plain(value) for name, value in row.items()}
    return json.dumps({**values, "flag_names": decode_fit_flags(row["flags"])})


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _format(name: str, row: Mapping[str, Any]) -> str:
    if name == "pairs":
        return f"{row['n_used']}/{row['n_pairs']}"
    if name == "chi2_dof":
        return f"{row[name]:.3f}" + (" poor" if row["flags"] & FitFlag.POOR_FIT else "")
    if name == "turnoff" and row["flags"] & FitFlag.TURNOFF_NOT_REACHED:
        return f"> {row['turnoff']:.0f}"
    if f"{name}_error" in row:
        return format_uncertain(row[name], row[f"{name}_error"])
    return format_value(name, row[name])


def format_uncertain(value: float, error: float) -> str:
    """Return a value with its error, both to two digits of the error."""
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return format_value("", value)
    digits = 1 - math.floor(math.log10(error))
    if abs(value) < 1e-3:
        power = math.floor(math.log10(abs(value))) if value else 0
        shown = max(digits + power, 0)
        return f"({value / 10.0**power:.{shown}f} ± {error / 10.0**power:.{shown}f})e{power}"
    shown = max(digits, 0)
    return f"{value:.{shown}f} ± {error:.{shown}f}"
