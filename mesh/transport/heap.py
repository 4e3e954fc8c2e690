"""How the C library keeps the memory of this process between two big bodies.

By itself glibc fetches each large block from the kernel and hands it back at once, so every body of some hundred KiB is
laid on pages that the kernel must clear first, at each of its copies: measured, as dear as all else that is done with
it. Blocks of up to 4 MiB come from the heap instead, whose end is given back when more than 16 MiB of it are free.
Elsewhere than on glibc nothing changes.
"""

from __future__ import annotations

import ctypes
import sys

FROM_HEAP = 4 * 1024 * 1024
KEPT = 16 * 1024 * 1024

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_heap() -> bool:
    """Have freed memory kept for the next big body, within bounds; tells whether the C library can do that."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, FROM_HEAP) and mallopt(_M_TRIM_THRESHOLD, KEPT))
