"""Texts of many rows behind one another: chosen, and made into numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus.compiled import kernel

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


@kernel
def chosen_ends(ends: I64, rows: I64, out: I64) -> None:
    """Where the texts of these rows end when they stand behind one another; out [rows + 1]."""
    out[0] = 0
    for n in range(len(rows)):
        out[n + 1] = out[n] + ends[rows[n] + 1] - ends[rows[n]]


@kernel
def copy_chosen(ends: I64, data: U8, rows: I64, out_ends: I64, out: U8) -> None:
    """The texts of these rows, to where they end in `out`."""
    for n in range(len(rows)):
        start, at = ends[rows[n]], out_ends[n]
        for k in range(out_ends[n + 1] - at):
            out[at + k] = data[start + k]


@kernel
def hashes(ends: I64, data: U8, out: I64) -> None:
    """A number for each text; two different ones have the same by chance only (FNV-1a, 64 bits).

    http://www.isthe.com/chongo/tech/comp/fnv/
    """
    for n in range(len(out)):
        mixed = np.uint64(14695981039346656037)
        for k in range(ends[n], ends[n + 1]):
            mixed = (mixed ^ np.uint64(data[k])) * np.uint64(1099511628211)
        out[n] = np.int64(mixed)
