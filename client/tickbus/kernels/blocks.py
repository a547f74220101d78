"""Price levels of one book in one int64 array: sorted blocks, the best block first.

A side is a directory of blocks in price order; a block is `BLOCK` slots of keys, then their sizes,
sorted by key. Search walks the directory from where the last level was found (updates of one packet
lie close together and usually in order), then looks inside one block; an insert moves at most one
block. A removed level stays as a slot of size 0 until its block is full: it often comes back, and
then costs no move. docs/decisions/0003-order-book-structure.md has the measurements behind this.

A key is the price's bits turned so that integers sort as prices do, inverted for bids: in both
sides the best level has the smallest key. All state of a book is one int64 array, so a kernel gets
one argument and a copy is a copy. `book` is the part for others.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tickbus.kernels.compiled import Cell, kernel, part

I64 = npt.NDArray[np.int64]

BLOCK = 64
ROOM = BLOCK - 1
"""The last slot stays NO_KEY, so that a search ends inside the block."""
SPLIT_ABOVE = 48
"""Levels that make a full block worth splitting rather than purging."""
PACKED = 48
"""Levels in a block of a book that was built anew."""
BLOCK_CELLS = 6 + 2 * BLOCK
NO_KEY = np.iinfo(np.int64).max
LOWEST = np.iinfo(np.int64).min
_u64 = np.uint64

# Header of the array. Side 0 is bid, side 1 is ask; USED, COUNT and HINT have a place for each.
CAPACITY, SPARES, UNKNOWN = 0, 1, 2
USED, COUNT, HINT = 4, 6, 8
HEADER = 16
# Behind it: spare blocks | levels in each block | directory of bids | of asks | the blocks.


@part
def directory(capacity: int, side: int) -> int:
    """Where a side's lowest keys stand; its block numbers follow `capacity` further."""
    return HEADER + 2 * capacity + side * 2 * capacity


@part
def first_slot(capacity: int, block: int) -> int:
    """Where the keys of a block begin; its sizes follow BLOCK further."""
    return HEADER + 6 * capacity + block * 2 * BLOCK


@kernel
def clear(book: I64) -> None:
    """Empty both sides."""
    capacity = book[CAPACITY]
    for n in range(capacity):
        book[HEADER + n] = capacity - 1 - n
    book[SPARES] = capacity
    book[UNKNOWN] = 0
    for side in range(2):
        first = directory(capacity, side)
        for n in range(capacity):
            book[first + n] = NO_KEY
        block = take_spare(book)
        book[first] = LOWEST
        book[first + capacity] = block
        book[USED + side] = 1
        book[COUNT + side] = 0
        book[HINT + side] = 0


@kernel
def take_spare(book: I64) -> int:
    """An empty block; `reserve` saw to it that there is one."""
    if book[SPARES] == 0:
        raise IndexError("a book was not reserved for the levels that it gets")
    capacity = book[CAPACITY]
    book[SPARES] -= 1
    block = int(book[HEADER + book[SPARES]])
    book[HEADER + capacity + block] = 0
    slot = first_slot(capacity, block)
    for n in range(BLOCK):
        book[slot + n] = NO_KEY
    return block


@kernel
def copy_levels(book: I64, target: I64) -> None:
    """Put all levels into an empty book, `PACKED` to a block; removed ones are forgotten."""
    capacity, room = book[CAPACITY], target[CAPACITY]
    for side in range(2):
        first, own = directory(capacity, side), directory(room, side)
        last = target[own + room]
        for at in range(book[USED + side]):
            block = book[first + capacity + at]
            begin = first_slot(capacity, block)
            for slot in range(begin, begin + book[HEADER + capacity + block]):
                if book[slot + BLOCK] == 0:
                    continue
                if target[HEADER + room + last] == PACKED:
                    last = take_spare(target)
                    used = target[USED + side]
                    target[own + used] = book[slot]
                    target[own + room + used] = last
                    target[USED + side] = used + 1
                place = first_slot(room, last) + target[HEADER + room + last]
                target[place] = book[slot]
                target[place + BLOCK] = book[slot + BLOCK]
                target[HEADER + room + last] += 1
        target[COUNT + side] = book[COUNT + side]
    target[UNKNOWN] = book[UNKNOWN]


@part
def find_block(book: I64, first: Cell, last: Cell, at: Cell, key: int) -> Cell:
    """Place in the directory of the block where `key` belongs, looked for from `at` on."""
    while at < last and key >= book[first + at + _u64(1)]:
        at += _u64(1)
    while key < book[first + at]:
        at -= _u64(1)
    return at


@part
def find_slot(book: I64, slot: Cell, key: int) -> Cell:
    """Slot of the first key >= `key` in the block that begins at `slot`.

    Three steps of four ways, with sums for branches: a branch that the processor guesses wrong
    costs more than all the comparisons.
    """
    step = BLOCK >> 2
    while step > 0:
        slot += _u64(step) * (
            _u64(book[slot + _u64(step - 1)] < key)
            + _u64(book[slot + _u64(2 * step - 1)] < key)
            + _u64(book[slot + _u64(3 * step - 1)] < key)
        )
        step >>= 2
    return slot


@kernel
def insert(book: I64, side: int, at: int, slot: Cell, key: int, size: int) -> int:
    """Put a level where it was looked for in vain; the directory place of its block."""
    capacity = book[CAPACITY]
    first = directory(capacity, side)
    block = book[first + capacity + at]
    if book[HEADER + capacity + block] == ROOM:
        if purge(book, block) > SPLIT_ABOVE:
            split(book, side, at, key)
            at += int(key >= book[first + at + 1])
            block = book[first + capacity + at]
        slot = find_slot(book, _u64(first_slot(capacity, block)), key)
    filled = HEADER + capacity + block
    end = _u64(first_slot(capacity, block) + book[filled])
    while end > slot:
        book[end] = book[end - _u64(1)]
        book[end + _u64(BLOCK)] = book[end + _u64(BLOCK - 1)]
        end -= _u64(1)
    book[slot] = key
    book[slot + _u64(BLOCK)] = size
    book[filled] += 1
    return at


@kernel
def purge(book: I64, block: int) -> int:
    """Drop the removed levels of a block; how many are left."""
    capacity = book[CAPACITY]
    slot = first_slot(capacity, block)
    filled = book[HEADER + capacity + block]
    kept = 0
    for n in range(filled):
        if book[slot + BLOCK + n] != 0:
            book[slot + kept] = book[slot + n]
            book[slot + BLOCK + kept] = book[slot + BLOCK + n]
            kept += 1
    for n in range(kept, filled):
        book[slot + n] = NO_KEY
    book[HEADER + capacity + block] = kept
    return kept


@kernel
def split(book: I64, side: int, at: int, key: int) -> None:
    """Give the upper half of the block at directory place `at` to a new block behind it.

    Where `key` comes behind the whole side the new block stays empty for it: a snapshot is read
    best level first, and this fills its blocks.
    """
    capacity = book[CAPACITY]
    first = directory(capacity, side)
    block = book[first + capacity + at]
    right = take_spare(book)
    slot, other = first_slot(capacity, block), first_slot(capacity, right)
    filled = book[HEADER + capacity + block]
    used = book[USED + side]
    keep = filled // 2
    if at == used - 1 and key > book[slot + filled - 1]:
        keep = filled
    for n in range(filled - keep):
        book[other + n] = book[slot + keep + n]
        book[other + BLOCK + n] = book[slot + BLOCK + keep + n]
        book[slot + keep + n] = NO_KEY
    book[HEADER + capacity + block] = keep
    book[HEADER + capacity + right] = filled - keep
    for n in range(used - 1, at, -1):
        book[first + n + 1] = book[first + n]
        book[first + capacity + n + 1] = book[first + capacity + n]
    book[first + at + 1] = key if keep == filled else book[other]
    book[first + capacity + at + 1] = right
    book[USED + side] = used + 1


@kernel
def drop_empty_front(book: I64, side: int) -> None:
    """Give back leading blocks in which every level was removed, so that the top is near."""
    capacity = book[CAPACITY]
    first = directory(capacity, side)
    while book[USED + side] > 1:
        block = book[first + capacity]
        sizes = first_slot(capacity, block) + BLOCK
        for n in range(book[HEADER + capacity + block]):
            if book[sizes + n] != 0:
                return
        book[HEADER + book[SPARES]] = block
        book[SPARES] += 1
        used = book[USED + side] - 1
        for n in range(used):
            book[first + n] = book[first + n + 1]
            book[first + capacity + n] = book[first + capacity + n + 1]
        book[first] = LOWEST
        book[first + used] = NO_KEY
        book[USED + side] = used
        book[HINT + side] = 0


@part
def key_of(bits: int, flip: int) -> int:
    """Doubles of one sign sort as their bits do (IEEE 754); `flip` is -1 for bids, 0 for asks."""
    return bits ^ ((bits >> 63) & NO_KEY) ^ flip


@part
def price_of(key: int, flip: int) -> int:
    """Bits of the price behind a key."""
    bits = key ^ flip
    return bits ^ ((bits >> 63) & NO_KEY)
