"""How the loops of this package are compiled: with which liberties, and with which never."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

# Sums in any order and fused multiplication: what vector registers need. Nothing is assumed of NaN and infinities;
# plain `fastmath` would be free to drop the very comparisons that keep them out.
REORDER = {"reassoc", "contract", "nsz"}


def compile_sum(function: Function) -> Function:
    """Compile a loop of sums that may be done in any order, hence in vector registers.

    The order is fixed when it is compiled, so results do not depend on threads or workers; on processors with
    registers of another width they differ by rounding.
    """
    return cast("Function", numba.njit(nogil=True, cache=True, fastmath=REORDER)(function))
