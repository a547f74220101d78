"""The step that all prices of a book are whole multiples of, and the size of its pages.

A step is unit / scale, both whole, scale a power of ten: prices of venues are decimal. Unit 0 means
that no step is known. A double is `n` steps if n * unit / scale is that double, to the bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tickbus.book.kernels.pages import BITS_MAX, page_words
from tickbus.compiled import kernel

F64 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int8]

_u64 = np.uint64

DIGITS_MAX = 12
WHOLE_MAX = float(1 << 51)
"""Below this, rounding a price times scale / unit finds the right number of steps."""
LEVEL_WORDS_MAX = 32
"""Words that a level may take, empty cells included: larger pages are fewer, and faster."""


@kernel
def fits(price: F64, start: int, stop: int, unit: int, scale: int) -> bool:
    """Whether prices `start` to `stop` are whole multiples of the step."""
    if unit == 0:
        return True
    factor, of_unit, of_scale = scale / unit, float(unit), float(scale)
    wrong = 0
    # Plain indexes and sums: so this becomes vector instructions, a tenth of a book's update.
    for row in range(_u64(start), _u64(stop)):
        whole = np.rint(price[row] * factor) * of_unit
        wrong += int(whole / of_scale != price[row]) | int(abs(whole) >= WHOLE_MAX)
    return wrong == 0


@kernel
def step_of(price: F64) -> tuple[int, int]:
    """The largest step that all prices are whole numbers of: unit, scale; (0, 1) if there is none.

    price: f64[n], finite.
    """
    scale = 1
    for _ in range(DIGITS_MAX + 1):
        if fits(price, 0, len(price), 1, scale):
            unit = 0
            for one in price:
                rest = abs(int(np.rint(one * scale)))
                while rest:
                    unit, rest = rest, unit % rest
                if unit == 1:
                    break
            return max(unit, 1), scale
        scale *= 10
    return 0, 1


@kernel
def pages_of(side: I8, price: F64, start: int, stop: int, unit: int, scale: int, bits: int) -> int:
    """Pages that these levels can take at most: from one to the next the page often stays."""
    if unit == 0 or start == stop:
        return stop - start
    factor = scale / unit
    changes = 1
    for row in range(_u64(start + 1), _u64(stop)):
        before = row - _u64(1)
        page = int(np.rint(price[row] * factor)) >> bits
        page_before = int(np.rint(price[before] * factor)) >> bits
        changes += int(page != page_before) | int(side[row] != side[before])
    return changes


@kernel
def page_bits(side: I8, price: F64, unit: int, scale: int) -> int:
    """Logarithm of the page size that suits such levels: the largest in which they are not lost."""
    if unit == 0:
        return 0  # neighbouring keys are no neighbouring prices
    for bits in range(BITS_MAX, 0, -1):
        words = page_words(bits) * pages_of(side, price, 0, len(price), unit, scale, bits)
        if words <= LEVEL_WORDS_MAX * len(price):
            return bits
    return 0
