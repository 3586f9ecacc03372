"""What a process that measures is: its streamcal, its plugins, and the numbers that its kernels give.

Two processes of the same fingerprint give the same rows for the same pair, on whatever machine they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from streamcal import __version__

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streamcal.plugins import PluginInfo

PACKAGE = Path(__file__).parent
SIDE = 96  # pixels; of the images that the kernels are tried on


def take_fingerprint(job: bytes) -> bytes:
    """Tell what this process would measure with.

    Parameters
    ----------
    job : bytes
        What `streamcal.jobs.start_job` gave.

    Returns
    -------
    bytes
        A JSON object of texts: ``streamcal``, ``streamcal sources``, ``stages``, ``kernels``, and each plugin.
    """
    from streamcal.jobs import open_workshop_of

    workshop = open_workshop_of(job)
    plugins = {f"plugin {info.name}": _describe_plugin(info) for info in workshop.plugins.describe()}
    facts = {
        "streamcal": __version__,
        "streamcal sources": digest_files(sorted(PACKAGE.rglob("*.py")) + sorted(PACKAGE.rglob("*.toml"))),
        "stages": workshop.chain.digest[:12],
        "kernels": digest_kernels(),
    }
    return json.dumps(facts | plugins).encode()


def _describe_plugin(info: PluginInfo) -> str:
    path = Path(info.path)
    digest = f"({digest_files([path])})" if path.is_file() else ""
    return f"{info.version} {digest}".strip()


def digest_files(paths: Iterable[Path]) -> str:
    """Return a digest of the content of some files."""
    digest = hashlib.blake2b(digest_size=6)
    for path in paths:
        content = path.read_bytes()
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def digest_kernels() -> str:
    """Return a digest of what the compiled kernels make of two small images, to the last bit.

    Other versions of numba or numpy, or another processor, may round otherwise: then rows would depend on the machine
    that measured them.
    """
    from streamcal.measure import measure_amplifier

    measured = measure_amplifier(_make_image(1), _make_image(2), read_noise=5.0, min_good_pixels=1)
    numbers = (measured.mean_used, measured.variance, measured.gain_statistic, measured.gain)
    digest = hashlib.blake2b(digest_size=6)
    for array in (measured.covariance.tolist(), measured.covariance_error.tolist(), numbers):
        digest.update(json.dumps(array).encode())
    return digest.hexdigest()


def _make_image(seed: int) -> NDArray[np.float32]:
    """Return what looks like a flat, by whole-number arithmetic only: generators of random numbers change."""
    import numpy as np

    state = np.arange(SIDE * SIDE, dtype=np.uint64) + np.uint64(seed << 32)
    for _ in range(3):
        state = (state ^ (state >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    return (20000 + (state >> np.uint64(54))).astype(np.float32).reshape(SIDE, SIDE)
