"""A plugin that does to its worker what plugins do, chosen by the exposure time of the pair; and one that leaks."""

import contextlib
import ctypes
import os
import signal
import time

import numpy as np

from streamcal import Column, Stage, hookimpl

KEPT = []


def misbehave(pair, settings, context):
    """Do the n-th bad thing at the n-th level."""
    names = sorted(pair.first.amplifiers)
    deed = DEEDS.get(int(pair.first.header["EXPID"]) // 2)
    value = deed() if deed else 1.0
    return {name: {"deed": value} for name in names} if not isinstance(value, dict) else value


def kill_itself():
    """End as a process that the kernel kills for memory does."""
    os.kill(os.getpid(), signal.SIGKILL)


def take_all_memory():
    """Ask for 128 GiB."""
    return float(np.ones(1 << 34).sum())


def hang():
    """Wait for ever."""
    time.sleep(1000)


def crash():
    """Read at address zero."""
    ctypes.string_at(0)


def fail():
    """Raise."""
    msg = "no such thing"
    raise KeyError(msg)


def give_text():
    """Return a text where a number was declared."""
    return "rubbish"


def give_nothing():
    """Return what is no mapping of columns."""
    return {"C00": None, 7: {"other": object()}}


def end():
    """Leave without a word."""
    os._exit(0)


def write_rubbish():
    """Write into every pipe that there is."""
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(descriptor, b"\0rubbish" * 100)
    time.sleep(600)  # be found at it: after this the stage would be over
    return 1.0


DEEDS = dict(
    enumerate([kill_itself, take_all_memory, hang, crash, fail, give_text, give_nothing, end, write_rubbish], start=1)
)


def leak(pair, settings, context):
    """Keep 100 MB for ever."""
    KEPT.append(np.ones(100 << 17))
    return {name: {"kept": float(len(KEPT))} for name in pair.first.amplifiers}


def columns(name):
    """Return the declaration of one column."""
    return (Column(name=name, type="float64", unit="1", description="What a bad stage gives."),)


@hookimpl
def streamcal_stages():
    """Offer both stages."""
    return [
        Stage(name="misbehave", kind="pair", run=misbehave, columns=columns("deed")),
        Stage(name="leak", kind="pair", run=leak, columns=columns("kept")),
    ]
