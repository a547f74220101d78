"""Allocator and collector of a service: a reader frees as much as it receives, all the time.

glibc gives large blocks back to the kernel and takes them anew, each page of them with a fault: for
messages of some 60 KB that took ten times as long as decoding them (benchmarks/README.md).
https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html
"""

from __future__ import annotations

import ctypes
import gc
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
KEEP_BYTES = 256 * 1024**2
"""Freed memory that stays at the heap's end at most."""
BLOCK_BYTES = 32 * 1024**2
"""Smaller blocks come from the heap; glibc takes no higher limit."""


def keep_freed() -> bool:
    """Tell the allocator, once at a service's start; False where it is not glibc."""
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl has no such thing
        return False
    # Both, in this order: setting either ends glibc's own adjustment of the two.
    return bool(mallopt(_M_MMAP_THRESHOLD, BLOCK_BYTES) and mallopt(_M_TRIM_THRESHOLD, KEEP_BYTES))


def settle() -> None:
    """Once a service has loaded and warmed all it needs: the collector leaves that alone.

    What comes later is batches of objects without cycles, so it may also look less often: at each
    10,000 new ones instead of 700 (10 to 15 % of a reader's time).
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)
