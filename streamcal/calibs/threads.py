"""Matrix products on one thread: split among several they round differently, and small ones take longer."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import Any

from threadpoolctl import ThreadpoolController


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all libraries of the process: milliseconds


def one_blas_thread() -> AbstractContextManager[Any]:
    """Return a context in which numpy's matrix products are done by the calling thread alone."""
    context: AbstractContextManager[Any] = _libraries().limit(limits=1, user_api="blas")
    return context
