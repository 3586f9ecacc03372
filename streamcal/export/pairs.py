"""The pairs of a group as arrays by amplifier, every amplifier with the same pairs in the same order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamcal.journal import id_number
from streamcal.ptc.observations import as_floats

if TYPE_CHECKING:
    import pyarrow as pa

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GroupPairs:
    """Measured pairs of one group.

    Attributes
    ----------
    seq : list of int
        Commit of each of the n pairs, ascending.
    exposure_ids : (n, 2) ndarray of int64
        Of both flats. Ids that are no numbers are numbered from 1 in order of appearance.
    amplifiers : tuple of str
        In order of appearance.
    table : pyarrow.Table
        All rows.
    places : dict of str to (n,) ndarray of int
        Row of each pair, by amplifier; -1 where there is none.
    """

    seq: list[int]
    exposure_ids: NDArray[np.int64]
    amplifiers: tuple[str, ...]
    table: pa.Table
    places: Mapping[str, NDArray[np.int64]]

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.seq)

    def numbers(self, amplifier: str, column: str) -> Array:
        """Return a column of an amplifier, (n,); NaN where it has no row, or the table no such column."""
        if column not in self.table.column_names:
            return np.full(len(self), np.nan)
        return _take(as_floats(self.table, column), self.places[amplifier])

    def matrices(self, amplifier: str, column: Any) -> Array:
        """Return a column of covariances of an amplifier, (n, s, s); NaN where it has no row."""
        from streamcal import results

        return _take(results.covariances(self.table, column), self.places[amplifier])

    def take(self, place: int) -> GroupPairs:
        """Return one pair, of all amplifiers."""
        import pyarrow.compute as pc

        seq = self.seq[place]
        table = self.table.filter(pc.equal(self.table["seq"], seq))
        rows = {name: row for row, name in enumerate(table["amplifier"].to_pylist())}
        places = {name: np.array([rows.get(name, -1)]) for name in self.amplifiers}
        return replace(self, seq=[seq], exposure_ids=self.exposure_ids[[place]], table=table, places=places)

    def auxiliary(self) -> dict[str, NDArray[Any]]:
        """Return the auxiliary header values, (n,), by key: numbers where all are, else text."""
        names = [name for name in self.table.column_names if name.startswith("aux_")]
        rows = np.max([self.places[name] for name in self.amplifiers], axis=0)  # any amplifier's row of the pair
        return {name.removeprefix("aux_"): _as_numbers(self.table[name].take(rows).to_pylist()) for name in names}


def collect_pairs(table: pa.Table) -> GroupPairs:
    """Arrange the rows of one group, see `GroupPairs`."""
    names, seqs = table["amplifier"].to_pylist(), table["seq"].to_pylist()
    seq = sorted(set(seqs))
    rank = {value: index for index, value in enumerate(seq)}
    places = {name: np.full(len(seq), -1) for name in dict.fromkeys(names)}
    for row, (name, value) in enumerate(zip(names, seqs, strict=True)):
        places[name][rank[value]] = row
    of_pair = np.max(list(places.values()), axis=0)
    ids = [table[name].take(of_pair).to_pylist() for name in ("exposure_id_1", "exposure_id_2")]
    return GroupPairs(seq=seq, exposure_ids=number_exposures(ids), amplifiers=tuple(places), table=table, places=places)


def number_exposures(ids: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Return ids (two lists of n) as numbers, (n, 2); see `GroupPairs`."""
    flat = [name for pair in zip(*ids, strict=True) for name in pair]
    numbers = [id_number(name) for name in flat]
    if None in numbers:
        order = {name: number for number, name in enumerate(dict.fromkeys(flat), 1)}
        numbers = [order[name] for name in flat]
    return np.array(numbers, dtype=np.int64).reshape(-1, 2)


def _take(values: Array, places: NDArray[np.int64]) -> Array:
    missing = places < 0
    taken: Array = np.array(values[np.where(missing, 0, places)])
    taken[missing] = np.nan
    return taken


def _as_numbers(texts: Sequence[str | None]) -> NDArray[Any]:
    try:
        return np.array([float(text) if text is not None else np.nan for text in texts])
    except ValueError:
        return np.array([text or "" for text in texts])
