"""Memory for arrays that are filled and read within one call, used again by the next.

Fresh memory is handed out by the operating system page by page, which takes longer than filling it.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

_own = threading.local()  # a thread's buffers are nobody else's


def borrow_array(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array of undefined content, valid until this thread borrows one of the same name again.

    Parameters
    ----------
    name : str
        What it is for. Each name keeps the memory of the largest array that was asked for.
    shape : tuple of int
        Its shape.
    dtype : dtype_like
        Its type.
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    buffers: dict[str, NDArray[np.uint8]] = _own.__dict__
    if name not in buffers or buffers[name].size < n_bytes:
        buffers[name] = np.empty(n_bytes, np.uint8)
    return buffers[name][:n_bytes].view(dtype).reshape(shape)
