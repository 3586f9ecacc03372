"""Tables for the readers, written by the sink."""

import importlib.util
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "sink" / "bench.py"


@pytest.fixture
def bench(tmp_path):
    """Make an empty output with its journal, see ``tests/sink/bench.py``."""
    spec = importlib.util.spec_from_file_location("sink_bench_of_results", BENCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    bench = module.Bench(tmp_path)
    yield bench
    bench.close()
