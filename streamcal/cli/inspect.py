"""`streamcal inspect`: what streamcal would make of a FITS file, or a first table for a camera it does not know."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from streamcal.cli.tables import print_table
from streamcal.errors import ConfigError, ExposureError, NotWhole, StreamcalError
from streamcal.instruments import Instrument, instrument_names, load_instrument, read_exposure
from streamcal.instruments.catalog import Tables
from streamcal.instruments.detectors import Detector, split_detectors
from streamcal.instruments.draft import draft_instrument
from streamcal.instruments.fits import open_hdus
from streamcal.instruments.identify import identify, with_names
from streamcal.instruments.layout import place_amplifiers
from streamcal.instruments.lookups import find_first, matches
from streamcal.instruments.model import Lookup, Lookups
from streamcal.instruments.sections import OrientedSection, format_section
from streamcal.instruments.values import Header, get_value
from streamcal.paths import show_path
from streamcal.plugins import load_plugins
from streamcal.records import Exposure, ExposureInfo, FileStat, Section
from streamcal.source.whole import Limits, Structure, inspect_structure
from streamcal.template import write_value

if TYPE_CHECKING:
    from streamcal.cli.picture import Panel

EXIT_DONE, EXIT_REJECTED = 0, 3
MAD_TO_SIGMA = 1.482602  # of a normal distribution
IDENTITY = ("exposure_id", "exposure_time", "flux", "start", "end", "detector", "filter", "run")


@dataclass(frozen=True, kw_only=True, slots=True)
class InputFile:
    """A file that has been looked into.

    Attributes
    ----------
    path : str
        As ``os.fsdecode`` gives it.
    structure : Structure
        Its HDUs.
    headers : tuple of mapping
        Plain headers of all HDUs in order.
    """

    path: str
    stat: FileStat
    structure: Structure
    headers: tuple[Header, ...]


def inspect_fits(path: Path, name: str | None, picture: Path | None, *, header: bool = False) -> int:
    """Show what streamcal would make of a file; return the exit code.

    Parameters
    ----------
    path : Path
        A FITS file.
    name : str or None
        Instrument, by name or path; None: that of a draft made for this file, which is printed as well.
    picture : Path or None
        Where the detectors are drawn with their sections.
    header : bool
        List all header keys, too.

    Raises
    ------
    ConfigError
        If there is no such instrument, matplotlib is not there for a picture, the picture has another ending, or the
        folder that it is for is none.
    """
    if picture:
        _check_picture(picture)
    offered = {name: offer.table for name, offer in load_plugins().instruments.items()}
    chosen = load_instrument(name, base=Path.cwd(), offered=offered) if name else None
    try:
        file = _look_into(path)
        _show_structure(file)
        if header:
            _show_headers(file)
        if chosen is None:
            _show_candidates(file, offered)
            chosen = _show_draft(file)
        panels = [panel for exposure in _show_exposures(file, chosen) if picture for panel in _make_panels(exposure)]
    except (ExposureError, NotWhole) as exc:
        typer.echo(f"streamcal: {show_path(path)}: {exc}", err=True)
        return EXIT_REJECTED
    if picture:
        from streamcal.cli.picture import draw_panels

        draw_panels(panels, picture)
        typer.echo(f"\ndrew {show_path(picture)}")
    return EXIT_DONE


def _check_picture(picture: Path) -> None:
    from streamcal.plots import SUFFIXES
    from streamcal.plots.style import need_matplotlib

    need_matplotlib()
    if picture.suffix.lower().removeprefix(".") not in SUFFIXES:
        msg = f"--picture must end in one of .{', .'.join(SUFFIXES)}, got {show_path(picture)!r}"
        raise ConfigError(msg)
    if not picture.absolute().parent.is_dir():
        msg = f"--picture: {show_path(picture.absolute().parent)} is no folder"
        raise ConfigError(msg)


def _make_panels(exposure: Exposure) -> list[Panel]:
    from streamcal.cli.picture import make_panels

    return make_panels(exposure)


def _look_into(path: Path) -> InputFile:
    limits = Limits()
    if path.is_symlink():  # which nothing else follows; whoever names one means what it leads to
        path = path.resolve()
    try:
        stat = FileStat.of(os.stat(path))  # noqa: PTH116 - the name is kept as it was given
    except OSError as exc:
        raise ExposureError(exc.strerror or str(exc)) from exc
    structure = inspect_structure(str(path), stat, limits)
    with open_hdus(str(path), stat, limits) as file:
        headers = file.headers
    return InputFile(path=str(path.absolute()), stat=stat, structure=structure, headers=headers)


def _show_structure(file: InputFile) -> None:
    typer.echo(f"{show_path(file.path)}: {file.stat.size} bytes{', gzip' if file.structure.gzipped else ''}")
    table = _make_table(("HDU", "name", "kind"), ("axes", "bitpix", "bzero"))
    for extent in file.structure.extents:
        kind = f"{extent.kind}, tile-compressed image" if extent.compressed else extent.kind
        axes = " x ".join(map(str, extent.naxis)) or "none"
        _add_row(table, str(extent.index), extent.extname, kind, axes, str(extent.bitpix), f"{extent.bzero:g}")
    print_table(table)


def _show_headers(file: InputFile) -> None:
    for index, header in enumerate(file.headers):
        typer.echo(f"\nHDU {index}")
        table = _make_table(("key", "value"))
        for key, value in header.items():
            _add_row(table, key, str(value))
        print_table(table)


def _make_table(words: Sequence[str], numbers: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in words:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, no_wrap=True, justify="right")
    return table


def _add_row(table: Table, *cells: str) -> None:
    table.add_row(*map(Text, cells))  # as text: rich takes brackets for markup, of which sections and headers are full


def _show_candidates(file: InputFile, offered: Tables) -> None:
    instruments = (load_instrument(name, base=Path.cwd(), offered=offered) for name in instrument_names(offered))
    fitting = [instrument.name for instrument in instruments if _fits(file, instrument)]
    typer.echo(f"\nInstruments whose table fits this file: {', '.join(fitting) or 'none'}")


def _fits(file: InputFile, instrument: Instrument) -> bool:
    try:
        infos = _identify(file, instrument)
        for detector in split_detectors(instrument, file.headers, file.path):
            if not _knows_kind(instrument, detector):
                return False
            place_amplifiers(instrument, file.headers, detector)
    except StreamcalError:
        return False
    return all(info.exposure_id and math.isfinite(info.exposure_time) for info in infos)


def _knows_kind(instrument: Instrument, detector: Detector) -> bool:
    """Tell whether a header has a key by which the instrument tells flats from others, or its name or folder does."""
    rules = (*instrument.identify.flat, *instrument.identify.not_flat)
    return any(get_value(rule.key, detector.facts) is not None for rule in rules if "@" not in rule.key) or any(
        matches(rule, detector.facts) for rule in rules
    )


def _identify(file: InputFile, instrument: Instrument) -> list[ExposureInfo]:
    return identify(instrument, file.headers, file.path, file.stat, file.structure.digest)


def _show_draft(file: InputFile) -> Instrument:
    """Show a table made for this file, and return the instrument that it describes."""
    table = draft_instrument(file.headers)
    typer.echo("\nA draft for the configuration, or a file of its own for --instrument (read it before, above all what")
    typer.echo("flats are and what the sections say):\n")
    tables = {f"instrument.{key}": value for key, value in table.items() if isinstance(value, dict)}
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    for name, values in {"instrument": plain, **tables}.items():
        typer.echo(f"[{name}]")
        for key, value in values.items():
            typer.echo(f"{key} = {write_value(value)}")
        typer.echo("")
    return load_instrument(table, base=Path.cwd())


def _show_exposures(file: InputFile, instrument: Instrument) -> Iterator[Exposure]:
    """Show detector by detector what an instrument finds; yield what was read."""
    infos = {info.detector: info for info in _identify(file, instrument)}
    for detector in split_detectors(instrument, file.headers, file.path):
        info = infos[detector.name]
        typer.echo(f"Detector {detector.name} as instrument {instrument.name}: {info.reason or 'a flat'}")
        missing = _show_identity(instrument, detector, info)
        exposure = read_exposure(info, instrument, Limits())
        _show_amplifiers(exposure)
        missing += _find_gaps(exposure)
        typer.echo(f"missing: {'; '.join(missing) or 'nothing'}\n")
        yield exposure


def _show_identity(instrument: Instrument, detector: Detector, info: ExposureInfo) -> list[str]:
    """Show which keys were found and what they say; return what was not found."""
    facts, missing = with_names(instrument.identify, detector.facts), []
    table = _make_table(("what", "key", "value"))
    for name in IDENTITY:
        lookups: Lookups = getattr(instrument.identify, name)
        found = next((lookup for lookup in lookups if find_first((lookup,), facts) is not None), None)
        if found is not None:
            _add_row(table, name, _describe(found), str(find_first((found,), facts)))
        elif lookups:
            missing.append(f"{name} (none of {', '.join(map(_describe, lookups))})")
    _add_row(table, "start (MJD, TAI)", "", f"{info.mjd_start:.8f}")
    _add_row(table, "start (MJD, UTC)", "", f"{info.mjd_start_utc:.8f}")
    print_table(table)
    return missing


def _describe(lookup: str | Lookup) -> str:
    return f"{lookup.key} ~ {lookup.pattern}" if isinstance(lookup, Lookup) else lookup


def _show_amplifiers(exposure: Exposure) -> None:
    table = _make_table(
        ("amplifier", "corner", "section", "where"), ("median", "scatter", "saturation", "claimed gain")
    )
    for amplifier in exposure.amplifiers.values():
        words = (amplifier.name, amplifier.readout_corner.value)
        claims = (f"{amplifier.saturation:g}", f"{amplifier.header_gain:g}")
        pixels = {"data": amplifier.data, **amplifier.overscan}
        for name, section in amplifier.sections.items():
            levels = [f"{value:.2f}" for value in _measure_level(pixels[name])]
            _add_row(table, *words, name, _format(section), *levels, *claims)
            words, claims = ("", ""), ("", "")
    print_table(table)


def _format(section: Section) -> str:
    return format_section(OrientedSection(section=section))


def _measure_level(pixels: NDArray[Any]) -> tuple[float, float]:
    """Return the median, and the scatter by the median absolute deviation, of finite pixels; NaN where none is."""
    pixels = pixels[np.isfinite(pixels)]
    if not pixels.size:
        return math.nan, math.nan
    level = float(np.median(pixels))
    return level, MAD_TO_SIGMA * float(np.median(np.abs(pixels - level)))


def _find_gaps(exposure: Exposure) -> list[str]:
    amplifiers = exposure.amplifiers.values()
    lacking = {
        "overscan (no bias level; the read noise must come from elsewhere)": [
            a.name for a in amplifiers if not a.overscan
        ],
        "saturation level": [a.name for a in amplifiers if math.isnan(a.saturation)],
    }
    return [*_find_nonfinite(exposure)] + [
        f"{what} of {'all amplifiers' if len(names) == len(amplifiers) else ', '.join(names)}"
        for what, names in lacking.items()
        if names
    ]


def _find_nonfinite(exposure: Exposure) -> Iterator[str]:
    for amplifier in exposure.amplifiers.values():
        count = sum(int((~np.isfinite(pixels)).sum()) for pixels in (amplifier.data, *amplifier.overscan.values()))
        if count:
            yield f"finite values in {count} pixels of {amplifier.name}"
