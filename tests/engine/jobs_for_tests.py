"""Jobs that well and badly behaved plugins might run; workers import this module by name."""

# ruff: noqa: D103, EM101, TRY003, T201 - the names say it, and bad manners are the point

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from streamcal.engine import progress
from streamcal.errors import ExposureError, RetryLater, StageError


class TwoArgumentsError(Exception):
    """Cannot be rebuilt from its pickle."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class SpeechlessError(Exception):
    """Fails even when asked for its text, and cannot be pickled."""

    def __init__(self):
        super().__init__()
        self.secret = lambda: None

    def __str__(self):
        raise RuntimeError


def echo(job):
    return job


def pid(_job):
    return str(os.getpid()).encode()


def sleep(job):
    time.sleep(float(job))
    return job


def sleep_and_tell(job):
    time.sleep(float(job))
    return str(os.getpid()).encode()


def touch_and_sleep(job):
    Path(job.decode()).touch()
    time.sleep(600)
    return b""


def ignore_sigterm(_job):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
    return b""


def segfault(_job):
    ctypes.string_at(0)
    return b""


def leave(job):
    os._exit(int(job))


def close_everything(_job):
    os.closerange(0, 1000)
    time.sleep(600)
    return b""


def exit_politely(_job):
    sys.exit("enough")


def take_memory(job):
    return bytes(int(job))[:1]


def keep_memory(job, kept=[]):  # noqa: B006 - a leak is what it is
    kept.append(bytearray(os.urandom(1 << 20)) * int(job))
    return b""


def raise_two_arguments(_job):
    raise TwoArgumentsError("salt", "pepper")


def raise_speechless(_job):
    raise SpeechlessError


def raise_stage_error(_job):
    raise StageError("gain is negative", stage="gain", plugin="streamcal", detail="Traceback: here")


def raise_exposure_error(_job):
    raise ExposureError("file ends within HDU 3: b\udcff.fits")


def raise_retry_later(_job):
    raise RetryLater("share is away", after_seconds=7.5)


def raise_key_error(_job):
    return {}["EXPTIME"]


def return_none(_job):
    return None


def return_lambda(_job):
    return lambda: None


def return_much(job):
    return b"x" * int(job)


def say_hello(_job):
    print("hello from print")
    os.write(1, b"hello from descriptor 1\n")
    os.write(1, b"\xff" * 200_000 + b"\n")
    return b"said"


def write_garbage(job):
    """Write to the pipe of results itself: it is the last argument but one of the worker."""
    os.write(int(sys.argv[-2]), job)
    return b"result"


def fork(job):
    """Leave a child behind, and say which; with an argument, the child returns from here too."""
    child = os.fork()
    if child == 0 and not job:
        time.sleep(600)
    return str(child).encode()


def spawn(job):
    """Leave a program behind that writes its id to the path given, then hang."""
    child = subprocess.Popen(["sleep", "600"])
    part = Path(job.decode() + ".part")
    part.write_text(str(child.pid))
    part.rename(job.decode())
    time.sleep(600)
    return b""


def read_limits(_job):
    import resource

    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_CORE)]
    return repr(limits).encode()


def read_variable(job):
    return os.environ.get(job.decode(), "").encode()


def read_signals(_job):
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    ignored = [number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_IGN]
    return repr((sorted(blocked), ignored)).encode()


def read_session(_job):
    return repr((os.getpid(), os.getsid(0), os.getpgid(0))).encode()


def read_path(_job):
    return repr(sys.path).encode()


def warm_up(job):
    os.environ["WARM"] = job.decode()
    return b"dropped"


def die_on_flag(job):
    """As a warm-up: end the worker as long as the file is there."""
    if Path(job.decode()).exists():
        print("the flag is up", file=sys.stderr)
        os._exit(9)
    return b""


def identify(_job):
    """Tell what this process is, as its environment says."""
    return json.dumps({"colour": os.environ.get("COLOUR", "red")}).encode()


def identify_by_file(job):
    """Tell what is installed, as the file of this name says."""
    return json.dumps({"version": Path(job.decode()).read_text()}).encode()


def read_colour(_job):
    return os.environ.get("COLOUR", "red").encode()


def work_in_stages(job):
    """Work as three stages, one inside another; end the process where the job says."""
    with progress.show(progress.Doing("read")):
        leave_if(job == b"read")
    with progress.show(progress.Doing("outer", "plugin " * 100)):
        with progress.show(progress.Doing("inner", "sm\u00e5l")):
            leave_if(job == b"inner")
        leave_if(job == b"outer")
    leave_if(job == b"after")
    return job


def leave_if(wanted):
    if wanted:
        os._exit(7)


def write_to_stderr(job):
    os.write(2, job)
    return b""
