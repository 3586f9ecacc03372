"""`streamcal export`: results in the forms that others use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from streamcal.cli.fit import need_output
from streamcal.errors import ConfigError
from streamcal.export import FORMATS
from streamcal.export.files import make_file_name

if TYPE_CHECKING:
    from streamcal.export.pairs import GroupPairs
    from streamcal.ptc.observations import GroupKey

TABLES = ("measurements", "ptc", "exposures")


def export_output(  # noqa: PLR0913 - each is an option of the command
    output: Path,
    *,
    kind: str,
    to: Path | None = None,
    table: str | None = None,
    group: str | None = None,
    detector: str | None = None,
    model: str | None = None,
    partial: bool = False,
    dummies: bool = False,
) -> int:
    """Write results in another form and print the paths of the files; return the exit code.

    Parameters
    ----------
    output : Path
        Output folder of a run.
    kind : {"parquet", "csv", "feather", "lsst-ptc"}
        Form.
    to : Path, optional
        File to write, by default ``TABLE.SUFFIX`` in the working folder; for ``lsst-ptc`` the folder of the files, by
        default the working folder.
    table : {"measurements", "ptc", "exposures"}, optional
        What to write, by default the measurements; ``lsst-ptc`` always takes measurements and solutions. Of ``ptc`` and
        ``exposures`` the latest row of each amplifier or exposure.
    group, detector : str, optional
        Only these.
    model : str, optional
        Solutions of this model; by default the latest of whatever model.
    partial : bool
        lsst-ptc: one ``PARTIAL`` file a pair, named by its first exposure, in place of the solved curves.
    dummies : bool
        With ``partial``: a ``DUMMY`` file for each other flat of the group, so that files match flats one to one.

    Raises
    ------
    ConfigError
        If a choice does not exist or does not go with the others, there is nothing to write, or a file cannot be
        written.
    """
    _check("--format", kind, FORMATS)
    _check("--table", table or TABLES[0], TABLES)
    _check_pair("--dummies", dummies, "--partial", partial)
    _check_pair("--partial", partial, "--format lsst-ptc", kind == "lsst-ptc")
    _check_pair("--table", table is not None, "--format parquet, csv or feather", kind != "lsst-ptc")
    need_output(output)
    if kind == "lsst-ptc":
        from streamcal.ptc.observations import choose_groups

        keys = choose_groups(output, group, detector)
        folder = to or Path()
        paths = (
            _export_partials(output, folder, keys, dummies=dummies)
            if partial
            else _export_solved(output, folder, keys, model)
        )
    else:
        paths = _export_table(output, to, table or TABLES[0], kind, group=group, detector=detector, model=model)
    for path in paths:
        typer.echo(path)
    return 0


def _check(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        msg = f"{option} must be one of {', '.join(known)}, got {value!r}"
        raise ConfigError(msg)


def _check_pair(option: str, given: bool, other: str, holds: bool) -> None:
    if given and not holds:
        msg = f"{option} needs {other}"
        raise ConfigError(msg)


def _export_table(output: Path, to: Path | None, table: str, kind: str, **wanted: str | None) -> Iterator[Path]:
    import pyarrow.compute as pc

    from streamcal import results
    from streamcal.export.tables import SUFFIXES, write_table
    from streamcal.ptc.solutions import solutions

    if table == "ptc":
        rows = solutions(output, model=wanted.pop("model"))
    else:
        _check_pair("--model", wanted.pop("model") is not None, "--table ptc", False)
        rows = results.exposures(output) if table == "exposures" else results.read(output)
    for column, value in wanted.items():
        if value is not None:
            rows = rows.filter(pc.field(column) == value)
    if rows.num_rows == 0:
        msg = f"{output}: no {table} of this group and detector"
        raise ConfigError(msg)
    path = to or Path(f"{table}{SUFFIXES[kind]}")
    write_table(rows, path, kind)
    yield path


def _export_solved(output: Path, folder: Path, keys: list[GroupKey], model: str | None) -> Iterator[Path]:
    from streamcal.ptc.observations import split_groups
    from streamcal.ptc.solutions import solutions

    solved = split_groups(solutions(output, model=model).to_pylist())
    for key in keys:
        if key not in solved:
            msg = (
                f"{output}: no solution of detector {key.detector!r}, group {key.group!r}; run: streamcal fit {output}"
            )
            raise ConfigError(msg)
        yield _write_solved(output, folder, key, solved[key])


def _export_partials(output: Path, folder: Path, keys: list[GroupKey], *, dummies: bool) -> Iterator[Path]:
    from streamcal.export.pairs import collect_pairs
    from streamcal.ptc.observations import read_group

    for key in keys:
        pairs = collect_pairs(read_group(output, key, None))
        yield from _write_partials(folder, key, pairs)
        if dummies:
            yield from _write_dummies(output, folder, key, pairs)


def _write_solved(output: Path, folder: Path, key: GroupKey, rows: list[dict[str, Any]]) -> Path:
    from streamcal.export.lsst import describe_origin, make_solved, write_fits
    from streamcal.export.pairs import collect_pairs
    from streamcal.ptc.observations import read_group

    pairs = collect_pairs(read_group(output, key, None))
    path = folder / f"{make_file_name('ptc', key.detector, key.group)}.fits"
    write_fits(make_solved(pairs, rows), path, describe_origin(key, rows[0]["model"], _filter_of(key, pairs)))
    return path


def _write_partials(folder: Path, key: GroupKey, pairs: GroupPairs) -> Iterator[Path]:
    from streamcal.export.lsst import common_pixels, describe_origin, make_partial, write_fits

    n_pixels = common_pixels(pairs)
    for place, (first, _) in enumerate(_exposure_names(pairs)):
        path = folder / f"{make_file_name('ptc-partial', key.detector, key.group, first)}.fits"
        write_fits(make_partial(pairs, place, n_pixels), path, describe_origin(key, "PARTIAL", _filter_of(key, pairs)))
        yield path


def _write_dummies(output: Path, folder: Path, key: GroupKey, pairs: GroupPairs) -> Iterator[Path]:
    from streamcal.export.lsst import describe_origin, make_dummy, write_fits

    firsts = {first for first, _ in _exposure_names(pairs)}
    side = pairs.matrices(pairs.amplifiers[0], "covariance").shape[1]
    for name in _all_exposures(output, key, pairs):
        if name not in firsts:
            path = folder / f"{make_file_name('ptc-partial', key.detector, key.group, name)}.fits"
            metadata = describe_origin(key, "DUMMY", _filter_of(key, pairs))
            write_fits(make_dummy(pairs.amplifiers, side), path, metadata)
            yield path


def _exposure_names(pairs: GroupPairs) -> list[tuple[str, str]]:
    rows = pairs.table.select(["seq", "exposure_id_1", "exposure_id_2"]).to_pylist()
    names = {row["seq"]: (row["exposure_id_1"], row["exposure_id_2"]) for row in rows}
    return [names[seq] for seq in pairs.seq]


def _all_exposures(output: Path, key: GroupKey, pairs: GroupPairs) -> list[str]:
    """Return the ids of all flats of a group, each once: measured, of pairs that failed, and without partner."""
    from streamcal import results
    from streamcal.ptc.observations import GroupKey

    paired = [name for names in _exposure_names(pairs) for name in names]
    rows: list[dict[str, Any]] = results.exposures(output).to_pylist() if (output / "exposures").is_dir() else []
    flats = {"paired", "orphan", "extra", "waiting"}
    known = [row["exposure_id"] for row in rows if row["disposition"] in flats and GroupKey.of(row) == key]
    return list(dict.fromkeys(paired + known))


def _filter_of(key: GroupKey, pairs: GroupPairs) -> str:
    """Return the filter as the auxiliary header values or the group name it; empty if they do not."""
    if "aux_filter" in pairs.table.column_names and (names := set(pairs.table["aux_filter"].to_pylist()) - {None}):
        return "+".join(sorted(names))
    named = re.search(r"(?:^|;)@?FILTER\w*=([^;]*)", key.group, re.IGNORECASE)
    return named[1] if named else ""
