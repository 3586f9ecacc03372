"""Who may be talked to: an engine on other machines unpickles what comes, so its address is checked first."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from streamcal.engine.base import EngineOptions
from streamcal.errors import ConfigError

EXAMPLE = "such as tls://scheduler.example.org:8786"
TLS_FILES = ("tls_ca", "tls_certificate", "tls_key")


def check_address(options: EngineOptions) -> None:
    """Check that the scheduler's address can be trusted.

    Whoever can speak for the scheduler, or listen in on it, has code of theirs run: TLS with certificates on both
    sides, or nobody else on the line.

    Raises
    ------
    ConfigError
        If the address is none, is neither ``tls://`` nor a loopback ``tcp://`` (unless plain TCP is allowed in so many
        words), or a TLS file is not named or not there.
    """
    scheme, host = _split_address(options.address)
    if scheme == "tls":
        _check_files(options)
    elif not (is_loopback(host) or options.allow_plain_tcp):
        msg = (
            f"engine.address must be tls:// off this machine, got {options.address!r}: over plain tcp anybody on the "
            "network can run code as this user; engine.allow_plain_tcp = true takes that risk"
        )
        raise ConfigError(msg)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by a name or number that never leaves it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name, which may be looked up as anything
        return False


def _split_address(address: str) -> tuple[str, str]:
    try:
        parts = urlsplit(address)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme not in {"tls", "tcp"} or not host or not port:
        msg = f"engine.address must be tls://HOST:PORT or tcp://HOST:PORT, {EXAMPLE}, got {address!r}"
        raise ConfigError(msg)
    return scheme, host


def _check_files(options: EngineOptions) -> None:
    for key in TLS_FILES:
        name = getattr(options, key)
        if not name:
            msg = f"engine.{key} must name a PEM file: tls:// needs {', '.join(TLS_FILES)}"
            raise ConfigError(msg)
        try:
            with Path(name).open("rb"):
                pass
        except OSError as exc:
            msg = f"engine.{key}: {name}: {exc.strerror}"
            raise ConfigError(msg) from exc
