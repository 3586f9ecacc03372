"""Where jobs run: in this process, in local worker processes, on a cluster, or wherever a plugged-in engine takes them.

An engine is a `concurrent.futures.Executor`. A job is a function that can be imported, and bytes; its result is bytes.
"""

from streamcal.engine.base import Engine, EngineOptions, EngineState, check_options, make_engine, state_of

__all__ = ["Engine", "EngineOptions", "EngineState", "check_options", "make_engine", "state_of"]
