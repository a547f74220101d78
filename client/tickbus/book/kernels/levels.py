"""The order book of one ticker: levels are set to absolute sizes and read best first.

A book is one int64 array (`pages` says what is in it); all functions with arrays in and out can be
called from other kernels. `side` is 1 for bids and -1 for asks, as in the messages.

Levels are set in two steps: `has_room` checks whether a packet's prices and levels fit into the
array, and `apply` relies on that. If they do not fit, Python calls `reserve` and tries again.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus_schemas.messages import Action, L2Flag

from tickbus.book.kernels import pages, steps
from tickbus.book.kernels.pages import (
    BITS,
    CAPACITY,
    FACTOR,
    FRONT,
    HIGHEST,
    LOWEST,
    MASK,
    NOWHERE,
    PAGES,
    SCALE,
    SIZES,
    UNIT,
    UNKNOWN,
    USED,
)
from tickbus.compiled import double_of, kernel, part, set_bits, trailing_zeros

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
U16 = npt.NDArray[np.uint16]
I8 = npt.NDArray[np.int8]

ABSENT = LOWEST
NEW, UPDATE, DELETE = int(Action.NEW), int(Action.UPDATE), int(Action.DELETE)
_FIRST, _SNAPSHOT = int(L2Flag.SNAPSHOT_FIRST), int(L2Flag.SNAPSHOT)
_LAST = int(L2Flag.SNAPSHOT_LAST)
_SPARE_PAGES = 8
_u64 = np.uint64
assert NEW + 1 == UPDATE


def new() -> I64:
    """An empty book without room; `reserve` gives it room and the step of its first levels."""
    return pages.new(0, 0, 1, 1)


def reserve(book: I64, side: I8, price: F64, start: int, stop: int) -> I64:
    """The book itself, or a new one of its levels for which `has_room` is true.

    The new one is as large as its levels need, however large the old one was. If only a price did
    not fit, the step gets finer. The step is chosen again only when pages ran out, which needs
    growth: so no sequence of prices can cause a new book at every packet.
    """
    if has_room(book, side, price, start, stop):
        return book
    kept_side, kept_price, kept_size = _levels(book)
    sides = np.concatenate((kept_side, side[start:stop]))
    prices = np.concatenate((kept_price, price[start:stop]))
    if _has_pages(book, side, price, start, stop):
        step = steps.step_of(np.append(prices, book[UNIT] / book[SCALE]))
    else:
        step = steps.step_of(prices)
    bits = steps.page_bits(sides, prices, *step)
    needed = steps.pages_of(sides, prices, 0, len(prices), *step, bits)
    rebuilt = pages.new(needed + needed // 2 + _SPARE_PAGES, bits, *step)
    fold(rebuilt, kept_side, kept_price, kept_size, 0, len(kept_price))
    rebuilt[UNKNOWN] = book[UNKNOWN]
    return rebuilt


@kernel
def has_room(book: I64, side: I8, price: F64, start: int, stop: int) -> bool:
    """Whether levels `start` to `stop` surely find room: `apply` may be called for them."""
    fits = steps.fits(price, start, stop, book[UNIT], book[SCALE])
    return bool(fits and _has_pages(book, side, price, start, stop))


@part
def _has_pages(book: I64, side: I8, price: F64, start: int, stop: int) -> bool:
    """Whether so many pages are left as levels `start` to `stop` can take at most."""
    spare, unit, scale = book[CAPACITY] - book[USED], book[UNIT], book[SCALE]
    return bool(
        stop - start <= spare
        or steps.pages_of(side, price, start, stop, unit, scale, book[BITS]) <= spare
    )


@kernel
def clear(book: I64) -> None:
    """Empty both sides."""
    pages.clear(book)


@part
def _set(
    book: I64, side: I8, price: F64, qty: F64, action: I8, start: int, stop: int, tell: bool
) -> None:
    """`apply`; without `tell`, `action` is not written."""
    size_bits = qty.view(np.int64)
    factor, bits, shift = double_of(book[FACTOR]), book[BITS], pages.shift_of(book)
    row, end = _u64(start), _u64(stop)
    known = 0
    while row < end:
        # A run of one side: the values of the side are looked up once.
        run_side = side[row]
        own = int(run_side < 0)
        first = _u64(pages.table(book, own))
        least = HIGHEST
        while row < end and side[row] == run_side:
            key = pages.key_of(price[row], factor, own - 1)
            size = size_bits[row]
            has = int(size > 0)
            page = pages.find_page(book, first, shift, key >> bits)
            if page == _u64(NOWHERE) and has:
                page = _u64(pages.take_page(book, own, key >> bits))
            # No branches from here: one mispredicted branch costs more than all this.
            # A removal from NOWHERE leaves its mask empty.
            place = key & ~(-1 << bits)
            mask = page + _u64(MASK)
            had = (book[mask] >> place) & 1
            book[mask] ^= (had ^ has) << place
            book[page + _u64(SIZES) + _u64(place)] = size
            if tell:
                action[row] = NEW + had if has else DELETE
            known += had | has
            least = min(least, key >> bits)
            row += _u64(1)
        pages.settle_front(book, own, least)
    book[UNKNOWN] += stop - start - known


@kernel
def apply(book: I64, side: I8, price: F64, qty: F64, action: I8, start: int, stop: int) -> None:
    """Set levels `start` to `stop` to their absolute sizes (0 removes) and say what each was.

    action [out]: NEW, UPDATE or DELETE for each; deleting an unknown price is a DELETE too, and
    counted. `has_room` must be true for these levels. Any order, both sides.
    """
    _set(book, side, price, qty, action, start, stop, True)


@kernel
def fold(book: I64, side: I8, price: F64, qty: F64, start: int, stop: int) -> None:
    """`apply` for readers that do not ask what each level was."""
    _set(book, side, price, qty, side, start, stop, False)


@kernel
def apply_whole(book: I64, side: I8, price: F64, qty: F64, action: I8) -> bool:
    """`apply` of all levels, if there is room for them; whether there was."""
    if not has_room(book, side, price, 0, len(side)):
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
) -> bool:
    """Apply packets; snapshots and links are respected. False: no room for the next, call again.

    shown [in, out]: update id, whether the book is whole, row of the last packet in it (or -1),
    packets that did not follow and were left out, next packet and its first level (both 0 at the
    first call). action [out]: as of `apply`; it stays as it was where a packet is left out.
    """
    while shown[4] < len(flags):
        row, start = shown[4], shown[5]
        stop = start + levels[row]
        if not has_room(book, side, price, start, stop):
            return False
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
            shown[3] += 1
        shown[4], shown[5] = row + 1, stop
    return True


@kernel
def top(book: I64, side: int, price: F64, size: F64) -> int:
    """The best levels of a side (1 bid, -1 ask) into `price` and `size`; how many there are.

    At most `len(price)`; the rest of the arrays stays as it was.
    """
    own = int(side < 0)
    wanted = len(price)
    size_bits = size.view(np.int64)
    unit, scale = float(book[UNIT]), float(book[SCALE])
    bits, first = book[BITS], pages.directory(book, own)
    found = 0
    for at in range(first + book[FRONT + own], first + book[PAGES + own]):
        page = book[at]
        key, mask = book[page] << bits, _u64(book[page + MASK])
        while mask:
            if found == wanted:
                return found
            place = int(trailing_zeros(mask))
            mask &= mask - _u64(1)
            price[found] = pages.price_of(key + place, unit, scale, own - 1)
            size_bits[found] = book[page + SIZES + place]
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
    values = book.view(np.float64)
    bits, first = book[BITS], pages.directory(book, own)
    unit, scale = float(book[UNIT]), float(book[SCALE])
    size = quote = 0.0
    for at in range(first + book[FRONT + own], first + book[PAGES + own]):
        page = book[at]
        key, mask = book[page] << bits, _u64(book[page + MASK])
        while mask:
            place = int(trailing_zeros(mask))
            mask &= mask - _u64(1)
            found = pages.price_of(key + place, unit, scale, own - 1)
            if found > price if own else found < price:
                return size, quote
            size += values[page + SIZES + place]
            quote += found * values[page + SIZES + place]
    return size, quote


@kernel
def count(book: I64, side: int) -> int:
    """Levels of a side (1 bid, -1 ask)."""
    own = int(side < 0)
    first = pages.directory(book, own)
    found = _u64(0)
    for page in book[first : first + book[PAGES + own]]:
        found += set_bits(_u64(book[page + MASK]))
    return int(found)


@kernel
def count_behind(book: I64, best_levels: int) -> int:
    """Levels behind the best ones of each side."""
    return max(count(book, 1) - best_levels, 0) + max(count(book, -1) - best_levels, 0)


@kernel
def behind(book: I64, best_levels: int, side: I8, price: F64) -> None:
    """The levels behind the best ones of each side: bids, then asks, better ones first.

    side, price [out]: `count_behind` of them. Pages are read from the deepest on.
    """
    stop = 0
    for own in range(2):
        more = max(count(book, 1 - 2 * own) - best_levels, 0)
        stop += more
        end = stop
        at = pages.directory(book, own) + book[PAGES + own]
        unit, scale = float(book[UNIT]), float(book[SCALE])
        while more > 0:
            at -= 1
            page = book[at]
            key, mask = book[page] << book[BITS], _u64(book[page + MASK])
            kept = max(int(set_bits(mask)) - more, 0)
            taken = int(set_bits(mask)) - kept
            place = end - taken - kept
            while mask:
                if place >= end - taken:
                    side[place] = 1 - 2 * own
                    price[place] = pages.price_of(
                        key + int(trailing_zeros(mask)), unit, scale, own - 1
                    )
                mask &= mask - _u64(1)
                place += 1
            end -= taken
            more -= taken


@kernel
def unknown_deletes(book: I64) -> int:
    """Removals of prices that were not there, since the book was emptied."""
    return int(book[UNKNOWN])


@kernel
def follows(update_id: int, prev_update_id: int, new_update_id: int) -> bool:
    """Whether a published update follows the book at `update_id`: linked, unlinked or overlapping.

    Ingest has judged it by `tickbus_schemas.continuity`; a reader checks it again.
    """
    return prev_update_id in (ABSENT, update_id) or prev_update_id < update_id <= new_update_id


def whole(book: I64, side: int) -> tuple[F64, F64]:
    """All levels of a side, best first: prices and sizes."""
    levels = int(count(book, side))
    price, size = np.empty(levels), np.empty(levels)
    top(book, side, price, size)
    return price, size


def _levels(book: I64) -> tuple[I8, F64, F64]:
    """All levels, bids first: sides, prices and sizes."""
    columns = (whole(book, 1), whole(book, -1))
    side = np.repeat(np.array((1, -1), np.int8), [len(price) for price, _ in columns])
    price, size = (np.concatenate(pair) for pair in zip(*columns, strict=True))
    return side, price, size


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
    book = reserve(new(), side, price, 0, len(side))
    fold(book, side, price, size, 0, len(side))
    book[UNKNOWN] = counts[2]
    return book
