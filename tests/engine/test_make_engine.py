"""How an engine is made by name."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint

import pytest

from streamcal.engine import EngineOptions, make_engine
from streamcal.engine.inline import InlineEngine
from streamcal.engine.local import LocalEngine
from streamcal.errors import ConfigError, PluginError


def make_threads(options):
    """Give a plain Executor, as a plugin might."""
    return ThreadPoolExecutor(options.workers)


def make_nothing(_options):
    """Give no engine."""
    return 7


@pytest.fixture
def plug(monkeypatch):
    """Let an entry point with this target be installed under the name "other"."""

    def install(target):
        point = EntryPoint("other", f"{__name__}:{target}", "streamcal.engines")
        monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this_module())
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point] * (group == "streamcal.engines"))

    return install


def _this_module():
    module = type(sys)(__name__)
    module.__dict__.update(globals())
    return module


def test_built_in(start_engine):
    """The two engines that streamcal brings."""
    assert isinstance(start_engine("inline"), InlineEngine)
    assert isinstance(start_engine("local"), LocalEngine)


def test_unknown_kind(plug):
    """An unknown name is a configuration error that lists the known ones."""
    plug("make_threads")
    with pytest.raises(ConfigError, match=r"engine.kind must be one of inline, local, dask, other, got 'lokal'"):
        make_engine(EngineOptions(kind="lokal"))


def test_plugged_in(plug):
    """Anything that gives an Executor can be an engine."""
    plug("make_threads")
    with make_engine(EngineOptions(kind="other")) as engine:
        assert engine.submit(bytes.upper, b"x").result() == b"X"


def test_plugged_in_not_loadable(plug):
    """An engine that cannot be imported is named."""
    plug("not_there")
    with pytest.raises(PluginError, match=r"engine 'other' \(.*:not_there\) cannot be made: AttributeError"):
        make_engine(EngineOptions(kind="other"))


def test_plugged_in_no_executor(plug):
    """An engine that is none is named."""
    plug("make_nothing")
    with pytest.raises(
        PluginError, match=r"engine 'other' .* must be a concurrent.futures.Executor, got <class 'int'>"
    ):
        make_engine(EngineOptions(kind="other"))


def test_needs_a_worker():
    """At least one worker."""
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        EngineOptions(workers=0)


def test_worker_starts_light():
    """A worker has nothing heavy in memory before its limits are set."""
    heavy = "{'numpy', 'scipy', 'numba', 'astropy', 'pyarrow', 'structlog'}"
    code = f"import sys, streamcal.engine.worker; assert not set(sys.modules) & {heavy}, set(sys.modules) & {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True)
