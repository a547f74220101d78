"""Hundreds of messages from the server's bytes in one call: a kernel finds where to cut them.

It understands only what servers send, with one space between words. It stops at anything else, and
`tickbus.log.wire.read_plainly` decides; tests compare the two.
"""

from __future__ import annotations

from collections.abc import Container
from io import BytesIO

import numpy as np
import numpy.typing as npt

from tickbus.compiled import kernel, part
from tickbus.log.delivery import Deliveries
from tickbus.log.wire import Messages, Run

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]

MESSAGES_MAX = 2_048
"""Most messages of one run; the next run continues."""

PIECES = 5
"""A message is cut into the bytes before its subject, the subject, the rest of its line, the header
block and the payload. The line end after it belongs to the next message."""

_SPACE, _DOT, _ZERO, _NINE = 32, 46, 48, 57
_CR, _LF, _H = 13, 10, 72
_MSG = np.frombuffer(b"MSG ", np.uint8)
_ACK = np.frombuffer(b"$JS.ACK.", np.uint8)
_WORDS_MAX = 5
_DOTS_MAX = 11


@part
def _char(data: Bytes, at: int) -> int:
    """One byte; an unsigned index saves the test for a negative one."""
    byte: int = data[np.uint64(at)]
    return byte


@part
def _begins_with(data: Bytes, at: int, text: Bytes) -> bool:
    if at + len(text) > len(data):
        return False
    same = True
    for n in range(len(text)):
        same &= _char(data, at + n) == text[n]
    return same


@part
def _number(data: Bytes, start: int, end: int) -> int:
    """The number in decimal digits, up to the largest int64; -1 for anything else."""
    if not 0 < end - start <= 19:
        return -1
    value, wrong = np.uint64(0), False
    for at in range(start, end):
        byte = _char(data, at)
        wrong |= (byte < _ZERO) | (byte > _NINE)
        value = value * np.uint64(10) + np.uint64(byte - _ZERO)
    # Nineteen digits fit into 64 bits, but not always into 63.
    return -1 if wrong or value > np.uint64(0x7FFF_FFFF_FFFF_FFFF) else int(np.int64(value))


@part
def _words(data: Bytes, at: int, ends: Int64s) -> int:
    """Where each word of a line ends, from the second on; their number, 0 for an unknown line.

    The first word begins at `at`, each other one byte after the end of the one before.
    """
    count, first = 0, at
    while at < len(data):
        byte = _char(data, at)
        if byte > _SPACE:
            at += 1
            continue
        if at == first or count == _WORDS_MAX:
            return 0
        ends[count] = at
        count += 1
        if byte != _SPACE:
            is_end = byte == _CR and at + 1 < len(data) and _char(data, at + 1) == _LF
            return count if is_end else 0
        at += 1
        first = at
    return 0


@kernel
def _delivery(data: Bytes, start: int, end: int, dots: Int64s) -> tuple[int, int, int]:
    """Sequence, time and pending of the reply subject; one is -1 if it is not a delivery."""
    count = 0
    for at in range(start, end):
        if _char(data, at) == _DOT:
            if count == _DOTS_MAX:
                return -1, -1, -1
            dots[count] = at
            count += 1
    dots[count] = end
    if count == 8:
        first = 4
    elif count in (10, 11):
        first = 6
    else:
        return -1, -1, -1
    seq = _number(data, dots[first] + 1, dots[first + 1])
    stored_ns = _number(data, dots[first + 2] + 1, dots[first + 3])
    return seq, stored_ns, _number(data, dots[first + 3] + 1, dots[first + 4])


@part
def _head(data: Bytes, place: int, ends: Int64s) -> tuple[int, int, int, int, int, bool]:
    """The line of a message: where subject and header block begin, subscription, size of the block
    and of all, whether it has a reply subject; `ends` as of `_words`.

    The subscription is -1 unless the whole message is there and understood.
    """
    is_hmsg = place < len(data) and _char(data, place) == _H
    subject = place + is_hmsg + len(_MSG)
    words = 0
    if _begins_with(data, place + is_hmsg, _MSG):
        # subject, sid, perhaps a reply, with HMSG the size of the block, the size of all
        words = _words(data, subject, ends)
    replies = words - 3 - is_hmsg
    if replies not in (0, 1):
        return 0, 0, -1, 0, 0, False
    sid = _number(data, ends[0] + 1, ends[1])
    total = _number(data, ends[words - 2] + 1, ends[words - 1])
    block_size = _number(data, ends[words - 3] + 1, ends[words - 2]) if is_hmsg else 0
    block = ends[words - 1] + 2
    if not 0 <= block_size <= total or total > len(data) - block - 2:
        sid = -1
    return subject, block, sid, block_size, total, replies == 1


@kernel
def find_run(
    data: Bytes, place: int, sizes: Int64s, seqs: Int64s, stored_ns: Int64s
) -> tuple[int, int, int, int]:
    """Complete messages of one kind from `place` on: the sizes of their pieces, and their places in
    a stream if JetStream delivers them. One item a message, PIECES of `sizes`.

    One kind: of one subscription, with or without a header block, delivered by JetStream or not.
    Returns their number, the end of the last one, the subscription, and the messages pending after
    it (-1: no deliveries).
    """
    ends, dots = np.empty(_WORDS_MAX, np.int64), np.empty(_DOTS_MAX + 1, np.int64)
    count, run_sid, run_has_block, run_pending = 0, -1, False, -1
    cut = place  # all bytes before this belong to a piece
    while count < len(seqs):
        subject, block, sid, block_size, total, has_reply = _head(data, place, ends)
        seq, time_ns, pending, is_read = -1, -1, -1, sid >= 0
        if is_read and has_reply and _begins_with(data, ends[1] + 1, _ACK):
            seq, time_ns, pending = _delivery(data, ends[1] + 1, ends[2], dots)
            is_read = seq >= 0 and time_ns >= 0 and pending >= 0
        if count == 0:
            run_sid, run_has_block, run_pending = sid, block_size > 0, pending
        is_alike = (
            sid == run_sid
            and (block_size > 0) == run_has_block
            and (pending < 0) == (run_pending < 0)
        )
        if not (is_read and is_alike):
            break
        at = count * PIECES
        sizes[at], sizes[at + 1], sizes[at + 2] = subject - cut, ends[0] - subject, block - ends[0]
        sizes[at + 3], sizes[at + 4] = block_size, total - block_size
        seqs[count], stored_ns[count] = seq, time_ns
        cut = block + total
        place = cut + 2
        run_pending = pending
        count += 1
    return count, place, run_sid, run_pending


class KernelReader:
    """A RunReader; each connection has its own, because the kernel writes into its arrays."""

    def __init__(self) -> None:
        self._sizes = np.empty(PIECES * MESSAGES_MAX, np.int64)
        self._seqs = np.empty(MESSAGES_MAX, np.int64)
        self._stored_ns = np.empty(MESSAGES_MAX, np.int64)
        self(b"PING\r\n", 0, ())  # compiles or loads the kernel now, not when messages wait

    def __call__(self, data: bytes, place: int, wanted: Container[int]) -> Run | None:
        """The messages from `place` on; see `tickbus.log.wire.RunReader`."""
        text = np.frombuffer(data, np.uint8)
        count, end, sid, pending = find_run(text, place, self._sizes, self._seqs, self._stored_ns)
        if count == 0:
            return None
        if sid not in wanted:
            return Run(sid, end, None)
        # Sequential reads cost half of slices, each of which is an object.
        file = BytesIO(data)
        file.seek(place)
        pieces = list(map(file.read, self._sizes[: count * PIECES].tolist()))
        blocks: list[bytes] | list[None] = pieces[3::PIECES]
        if not blocks[0]:
            blocks = [None] * count
        deliveries = None
        if pending >= 0:
            seqs, stored_ns = self._seqs[:count].tolist(), self._stored_ns[:count].tolist()
            deliveries = Deliveries(seqs, stored_ns, pending)
        messages = Messages(pieces[1::PIECES], pieces[4::PIECES], blocks, deliveries)
        return Run(sid, end, messages)
