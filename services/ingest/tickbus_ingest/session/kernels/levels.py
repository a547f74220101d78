"""Price levels of a whole flush: JSON text of many books' sides to columns.

Taken are plain decimal numbers that are exact as a double by one multiplication or division, as
text or as JSON numbers, in arrays or in objects.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus.compiled import (
    STRING_BYTES,
    lean_kernel,
    part,
    string_stop,
    word_at,
)

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int8]
U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
Bool = npt.NDArray[np.bool_]

_TEN = 10.0 ** np.arange(23)
_EXACT = 2**53  # below it an integer, times or over a power of ten up to 22, is the nearest double
_MANTISSA_MAX = 10**17  # one digit more still fits into 64 bits
_LONG = 10**15  # from here on a number has more than 15 significant digits
_NOWHERE = -1
QUOTE, COMMA, MINUS, PLUS, DOT, ZERO, NINE, COLON = 34, 44, 45, 43, 46, 48, 57, 58
OPEN, BACKSLASH, CLOSE, OPEN_OBJECT, CLOSE_OBJECT = 91, 92, 93, 123, 125
CAPITAL_E, SMALL_E, SPACE = 69, 101, 32
BLANKS = (32, 10, 13, 9)
PRICE_KEY, SIZE_KEY, SIDE_KEY, BID_WORD, ASK_WORD = range(5)
COUNT = 3
"""Place of the number of orders in a level that is read."""
LEVEL_VALUES = 4
KEYS_WITH_SIDE = 3
WORD_BYTES = 8
_NONE = np.uint64(0)


@part
def _char(text: U8, at: int) -> int:
    """One character; an unsigned index saves the test for a negative one."""
    byte: int = text[np.uint64(at)]
    return byte


@part
def _skip_space(text: U8, at: int, end: int) -> int:
    while at < end and _char(text, at) <= SPACE:
        if _char(text, at) not in BLANKS:
            return at
        at += 1
    return at


@part
def _number(text: U8, at: int, end: int) -> tuple[float, int, int]:
    """A decimal number from `at` on: value, position behind it (-1: not ours), is_long."""
    negative = at < end and _char(text, at) == MINUS
    if negative:
        at += 1
    start = at
    value = np.int64(0)
    while at < end and ZERO <= _char(text, at) <= NINE:
        if value >= _MANTISSA_MAX:
            return 0.0, _NOWHERE, 0
        value = value * 10 + (_char(text, at) - ZERO)
        at += 1
    whole = at - start
    if whole == 0 or (whole > 1 and _char(text, start) == ZERO):
        return 0.0, _NOWHERE, 0
    power = 0
    if at < end and _char(text, at) == DOT:
        at += 1
        start = at
        while at < end and ZERO <= _char(text, at) <= NINE:
            if value >= _MANTISSA_MAX:
                return 0.0, _NOWHERE, 0
            value = value * 10 + (_char(text, at) - ZERO)
            at += 1
        power = start - at
        if power == 0:
            return 0.0, _NOWHERE, 0
    is_long = 0
    if value >= _LONG:
        while power < 0 and value % 10 == 0:
            value //= 10
            power += 1
        if value >= _EXACT:
            return 0.0, _NOWHERE, 0
        is_long = 1 if value >= _LONG else 0
    if at < end and (_char(text, at) == SMALL_E or _char(text, at) == CAPITAL_E):
        exponent, at = _exponent(text, at + 1, end)
        power += exponent
        if at < 0:
            return 0.0, _NOWHERE, 0
    if power < -22 or power > 22:
        return 0.0, (at if value == 0 else _NOWHERE), 0
    number = value / _TEN[-power] if power < 0 else value * _TEN[power]
    return (-number if negative else number), at, is_long


@part
def _exponent(text: U8, at: int, end: int) -> tuple[int, int]:
    negative = at < end and _char(text, at) == MINUS
    if at < end and (negative or _char(text, at) == PLUS):
        at += 1
    start = at
    value = 0
    while at < end and ZERO <= _char(text, at) <= NINE and at - start < 3:
        value = value * 10 + (_char(text, at) - ZERO)
        at += 1
    return (-value if negative else value), (at if at > start else _NOWHERE)


@part
def _value(text: U8, at: int, end: int) -> tuple[float, int, int]:
    """A number, quoted or not."""
    if at < end and _char(text, at) == QUOTE:
        value, at, is_long = _number(text, at + 1, end)
        if at < 0 or at >= end or _char(text, at) != QUOTE:
            return 0.0, _NOWHERE, 0
        return value, at + 1, is_long
    return _number(text, at, end)


@part
def _string_end(text: U8, at: int, end: int) -> int:
    """The quote that ends a string from `at` on; -1 at an escape or a control character."""
    while at < end:
        held: int = string_stop(text, np.uint64(at))
        at += held
        if held < STRING_BYTES:
            return at if at < end and _char(text, at) == QUOTE else _NOWHERE
    return _NOWHERE


@part
def _name_at(text: U8, at: int, names: U64, masks: U64, first: int, stop: int) -> int:
    """Which of the names [first, stop) begins at `at`; -1: none of them."""
    for which in range(first, stop):
        place = 0
        while (word_at(text, np.uint64(at + 8 * place)) ^ names[which, place]) & masks[
            which, place
        ] == _NONE:
            place += 1
            if place == names.shape[1]:
                return which
    return _NOWHERE


@part
def _skip_value(text: U8, at: int, end: int) -> int:
    """Behind a string, a number or a word; -1 at anything nested or escaped."""
    if at < end and _char(text, at) == QUOTE:
        at = _string_end(text, at + 1, end)
        return at + 1 if at >= 0 else _NOWHERE
    start = at
    while at < end and (
        ZERO <= _char(text, at) <= NINE
        or 97 <= _char(text, at) <= 122
        or _char(text, at) in (DOT, MINUS, PLUS, CAPITAL_E)
    ):
        at += 1
    return at if at > start else _NOWHERE


@part
def _array(
    text: U8, at: int, end: int, price_at: int, size_at: int, count_at: int, out: F64
) -> tuple[int, int]:
    """A level `[...]` from behind its bracket: its values into `out`; behind it, long ones."""
    place = seen = longs = 0
    while True:
        at = _skip_space(text, at, end)
        if place in (price_at, size_at, count_at):
            value, at, is_long = _value(text, at, end)
            if at < 0:
                return _NOWHERE, 0
            out[COUNT if place == count_at else 0 if place == price_at else 1] = value
            longs += is_long
            seen += 1
        else:
            at = _skip_value(text, at, end)
            if at < 0:
                return _NOWHERE, 0
        at = _skip_space(text, at, end)
        if at >= end:
            return _NOWHERE, 0
        byte = _char(text, at)
        at += 1
        if byte == CLOSE:
            if count_at < 0:
                return (at if seen == 2 else _NOWHERE), longs
            return (at if seen == 3 and _by_sign(out) else _NOWHERE), longs
        if byte != COMMA:
            return _NOWHERE, 0
        place += 1


@part
def _by_sign(level: F64) -> bool:
    """Side and absolute size of a level whose size is signed; False where it is 0."""
    size = level[SIZE_KEY]
    level[SIDE_KEY] = 1.0 if size > 0 else -1.0
    level[SIZE_KEY] = abs(size) if level[COUNT] > 0 else 0.0
    has_side: bool = size != 0 and level[COUNT] >= 0
    return has_side


@part
def _object(
    text: U8, at: int, end: int, keys: int, names: U64, masks: U64, lengths: I64, out: F64
) -> tuple[int, int]:
    """A level `{...}` from behind its brace."""
    seen = longs = 0
    while True:
        at = _skip_space(text, at, end)
        if at >= end or _char(text, at) != QUOTE:
            return _NOWHERE, 0
        at += 1
        key = _name_at(text, at, names, masks, 0, keys)
        if key >= 0:
            at += lengths[key]
        else:
            at = _string_end(text, at, end) + 1
            if at <= 0:
                return _NOWHERE, 0
        at = _skip_space(text, at, end)
        if at >= end or _char(text, at) != COLON:
            return _NOWHERE, 0
        at = _skip_space(text, at + 1, end)
        if key < 0:
            at = _skip_value(text, at, end)
        elif seen & (1 << key):
            return _NOWHERE, 0
        else:
            seen |= 1 << key
            if key == SIDE_KEY:
                at, out[SIDE_KEY] = _named_side(text, at, end, names, masks, lengths)
            else:
                out[key], at, is_long = _value(text, at, end)
                longs += is_long
        if at < 0:
            return _NOWHERE, 0
        at = _skip_space(text, at, end)
        if at >= end:
            return _NOWHERE, 0
        byte = _char(text, at)
        at += 1
        if byte == CLOSE_OBJECT:
            return (at if seen == (1 << keys) - 1 else _NOWHERE), longs
        if byte != COMMA:
            return _NOWHERE, 0


@part
def _named_side(
    text: U8, at: int, end: int, names: U64, masks: U64, lengths: I64
) -> tuple[int, float]:
    """Behind a word for a side (-1: neither); 1 for bid, -1 for ask."""
    if at >= end or _char(text, at) != QUOTE:
        return _NOWHERE, 0.0
    word = _name_at(text, at + 1, names, masks, BID_WORD, ASK_WORD + 1)
    if word < 0:
        return _NOWHERE, 0.0
    return at + 1 + lengths[word], 1.0 if word == BID_WORD else -1.0


@part
def _side(
    text: U8, at: int, end: int, price_at: int, size_at: int, count_at: int, keys: int, names: U64,
    masks: U64, lengths: I64, filled: int, side: I8, price: F64, qty: F64, level: F64,
) -> tuple[int, int]:  # fmt: skip
    """All levels of one side behind `filled`; rows filled then (-1: not ours), long ones."""
    at = _skip_space(text, at, end)
    if at == end:
        return filled, 0
    if _char(text, at) != OPEN:
        return _NOWHERE, 0
    longs = 0
    at = _skip_space(text, at + 1, end)
    if at < end and _char(text, at) == CLOSE:
        return (filled if _skip_space(text, at + 1, end) == end else _NOWHERE), 0
    while at < end:
        byte = _char(text, at)
        if byte == OPEN and price_at >= 0:
            at, long = _array(text, at + 1, end, price_at, size_at, count_at, level)
        elif byte == OPEN_OBJECT and price_at < 0:
            at, long = _object(text, at + 1, end, keys, names, masks, lengths, level)
        else:
            return _NOWHERE, 0
        if at < 0:
            return _NOWHERE, 0
        longs += long
        price[filled], qty[filled], side[filled] = level[0], level[1], np.int8(level[2])
        filled += 1
        at = _skip_space(text, at, end)
        if at >= end:
            return _NOWHERE, 0
        byte = _char(text, at)
        at = _skip_space(text, at + 1, end)
        if byte == CLOSE:
            return (filled if at == end else _NOWHERE), longs
        if byte != COMMA:
            return _NOWHERE, 0
    return _NOWHERE, 0


@part
def _part_sides(first: int, stop: int, side: I8, price: F64, qty: F64) -> None:
    """Put the bids of [first, stop) before the asks; both stay in their order.

    Rows behind `stop` are used: there is room for twice as many levels as name their side.
    """
    place = first
    while place < stop and side[place] > 0:
        place += 1
    late = place
    while late < stop and side[late] < 0:
        late += 1
    if late == stop:
        return
    aside = stop
    for row in range(place, stop):
        to = place if side[row] > 0 else aside
        price[to], qty[to] = price[row], qty[row]
        if side[row] > 0:
            side[place] = 1
            place += 1
        else:
            aside += 1
    for row in range(stop, aside):
        side[place], price[place], qty[place] = -1, price[row], qty[row]
        place += 1


@lean_kernel
def read_sides(
    text: U8, text_ends: I64, price_at: int, size_at: int, count_at: int, keys: int, names: U64,
    masks: U64, lengths: I64, side: I8, price: F64, qty: F64, ends: I64, bad: Bool, level: F64,
) -> tuple[int, int]:  # fmt: skip
    """Levels of all updates, bids first; how many, and how many numbers have too many digits.

    text: u8 with WORD_BYTES * words behind the last side. names [5, words]: the keys of price, size
    and side and the words for bid and ask, each with the quote behind it; masks [5, words]: which
    of their bits count; lengths [5]: in bytes. keys: how many of the keys an object must have.
    count_at: where arrays have the number of orders, and then their sizes are signed; -1: nowhere.
    level [LEVEL_VALUES]: room for the one that is read.
    """
    filled = longs = 0
    for n in range(len(bad)):
        first = filled
        for own in range(2):
            begin, end = text_ends[2 * n + own], text_ends[2 * n + own + 1]
            level[SIDE_KEY] = 1 - 2 * own
            filled, long = _side(
                text, begin, end, price_at, size_at, count_at, keys, names, masks, lengths, filled,
                side, price, qty, level,
            )  # fmt: skip
            if filled < 0:
                bad[n] = True
                filled = first
                break
            longs += long
        if keys == KEYS_WITH_SIDE or count_at >= 0:
            _part_sides(first, filled, side, price, qty)
        ends[n + 1] = filled
    return filled, longs
