"""What came out of a run, and how it differs from what an undisturbed one gave."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamcal import results
from streamcal.paths import show_path
from streamcal.records import Disposition

UNSETTLED = {Disposition.WAITING.value, "new"}
TIMES = frozenset({"seq", "measured_at", "timings"})  # what may differ between two runs on the same exposures

RowKey = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came out of a run.

    Attributes
    ----------
    rows : dict
        By pair id and amplifier: the row, bit for bit, as text without its times.
    doubled : tuple of str
        Rows that are there more than once.
    dispositions : dict
        By path, detector and exposure id: disposition, reason and pair id.
    faults : tuple of str
        What must not be in any run: commits out of step, files with more than one disposition or none.
    """

    rows: dict[RowKey, str]
    doubled: tuple[str, ...]
    dispositions: dict[tuple[str, str, str], tuple[str, str, str]]
    faults: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """How two outcomes differ; all empty: not at all."""

    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    wrong: tuple[str, ...]

    def __bool__(self) -> bool:
        """Tell whether they agree."""
        return not (self.lost or self.doubled or self.wrong)

    def __str__(self) -> str:
        """Count, and show the first of each kind."""
        parts = [
            f"{len(found)} {name}{': ' + found[0] if found else ''}"
            for name, found in (("lost", self.lost), ("doubled", self.doubled), ("wrong", self.wrong))
        ]
        return ", ".join(parts)


def read_outcome(output: Path) -> Outcome:
    """Read what came out of a run, by the interface that analysts use."""
    table = results.read(output)
    rows = [(_row_key(row), _row_text(row)) for row in table.to_pylist()]
    counts = Counter(key for key, _ in rows)
    exposures = results.exposures(output).to_pylist()
    return Outcome(
        rows=dict(rows),
        doubled=tuple(f"{pair_id} {amplifier}" for (pair_id, amplifier), count in counts.items() if count > 1),
        dispositions={
            (row["path"], row["detector"], row["exposure_id"]): (row["disposition"], row["reason"], row["pair_id"])
            for row in exposures
        },
        faults=(*_check_commits(table["seq"].to_pylist()), *_check_exposures(exposures)),
    )


def compare(expected: Outcome, found: Outcome, incoming: Path | None = None) -> Verdict:
    """Hold what came out of a disturbed run against an undisturbed one on the same exposures.

    Parameters
    ----------
    expected, found : Outcome
        Of the undisturbed run, and of the disturbed one.
    incoming : Path, optional
        Folder of the exposures: a file without a disposition is lost, also where both runs lost it.
    """
    both = expected.rows.keys() & found.rows.keys()
    wrong = [f"row of {key}" for key in sorted(both) if expected.rows[key] != found.rows[key]]
    wrong += [f"row of {key} that should not be" for key in sorted(found.rows.keys() - expected.rows.keys())]
    wrong += [
        f"{key}: {found.dispositions.get(key)}, expected {expected.dispositions.get(key)}"
        for key in sorted(expected.dispositions.keys() | found.dispositions.keys())
        if expected.dispositions.get(key) != found.dispositions.get(key)
    ]
    lost = [f"row of {key}" for key in sorted(expected.rows.keys() - found.rows.keys())]
    return Verdict(
        lost=(*lost, *(find_forgotten(found, incoming) if incoming else ())),
        doubled=found.doubled,
        wrong=(*wrong, *found.faults),
    )


def find_forgotten(outcome: Outcome, incoming: Path) -> list[str]:
    """Return in words which files of exposures below a folder have no disposition."""
    seen = {path for path, _, _ in outcome.dispositions}
    there = {show_path(os.fsencode(path)) for path in incoming.rglob("*.fits*")}
    return [f"{path} has no disposition" for path in sorted(there - seen)]


def _row_key(row: dict[str, Any]) -> RowKey:
    return row["pair_id"], row["amplifier"]


def _row_text(row: dict[str, Any]) -> str:
    # repr tells every bit of a float, and NaN from nothing
    return repr([(name, value) for name, value in row.items() if name not in TIMES])


def _check_commits(seqs: list[int]) -> list[str]:
    """Find commits that are not numbered from 1 without gaps, in the order of the rows."""
    seen = list(dict.fromkeys(seqs))
    return [] if seen == list(range(1, len(seen) + 1)) else [f"commits are numbered {seen}"]


def _check_exposures(exposures: list[dict[str, Any]]) -> list[str]:
    counts = Counter((row["path"], row["detector"]) for row in exposures)
    faults = [f"{path} {detector} has {count} dispositions" for (path, detector), count in counts.items() if count > 1]
    return faults + [f"{row['path']} is {row['disposition']}" for row in exposures if row["disposition"] in UNSETTLED]
