"""`streamcal crosstalk measure`: a crosstalk matrix with its errors, from exposures with bright spots or stars."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from streamcal.calibs.crosstalk import CrosstalkCalib
from streamcal.calibs.estimate import EstimateOptions, estimate_crosstalk
from streamcal.calibs.files import TEXT_ENDINGS
from streamcal.cli.measure import EXIT_DONE, blame, complain, inspect_path, look_beside
from streamcal.cli.tables import make_table, print_table
from streamcal.config import load_config, parse_config
from streamcal.errors import ConfigError, ExposureError, NotWhole, StageError
from streamcal.jobs import Workshop, make_context
from streamcal.records import Exposure, ExposureInfo
from streamcal.stages.numbers import number_for

STAGE = "crosstalk"
ENDINGS = (".fits", *TEXT_ENDINGS)
LINEAR_UNIT, QUADRATIC_UNIT = 1e-6, 1e-12

ConfiguredGains = float | dict[str, float] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class MatrixRequest:
    """What the user asks for; see the options of the command."""

    config: Path | None
    instrument: str
    detector: str | None
    output: Path | None
    quadratic: bool
    threshold: float  # units
    min_pixels: int
    units: str
    gains: tuple[str, ...]  # "1.5" or "C00=1.5"
    bad_amplifiers: tuple[str, ...]


def measure_matrix(paths: Sequence[Path], request: MatrixRequest) -> int:
    """Measure a matrix on exposures, print it and write it; return the exit code.

    Raises
    ------
    ConfigError, PluginError
        If request or configuration cannot work.
    """
    from streamcal.daemon import prepare
    from streamcal.logs import configure_logs

    settings = load_config(request.config) if request.config else parse_config({"instrument": request.instrument})
    configure_logs("warning", settings.log.format)
    _check_output(request.output)
    workshop = prepare(look_beside(settings, paths[0]))
    options, gains = _choose_options(request), _choose_gains(request, workshop)
    try:
        infos = [_choose_detector(path, _inspect(path, workshop), request.detector) for path in paths]
        _check_same(infos)
        names = list(_read(infos[0], workshop).amplifiers)
        bad = _choose_bad(request, workshop, infos[0], names)
        by_name = _gains_by_name(gains, names, bad)
        calib = _estimate(infos, workshop, options, gains=by_name, bad_amps=bad)
    except StageError as exc:
        return complain(blame(exc), exc.detail)
    except (ExposureError, NotWhole) as exc:
        return complain(str(exc))
    if not calib.coeff_num.any():
        return complain(f"no pixel is {request.threshold:g} {request.units} above the median of its amplifier")
    if not np.isfinite(calib.coeff_err).any():
        return complain(f"no coefficient has {options.min_pixels} bright pixels, the most are {calib.coeff_num.max()}")
    _print(calib, names, request)
    _complain_of_sources(calib, names, bad)
    _complain_of_coefficients(calib, names, bad, options.min_pixels)
    if request.output is not None:
        _write(calib, request.output)
    return EXIT_DONE


def _check_output(output: Path | None) -> None:
    if output is None:
        return
    if not output.name.lower().endswith(ENDINGS):
        msg = f"--output must end in {', '.join(ENDINGS)}, got {output}"
        raise ConfigError(msg)
    if output.exists():  # it might be an exposure
        msg = f"--output: {output} is there already"
        raise ConfigError(msg)
    if not os.access(output.parent, os.W_OK | os.X_OK):  # said before the work, not after it
        msg = f"--output: {output.parent} is no folder that can be written to"
        raise ConfigError(msg)


def _choose_options(request: MatrixRequest) -> EstimateOptions:
    if request.units not in {"adu", "electron"}:
        msg = f"--units must be adu or electron, got {request.units!r}"
        raise ConfigError(msg)
    try:
        return EstimateOptions(
            threshold=request.threshold, min_pixels=request.min_pixels, do_sqr_crosstalk=request.quadratic
        )
    except ValueError as exc:
        msg = f"--{exc}".replace("min_pixels", "min-pixels")
        raise ConfigError(msg) from exc


def _choose_gains(request: MatrixRequest, workshop: Workshop) -> ConfiguredGains:
    """Return the gains given, else those configured; None for adu."""
    if request.units == "adu":
        if request.gains:
            msg = "--gain goes with --units electron"
            raise ConfigError(msg)
        return None
    gains = _parse_gains(request.gains) or workshop.recipe.settings.get(STAGE, {}).get("gains")
    if gains is None:
        msg = f"--units electron needs --gain, or gains in [stages.{STAGE}]"
        raise ConfigError(msg)
    return gains  # checked with the settings of the stage


def _parse_gains(texts: Sequence[str]) -> ConfiguredGains:
    """Read ``1.5``, or ``C00=1.5`` and the like."""
    gains = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            gains[name] = float(number)
        except ValueError:
            gains[name] = np.nan
        if not 0 < gains[name] < np.inf:
            msg = f"--gain must be a number above 0, or AMPLIFIER=NUMBER, got {text!r}"
            raise ConfigError(msg)
    if "" in gains and len(texts) > 1:
        msg = f"--gain is one number for all amplifiers, or AMPLIFIER=NUMBER each, got {' '.join(texts)}"
        raise ConfigError(msg)
    return gains.get("", gains or None)


def _gains_by_name(gains: ConfiguredGains, names: Sequence[str], bad: Sequence[str]) -> dict[str, float] | None:
    """Return the gain of each amplifier; of bad ones it does not matter."""
    if gains is None:
        return None
    by_name = {name: number_for(gains, name) for name in names}
    missing = [name for name, gain in by_name.items() if np.isnan(gain) and name not in bad]
    unknown = sorted(set(gains) - set(names)) if isinstance(gains, dict) else []
    if unknown:
        msg = f"--gain: no amplifier {unknown[0]!r}, there are {', '.join(names)}"
        raise ConfigError(msg)
    if missing:
        msg = f"--gain must be given for all amplifiers, missing: {', '.join(missing)}"
        raise ConfigError(msg)
    return by_name


def _choose_bad(request: MatrixRequest, workshop: Workshop, info: ExposureInfo, names: Sequence[str]) -> list[str]:
    """Return the bad amplifiers given, and those configured for this detector."""
    unknown = [name for name in request.bad_amplifiers if name not in names]
    if unknown:
        msg = f"--bad-amplifier: no amplifier {unknown[0]!r}, there are {', '.join(names)}"
        raise ConfigError(msg)
    configured = workshop.recipe.settings.get(STAGE, {}).get("bad_amplifiers", ())
    return [name for name in names if {name, f"{info.detector}/{name}"} & {*request.bad_amplifiers, *configured}]


def _inspect(path: Path, workshop: Workshop) -> dict[str, ExposureInfo]:
    """Look into a file; what is wrong with it is said with its name."""
    try:
        return inspect_path(path, workshop)
    except (ExposureError, NotWhole) as exc:
        if str(path) in str(exc):
            raise
        msg = f"{path}: {exc}"
        raise ExposureError(msg) from exc


def _choose_detector(path: Path, infos: dict[str, ExposureInfo], wanted: str | None) -> ExposureInfo:
    names = ", ".join(infos)
    if wanted is None and len(infos) > 1:
        msg = f"{path} holds detectors {names}: choose one with --detector"
        raise ConfigError(msg)
    if wanted is not None and wanted not in infos:
        msg = f"{path} has no detector {wanted!r}, only {names}"
        raise ExposureError(msg)
    return infos[wanted] if wanted is not None else next(iter(infos.values()))


def _check_same(infos: Sequence[ExposureInfo]) -> None:
    """Refuse exposures of several detectors, and one exposure given twice: it would halve the errors."""
    for info in infos:
        if info.detector != infos[0].detector:
            msg = f"{info.path} is of detector {info.detector}, {infos[0].path} of {infos[0].detector}"
            raise ExposureError(msg)
        if [other.digest for other in infos].count(info.digest) > 1:
            msg = f"{info.path} was given twice, or another file has the same content"
            raise ExposureError(msg)


def _estimate(
    infos: Sequence[ExposureInfo], workshop: Workshop, options: EstimateOptions, **chosen: Any
) -> CrosstalkCalib:
    log = structlog.get_logger("streamcal.crosstalk")
    try:
        return estimate_crosstalk(_read_all(infos, workshop), log=log, **asdict(options), **chosen)
    except ValueError as exc:  # exposures that do not fit each other
        raise ExposureError(str(exc).replace("name it in bad_amps", "name it with --bad-amplifier")) from exc


def _read_all(infos: Sequence[ExposureInfo], workshop: Workshop) -> Iterator[Exposure]:
    """Read one after the other, showing on a terminal how far it is."""
    console = Console(stderr=True)
    for info in track(infos, "exposures", console=console, transient=True, disable=not console.is_terminal):
        yield _read(info, workshop)


def _read(info: ExposureInfo, workshop: Workshop) -> Exposure:
    """Read an exposure and do with it what a run does before it subtracts crosstalk."""
    from streamcal.instruments.read import read_exposure

    exposure = read_exposure(info, workshop.instrument, workshop.limits)
    return workshop.chain.run_before(STAGE, exposure, make_context(info, workshop, exposure_id=info.exposure_id))


def _print(calib: CrosstalkCalib, names: Sequence[str], request: MatrixRequest) -> None:
    typer.echo(f"linear coefficients, {LINEAR_UNIT:g}, of {request.units}; a row is what an amplifier receives")
    _print_matrix(names, calib.coeffs / LINEAR_UNIT, calib.coeff_err / LINEAR_UNIT)
    if request.quadratic:
        typer.echo(f"\nquadratic coefficients, {QUADRATIC_UNIT:g} per {request.units}")
        _print_matrix(names, calib.coeffs_sqr / QUADRATIC_UNIT, calib.coeff_err_sqr / QUADRATIC_UNIT)


def _complain_of_sources(calib: CrosstalkCalib, names: Sequence[str], bad: Sequence[str]) -> None:
    for source, count in zip(names, calib.coeff_num.sum(axis=0), strict=True):
        if not count and source not in bad:
            typer.echo(f"streamcal: amplifier {source} was nowhere a bright source: its column is empty", err=True)


def _complain_of_coefficients(
    calib: CrosstalkCalib, names: Sequence[str], bad: Sequence[str], min_pixels: int, shown: int = 6
) -> None:
    """Say which coefficients are empty, though their source was bright somewhere: by its name, too few pixels."""
    good = np.array([name not in bad for name in names])
    asked = good[:, None] & good & ~np.eye(len(names), dtype=bool)
    few = asked & (calib.coeff_num < min_pixels) & calib.coeff_num.any(axis=0)
    if not few.any():
        return
    pairs = [f"{names[t]} from {names[s]} ({calib.coeff_num[t, s]})" for t, s in np.argwhere(few)[:shown].tolist()]
    more = ", ..." if np.count_nonzero(few) > shown else ""
    text = (
        f"{np.count_nonzero(few)} of {np.count_nonzero(asked)} coefficients had fewer than {min_pixels} bright pixels"
    )
    typer.echo(f"streamcal: {text} and are empty: {', '.join(pairs)}{more}", err=True)


def _print_matrix(names: Sequence[str], values: NDArray[np.float64], errors: NDArray[np.float64]) -> None:
    table = make_table(["target", *names])
    for target, row, row_errors in zip(names, values, errors, strict=True):
        cells = [_cell(value, error) for value, error in zip(row, row_errors, strict=True)]
        table.add_row(target, *cells)
    print_table(table)


def _cell(value: float, error: float) -> str:
    return f"{value:.2f} +- {error:.2f}" if np.isfinite(error) else "-"


def _write(calib: CrosstalkCalib, output: Path) -> None:
    try:
        calib.write_fits(output) if output.name.lower().endswith(".fits") else calib.write_text(output)
    except OSError as exc:
        msg = f"--output: {output} cannot be written: {exc.strerror or exc}"
        raise ConfigError(msg) from exc
    typer.echo(f"wrote {output}", err=True)
