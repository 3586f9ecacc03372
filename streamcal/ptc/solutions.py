"""Solutions as rows of the ``ptc`` table: made by jobs, read by analysts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streamcal.ptc.columns import solution_schema
from streamcal.ptc.flags import BAD, FitFlag
from streamcal.ptc.limits import check_changes, check_specifications
from streamcal.ptc.observations import GroupKey, as_floats, find_groups, make_curve, read_group, split_amplifiers
from streamcal.ptc.settings import FitConfig
from streamcal.ptc.step import check_step

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

    from streamcal.ptc.solution import Solution

Output = str | os.PathLike[str]
TABLE = "ptc"
COMPARED = (
    *("seq", "instrument", "detector", "amplifier", "model", "group", "first_seq", "last_seq"),
    *("flags", "gain", "gain_error", "noise", "noise_error"),
)
AMPLIFIER = ("instrument", "detector", "amplifier", "group")


def solutions(
    output: Output | Sequence[Output],
    columns: Sequence[str] | None = None,
    *,
    history: bool = False,
    model: str | None = None,
) -> pa.Table:
    """Read the solutions of the photon transfer curves.

    Parameters
    ----------
    output : path or sequence of paths
        Output folders.
    columns : sequence of str, optional
        Columns to return; all by default.
    history : bool
        Return every version, in order, and not only the latest of each amplifier and group.
    model : str, optional
        Only solutions of this model; by default the latest of whatever model.

    Returns
    -------
    pyarrow.Table
        One row per detector, amplifier and group; no rows where nothing was fitted yet. Units and descriptions stand in
        the fields' metadata.

    Raises
    ------
    FileNotFoundError, StateError, ValueError
        As `streamcal.results.read`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    outputs = [output] if isinstance(output, str | os.PathLike) else output
    which = None if model is None else pc.field("model") == model
    tables = [_read(one, columns, which, history=history) for one in outputs]
    return pa.concat_tables(tables, promote_options="permissive")


def read_earlier(output: Output, key: GroupKey, fresh: Sequence[Mapping[str, Any]] = ()) -> list[Mapping[str, Any]]:
    """Return what solutions are compared with: the latest of each group, amplifier and model, and all accepted ones.

    Parameters
    ----------
    output : path
        Output folder.
    key : GroupKey
        What is to be compared: of what is stored, only solutions of its detector are read.
    fresh : sequence of mapping
        Solutions that are not stored yet: they are later than all that are.
    """
    import pyarrow.compute as pc

    names = (*AMPLIFIER, "model")
    which = (pc.field("instrument") == key.instrument) & (pc.field("detector") == key.detector)
    rows = [*_read(output, COMPARED, which, history=True).to_pylist(), *fresh]
    newest = {tuple(row[name] for name in names): place for place, row in enumerate(rows)}
    latest = set(newest.values())
    return [row for place, row in enumerate(rows) if row["flags"] & FitFlag.ACCEPTED or place in latest]


def _read(output: Output, columns: Sequence[str] | None, which: pc.Expression | None, *, history: bool) -> pa.Table:
    import pyarrow as pa

    from streamcal import results

    folder = Path(output)
    if (folder / "measurements").is_dir() and not (folder / TABLE / "CURRENT").is_file():
        table = solution_schema().empty_table()
    else:
        wanted = None if columns is None else list(dict.fromkeys((*columns, *AMPLIFIER)))
        table = results.read(output, wanted, which, table=TABLE)
    if not history:
        keys = zip(*(table[name].to_pylist() for name in AMPLIFIER), strict=True)
        newest = {key: index for index, key in enumerate(keys)}  # rows are in order of commit
        table = table.take(pa.array(sorted(newest.values()), pa.int64()))
    return table if columns is None else table.select(list(columns))


# jobs


def fit_job(output: Output, key: GroupKey, config: FitConfig, *, accept: bool = False) -> bytes:
    """Return the job that has a group fitted by `fit_group`."""
    settings = config.model_dump(mode="json")
    values = {"output": os.fspath(output), "key": key.to_dict(), "config": settings, "accept": accept}
    return json.dumps(values).encode()


def fit_group(job: bytes) -> bytes:
    """Fit all amplifiers of a group.

    Parameters
    ----------
    job : bytes
        What `fit_job` gave. The process that runs it reads the measurements, and the earlier solutions, from the
        output folder.

    Returns
    -------
    bytes
        An Arrow IPC stream of one record batch: a row per amplifier, ``seq`` still 0. Without rows if the group has
        none.
    """
    import pyarrow as pa

    from streamcal.sink.schema import build_batch

    values = json.loads(job)
    config = FitConfig.model_validate(values["config"])
    rows = fit_rows(values["output"], GroupKey(**values["key"]), config, accept=values["accept"])
    batch = build_batch(solution_schema(), rows)
    buffer = pa.BufferOutputStream()
    with pa.ipc.new_stream(buffer, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(buffer.getvalue().to_pybytes())


def fit_rows(
    output: Output, key: GroupKey, config: FitConfig, *, accept: bool = False, fresh: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Fit all amplifiers of a group and return the rows as plain values, limits checked, see `fit_group`.

    With ``accept`` they are what later solutions are compared with, and are not held against earlier ones themselves;
    ``fresh`` is what was solved already and is not stored yet.
    """
    from streamcal.ptc.fit import fit_amplifier

    earlier = [] if accept else read_earlier(output, key, fresh)
    rows = []
    for amplifier, measured in split_amplifiers(read_group(output, key)):
        curve = make_curve(measured)
        solution = fit_amplifier(curve, config)
        row: dict[str, Any] = {**key.to_dict(), "amplifier": amplifier, "seq": 0, "solved_at": datetime.now(UTC)}
        row |= _describe(solution, keep_covariance=config.keep_covariance)
        row |= {"mean": curve.mean, "variance": curve.variance, "variance_error": curve.error[:, 0, 0]}
        row |= _describe_span(measured)
        if accept and not row["flags"] & BAD:
            row["flags"] |= int(FitFlag.ACCEPTED)
        broken = (
            *check_changes(row, earlier, config.limits),
            *check_step(curve, solution, as_floats(measured, "mjd_start"), config.limits),
            *check_specifications(row, config.limits),
        )
        for flag, text in broken:
            row["flags"] |= int(flag)
            row["reason"] = f"{row['reason']}; {text}" if row["reason"] else text
        rows.append(row)
    return rows


def _describe(solution: Solution, *, keep_covariance: bool) -> dict[str, Any]:
    numbers = ("model", "gain", "gain_error", "noise", "noise_error", "a00", "a00_error", "turnoff", "turnoff_error")
    copied = (*numbers, "chi2_dof", "dof", "noise_matrix", "noise_matrix_error", "flags", "reason", "used")
    return {
        **{name: getattr(solution, name) for name in copied},
        "n_pairs": len(solution.used),
        "n_used": int(solution.used.sum()),
        "a_matrix": solution.a,
        "a_matrix_error": solution.a_error,
        "b_matrix": solution.b,
        "b_matrix_error": solution.b_error,
        "dropped": list(solution.dropped),
        "model_variance": solution.model_covariance[:, 0, 0],
        "parameters": solution.parameters,
        "parameters_error": np.sqrt(np.diag(solution.parameter_covariance)),
        "parameter_covariance": solution.parameter_covariance if keep_covariance else None,
    }


def _describe_span(measured: pa.Table) -> dict[str, Any]:
    seq, start = measured["seq"].to_pylist(), as_floats(measured, "mjd_start")
    known = start[np.isfinite(start)]
    first = float(known.min()) if len(known) else float("nan")
    return {"first_seq": min(seq), "last_seq": max(seq), "pair_seq": seq, "mjd_start": first}


def find_stale(job: bytes) -> bytes:
    """Return which groups have pairs that no solution knows, as JSON; the job is the path of the output."""
    output = job.decode()
    known: dict[GroupKey, int] = {}
    for row in solutions(output, COMPARED).to_pylist():
        key = GroupKey.of(row)
        known[key] = max(row["last_seq"], known.get(key, 0))
    stale = [key.to_dict() for key, seq in find_groups(output).items() if seq > known.get(key, 0)]
    return json.dumps(stale).encode()
