"""Errors that say what happens next.

======================  =============================  ==============================================
error                   raised                         what the program does
======================  =============================  ==============================================
`ConfigError`           before watching starts         one line, exit code 2, no traceback
`PluginError`           before watching starts         one line, exit code 2, no traceback
`ExposureError`         an unusable input file         set the file aside with its reason, go on
`NotWhole`              bytes are still missing        look again when it changes; reject after a while
`FileChanged`           a file changed in our hands    drop what was read of it, look at it again
`ReadFailed`            its storage does not answer    try again a few times, then record it as unusable
`StageError`            one stage failed on one pair   record the failure of that pair, go on
`WorkerDied`            a worker process ended itself  try again a few times, then record the failure
`WorkerFailed`          a job raised something else    record the failure of that job, go on
`RetryLater`            disk full, engine away         keep the work, wait, try again
`WorkerDiffers`         a worker of other code         keep the work, have another worker do it
`StateError`            the journal or results damaged stop, exit code 1, one line: a person decides
anything else           a bug                          traceback, stop with exit code 1
======================  =============================  ==============================================
"""

from __future__ import annotations


class StreamcalError(Exception):
    """Base of all errors that streamcal raises on purpose."""


class ConfigError(StreamcalError):
    """The configuration cannot work; found before the first exposure."""


class PluginError(StreamcalError):
    """A plugin cannot be loaded or declares something impossible; found before the first exposure."""


class ExposureError(StreamcalError):
    """An input file cannot be used; it is rejected with this text as the recorded reason."""


class FileChanged(ExposureError):  # noqa: N818 - it names what happened
    """A file is no longer the one that was admitted, or has gone: what was read of it does not count; look again."""


class ReadFailed(ExposureError):  # noqa: N818 - as above
    """The storage failed while a file was read: this says nothing of the file, and may pass when tried again."""


class NotWhole(StreamcalError):  # noqa: N818 - it is no fault, only too early
    """Bytes that a file announces are not there yet.

    It is looked at again when it changes, and rejected when it has not become whole within ``incomplete_timeout``.
    """


class StateError(StreamcalError):
    """Journal, lock or committed results are not as they were left; nobody may write until a person has looked."""


class RetryLater(StreamcalError):  # noqa: N818 - it is a request, not a fault
    """Something outside is away for now; keep the work and try again.

    Parameters
    ----------
    message : str
        What is away.
    after_seconds : float
        How long to wait before the next try, in seconds.
    """

    def __init__(self, message: str, after_seconds: float = 5.0) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class CompanionsWanted(RetryLater):
    """A stage asks for exposures of other detectors, which the job does not name: it is to be sent again with them."""


class WorkerDiffers(RetryLater):
    """A worker on another machine is not what one on this machine would be: its numbers might differ."""


class StageError(StreamcalError):
    """A stage failed on one pair: that pair is recorded as failed, all others go on.

    Parameters
    ----------
    message : str
        What happened, in words.
    stage, plugin : str
        The stage, and the plugin that offers it.
    detail : str
        Traceback of the cause, as text (it may come from another process).
    """

    def __init__(self, message: str, *, stage: str = "", plugin: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.stage = stage
        self.plugin = plugin
        self.detail = detail


class WorkerError(StreamcalError):
    """A job brought neither a result nor a reason of its own; base of the two below.

    Parameters
    ----------
    message : str
        What happened, in words.
    detail : str
        What the worker left behind: the traceback, or the last lines it wrote to stderr.
    """

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class WorkerDied(WorkerError):  # noqa: N818 - it says what happened, and may pass when tried again
    """The worker ended in the middle of a job: by a signal, by itself, or over its limit of time or memory.

    Parameters
    ----------
    message, detail : str
        As `WorkerError`.
    stage, plugin : str
        The stage that was running, and the plugin that offers it; empty where none was.
    """

    def __init__(self, message: str, *, stage: str = "", plugin: str = "", detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.stage = stage
        self.plugin = plugin


class WorkerFailed(WorkerError):  # noqa: N818 - as above, but trying again would bring the same
    """The job raised an exception that no stage and no reader accounts for, or returned what is no result."""
