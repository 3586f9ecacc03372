"""File names are bytes: how they are shown, in rows, logs and on a terminal."""

from __future__ import annotations

import os


def show_path(path: str | bytes | os.PathLike[str]) -> str:
    r"""Return a path as text that is safe to show and tells every byte.

    Parameters
    ----------
    path : str, bytes or PathLike
        As `os.fsdecode` gives it: bytes that are not UTF-8 are surrogates.

    Returns
    -------
    str
        UTF-8 text in which control characters, backslashes and bytes that are not UTF-8 appear as ``\xNN``.
    """
    text = os.fsencode(path).decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(char if char.isprintable() and char != "\\" else _escape(char) for char in text)


def _escape(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
