"""Compiles the kernels, or loads them from the cache, before the service says that it is ready."""

from __future__ import annotations

import numpy as np
from tickbus.warm import warm_groups

from tickbus_writer.kernels import number, spread


def warm() -> None:
    """Run the kernels that make groups and the writer's own, with the types that they get."""
    warm_groups()
    counts = np.zeros(0, np.int32)
    for dtype in (np.int64, np.uint16, np.bool_):
        spread(np.zeros(0, dtype), counts, np.zeros(0, dtype))
    number(np.zeros(0, np.int64), counts, np.zeros(0, np.int64))
