"""Where jobs run: in this process, in local worker processes, or wherever a plugged-in engine takes them.

An engine is a `concurrent.futures.Executor`. A job is a function that can be imported, and bytes; its result is bytes.
"""

from streamcal.engine.base import Engine, EngineOptions, make_engine

__all__ = ["Engine", "EngineOptions", "make_engine"]
