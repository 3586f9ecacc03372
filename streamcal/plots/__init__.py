"""Pictures of photon transfer curves (matplotlib, extra ``plot``): functions from rows to figures, nothing is shown."""

from __future__ import annotations

KINDS = ("curves", "covariances", "kernel", "trends", "focal-plane")
SUFFIXES = ("png", "pdf", "svg")
