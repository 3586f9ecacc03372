"""What the exposures table says became of each exposure, held against the journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from streamcal.sink.segments import Content
from streamcal.verify.finding import SHOWN, Finding

_COLUMNS = ("number", "disposition", "reason", "pair_id")


class Published:
    """The latest row of each exposure, kept in a temporary table: there may be many.

    Parameters
    ----------
    journal : sqlite3.Connection
        The journal; it may be open for reading only.
    """

    def __init__(self, journal: sqlite3.Connection) -> None:
        self._journal = journal
        journal.execute("CREATE TEMP TABLE published (number INTEGER PRIMARY KEY, disposition, reason, pair_id)")

    def note(self, content: Content) -> None:
        """Take the rows of a segment; the later ones count."""
        for batch in content.batches:
            columns = (batch.column(name).to_pylist() for name in _COLUMNS)
            self._journal.executemany(
                "INSERT OR REPLACE INTO published VALUES (?, ?, ?, ?)", zip(*columns, strict=True)
            )

    def check(self) -> Iterator[Finding]:
        """Yield the exposures of which journal and table say different things; what waits to be published counts."""
        self._journal.execute(
            "INSERT OR REPLACE INTO published SELECT exposure, disposition, reason, pair_id FROM change ORDER BY seq"
        )
        # one that is new has not been judged yet, or not again
        sql = """
            SELECT number, exposure.disposition, published.disposition FROM exposure LEFT JOIN published USING (number)
            WHERE exposure.disposition != 'new' AND (exposure.disposition, exposure.reason, exposure.pair_id)
            IS NOT (published.disposition, published.reason, published.pair_id) LIMIT ?
        """
        for number, known, published in self._journal.execute(sql, (SHOWN,)):
            problem = f"is {known} in the journal, {published or 'not there'} in the exposures table"
            problem += "" if known != published else ", with another reason or pair"
            yield Finding(where=f"exposures, number {number}", problem=problem)
        sql = "SELECT number, disposition FROM published WHERE number NOT IN (SELECT number FROM exposure) LIMIT ?"
        for number, published in self._journal.execute(sql, (SHOWN,)):
            problem = f"is {published} in the exposures table, the journal does not know it"
            yield Finding(where=f"exposures, number {number}", problem=problem)
