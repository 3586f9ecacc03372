"""Logs: structlog, set up once by the command line, for people on a terminal and as JSON everywhere else."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Any, Literal, TextIO, cast

import structlog


def configure_logs(
    level: str = "info", form: Literal["auto", "console", "json"] = "auto", stream: TextIO | None = None
) -> None:
    """Send all logs to stderr, as configured.

    Parameters
    ----------
    level : {"debug", "info", "warning", "error"}
        Least level that is logged.
    form : {"auto", "console", "json"}
        ``auto``: ``console`` on a terminal, else ``json``.
    stream : file, optional
        Instead of stderr.
    """
    stream = stream or sys.stderr
    console = choose_form(form, stream) == "console"
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderers(console=console, colors=stream.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", PatientStream(stream))),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, stream=stream, format="%(levelname)s %(name)s: %(message)s")


def choose_form(form: Literal["auto", "console", "json"], stream: TextIO | None = None) -> Literal["console", "json"]:
    """Return the form that ``auto`` means for a stream, stderr by default; the others are what they are."""
    if form == "auto":
        return "console" if (stream or sys.stderr).isatty() else "json"
    return form


def is_json() -> bool:
    """Whether this process logs JSON, so that nothing else may stand between its lines."""
    return isinstance(structlog.get_config()["processors"][-1], structlog.processors.JSONRenderer)


class PatientStream:
    """A stream that forgets what it cannot write: a full log disk, or a reader that has gone, must not end the daemon.

    Parameters
    ----------
    stream : file
        Where it writes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write a text if that is possible."""
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """Bring it out if that is possible."""
        with suppress(OSError):
            self._stream.flush()


def _renderers(*, console: bool, colors: bool) -> list[Any]:
    if console:
        return [structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=18)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
