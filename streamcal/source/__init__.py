"""A folder becomes a stream of exposures: hints, reconciliation, settling, and whether a file is whole."""
