"""From rows of measurements to the curve of each amplifier of a group."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamcal.errors import ConfigError
from streamcal.ptc.curve import Curve

if TYPE_CHECKING:
    import pyarrow as pa

Row = TypeVar("Row", bound=Mapping[str, Any])

COLUMNS = (
    *("seq", "instrument", "detector", "group", "amplifier", "exposure_time", "flux", "mjd_start", "mean_used"),
    *("variance", "covariance", "covariance_error", "row_overscan_covariance"),
)


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class GroupKey:
    """One run of pairs of one detector: what is fitted together."""

    instrument: str
    detector: str
    group: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Return the group of a row of measurements or solutions."""
        return cls(instrument=row["instrument"], detector=row["detector"], group=row["group"])

    def to_dict(self) -> dict[str, str]:
        """Return it as column names and values."""
        return asdict(self)


def find_groups(output: str | os.PathLike[str]) -> dict[GroupKey, int]:
    """Return the groups of an output with the highest ``seq`` of each, in order of their first row."""
    from streamcal import results

    table = results.read(output, columns=["instrument", "detector", "group", "seq"])
    names = zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
    groups: dict[GroupKey, int] = {}
    for instrument, detector, group, seq in names:
        key = GroupKey(instrument=instrument, detector=detector, group=group)
        groups[key] = max(seq, groups.get(key, 0))
    return groups


def choose_groups(output: str | os.PathLike[str], group: str | None, detector: str | None) -> list[GroupKey]:
    """Return the groups of an output that are wanted; None: any.

    Raises
    ------
    ConfigError
        If there is none; names those there are.
    """
    keys = list(find_groups(output))
    chosen = [key for key in keys if group in (None, key.group) and detector in (None, key.detector)]
    if not chosen:
        known = "; ".join(f"{key.detector} {key.group}".strip() for key in keys) or "none"
        msg = f"{output}: no measurements of this group and detector, there are: {known}"
        raise ConfigError(msg)
    return chosen


def split_groups(rows: Iterable[Row]) -> dict[GroupKey, list[Row]]:
    """Return rows by group, in order of first appearance."""
    groups: dict[GroupKey, list[Row]] = {}
    for row in rows:
        groups.setdefault(GroupKey.of(row), []).append(row)
    return groups


def read_group(output: str | os.PathLike[str], key: GroupKey, columns: tuple[str, ...] | None = COLUMNS) -> pa.Table:
    """Read the measurements of a group."""
    from streamcal import results

    return results.read(output, columns=columns, filter=match(key))


def match(key: GroupKey) -> Any:
    """Return the filter expression of a group's rows."""
    import pyarrow.compute as pc

    fields = [pc.field(name) == value for name, value in key.to_dict().items()]
    return fields[0] & fields[1] & fields[2]


def split_amplifiers(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of each amplifier, in order of first appearance."""
    import pyarrow.compute as pc

    for name in pc.unique(table["amplifier"]).to_pylist():
        yield name, table.filter(pc.equal(table["amplifier"], name))


def make_curve(rows: pa.Table) -> Curve:
    """Return the curve of one amplifier's rows.

    The mean is ``mean_used``. What per-row overscan subtraction adds to the variance and to all C_i0 is taken off.
    """
    from streamcal import results

    covariance = results.covariances(rows, "covariance")
    added = np.nan_to_num(as_floats(rows, "row_overscan_covariance"))
    covariance[:, :, 0] -= added[:, None]
    flux, time = as_floats(rows, "flux"), as_floats(rows, "exposure_time")
    return Curve.of(
        as_floats(rows, "mean_used"),
        as_floats(rows, "variance") - added,
        results.covariances(rows, "covariance_error"),
        covariance,
        light=flux if np.isfinite(flux).all() else time,
    )


def as_floats(rows: pa.Table, name: str) -> NDArray[np.float64]:
    """Return a column as numbers, null as NaN."""
    values: NDArray[np.float64] = np.asarray(rows[name].to_pylist(), dtype=np.float64)
    return values
