"""What came of a job: its result, or its error as text that any process can read.

Errors never cross a process border as pickles: an exception that cannot be pickled, or not be rebuilt, has broken
process pools for good.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import resource
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

from streamcal import errors

if TYPE_CHECKING:
    from streamcal.engine.base import JobFunction

RESULT_LIMIT = 64 << 20  # bytes; a pair's rows are some kilobytes
OK, NOT_OK = b"\1", b"\0"
TEXT_LIMIT = 16 << 10  # characters of a message or a detail

# errors that keep their type, most special first, with the attributes that go along
_KEPT: dict[type[errors.StreamcalError], tuple[str, ...]] = {
    errors.StageError: ("stage", "plugin", "detail"),
    errors.WorkerDied: ("stage", "plugin", "detail"),
    errors.WorkerFailed: ("detail",),
    errors.WorkerDiffers: ("after_seconds",),
    errors.CompanionsWanted: ("after_seconds",),
    errors.RetryLater: ("after_seconds",),
    errors.NotWhole: (),
    errors.FileChanged: (),
    errors.ReadFailed: (),
    errors.ExposureError: (),
    errors.PluginError: (),
    errors.ConfigError: (),
    errors.StateError: (),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result or error of a job, as bytes."""

    ok: bool
    payload: bytes  # the result; or the error as JSON

    @classmethod
    def of_error(cls, error: BaseException) -> Self:
        """Return the outcome of a job that raised this."""
        return cls(ok=False, payload=_write_error(error))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Restore what `to_bytes` gave."""
        return cls(ok=data[:1] == OK, payload=data[1:])

    def to_bytes(self) -> bytes:
        """Return it as bytes, for where there are no frames."""
        return (OK if self.ok else NOT_OK) + self.payload

    def get(self) -> bytes:
        """Return the result.

        Raises
        ------
        StreamcalError
            What the job raised, of the types that keep theirs; else `WorkerFailed` or `WorkerDied`.
        """
        if self.ok:
            return self.payload
        raise _read_error(self.payload)


def execute(function: str, job: bytes) -> Outcome:
    """Run a job in this process; whatever it raises becomes the outcome.

    Parameters
    ----------
    function : str
        ``module:qualname``.
    job : bytes
        Its argument.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for results; a plugin's print is none
            return Outcome(ok=True, payload=call_function(function, job))
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - the border of foreign code
        return Outcome.of_error(exc)


def call_function(function: str, job: bytes) -> bytes:
    """Return what a function, by its name ``module:qualname``, makes of a job.

    Raises
    ------
    WorkerFailed
        If it returns anything but bytes, or too many.
    """
    return _check_result(function, _import_function(function)(job))


def _import_function(name: str) -> JobFunction:
    module, _, qualname = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return cast("JobFunction", found)


def _check_result(function: str, result: Any) -> bytes:
    if not isinstance(result, bytes):
        msg = f"{function} must return bytes, got {type(result)!r}"
        raise errors.WorkerFailed(msg)
    if len(result) > RESULT_LIMIT:
        msg = f"{function} must return at most {RESULT_LIMIT} bytes, got {len(result)}"
        raise errors.WorkerFailed(msg)
    return result


def _write_error(error: BaseException) -> bytes:
    for kind, names in _KEPT.items():
        if isinstance(error, kind):
            values = {name: getattr(error, name) for name in names if hasattr(error, name)}
            return _pack(kind, _text_of(error), values)
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, MemoryError):
        return _pack(errors.WorkerDied, memory_message(), {"detail": trace})
    return _pack(errors.WorkerFailed, f"{type(error).__name__}: {_text_of(error)}", {"detail": trace})


def _pack(kind: type[errors.StreamcalError], message: str, values: dict[str, Any]) -> bytes:
    plain = {
        name: value if isinstance(value, int | float) else str(value)[-TEXT_LIMIT:] for name, value in values.items()
    }
    return json.dumps({"error": kind.__name__, "message": message[:TEXT_LIMIT], "values": plain}).encode()


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a plugin's own exception may fail even at this
        return "(its text cannot be had)"


def memory_message() -> str:
    """Say that the memory of this process has come to its end, and at which limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return "worker ran out of memory"
    return f"worker exceeded memory of {limit >> 20} MiB (engine.memory_megabytes)"


def _read_error(payload: bytes) -> errors.StreamcalError:
    kinds: dict[str, Any] = {kind.__name__: kind for kind in _KEPT}
    try:
        fields = json.loads(payload)
        error: errors.StreamcalError = kinds[fields["error"]](fields["message"], **fields["values"])
    except (ValueError, KeyError, TypeError) as exc:
        return errors.WorkerFailed(f"error of the job cannot be read: {exc!r}", detail=repr(payload[:TEXT_LIMIT]))
    return error
