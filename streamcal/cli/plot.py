"""`streamcal plot`: pictures of the latest solutions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from streamcal.cli.fit import need_output
from streamcal.errors import ConfigError
from streamcal.plots import KINDS, SUFFIXES


def plot_output(  # noqa: PLR0913 - each is an option of the command
    output: Path,
    *,
    folder: Path | None = None,
    kinds: Sequence[str] = (),
    suffix: str = "png",
    group: str | None = None,
    detector: str | None = None,
    model: str | None = None,
) -> int:
    """Draw the pictures of an output and print the paths of the files; return the exit code.

    Parameters
    ----------
    output : Path
        Output folder of a run.
    folder : Path, optional
        Where the files go; ``OUTPUT/plots`` by default.
    kinds : sequence of str
        Of `KINDS`; none: all.
    suffix : str
        Of `SUFFIXES`.
    group, detector : str, optional
        Only these.
    model : str, optional
        Solutions of this model; by default the latest of whatever model.

    Raises
    ------
    ConfigError
        If kind or form does not exist, matplotlib is missing, there are no solutions yet, or a file cannot be written.
    """
    _check_choice("--kind", kinds, KINDS)
    _check_choice("--format", [suffix], SUFFIXES)
    from streamcal.plots.book import draw_output

    need_output(output)
    target = folder or output / "plots"
    wanted = {"group": group, "detector": detector, "model": model}
    paths = list(draw_output(output, target, kinds=kinds or KINDS, suffix=suffix, **wanted))
    for path in paths:
        typer.echo(path)
    if not paths:
        msg = f"{output}: no solutions to draw; run: streamcal fit {output}"
        raise ConfigError(msg)
    return 0


def _check_choice(option: str, given: Sequence[str], known: Sequence[str]) -> None:
    for value in given:
        if value not in known:
            msg = f"{option} must be one of {', '.join(known)}, got {value!r}"
            raise ConfigError(msg)
