"""What became of each exposure, as rows of the exposures table: a row per change, exactly once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from streamcal.journal import JournaledExposure
from streamcal.measuring import Sink
from streamcal.paths import show_path
from streamcal.run import Run

PORTION = 200  # rows of one batch


class Ledger:
    """Brings the changes that the journal holds into the exposures table.

    Parameters
    ----------
    sink : Sink
        Of the exposures table.
    run : Run
        With the journal.
    """

    def __init__(self, sink: Sink, run: Run) -> None:
        self._sink = sink
        self._journal = run.journal
        self._wake = run.wake

    def publish(self) -> int:
        """Publish changes, at most a portion; return how many.

        Raises
        ------
        RetryLater
            If the output cannot be written now; nothing is lost, call again.
        """
        import pyarrow as pa

        from streamcal.sink.schema import exposures_schema

        changes = self._journal.changes(PORTION)
        if not changes:
            self._sink.tick()
            return 0
        last = changes[-1][0]
        rows = [_row(seq, changed_at, exposure) for seq, changed_at, exposure in changes]
        batch = pa.RecordBatch.from_pylist(rows, schema=exposures_schema())
        self._sink.append(batch, key=str(last), record=lambda _db, _seq: self._journal.drop_changes(last))
        if len(changes) == PORTION:
            self._wake.set()
        return len(changes)


def _row(seq: int, changed_at: float, exposure: JournaledExposure) -> dict[str, Any]:
    info = exposure.info
    return {
        "seq": seq,
        "number": exposure.number,
        "recorded_at": datetime.fromtimestamp(changed_at, UTC),
        "instrument": info.instrument,
        "detector": info.detector,
        "exposure_id": info.exposure_id,
        "group": info.group,
        "path": show_path(info.path),
        "digest": info.digest,
        "disposition": exposure.disposition,
        "reason": exposure.reason,
        "pair_id": exposure.pair_id,
        "exposure_time": info.exposure_time,
        "flux": info.flux,
        "mjd_start": info.mjd_start,
        "mjd_start_utc": info.mjd_start_utc,
        "size": info.stat.size,
    }
