"""Results in the forms that others use: Parquet, CSV, Feather, and the FITS tables of LSST's photon transfer curves."""

from __future__ import annotations

FORMATS = ("parquet", "csv", "feather", "lsst-ptc")
