"""The order book in one array: sorted blocks of price levels, the best block first.

A side is a directory of blocks in price order; a block is `BLOCK` slots of (key, size), sorted by
key. Search walks the directory from where the last level was found (updates of one packet lie close
together and usually in order), then halves inside one block; an insert moves at most one block. A
removed level stays as a slot of size 0 until its block is full: it often comes back, and then costs
no move. docs/decisions/0003 has the measurements behind this shape.

A key is the price's bits turned so that integers sort as prices do, inverted for bids: in both
sides the best level has the smallest key. All state of a book is one int64 array, so a kernel gets
one argument, a checkpoint is its bytes, and a copy is a copy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int8]

BLOCK = 64
_SHIFT = 6
_ROOM = BLOCK - 1  # the last slot stays NO_KEY, so that a search ends inside the block
_SPLIT_ABOVE = 48  # levels that make a full block worth splitting rather than purging
NO_KEY = np.iinfo(np.int64).max
_LOWEST = np.iinfo(np.int64).min
ABSENT = _LOWEST

NEW, UPDATE, DELETE = 1, 2, 3

# Header of the array. Side 0 is bid, side 1 is ask; HINT, USED and COUNT have a place for each.
_CAPACITY, _SPARES, _UNKNOWN = 0, 1, 2
_USED, _COUNT, _HINT = 4, 6, 8
_HEADER = 16


def _cells(capacity: int) -> int:
    """Where the blocks begin: behind the spare list, the fills, and two directories."""
    return _HEADER + 6 * capacity


def new(capacity: int = 32) -> I64:
    """An empty book with room for `capacity` blocks; `reserve` gives it more."""
    book = np.zeros(_cells(capacity) + capacity * 2 * BLOCK, np.int64)
    book[_CAPACITY] = capacity
    clear(book)
    return book


def reserve(book: I64, levels: int) -> I64:
    """The book itself, or a larger copy in which `levels` updates surely find room.

    An insert takes a spare block only when its own is full: at most once for each block in use,
    and again after at least `_ROOM - _SPLIT_ABOVE` inserts into the same one.
    """
    used = int(book[_USED] + book[_USED + 1])
    needed = min(levels, used) + levels // (_ROOM - _SPLIT_ABOVE) + 2
    if book[_SPARES] >= needed:
        return book
    grown = new(max(2 * int(book[_CAPACITY]), used + needed))
    for side in (1, -1):
        price, size = whole(book, side)
        fold(grown, np.full(len(price), side, np.int8), price, size, 0, len(price))
    grown[_UNKNOWN] = book[_UNKNOWN]
    return grown


@njit(cache=True, nogil=True, inline="always")
def _directory(capacity, side):  # type: ignore[no-untyped-def] # compiled; int64 in and out
    """Where a side's lowest keys stand; its block numbers follow `capacity` further."""
    return _HEADER + 2 * capacity + side * 2 * capacity


@njit(cache=True, nogil=True)
def clear(book: I64) -> None:
    """Empty both sides."""
    capacity = book[_CAPACITY]
    for n in range(capacity):
        book[_HEADER + n] = capacity - 1 - n
    book[_SPARES] = capacity
    book[_UNKNOWN] = 0
    for side in range(2):
        first = _directory(capacity, side)
        for n in range(capacity):
            book[first + n] = NO_KEY
        block = _take_spare(book)
        book[first] = _LOWEST
        book[first + capacity] = block
        book[_USED + side] = 1
        book[_COUNT + side] = 0
        book[_HINT + side] = 0


@njit(cache=True, nogil=True)
def _take_spare(book: I64) -> int:
    """An empty block; `reserve` saw to it that there is one."""
    if book[_SPARES] == 0:
        raise IndexError("a book was not reserved for the levels that it gets")
    capacity = book[_CAPACITY]
    book[_SPARES] -= 1
    block = int(book[_HEADER + book[_SPARES]])
    book[_HEADER + capacity + block] = 0
    slot = _HEADER + 6 * capacity + (block << (_SHIFT + 1))
    for n in range(BLOCK):
        book[slot + n] = NO_KEY
    return block


@njit(cache=True, nogil=True)
def _purge(book: I64, block: int) -> int:
    """Drop the removed levels of a block; how many are left."""
    capacity = book[_CAPACITY]
    slot = _HEADER + 6 * capacity + (block << (_SHIFT + 1))
    filled = book[_HEADER + capacity + block]
    kept = 0
    for n in range(filled):
        if book[slot + BLOCK + n] != 0:
            book[slot + kept] = book[slot + n]
            book[slot + BLOCK + kept] = book[slot + BLOCK + n]
            kept += 1
    for n in range(kept, filled):
        book[slot + n] = NO_KEY
    book[_HEADER + capacity + block] = kept
    return kept


@njit(cache=True, nogil=True)
def _split(book: I64, side: int, at: int) -> None:
    """Give the upper half of the block at directory place `at` to a new block behind it."""
    capacity = book[_CAPACITY]
    first = _directory(capacity, side)
    block = book[first + capacity + at]
    right = _take_spare(book)
    slot = _HEADER + 6 * capacity + (block << (_SHIFT + 1))
    other = _HEADER + 6 * capacity + (right << (_SHIFT + 1))
    filled = book[_HEADER + capacity + block]
    keep = filled // 2
    for n in range(filled - keep):
        book[other + n] = book[slot + keep + n]
        book[other + BLOCK + n] = book[slot + BLOCK + keep + n]
        book[slot + keep + n] = NO_KEY
    book[_HEADER + capacity + block] = keep
    book[_HEADER + capacity + right] = filled - keep
    used = book[_USED + side]
    for n in range(used - 1, at, -1):
        book[first + n + 1] = book[first + n]
        book[first + capacity + n + 1] = book[first + capacity + n]
    book[first + at + 1] = book[other]
    book[first + capacity + at + 1] = right
    book[_USED + side] = used + 1


@njit(cache=True, nogil=True)
def _make_room(book: I64, side: int, at: int, key: int) -> int:
    """Free a slot where `key` belongs; the directory place of its block."""
    capacity = book[_CAPACITY]
    first = _directory(capacity, side)
    if _purge(book, book[first + capacity + at]) > _SPLIT_ABOVE:
        _split(book, side, at)
        if key >= book[first + at + 1]:
            return at + 1
    return at


@njit(cache=True, nogil=True)
def _drop_empty_front(book: I64, side: int) -> None:
    """Give back leading blocks in which every level was removed, so that the top is near."""
    capacity = book[_CAPACITY]
    first = _directory(capacity, side)
    while book[_USED + side] > 1:
        block = book[first + capacity]
        sizes = _HEADER + 6 * capacity + (block << (_SHIFT + 1)) + BLOCK
        for n in range(book[_HEADER + capacity + block]):
            if book[sizes + n] != 0:
                return
        book[_HEADER + book[_SPARES]] = block
        book[_SPARES] += 1
        used = book[_USED + side] - 1
        for n in range(used):
            book[first + n] = book[first + n + 1]
            book[first + capacity + n] = book[first + capacity + n + 1]
        book[first] = _LOWEST
        book[first + used] = NO_KEY
        book[_USED + side] = used
        book[_HINT + side] = 0


@njit(cache=True, nogil=True)
def apply(book: I64, side: I8, price: F64, qty: F64, action: I8, start: int, stop: int) -> None:
    """Set levels `start` to `stop` to their absolute sizes (0 removes) and say what each was.

    action [out]: NEW, UPDATE or DELETE for each; deleting an unknown price is a DELETE too, and
    counted. The book must be reserved for `stop - start` levels.
    """
    key_bits = price.view(np.int64)
    size_bits = qty.view(np.int64)
    capacity = np.uint64(book[_CAPACITY])
    cells = np.uint64(_HEADER) + np.uint64(6) * capacity
    one = np.uint64(1)
    sizes = np.uint64(BLOCK)
    last_side = -1
    first = at = used = np.uint64(0)
    flip = 0
    for row in range(start, stop):
        own = 1 if side[row] < 0 else 0
        if own != last_side:
            if last_side >= 0:
                book[_HINT + last_side] = np.int64(at)
            last_side = own
            first = np.uint64(_HEADER) + np.uint64(2) * capacity * (one + np.uint64(own))
            at = np.uint64(book[_HINT + own])
            used = np.uint64(book[_USED + own])
            flip = own - 1
        bits = key_bits[row]
        key = (bits ^ ((bits >> 63) & NO_KEY)) ^ flip
        while at + one < used and key >= book[first + at + one]:
            at += one
        while key < book[first + at]:
            at -= one
        block = np.uint64(book[first + capacity + at])
        slot = cells + (block << np.uint64(_SHIFT + 1))
        half = np.uint64(BLOCK // 2)
        while half > np.uint64(0):
            slot += half * np.uint64(book[slot + half - one] < key)
            half >>= one
        size = size_bits[row] * np.int64(qty[row] > 0.0)
        if book[slot] == key:
            had = np.int64(book[slot + sizes] != 0)
            has = np.int64(size != 0)
            book[slot + sizes] = size
            action[row] = 3 - (2 - had) * has
            book[_COUNT + own] += has - had
            book[_UNKNOWN] += (1 - has) * (1 - had)
        elif size == 0:
            action[row] = DELETE
            book[_UNKNOWN] += 1
        else:
            action[row] = NEW
            filled = np.uint64(book[np.uint64(_HEADER) + capacity + block])
            if filled == np.uint64(_ROOM):
                at = np.uint64(_make_room(book, own, int(at), key))
                used = np.uint64(book[_USED + own])
                block = np.uint64(book[first + capacity + at])
                filled = np.uint64(book[np.uint64(_HEADER) + capacity + block])
                slot = cells + (block << np.uint64(_SHIFT + 1))
                while book[slot] < key:
                    slot += one
            end = cells + (block << np.uint64(_SHIFT + 1)) + filled
            while end > slot:
                book[end] = book[end - one]
                book[end + sizes] = book[end - one + sizes]
                end -= one
            book[slot] = key
            book[slot + sizes] = size
            book[np.uint64(_HEADER) + capacity + block] = np.int64(filled + one)
            book[_COUNT + own] += 1
    if last_side >= 0:
        book[_HINT + last_side] = np.int64(at)
        _drop_empty_front(book, 0)
        _drop_empty_front(book, 1)


@njit(cache=True, nogil=True)
def fold(book: I64, side: I8, price: F64, qty: F64, start: int, stop: int) -> None:
    """`apply` for readers that do not ask what each level was."""
    apply(book, side, price, qty, np.empty(stop, np.int8), start, stop)


@njit(cache=True, nogil=True)
def _price_of(key: int, side: int) -> int:
    """Bits of the price behind a key."""
    bits = key if side == 1 else ~key
    return bits ^ ((bits >> 63) & NO_KEY)


@njit(cache=True, nogil=True)
def top(book: I64, side: int, price: F64, size: F64) -> int:
    """The best levels of a side (1 bid, -1 ask) into `price` and `size`; how many there are.

    At most `len(price)`; what is behind them in the arrays stays as it was.
    """
    own = 1 if side < 0 else 0
    wanted = len(price)
    price_bits = price.view(np.int64)
    size_bits = size.view(np.int64)
    capacity = book[_CAPACITY]
    first = _directory(capacity, own)
    found = 0
    for at in range(book[_USED + own]):
        block = book[first + capacity + at]
        slot = _HEADER + 6 * capacity + (block << (_SHIFT + 1))
        for n in range(book[_HEADER + capacity + block]):
            if book[slot + BLOCK + n] != 0:
                if found == wanted:
                    return found
                price_bits[found] = _price_of(book[slot + n], own)
                size_bits[found] = book[slot + BLOCK + n]
                found += 1
    return found


@njit(cache=True, nogil=True)
def count(book: I64, side: int) -> int:
    """Levels of a side (1 bid, -1 ask)."""
    return int(book[_COUNT + (1 if side < 0 else 0)])


@njit(cache=True, nogil=True)
def unknown_deletes(book: I64) -> int:
    """Removals of prices that were not there, since the book was emptied."""
    return int(book[_UNKNOWN])


@njit(cache=True, nogil=True)
def follows(update_id: int, prev_update_id: int, new_update_id: int) -> bool:
    """Whether a published update follows the book at `update_id`: linked, unlinked or overlapping.

    Ingest judged it by `tickbus_schemas.continuity`; this is the reader's assertion.
    """
    return prev_update_id in (ABSENT, update_id) or prev_update_id < update_id <= new_update_id


def whole(book: I64, side: int) -> tuple[F64, F64]:
    """All levels of a side, best first: prices and sizes."""
    levels = int(count(book, side))
    price, size = np.empty(levels), np.empty(levels)
    top(book, side, price, size)
    return price, size


def dump(book: I64) -> bytes:
    """The levels of a book as bytes: counts, then prices and sizes, bids first."""
    bid_price, bid_size = whole(book, 1)
    ask_price, ask_size = whole(book, -1)
    counts = np.array((len(bid_price), len(ask_price), unknown_deletes(book)), np.int64)
    columns = (counts, bid_price, bid_size, ask_price, ask_size)
    return b"".join(column.tobytes() for column in columns)


def load(state: bytes) -> I64:
    """The book of `dump`; ValueError when the bytes are not one."""
    counts = np.frombuffer(state[:24], np.int64)
    if len(counts) != 3 or counts.min() < 0 or len(state) != 24 + 16 * int(counts[:2].sum()):
        raise ValueError("not the state of a book")
    bids, asks = int(counts[0]), int(counts[1])
    values = np.frombuffer(state[24:], np.float64)
    price = np.concatenate((values[:bids], values[2 * bids : 2 * bids + asks]))
    size = np.concatenate((values[bids : 2 * bids], values[2 * bids + asks :]))
    side = np.repeat(np.array((1, -1), np.int8), (bids, asks))
    book = reserve(new(), len(side))
    fold(book, side, price, size, 0, len(side))
    book[_UNKNOWN] = counts[2]
    return book
