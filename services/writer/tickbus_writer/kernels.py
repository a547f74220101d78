"""Compiled loops over level rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from tickbus.compiled import kernel
from tickbus.warm import warm_groups


@kernel
def spread(values: npt.NDArray[Any], counts: npt.NDArray[np.int32], out: npt.NDArray[Any]) -> None:
    """`out`: each value so many times; as np.repeat, which needs ten times as long."""
    at = 0
    for n in range(len(counts)):
        value = values[n]
        for _ in range(counts[n]):
            out[at] = value
            at += 1


@kernel
def number(
    first: npt.NDArray[np.int64], counts: npt.NDArray[np.int32], out: npt.NDArray[np.int64]
) -> None:
    """`out`: so many numbers from each first one on."""
    at = 0
    for n in range(len(counts)):
        for k in range(counts[n]):
            out[at] = first[n] + k
            at += 1


def warm() -> None:
    """Compile or load these kernels and those that make groups."""
    warm_groups()
    counts = np.zeros(0, np.int32)
    for dtype in (np.int64, np.uint16, np.bool_):
        spread(np.zeros(0, dtype), counts, np.zeros(0, dtype))
    number(np.zeros(0, np.int64), counts, np.zeros(0, np.int64))
