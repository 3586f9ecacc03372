"""The bench of the sink's tests."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bench_class():
    """Load the class of benches; ``bench.py`` is no module of a package, and other folders of tests use it too."""
    spec = importlib.util.spec_from_file_location("sink_bench", Path(__file__).with_name("bench.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Bench


@pytest.fixture
def bench(bench_class, tmp_path):
    """Make an empty output with its journal."""
    bench = bench_class(tmp_path)
    yield bench
    bench.close()
