"""What was seen and what became of it: the SQLite journal, written by one process on one connection.

The journal is the truth about files, exposures and pairs; the Arrow folders are the truth about rows, and each append
there is one transaction here (see `streamcal.sink`). All that the daemon must know after a restart stands in here.
"""

from streamcal.journal.exposures import NEW, JournaledExposure, id_number
from streamcal.journal.files import VANISHED, Files
from streamcal.journal.pairs import JournaledPair, Pairs

__all__ = ["NEW", "VANISHED", "Journal", "JournaledExposure", "JournaledPair", "id_number"]


class Journal(Files, Pairs):
    """The journal of one output; see `streamcal.journal.database.Database` for how it is opened."""
