"""Files of calibrations: which format a name stands for, and writing in one piece."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

YAML_ENDINGS = (".yaml", ".yml")
TEXT_ENDINGS = (".ecsv", *YAML_ENDINGS)


def text_format(path: Path) -> Literal["ecsv", "yaml"]:
    """Return the format that the name of a text file stands for.

    Raises
    ------
    ValueError
        If it is another ending.
    """
    ending = path.suffix.lower()
    if ending == ".ecsv":
        return "ecsv"
    if ending in YAML_ENDINGS:
        return "yaml"
    msg = f"{path}: the name must end in .ecsv, .yaml or .yml"
    raise ValueError(msg)


def ending_fits(path: Path, kind: str) -> bool:
    """Tell whether a name ends as a format does."""
    return path.suffix.lower() in (YAML_ENDINGS if kind == "yaml" else (".ecsv",))


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that readers, and a machine that loses its power, have the old or the new one, whole.

    Parameters
    ----------
    path : Path
        The file; its folder is written to first.
    content : bytes
        All of it.
    """
    hidden = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with hidden.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)
