"""Benchmarks: one script a part; `python -m benchmarks` runs them all and writes the table of the README."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before anybody imports numpy: all is single-threaded here, as in a worker
