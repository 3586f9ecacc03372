"""What a process that measures is: its streamcal, its plugins, what these stand on, and the numbers that kernels give.

Two processes of the same fingerprint give the same rows for the same pair, on whatever machine they are; but for what a
plugin imports that is neither its own package nor one of `LIBRARIES`.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from streamcal import __version__

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streamcal.plugins import PluginInfo

PACKAGE = Path(__file__).parent
LIBRARIES = ("numpy", "scipy", "numba", "llvmlite", "astropy", "pyarrow", "imagecodecs")
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
        A JSON object of texts: ``streamcal``, ``streamcal sources``, ``stages``, ``kernels``, ``python``, the versions
        of `LIBRARIES` that are installed, and of each plugin its version with a digest of its package, or of its file.
    """
    from streamcal.jobs import open_workshop_of

    workshop = open_workshop_of(job)
    plugins = {f"plugin {info.name}": _describe_plugin(info) for info in workshop.plugins.describe()}
    facts = {
        "streamcal": __version__,
        "streamcal sources": digest_files(sorted(PACKAGE.rglob("*.py")) + sorted(PACKAGE.rglob("*.toml"))),
        "stages": workshop.chain.digest[:12],
        "kernels": digest_kernels(),
        "python": platform.python_version(),
    }
    return json.dumps(facts | _find_versions() | plugins).encode()


def _find_versions() -> dict[str, str]:
    """Return the versions of those libraries that are installed."""
    versions = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _describe_plugin(info: PluginInfo) -> str:
    digest = digest_files(find_sources(Path(info.path))) if info.path else ""
    return f"{info.version} ({digest})" if digest else info.version


def find_sources(path: Path) -> list[Path]:
    """Return the files that a plugin's module consists of, with all that lies in its package.

    Parameters
    ----------
    path : Path
        File of the module.

    Returns
    -------
    list of Path
        Sorted. The file alone where it is in no package, or in that of streamcal, which has a digest of its own.
    """
    if PACKAGE in path.parents or not (path.parent / "__init__.py").is_file():
        return [path]
    folder = path.parent
    while (folder.parent / "__init__.py").is_file():
        folder = folder.parent
    return sorted(file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


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
