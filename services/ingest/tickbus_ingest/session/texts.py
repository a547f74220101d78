"""Texts as columns: the characters of all rows behind one another, and where each text ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tickbus_ingest.session.kernels.texts import chosen_ends, copy_chosen, hashes

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Texts:
    """The text of row i is data[ends[i]:ends[i + 1]], in ASCII."""

    ends: I64
    data: U8

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        """Of ASCII texts."""
        ends = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=ends[1:])
        return cls(ends, np.frombuffer(bytearray("".join(texts), "ascii"), np.uint8))

    @classmethod
    def joined(cls, several: Sequence[Texts]) -> Texts:
        """Several behind one another."""
        before = np.cumsum([0, *(one.ends[-1] for one in several)])
        ends = [one.ends[1:] + first for one, first in zip(several, before, strict=False)]
        return cls(
            np.concatenate((np.zeros(1, np.int64), *ends)),
            np.concatenate([one.data[: one.ends[-1]] for one in several]),
        )

    def __len__(self) -> int:
        return len(self.ends) - 1

    def take(self, rows: I64) -> Texts:
        """Those of some rows, in the order given."""
        ends = np.empty(len(rows) + 1, np.int64)
        chosen_ends(self.ends, rows, ends)
        data = np.empty(int(ends[-1]), np.uint8)
        copy_chosen(self.ends, self.data, rows, ends, data)
        return Texts(ends, data)

    def hashes(self) -> I64:
        """A number for each, the same for the same text."""
        found = np.empty(len(self), np.int64)
        hashes(self.ends, self.data, found)
        return found

    def tolist(self) -> list[str]:
        """As Python texts."""
        text, ends = self.data.tobytes().decode("ascii"), self.ends.tolist()
        return [text[a:b] for a, b in pairwise(ends)]
