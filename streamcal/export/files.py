"""Files for others: whole or not there, under names that every file system takes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from streamcal.errors import ConfigError


def make_file_name(*parts: str) -> str:
    """Return the parts that are not empty as one name, with whatever no file name should hold replaced."""
    text = "_".join(part for part in parts if part)
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in text)


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a hidden path to write to; the file appears at once, whole, and replaces one of this name.

    Parameters
    ----------
    path : Path
        The file; its folder is made if needed.

    Yields
    ------
    Path
        Beside it; nothing of that name is left, whatever happens.

    Raises
    ------
    ConfigError
        If the file cannot be written: it is a folder, say, or its folder is a file.
    """
    hidden = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield hidden
        hidden.replace(path)
    except OSError as exc:
        msg = f"{path} cannot be written: {exc.strerror or exc}"
        raise ConfigError(msg) from exc
    finally:
        with contextlib.suppress(OSError):
            hidden.unlink(missing_ok=True)
