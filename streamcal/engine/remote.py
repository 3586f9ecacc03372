"""The far end of an engine on other machines: jobs run in the limited child processes of a process that is not ours.

A cluster brings the processes (Dask workers, say). In each, a station of ours keeps as many worker processes as the
`LocalEngine` of the daemon's own machine would, with the same limits, warmed the same way; each of them finds out at
its start whether it is what the daemon expects. It knows nothing of the cluster; what crosses the network is bytes.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from streamcal.engine.base import EngineOptions, name_function
from streamcal.engine.local import LocalEngine
from streamcal.engine.outcome import Outcome, call_function
from streamcal.errors import StreamcalError, WorkerDiffers

MOST_STATIONS = 4  # as many daemons of different configuration can share a worker; one more evicts the least used
HERE_ONLY = ("kind", "queue_size", "address", "tls_ca", "tls_certificate", "tls_key", "allow_plain_tcp")


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What comes with each job: the worker's limits, and what it has to be.

    Attributes
    ----------
    options : EngineOptions
        Limits and warm-up; nothing of how the cluster is reached.
    identity : dict of str to str
        What `EngineOptions.identify` tells on the daemon's machine; empty: workers may be anything.
    """

    options: EngineOptions
    identity: dict[str, str]

    def to_bytes(self) -> bytes:
        """Return it as bytes that are the same for the same order."""
        values = {key: value for key, value in asdict(self.options).items() if key not in HERE_ONLY}
        values["start_payload"] = self.options.start_payload.decode("latin-1")  # any bytes, as text
        return json.dumps({"options": values, "identity": self.identity}, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Restore what `to_bytes` gave."""
        values: dict[str, Any] = json.loads(data)
        options = values["options"]
        options["start_payload"] = options["start_payload"].encode("latin-1")
        return cls(options=EngineOptions(**options), identity=values["identity"])


class Station:
    """Worker processes for one order, in a process of the cluster.

    Parameters
    ----------
    order : Order
        Whose.
    workers : int
        Number of worker processes.
    """

    def __init__(self, order: Order, workers: int) -> None:
        payload = order.to_bytes()
        self._engine = LocalEngine(
            replace(order.options, workers=workers, start=name_function(start_child), start_payload=payload)
        )

    def run(self, function: str, job: bytes) -> bytes:
        """Have a job done, and wait for it.

        Raises
        ------
        WorkerDiffers
            If the child that got it is not what the order asks for; the job was not done.
        StreamcalError
            What the job raised, see `streamcal.engine.Engine`.
        """
        return self._engine.submit(run_in_child, f"{function}\0".encode() + job).result()

    def close(self) -> None:
        """End the worker processes when the jobs they have are done."""
        self._engine.shutdown(wait=False)


_difference = ""  # in a child: how it differs from what its order asks for


def start_child(order: bytes) -> bytes:
    """Warm this process as an order says, and find out whether it is what the order asks for.

    Parameters
    ----------
    order : bytes
        What `Order.to_bytes` gave.

    Returns
    -------
    bytes
        Nothing: each job is told by `run_in_child`, as a process that does not start is another matter.
    """
    global _difference  # noqa: PLW0603 - of this process, which has one order for life
    wanted = Order.from_bytes(order)
    options = wanted.options
    call_function(options.start, options.start_payload)
    if wanted.identity:
        there = json.loads(call_function(options.identify, options.start_payload))
        _difference = describe_difference(wanted.identity, there)
    return b""


def run_in_child(job: bytes) -> bytes:
    """Do a job in a process that `start_child` has started.

    Parameters
    ----------
    job : bytes
        Name of the function, a zero byte, and its argument.

    Raises
    ------
    WorkerDiffers
        If this process is not what its order asks for.
    """
    if _difference:
        raise WorkerDiffers(_difference, after_seconds=1.0)
    function, _, argument = job.partition(b"\0")
    return call_function(function.decode(), argument)


class Stations:
    """The stations of a process, one for each order."""

    def __init__(self) -> None:
        self._stations: OrderedDict[bytes, Station] = OrderedDict()
        self._lock = threading.Lock()

    def run(self, order: bytes, workers: int, function: str, job: bytes) -> bytes:
        """Have a job done by the station of an order, which is opened at its first; see `Station.run`."""
        station = self._find(order, workers)
        try:
            return station.run(function, job)
        except WorkerDiffers:  # what is installed may be made right: the next one who asks has it looked at again
            self._drop(order)
            raise

    def close(self) -> None:
        """Close all stations."""
        with self._lock:
            while self._stations:
                self._stations.popitem()[1].close()

    def _find(self, order: bytes, workers: int) -> Station:
        with self._lock:
            if order not in self._stations:
                self._stations[order] = Station(Order.from_bytes(order), workers)
            self._stations.move_to_end(order)
            while len(self._stations) > MOST_STATIONS:
                self._stations.popitem(last=False)[1].close()
            return self._stations[order]

    def _drop(self, order: bytes) -> None:
        with self._lock:
            if station := self._stations.pop(order, None):
                station.close()


_STATIONS = Stations()


def serve(order: bytes, workers: int, function: str, job: bytes) -> bytes:
    """Have a job done in a limited child of this process, and wait for it.

    Parameters
    ----------
    order : bytes
        What `Order.to_bytes` gave.
    workers : int
        How many such jobs run here at once.
    function : str
        ``module:qualname``.
    job : bytes
        Its argument.

    Returns
    -------
    bytes
        What `Outcome.from_bytes` reads: errors are text, never pickles.
    """
    try:
        result = _STATIONS.run(order, workers, function, job)
    except StreamcalError as exc:
        return Outcome.of_error(exc).to_bytes()
    return Outcome(ok=True, payload=result).to_bytes()


def describe_difference(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    """Say in words how a worker differs from one on the daemon's machine; empty if it does not."""
    parts = [
        f"{name} is {here.get(name) or 'missing'} here and {there.get(name) or 'missing'} there"
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name)
    ]
    return ", ".join(parts)
