"""Price levels of one book in one int64 array: pages of neighbouring prices, found by a hash.

A level has a key: the number of steps in its price (`steps` chooses the step of a book), or the
price's bits where no step fits; inverted for bids, so that in both sides the best level has the
smallest key. A page holds the sizes of 2^BITS neighbouring keys and a mask of those that are there:
reading in order is a walk over bits. A side finds the page of a key in a hash table, and the pages
in order in a directory. An emptied page stays, because its levels often come back; `levels` builds
a new book when no pages are left. docs/decisions/0003-order-book-structure.md gives the reasons.

All state of a book is one int64 array, so a kernel gets one argument and a copy is complete.
A page is named by where it begins in the array. Other rooms use `levels`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tickbus.compiled import Cell, bits_of, double_of, kernel, part

I64 = npt.NDArray[np.int64]

LOWEST = np.iinfo(np.int64).min
HIGHEST = np.iinfo(np.int64).max
BITS_MAX = 6
"""A page's mask has 64 bits."""
_u64 = np.uint64
_SPREAD = _u64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: the upper bits of a multiple spread neighbours and strides evenly"""

# Header. PAGES and FRONT have a place for each side: 0 is bid, 1 is ask.
CAPACITY, USED, UNKNOWN, BITS, TABLE_BITS, UNIT, SCALE, FACTOR = range(8)
PAGES, FRONT = 8, 10
HEADER = 12
# Behind it: NOWHERE | table of bids | of asks | directory of bids | of asks | pages.
NOWHERE = HEADER
"""The page that free places of the tables point to: no key has it, and it is always empty."""
# A page: its key (the upper bits of its levels' keys), its mask, its sizes.
MASK, SIZES = 1, 2


@part
def page_words(bits: int) -> int:
    """Words that a page costs with its places in directories and tables."""
    return page_cells(bits) + 6


@part
def page_cells(bits: int) -> int:
    """Cells of a page."""
    return SIZES + (1 << bits)


@part
def table(book: I64, own: int) -> int:
    """Where a side's table begins."""
    return int(NOWHERE + page_cells(book[BITS]) + (own << book[TABLE_BITS]))


@part
def directory(book: I64, own: int) -> int:
    """Where a side's pages stand, the best first."""
    return int(table(book, 2) + own * book[CAPACITY])


def new(capacity: int, bits: int, unit: int, scale: int) -> I64:
    """An empty book of so many pages; a price is a whole number of unit / scale, any if unit is 0.

    unit up to 2^51, scale a power of ten up to 10^12.
    """
    table_bits = max(capacity.bit_length(), 1)  # more places than pages, so that searches end
    tables = page_cells(bits) + (2 << table_bits)
    book = np.zeros(HEADER + tables + capacity * (2 + page_cells(bits)), np.int64)
    book[[CAPACITY, BITS, TABLE_BITS, UNIT, SCALE]] = capacity, bits, table_bits, unit, scale
    book.view(np.float64)[FACTOR] = scale / unit if unit else 0.0
    clear(book)
    return book


@kernel
def clear(book: I64) -> None:
    """Empty both sides; the step stays."""
    book[NOWHERE] = LOWEST
    book[table(book, 0) : table(book, 2)] = NOWHERE
    book[USED] = book[UNKNOWN] = 0
    for own in range(2):
        book[PAGES + own] = book[FRONT + own] = 0


@part
def key_of(price: float, factor: float, flip: int) -> int:
    """Key of a price. factor: steps in a price of 1, 0 for no step; flip: -1 for bids, else 0.

    Doubles of one sign sort as their bits do (IEEE 754), and -0.0 is 0.0.
    """
    if factor != 0.0:
        return int(np.rint(price * factor)) ^ flip
    bits: int = bits_of(price)
    sign = bits >> 63
    return (((bits & HIGHEST) ^ sign) - sign) ^ flip


@part
def price_of(key: int, unit: float, scale: float, flip: int) -> float:
    """The price behind a key: a quotient of whole numbers is correctly rounded."""
    steps = key ^ flip
    if unit != 0.0:
        return steps * unit / scale
    sign = steps >> 63
    price: float = double_of(((steps ^ sign) - sign) | (sign & LOWEST))
    return price


@part
def find_page(book: I64, first: Cell, shift: Cell, key: int) -> Cell:
    """The page with this key, or NOWHERE. first: of the side's table; shift: of `shift_of`."""
    place = (_u64(key) * _SPREAD) >> shift
    page = book[first + place]
    while book[_u64(page)] != key and page != NOWHERE:
        place = (place + _u64(1)) & (~_u64(0) >> shift)
        page = book[first + place]
    return _u64(page)


@part
def shift_of(book: I64) -> Cell:
    """The shift that leaves the bits of a word that number the places of a table."""
    return _u64(64 - book[TABLE_BITS])


@kernel
def take_page(book: I64, own: int, key: int) -> int:
    """A new page for a key that has none; `has_room` has checked that one is left."""
    if book[USED] == book[CAPACITY]:
        raise IndexError("no room was reserved for these levels")
    cells = page_cells(book[BITS])
    page = directory(book, 2) + book[USED] * cells
    book[USED] += 1
    book[page : page + cells] = 0
    book[page] = key
    _enter(book, own, key, page)
    _line_up(book, own, key, page)
    return int(page)


@part
def _enter(book: I64, own: int, key: int, page: int) -> None:
    """Put a page into its side's table."""
    first, shift = _u64(table(book, own)), shift_of(book)
    place = (_u64(key) * _SPREAD) >> shift
    while book[first + place] != NOWHERE:
        place = (place + _u64(1)) & (~_u64(0) >> shift)
    book[first + place] = page


@part
def _line_up(book: I64, own: int, key: int, page: int) -> None:
    """Put a page into its side's directory; it is about to get a level, so it may be the front."""
    first = directory(book, own)
    low, high = first, first + book[PAGES + own]
    end = _u64(high)
    while low < high:
        middle = (low + high) >> 1
        if book[book[middle]] < key:
            low = middle + 1
        else:
            high = middle
    place = _u64(low)
    while end > place:
        book[end] = book[end - _u64(1)]
        end -= _u64(1)
    book[place] = page
    book[PAGES + own] += 1
    book[FRONT + own] = min(book[FRONT + own], low - first)


@part
def settle_front(book: I64, own: int, least: int) -> None:
    """Find the first page with a level, after levels in pages with keys >= `least` were set."""
    first = directory(book, own)
    front = book[FRONT + own]
    while front > 0 and book[book[first + front - 1]] >= least:
        front -= 1
    while front < book[PAGES + own] and book[book[first + front] + MASK] == 0:
        front += 1
    book[FRONT + own] = front
