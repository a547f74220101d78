"""Reads the msgpack of many messages at once, and joins their columns.

A message that our own encoder could have written, with columns of the lengths that belong to each
other, is *plain*; `scan` finds its fields. msgspec decodes or refuses anything else: a newer schema
with more fields, numbers in other widths, damage.
https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tickbus.compiled import kernel, part

Bytes = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
_u64: Any = np.uint64

# A field of a message type: its kind, the bounds of its value (or of its length in characters), and
# for a column how many items of how many bytes it has.
WHAT, LOW, HIGH, PER, WIDTH = range(5)
RULE = 5
NOTHING, INT, BOOL, TEXT, FLOAT, BINARY, TEXTS, BINARIES = range(8)
ROWS, ROWS_AND_ONE, LEVELS, CELLS = range(1, 5)
"""PER, 0 for what may have any length: CELLS are rows * depth."""

# What is known of a message type: the fields that hold its rows (-1: it has none), its levels and
# its depth (0: no such field, that is, the tag's place), and `more`.
ROWS_FIELD, LEVELS_FIELD, DEPTH_FIELD, MORE_FIELD = range(4)
KIND = 4

# What `scan` finds of a field: where its bytes begin (those of the first element) and how many they
# are (of BINARIES: of each); the value of an INT or BOOL as START.
START, SIZE = range(2)
FOUND = 2
# Behind the fields stands what is common to the lists of a message (TEXTS, BINARIES): how many
# elements each has, and how many bytes there are from one BINARIES element to the next.
ELEMENTS, STEP = range(2)


@part
def _number(data: Bytes, at: int, size: int) -> int:
    """An unsigned number, big end first."""
    value: Any = np.int64(0)
    for n in range(size):
        value = (value << 8) | np.int64(data[at + n])
    return int(value)


@part
def _token(data: Bytes, at: int, end: int) -> tuple[int, int, int]:
    """What begins at `at`, its value or size, and where its content begins. TEXTS: any array."""
    if at >= end:
        return NOTHING, 0, at
    code: Any = np.int64(data[at])
    at += 1
    if code == 0xC5 and at + 2 <= end:  # nearly all columns
        return BINARY, _number(data, at, 2), at + 2
    if code < 0x80:
        return INT, code, at
    if code >= 0xE0:
        return INT, code - 0x100, at
    if 0x90 <= code < 0xA0:
        return TEXTS, code & 0x0F, at
    if 0xA0 <= code < 0xC0:
        return TEXT, code & 0x1F, at
    if code in (0xC2, 0xC3):
        return BOOL, code & 1, at
    return _wide_token(data, code, at, end)


@kernel
def _wide_token(data: Bytes, code: int, at: int, end: int) -> tuple[int, int, int]:
    """The rest of `_token`: codes that a number of bytes follows."""
    if 0xC4 <= code <= 0xC6:
        what, width = BINARY, 1 << (code - 0xC4)
    elif 0xCC <= code <= 0xCF:
        what, width = INT, 1 << (code - 0xCC)
    elif 0xD0 <= code <= 0xD3:
        what, width = INT, 1 << (code - 0xD0)
    elif 0xD9 <= code <= 0xDB:
        what, width = TEXT, 1 << (code - 0xD9)
    elif code == 0xDC:
        what, width = TEXTS, 2
    elif code == 0xCB:
        return FLOAT, 8, at
    else:
        return NOTHING, 0, at
    if at + width > end:
        return NOTHING, 0, at
    value = _number(data, at, width)
    if 0xD0 <= code < 0xD3:
        value -= (value >> (8 * width - 1)) << (8 * width)  # its sign
    elif code == 0xCF and value < 0:  # 2**63 or more
        return NOTHING, 0, at
    return what, value, at + width


@part
def _characters(data: Bytes, at: int, size: int) -> int:
    """Of a text in UTF-8: bytes that continue a character are not counted."""
    count = 0
    for n in range(at, at + size):
        count += int((data[n] & 0xC0) != 0x80)
    return count


@kernel
def _texts(data: Bytes, at: int, end: int, count: int, characters_max: int) -> int:
    """Where so many texts end, -1 if they are not plain."""
    for _ in range(count):
        what, size, at = _token(data, at, end)
        if what != TEXT or at + size > end or _characters(data, at, size) > characters_max:
            return -1
        at += size
    return at


@kernel
def _binaries(data: Bytes, at: int, end: int, found: I64, n: int, place: int) -> int:
    """Read a list of binaries; where it ends, -1 if they are not alike."""
    lists = found.shape[1] - 1
    start = step = first_size = 0
    for element in range(found[n, lists, ELEMENTS]):
        what, size, at = _token(data, at, end)
        if what != BINARY or at + size > end:
            return -1
        if element == 0:
            start, first_size = at, size
        elif element == 1:
            step = at - start
        if size != first_size or at != start + element * step:
            return -1
        at += size
    found[n, place, START], found[n, place, SIZE] = start, first_size
    found[n, lists, STEP] = step
    return at


@kernel
def _list(
    data: Bytes, at: int, end: int, rules: I64, tag: int, found: I64, n: int, place: int
) -> int:
    """Read a list; where it ends, -1 if it is not plain."""
    if rules[tag, place, WHAT] == BINARIES:
        return int(_binaries(data, at, end, found, n, place))
    count = found[n, found.shape[1] - 1, ELEMENTS]
    behind = int(_texts(data, at, end, count, rules[tag, place, HIGH]))
    found[n, place, START], found[n, place, SIZE] = at, behind - at
    return behind


@kernel
def _fields(data: Bytes, at: int, end: int, rules: I64, found: I64, n: int) -> bool:
    """Read the fields of one message as its tag has them; False if it is not plain."""
    what, count, at = _token(data, at, end)
    if what != TEXTS or not 0 < count <= rules.shape[1]:
        return False
    what, tag, at = _token(data, at, end)
    if what != INT or not 0 < tag < rules.shape[0] or rules[tag, count - 1, WHAT] == NOTHING:
        return False
    if count < rules.shape[1] and rules[tag, count, WHAT] != NOTHING:
        return False
    found[n, 0, START] = tag
    lists = found.shape[1] - 1
    elements = -1
    for place in range(1, count):
        what, value, at = _token(data, at, end)
        must = rules[tag, place, WHAT]
        if must >= TEXTS:
            if what != TEXTS or (elements >= 0 and elements != value):
                return False
            elements = found[n, lists, ELEMENTS] = value
            at = _list(data, at, end, rules, tag, found, n, place)
            if at < 0:
                return False
        elif what != must:
            return False
        elif what >= TEXT:
            found[n, place, START], found[n, place, SIZE] = at, value
            if at + value > end:
                return False
            if what == TEXT and _characters(data, at, value) > rules[tag, place, HIGH]:
                return False
            at += value
        else:
            found[n, place, START] = value
            if value < rules[tag, place, LOW] or value > rules[tag, place, HIGH]:
                return False
    return bool(at == end)


@kernel
def _fits(rules: I64, kinds: I64, found: I64, n: int) -> bool:
    """Whether the columns of a message have the lengths that belong to each other."""
    tag, lists = found[n, 0, START], found.shape[1] - 1
    rows = found[n, kinds[tag, ROWS_FIELD], SIZE] >> 3
    levels = found[n, kinds[tag, LEVELS_FIELD], SIZE]
    cells = rows * found[n, kinds[tag, DEPTH_FIELD], START]
    fits = rows > 0
    for place in range(kinds[tag, ROWS_FIELD], rules.shape[1]):
        per, size = rules[tag, place, PER], found[n, place, SIZE]
        empty = rules[tag, place, WHAT] == BINARIES and found[n, lists, ELEMENTS] == 0
        if per == 0 or empty:
            continue
        items = rows
        if per == ROWS_AND_ONE:
            items += 1
        elif per == LEVELS:
            items = levels
        elif per == CELLS:
            items = cells
        fits &= size == items * rules[tag, place, WIDTH]
    return bool(fits)


@kernel
def scan(
    data: Bytes, sizes: I64, size_max: int, rules: I64, kinds: I64, found: I64
) -> tuple[int, int]:
    """Where the fields of each message are.

    data: the messages one after the other, of `sizes` bytes. rules: i64[tags, fields, RULE], field
    0 the tag; kinds: i64[tags, KIND]. found [out]: i64[n, fields + 1, FOUND]; the tag of a message
    that is not plain is 0, and nothing is said of its other fields.
    How many messages are not plain, and how many lie before the first flush that is still open.
    """
    odd = closed = at = 0
    seen = False  # a plain one that no closed flush holds
    for n in range(len(sizes)):
        end = at + sizes[n]
        plain = sizes[n] <= size_max and _fields(data, at, end, rules, found, n)
        if plain:
            tag = found[n, 0, START]
            plain = kinds[tag, ROWS_FIELD] < 0 or _fits(rules, kinds, found, n)
        at = end
        if plain:
            seen = found[n, kinds[0, MORE_FIELD], START] != 0
        else:
            found[n, 0, START] = 0
            odd += 1
        if not seen:  # a message that is not plain, after a closed flush, belongs to no flush
            closed = n + 1
    return odd, closed


@kernel
def follow(numbers: I64, epoch: int, message_no: int) -> bool:
    """Whether all are readable and consecutive from the one before: +1, or 0 in a later epoch.

    numbers: i64[n, 2], epoch and message_no, -1 for an unreadable one. An epoch of -1 before: any
    may come first.
    """
    for n in range(len(numbers)):
        same = numbers[n, 0] == epoch and numbers[n, 1] == message_no + 1
        later = numbers[n, 0] > epoch and (numbers[n, 1] == 0 or epoch < 0)
        if not (same or later):
            return False
        epoch, message_no = numbers[n, 0], numbers[n, 1]
    return True


@kernel
def _agrees(
    data: Bytes, found: I64, n: int, wanted: I64, home: int, tickers: Bytes, fields: I64
) -> bool:
    """Whether a message is what its subject says, as `arrange` has it."""
    tag, exchange, interval = wanted[home, 0], wanted[home, 1], wanted[home, 2]
    ticker, ticker_end = wanted[home, 3], wanted[home, 4]
    if found[n, 0, START] != tag:
        return False
    if exchange < 0:
        return True
    begin, size = found[n, fields[1], START], ticker_end - ticker
    if found[n, fields[0], START] != exchange or found[n, fields[1], SIZE] != size:
        return False
    if interval >= 0 and found[n, fields[2], START] != interval:
        return False
    differ = np.uint8(0)
    for i in range(size):
        differ |= data[begin + i] ^ tickers[ticker + i]
    return bool(differ == 0)


@kernel
def arrange(
    data: Bytes, found: I64, homes: I64, wanted: I64, tickers: Bytes, fields: I64
) -> tuple[I64, I64, I64]:
    """Places of messages by tag, then by home, then in log order.

    homes: i64[n], each message's row of `wanted`; wanted and tickers: of `Homes`; fields: where
    exchange, ticker and interval are found. Also where each tag ends (a tag begins where the one
    before it ends), and the places of those that are readable but not what their subject says.
    """
    tags = 1 + max(0, wanted[:, 0].max())
    counts = np.zeros(len(wanted) + 1, np.int64)
    strays = np.zeros(len(homes), np.bool_)
    for n in range(len(homes)):
        if found[n, 0, START] != 0:
            if _agrees(data, found, n, wanted, homes[n], tickers, fields):
                counts[homes[n]] += 1
            else:
                strays[n] = True
    ends = np.zeros(tags, np.int64)
    total = 0
    for tag in range(1, tags):
        for home in range(len(wanted)):
            if wanted[home, 0] == tag:
                counts[home], total = total, total + counts[home]
        ends[tag] = total
    order = np.empty(total, np.int64)
    for n in range(len(homes)):
        if found[n, 0, START] != 0 and not strays[n]:
            order[counts[homes[n]]] = n
            counts[homes[n]] += 1
    return order, ends, np.flatnonzero(strays)


@kernel
def join(
    data: Bytes, found: I64, places: I64, first: int, last: int, listed: int
) -> tuple[Bytes, I64]:
    """Fields `first` to `last` (not included) of the messages at `places`, joined field by field.

    listed: the field that is BINARIES, -1 for none; it is as many fields as it has elements (in all
    messages the same number). All bytes, and where each joined field begins and ends in them:
    i64[joined fields, 2].
    """
    lists = found.shape[1] - 1
    elements = found[places[0], lists, ELEMENTS] if listed >= 0 else 0
    bounds = np.empty((last - first + elements - int(listed >= 0), 2), np.int64)
    begin = at = 0
    for place in range(first, last):
        size = 0
        for n in places:
            size += found[n, place, SIZE]
        for _ in range(elements if place == listed else 1):
            bounds[at, 0], bounds[at, 1] = begin, begin + size
            begin = (begin + size + 63) & ~63  # so that it can be viewed as any type
            at += 1
    joined = np.empty(begin, np.uint8)
    at = 0
    for place in range(first, last):
        for element in range(elements if place == listed else 1):
            target = _u64(bounds[at, 0])
            for n in places:
                start = found[n, place, START]
                if element:
                    start += element * found[n, lists, STEP]
                size = _u64(found[n, place, SIZE])
                for i in range(size):  # unsigned: signed ones take 50 times as long here
                    joined[target + i] = data[_u64(start) + i]
                target += size
            at += 1
    return joined, bounds
