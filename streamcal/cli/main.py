"""The command line and what its exit codes mean: 0 done, 1 failure or bug, 2 wrong usage, 3 something was rejected."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from streamcal.errors import ConfigError, PluginError, StreamcalError

EXIT_FAILURE, EXIT_USAGE = 1, 2

app = typer.Typer(
    name="streamcal",
    help="Flat-field pairs measured as a stream, a row per amplifier, into Arrow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

crosstalk_app = typer.Typer(help="Crosstalk calibrations.", no_args_is_help=True)
app.add_typer(crosstalk_app, name="crosstalk")

OutputArgument = Annotated[Path, typer.Argument(metavar="OUTPUT", help="Output folder of a run.")]
ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG", help="Run configuration, a TOML file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def main() -> None:
    """Run the command line: errors that a user can mend are one line, bugs are tracebacks."""
    try:
        app()
    except (ConfigError, PluginError) as exc:
        _exit(EXIT_USAGE, exc)
    except StreamcalError as exc:
        _exit(EXIT_FAILURE, exc)
    except BrokenPipeError:  # the reader of our output has gone, as "| head" does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILURE)


def _exit(code: int, error: Exception) -> None:
    for line in str(error).splitlines():
        print(f"streamcal: {line}", file=sys.stderr)  # noqa: T201 - the command line's own voice
    sys.exit(code)


def _show_version(wanted: bool) -> None:
    if wanted:
        from streamcal import __version__

        typer.echo(f"streamcal {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where streamcal.toml is written; made if needed.")],
    instrument: Annotated[str, typer.Option(help="Instrument to start from.")] = "simple",
    group: Annotated[
        list[str] | None,
        typer.Option(help="Header key that tells one run from another; may be repeated."),
    ] = None,
) -> None:
    """Write a commented configuration to start from."""
    from streamcal.cli.init import write_configuration

    path = write_configuration(folder, instrument, group)
    typer.echo(f"wrote {path}; next: streamcal check {path}")


@app.command()
def check(config: ConfigArgument) -> None:
    """Find everything that can be wrong before the first exposure."""
    from streamcal.check import find_notes, find_problems
    from streamcal.config import load_config

    settings = load_config(config)
    if problems := find_problems(settings):
        raise ConfigError("\n".join(problems))
    for note in find_notes(settings):
        typer.echo(f"streamcal: note: {note}", err=True)
    typer.echo(f"{config}: fine")


@app.command()
def run(
    config: ConfigArgument,
    inputs: Annotated[
        list[Path] | None,
        typer.Option("--input", metavar="DIR", help="Folder to watch instead of source.folders; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the results instead of output.folder."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Process what is there, then exit.")] = False,
) -> None:
    """Watch folders and measure pairs as they come, until SIGTERM or SIGINT."""
    from streamcal.config import load_config
    from streamcal.logs import configure_logs

    settings = load_config(config, inputs=tuple(inputs or ()), output=output)
    configure_logs(settings.log.level, settings.log.format)
    from streamcal.daemon import run_daemon

    raise typer.Exit(run_daemon(settings, once=once))


@app.command()
def measure(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="One flat.")],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="Another of the same level.")],
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", metavar="CONFIG", help="Run configuration: instrument, stages, plugins."),
    ] = None,
    instrument: Annotated[str, typer.Option(help="Instrument, when there is no configuration.")] = "simple",
    as_json: JsonOption = False,
) -> None:
    """Measure one pair, without daemon or journal."""
    from streamcal.cli.measure import measure_files

    raise typer.Exit(measure_files(first, second, config, instrument, as_json=as_json))


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A FITS file.")],
    instrument: Annotated[
        str | None, typer.Option(help="Instrument, by name or path; default: a draft for an unknown camera.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw the detectors with their sections (also PDF, SVG).")
    ] = None,
    header: Annotated[bool, typer.Option("--header", help="List all header keys with their values, too.")] = False,
) -> None:
    """Show what streamcal would make of a FITS file, or draft a table for its camera."""
    from streamcal.cli.inspect import inspect_fits

    raise typer.Exit(inspect_fits(file, instrument, picture, header=header))


@app.command()
def tail(
    output: OutputArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing rows as they come.")] = False,
    n_rows: Annotated[int, typer.Option("-n", "--rows", min=0, help="Show so many of the latest rows.")] = 20,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", help="Show this column; may be repeated."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(help="With --follow: end after so many seconds without a new row."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the latest rows, live with --follow."""
    from streamcal.cli.tail import RowPrinter, show_following, show_latest

    printer = RowPrinter(columns or [], as_json=as_json)
    start = show_latest(output, n_rows, printer, wait=follow)
    if follow:
        show_following(output, start, timeout, printer)


@app.command()
def status(
    output: OutputArgument,
    files: Annotated[bool, typer.Option("--files", help="List every input file and what became of it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell how a run is doing, with the daemon up or down."""
    from streamcal.cli.status import show_files, show_status

    (show_files if files else show_status)(output, as_json=as_json)


@app.command()
def retry(
    output: OutputArgument,
    pairs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PAIR]...", help="Beginnings of pair ids; none: all failed pairs."),
    ] = None,
    files: Annotated[
        list[Path] | None,
        typer.Option("--file", metavar="PATH", help="A rejected file that is to be looked into again."),
    ] = None,
    rejected: Annotated[bool, typer.Option("--rejected", help="All rejected files.")] = False,
) -> None:
    """Try again what was set aside; the daemon does it at once, or the next start."""
    from streamcal.cli.ask import ask_daemon

    names = [name for path in files or () for name in dict.fromkeys((str(path), str(path.absolute())))]
    values: dict[str, Any] = {"command": "retry", "pairs": pairs or [], "files": names, "rejected": rejected}
    raise typer.Exit(ask_daemon(output, values))


@app.command("close-group")
def close_group(
    output: OutputArgument,
    group: Annotated[
        str | None,
        typer.Option(help='Group as in the rows, such as "RUNID=7"; none: all groups.'),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(help="Only this detector."),
    ] = None,
) -> None:
    """Record the exposures of a group that wait for a partner as orphans."""
    from streamcal.cli.ask import ask_daemon

    values: dict[str, Any] = {"command": "close-group", "group": group, "detector": detector}
    raise typer.Exit(ask_daemon(output, values))


@app.command()
def verify(
    output: OutputArgument,
    repair: Annotated[bool, typer.Option("--repair", help="Then do what is said; the daemon must be down.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check that journal, segments and schemas agree; say what a start would repair."""
    from streamcal.cli.verify import show_findings

    raise typer.Exit(show_findings(output, repair=repair, as_json=as_json))


@app.command()
def plugins(
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", metavar="CONFIG", help="Run configuration that names plugin folders."),
    ] = None,
    folders: Annotated[
        list[Path] | None,
        typer.Option("--folder", metavar="DIR", help="Folder with plugin files; may be repeated."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the plugins there are: name, version, path, hooks and stages."""
    from streamcal.cli.plugins import show_plugins

    show_plugins(config, folders or [], as_json=as_json)


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the exposures are written; made if needed.")],
    pairs: Annotated[int, typer.Option(min=1, help="Number of levels, a pair each.")] = 20,
    lowest: Annotated[float, typer.Option(help="Lowest level (e-).")] = 200.0,
    camera: Annotated[str, typer.Option(help="simulated, or lsstcam: full size, quickly.")] = "simulated",
    rows: Annotated[int | None, typer.Option(min=1, help="Rows of an amplifier; default: the camera's.")] = None,
    columns: Annotated[int | None, typer.Option(min=1, help="Columns of an amplifier; default: the camera's.")] = None,
    flats_per_level: Annotated[int, typer.Option(min=1, help="Exposures at each level.")] = 2,
    biases: Annotated[int, typer.Option(min=0, help="Bias exposures before the flats.")] = 0,
    detectors: Annotated[list[str] | None, typer.Option("--detector", help="Detector; may be repeated.")] = None,
    first_id: Annotated[int, typer.Option(min=0, help="Id of the first exposure.")] = 1,
    run_id: Annotated[str, typer.Option(help="RUNID in the headers, and start of the file names.")] = "SIM0001",
    seed: Annotated[int, typer.Option(help="Seed of the random numbers.")] = 1,
    order: Annotated[str, typer.Option(help="paired, interleaved or shuffled.")] = "paired",
    style: Annotated[str, typer.Option(help="How files come: rename, direct or slow.")] = "rename",
    suffix: Annotated[str, typer.Option(help=".fits, .fits.fz or .fits.gz.")] = ".fits",
    interval: Annotated[float, typer.Option(min=0, help="Pause after each file (s), as a camera would.")] = 0.0,
) -> None:
    """Write flats of known truth, at once or as a camera would; the truth is in truth.json."""
    from streamcal.cli.simulate import write_flats

    names = tuple(detectors or ("S00",))
    options: dict[str, Any] = {"flats_per_level": flats_per_level, "biases": biases, "detectors": names}
    options |= {"first_id": first_id, "run_id": run_id, "seed": seed, "order": order, "style": style}
    options |= {"suffix": suffix, "interval_seconds": interval}
    typer.echo(write_flats(folder, camera=camera, pairs=pairs, shape=(rows, columns), lowest=lowest, **options))


@crosstalk_app.command("measure")
def measure_crosstalk(
    exposures: Annotated[
        list[Path], typer.Argument(metavar="EXPOSURES...", help="Of one detector, with bright spots.")
    ],
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", metavar="CONFIG", help="Run configuration: instrument, stages, plugins."),
    ] = None,
    instrument: Annotated[str, typer.Option(help="Instrument, when there is no configuration.")] = "simple",
    detector: Annotated[str | None, typer.Option(help="Which of the detectors in the files.")] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write .fits, .ecsv, .yaml; a new file.")] = None,
    quadratic: Annotated[bool, typer.Option("--quadratic", help="Measure the quadratic term too.")] = False,
    threshold: Annotated[float, typer.Option(help="Pixels this far above the median are sources (units).")] = 30000.0,
    min_pixels: Annotated[int, typer.Option(help="Coefficients of fewer pixels under sources are left out.")] = 100,
    units: Annotated[str, typer.Option(help="adu or electron: of what the coefficients are.")] = "adu",
    gains: Annotated[
        list[str] | None,
        typer.Option("--gain", help="For electrons (e-/ADU): a number, or AMPLIFIER=NUMBER; may be repeated."),
    ] = None,
    bad_amplifiers: Annotated[
        list[str] | None,
        typer.Option("--bad-amplifier", help="Neither source nor target; may be repeated."),
    ] = None,
) -> None:
    """Measure a crosstalk matrix with its errors on exposures with bright spots or stars."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # products this small take ten times longer on a busy machine
    from streamcal.cli.crosstalk import MatrixRequest, measure_matrix

    request = MatrixRequest(
        config=config,
        instrument=instrument,
        detector=detector,
        output=output,
        quadratic=quadratic,
        threshold=threshold,
        min_pixels=min_pixels,
        units=units,
        gains=tuple(gains or ()),
        bad_amplifiers=tuple(bad_amplifiers or ()),
    )
    raise typer.Exit(measure_matrix(exposures, request))


GroupOption = Annotated[str | None, typer.Option(help="Only this group, written as in the rows.")]
DetectorOption = Annotated[str | None, typer.Option(help="Only this detector.")]
ModelOption = Annotated[str | None, typer.Option(help="Solutions of this model; default: the latest of any.")]


@app.command()
def fit(
    output: OutputArgument,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", metavar="CONFIG", help="Run configuration with the [fit] to use."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model instead of the configured one.")] = None,
    group: GroupOption = None,
    detector: DetectorOption = None,
    save: Annotated[
        bool, typer.Option(help="Append the solutions to the ptc table; a daemon at work is asked to do so.")
    ] = True,
    limits: Annotated[
        bool, typer.Option("--check", help="Exit code 3 if a limit is broken or an amplifier has no solution.")
    ] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="Compare later solutions with these: after a change that is known.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fit photon transfer curves: gain, noise and a_ij of each amplifier."""
    from streamcal.cli.fit import fit_output

    options: dict[str, Any] = {"config": config, "model": model, "group": group, "detector": detector}
    raise typer.Exit(fit_output(output, save=save, check=limits, accept=accept, as_json=as_json, **options))


@app.command()
def plot(
    output: OutputArgument,
    folder: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="Default: OUTPUT/plots.")] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", help="curves, covariances, kernel, trends or focal-plane; may be repeated."),
    ] = None,
    suffix: Annotated[str, typer.Option("--format", help="png, pdf or svg.")] = "png",
    group: GroupOption = None,
    detector: DetectorOption = None,
    model: ModelOption = None,
) -> None:
    """Draw curves, covariances, kernels, trends and focal planes."""
    from streamcal.cli.plot import plot_output

    options: dict[str, Any] = {"folder": folder, "kinds": kinds or (), "suffix": suffix}
    raise typer.Exit(plot_output(output, group=group, detector=detector, model=model, **options))


@app.command()
def export(
    output: OutputArgument,
    kind: Annotated[str, typer.Option("--format", help="parquet, csv, feather or lsst-ptc.")],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="PATH", help="File or folder; default: in the working folder.")
    ] = None,
    table: Annotated[str | None, typer.Option(help="measurements (default), exposures or ptc.")] = None,
    group: GroupOption = None,
    detector: DetectorOption = None,
    model: ModelOption = None,
    partial: Annotated[bool, typer.Option("--partial", help="lsst-ptc: a PARTIAL file for each pair.")] = False,
    dummies: Annotated[
        bool,
        typer.Option(
            "--dummies",
            help="With --partial: a DUMMY file for each other flat of the group, so that files match flats.",
        ),
    ] = False,
) -> None:
    """Write results in another form."""
    from streamcal.cli.export import export_output

    options: dict[str, Any] = {"to": to, "table": table, "group": group, "detector": detector, "model": model}
    raise typer.Exit(export_output(output, kind=kind, partial=partial, dummies=dummies, **options))
