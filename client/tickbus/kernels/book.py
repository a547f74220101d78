"""The order book of one ticker: levels are set to absolute sizes and read best first.

A book is one int64 array (`blocks` says what is in it); all functions with arrays in and out can be
called from other kernels. `side` is 1 for bids and -1 for asks, as in the messages.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus_schemas.messages import Action, L2Flag

from tickbus.kernels import blocks
from tickbus.kernels.blocks import (
    BLOCK,
    CAPACITY,
    COUNT,
    HEADER,
    HINT,
    LOWEST,
    PACKED,
    ROOM,
    SPARES,
    SPLIT_ABOVE,
    UNKNOWN,
    USED,
)
from tickbus.kernels.compiled import kernel

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
U16 = npt.NDArray[np.uint16]
I8 = npt.NDArray[np.int8]

ABSENT = LOWEST
NEW, UPDATE, DELETE = int(Action.NEW), int(Action.UPDATE), int(Action.DELETE)
_FIRST, _SNAPSHOT = int(L2Flag.SNAPSHOT_FIRST), int(L2Flag.SNAPSHOT)
_LAST = int(L2Flag.SNAPSHOT_LAST)
_u64 = np.uint64


def new(capacity: int = 8) -> I64:
    """An empty book with room for `capacity` blocks; `reserve` gives it more."""
    book = np.zeros(HEADER + blocks.BLOCK_CELLS * capacity, np.int64)
    book[CAPACITY] = capacity
    clear(book)
    return book


def reserve(book: I64, levels: int) -> I64:
    """The book itself, or a new one of its levels in which `levels` updates surely find room.

    The new one is as large as its levels need, however large the old one was.
    """
    if has_room(book, levels):
        return book
    packed = (count(book, 1) + count(book, -1)) // PACKED + 2
    rebuilt = new(2 * packed + _blocks_needed(levels, packed))
    blocks.copy_levels(book, rebuilt)
    return rebuilt


@kernel
def has_room(book: I64, levels: int) -> bool:
    """Whether `levels` updates surely find room: `apply` may be called for that many."""
    used = book[USED] + book[USED + 1]
    return bool(book[SPARES] >= _blocks_needed(levels, used))


@kernel
def _blocks_needed(levels: int, used: int) -> int:
    """Blocks that so many inserts can take.

    One takes a block only when its own is full: at most once for each block in use, and then
    again after the inserts that fill a half, or what a purge left.
    """
    return int(min(levels, used) + levels // (ROOM - SPLIT_ABOVE) + 2)


@kernel
def clear(book: I64) -> None:
    """Empty both sides."""
    blocks.clear(book)


@kernel
def apply(book: I64, side: I8, price: F64, qty: F64, action: I8, start: int, stop: int) -> None:
    """Set levels `start` to `stop` to their absolute sizes (0 removes) and say what each was.

    action [out]: NEW, UPDATE or DELETE for each; deleting an unknown price is a DELETE too, and
    counted. The book must be reserved for `stop - start` levels. Any order, both sides.
    """
    price_bits, size_bits = price.view(np.int64), qty.view(np.int64)
    capacity = book[CAPACITY]
    pool = _u64(blocks.first_slot(capacity, 0))
    row, end = _u64(start), _u64(stop)
    unknown = 0
    while row < end:
        # A run of one side: what hangs on the side is looked up once.
        run_side = side[row]
        own = int(run_side < 0)
        flip = own - 1
        first = _u64(blocks.directory(capacity, own))
        numbers = first + _u64(capacity)
        last = _u64(book[USED + own] - 1)
        at = _u64(book[HINT + own])
        gained = 0
        while row < end and side[row] == run_side:
            key = blocks.key_of(price_bits[row], flip)
            size = size_bits[row]
            has = int(size > 0)
            at = blocks.find_block(book, first, last, at, key)
            slot = blocks.find_slot(book, pool + _u64(book[numbers + at]) * _u64(2 * BLOCK), key)
            if book[slot] == key:
                slot += _u64(BLOCK)
                had = int(book[slot] != 0)
                book[slot] = size & -has
                action[row] = DELETE - ((2 - had) & -has)  # sums, for the reason in find_slot
                unknown += (had | has) ^ 1
                gained += has - had
            elif has:
                at = _u64(blocks.insert(book, own, int(at), slot, key, size))
                last = _u64(book[USED + own] - 1)
                action[row] = NEW
                gained += 1
            else:
                action[row] = DELETE
                unknown += 1
            row += _u64(1)
        book[HINT + own] = int(at)
        book[COUNT + own] += gained
        blocks.drop_empty_front(book, own)
    book[UNKNOWN] += unknown


@kernel
def fold(book: I64, side: I8, price: F64, qty: F64, start: int, stop: int) -> None:
    """`apply` for readers that do not ask what each level was."""
    rows = stop - start
    action = np.empty(rows, np.int8)
    apply(book, side[start:stop], price[start:stop], qty[start:stop], action, 0, rows)


@kernel
def apply_whole(book: I64, side: I8, price: F64, qty: F64, action: I8) -> bool:
    """`apply` of all levels, if there is room for them; whether there was."""
    if not has_room(book, len(side)):
        return False
    apply(book, side, price, qty, action, 0, len(side))
    return True


@kernel
def apply_packets(
    book: I64,
    shown: I64,
    flags: U16,
    prev_update_id: I64,
    update_id: I64,
    levels: I32,
    side: I8,
    price: F64,
    qty: F64,
    action: I8,
) -> int:
    """Fold packets in, snapshots and links respected; how many did not follow and were left out.

    shown [in, out]: update id, whether the book is whole, row of the last packet in it (or -1).
    action [out]: as of `apply`; it stays as it was where a packet is left out. The book must be
    reserved for all levels.
    """
    start = broken = 0
    for row in range(len(flags)):
        stop = start + levels[row]
        if flags[row] & _FIRST:
            clear(book)
            shown[0], shown[1] = ABSENT, 0
        elif not flags[row] & _SNAPSHOT:
            shown[1] &= int(follows(shown[0], prev_update_id[row], update_id[row]))
        if flags[row] & _SNAPSHOT or shown[1]:
            apply(book, side, price, qty, action, start, stop)
            shown[0], shown[2] = update_id[row], row
            shown[1] |= int(flags[row] & _LAST != 0)
        else:
            broken += 1
        start = stop
    return broken


@kernel
def top(book: I64, side: int, price: F64, size: F64) -> int:
    """The best levels of a side (1 bid, -1 ask) into `price` and `size`; how many there are.

    At most `len(price)`; what is behind them in the arrays stays as it was.
    """
    own = int(side < 0)
    wanted = len(price)
    price_bits, size_bits = price.view(np.int64), size.view(np.int64)
    capacity = book[CAPACITY]
    first = blocks.directory(capacity, own)
    found = 0
    for at in range(book[USED + own]):
        block = book[first + capacity + at]
        begin = blocks.first_slot(capacity, block)
        for slot in range(begin, begin + book[HEADER + capacity + block]):
            if book[slot + BLOCK] != 0:
                if found == wanted:
                    return found
                price_bits[found] = blocks.price_of(book[slot], own - 1)
                size_bits[found] = book[slot + BLOCK]
                found += 1
    return found


@kernel
def best(book: I64) -> tuple[float, float, float, float]:
    """Best bid price and size, best ask price and size; NaN where a side is empty."""
    found = np.full((2, 2), np.nan)
    top(book, 1, found[0, :1], found[0, 1:])
    top(book, -1, found[1, :1], found[1, 1:])
    return found[0, 0], found[0, 1], found[1, 0], found[1, 1]


@kernel
def depth(book: I64, side: int, price: float) -> tuple[float, float]:
    """Sum of sizes, and of price * size, of the levels of a side at `price` or better."""
    own = int(side < 0)
    capacity = book[CAPACITY]
    first = blocks.directory(capacity, own)
    values = book.view(np.float64)
    limit = np.empty(1)
    limit[0] = price
    worst = blocks.key_of(limit.view(np.int64)[0], own - 1)
    size = quote = 0.0
    for at in range(book[USED + own]):
        if book[first + at] > worst:
            break
        block = book[first + capacity + at]
        begin = blocks.first_slot(capacity, block)
        for slot in range(begin, begin + book[HEADER + capacity + block]):
            if book[slot] > worst:
                break
            if book[slot + BLOCK] != 0:
                limit.view(np.int64)[0] = blocks.price_of(book[slot], own - 1)
                size += values[slot + BLOCK]
                quote += limit[0] * values[slot + BLOCK]
    return size, quote


@kernel
def count(book: I64, side: int) -> int:
    """Levels of a side (1 bid, -1 ask)."""
    return int(book[COUNT + int(side < 0)])


@kernel
def unknown_deletes(book: I64) -> int:
    """Removals of prices that were not there, since the book was emptied."""
    return int(book[UNKNOWN])


@kernel
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
    counts = np.frombuffer(state[:24], np.int64) if len(state) >= 24 else np.empty(0, np.int64)
    if len(counts) != 3 or counts.min() < 0 or len(state) != 24 + 16 * int(counts[:2].sum()):
        raise ValueError("not the state of a book")
    bids, asks = int(counts[0]), int(counts[1])
    values = np.frombuffer(state[24:], np.float64)
    price = np.concatenate((values[:bids], values[2 * bids : 2 * bids + asks]))
    size = np.concatenate((values[bids : 2 * bids], values[2 * bids + asks :]))
    side = np.repeat(np.array((1, -1), np.int8), (bids, asks))
    book = reserve(new(), len(side))
    fold(book, side, price, size, 0, len(side))
    book[UNKNOWN] = counts[2]
    return book
