"""Sets the allocator and the garbage collector of a service for a steady flow of large blocks.

By default glibc returns large blocks to the kernel and requests them again, with a fault for each
page: for messages of 60 KB that took ten times as long as decoding (benchmarks/README.md).
https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html
"""

from __future__ import annotations

import ctypes
import gc
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
KEEP_BYTES = 256 * 1024**2
"""Most freed memory that stays at the end of the heap."""
BLOCK_BYTES = 32 * 1024**2
"""Smaller blocks come from the heap; glibc takes no higher limit."""


def keep_freed() -> bool:
    """Set the allocator, once at the start of a service; False if it is not glibc."""
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl has no mallopt
        return False
    # Both, in this order: setting either ends glibc's own adjustment of the two.
    return bool(mallopt(_M_MMAP_THRESHOLD, BLOCK_BYTES) and mallopt(_M_TRIM_THRESHOLD, KEEP_BYTES))


def settle() -> None:
    """Exclude everything loaded so far from garbage collection; call it once a service is warm.

    Later objects are batches without cycles, so the collector also runs less often: after 10,000
    new objects instead of 700 (which took 10 to 15 % of a reader's time).
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)
