"""A Dask scheduler and workers on this machine, with certificates of a temporary authority, to be killed at will."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

END_SECONDS = 20.0


class LocalCluster:
    """Processes of a cluster, all on loopback; whoever makes one must close it.

    Parameters
    ----------
    folder : Path
        For certificates, logs and scratch files; made if it is not there.
    tls : bool
        Talk TLS; needs the package ``trustme``.

    Attributes
    ----------
    address : str
        Where the scheduler listens, whenever there is one.
    scheduler : subprocess.Popen or None
        The scheduler that was started last.
    workers : list of subprocess.Popen
        Workers that were started, those that have ended included.
    worker_log : Path
        What all workers, and their children, wrote to stderr.
    """

    def __init__(self, folder: Path, *, tls: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.worker_log = folder / "worker.log"
        self._files = write_certificates(folder) if tls else {}
        self.address = f"{'tls' if tls else 'tcp'}://127.0.0.1:{find_free_port()}"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def settings(self) -> dict[str, Any]:
        """What ``[engine]`` must say to use it."""
        return {"kind": "dask", "address": self.address, **{key: str(path) for key, path in self._files.items()}}

    def start_scheduler(self) -> None:
        """Start a scheduler, at the same address as the one before."""
        port = self.address.rpartition(":")[2]
        arguments = ("--host", self.address.rpartition(":")[0], "--port", port, "--dashboard-address", "127.0.0.1:0")
        self.scheduler = self._start("scheduler", arguments, {})

    def start_worker(
        self, *, threads: int = 1, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a worker; it ends with its scheduler."""
        scheme = self.address.partition(":")[0]
        arguments = (self.address, "--nthreads", str(threads), "--no-nanny", "--no-dashboard")
        places = ("--host", f"{scheme}://127.0.0.1", "--local-directory", str(self._folder), "--death-timeout", "60")
        self.workers.append(self._start("worker", (*arguments, *places), environment or {}))
        return self.workers[-1]

    def alive(self) -> list[subprocess.Popen[bytes]]:
        """Return the workers that have not ended."""
        return [worker for worker in self.workers if worker.poll() is None]

    def close(self) -> None:
        """Kill what is still running, each by its id."""
        for process in (self.scheduler, *self.workers):
            if process is not None:
                kill(process)

    def _start(self, name: str, arguments: tuple[str, ...], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        options = {"--tls-ca-file": "tls_ca", "--tls-cert": "tls_certificate", "--tls-key": "tls_key"}
        tls = [text for option, key in options.items() if self._files for text in (option, str(self._files[key]))]
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *arguments, *tls]
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and wait for its end."""
    process.kill()
    process.wait(END_SECONDS)


def find_free_port() -> int:
    """Return a port of loopback that nobody listens at."""
    with socket.socket() as channel:
        channel.bind(("127.0.0.1", 0))
        return int(channel.getsockname()[1])


def write_certificates(folder: Path) -> dict[str, Path]:
    """Make an authority and a certificate that both ends use; return the files by their keys in ``[engine]``."""
    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    files = {key: folder / f"{key}.pem" for key in ("tls_ca", "tls_certificate", "tls_key")}
    authority.cert_pem.write_to_path(str(files["tls_ca"]))
    certificate.cert_chain_pems[0].write_to_path(str(files["tls_certificate"]))
    certificate.private_key_pem.write_to_path(str(files["tls_key"]))
    files["tls_key"].chmod(0o600)
    return files
