"""The server's bytes to messages by the hundred: a kernel finds where everything stands.

It takes only what servers send, one space between words. At anything else it stops, and
`tickbus.wire.read_one` decides; tests hold the two to the same answer.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np
import numpy.typing as npt

from tickbus.delivery import Deliveries
from tickbus.kernels.compiled import kernel, part
from tickbus.wire import Messages, Run

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]

MESSAGES_MAX = 2_048
"""Of one run; the next one continues."""

SUBJECT, SUBJECT_END, BLOCK, BODY, END, SEQ, STORED_NS = range(7)
_COLUMNS = 7
"""Places in the bytes, and what the reply subject of a delivery says."""

_SPACE, _DOT, _ZERO, _NINE = 32, 46, 48, 57
_CR, _LF, _H = 13, 10, 72
_MSG = np.frombuffer(b"MSG ", np.uint8)
_ACK = np.frombuffer(b"$JS.ACK.", np.uint8)
_WORDS_MAX = 5
_DOTS_MAX = 11


@part
def _begins_with(data: Bytes, at: int, text: Bytes) -> bool:
    if at + len(text) > len(data):
        return False
    same = True
    for n in range(len(text)):
        same &= data[at + n] == text[n]
    return same


@part
def _number(data: Bytes, start: int, end: int) -> int:
    """Decimal digits and nothing else, up to the largest int64; -1 for anything else."""
    if not 0 < end - start <= 19:
        return -1
    value, wrong = np.uint64(0), False
    for at in range(start, end):
        wrong |= (data[at] < _ZERO) | (data[at] > _NINE)
        value = value * np.uint64(10) + np.uint64(data[at] - _ZERO)
    # Nineteen digits fit into 64 bits without a sign, not all of them into 63.
    return -1 if wrong or value > np.uint64(0x7FFF_FFFF_FFFF_FFFF) else int(np.int64(value))


@part
def _words(data: Bytes, at: int, ends: Int64s) -> int:
    """Where each word of a line ends, from its second on; how many, 0 if it is not understood.

    A word begins one behind the end of the last one, the first at `at`.
    """
    count, first = 0, at
    while at < len(data):
        if data[at] > _SPACE:
            at += 1
            continue
        if at == first or count == _WORDS_MAX:
            return 0
        ends[count] = at
        count += 1
        if data[at] != _SPACE:
            is_end = data[at] == _CR and at + 1 < len(data) and data[at + 1] == _LF
            return count if is_end else 0
        at += 1
        first = at
    return 0


@kernel
def _delivery(data: Bytes, start: int, end: int, dots: Int64s) -> tuple[int, int, int]:
    """Sequence, time and pending of the reply subject there; one is -1 if it is not understood."""
    count = 0
    for at in range(start, end):
        if data[at] == _DOT:
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


@kernel
def find_run(data: Bytes, place: int, columns: Int64s) -> tuple[int, int, int, int]:
    """Complete messages of one kind from `place` on, into `columns`: a row each of the names above.

    One kind: of one subscription, with or without a header block, delivered by JetStream or not.
    Gives their number, the end of the last one, the subscription, and the messages pending behind
    it (-1: no deliveries).
    """
    ends, dots = np.empty(_WORDS_MAX, np.int64), np.empty(_DOTS_MAX + 1, np.int64)
    size = len(data)
    count, run_sid, run_has_block, last_pending = 0, -1, False, -1
    while count < columns.shape[1]:
        is_hmsg = place < size and data[place] == _H
        first = place + is_hmsg
        if not _begins_with(data, first, _MSG):
            break
        first += len(_MSG)
        words = _words(data, first, ends)
        # subject, sid, perhaps a reply, with HMSG the size of the block, the size of all
        sizes = 1 + is_hmsg
        if words - sizes not in (2, 3):
            break
        sid = _number(data, ends[0] + 1, ends[1])
        all_bytes = _number(data, ends[words - 2] + 1, ends[words - 1])
        block_bytes = _number(data, ends[words - 3] + 1, ends[words - 2]) if is_hmsg else 0
        block = ends[words - 1] + 2
        if sid < 0 or not 0 <= block_bytes <= all_bytes or all_bytes > size - block - 2:
            break
        seq, stored_ns, pending = -1, -1, -1
        if words - sizes == 3 and _begins_with(data, ends[1] + 1, _ACK):
            seq, stored_ns, pending = _delivery(data, ends[1] + 1, ends[2], dots)
            if seq < 0 or stored_ns < 0 or pending < 0:
                break
        if count == 0:
            run_sid, run_has_block = sid, block_bytes > 0
        elif (
            sid != run_sid
            or (block_bytes > 0) != run_has_block
            or (pending < 0) != (last_pending < 0)
        ):
            break
        columns[SUBJECT, count], columns[SUBJECT_END, count] = first, ends[0]
        columns[BLOCK, count], columns[BODY, count] = block, block + block_bytes
        columns[END, count] = block + all_bytes
        columns[SEQ, count], columns[STORED_NS, count] = seq, stored_ns
        place = block + all_bytes + 2
        last_pending = pending
        count += 1
    return count, place, run_sid, last_pending


class KernelReader:
    """A RunReader; one a connection, for the room that the kernel writes to."""

    def __init__(self) -> None:
        self._columns = np.empty((_COLUMNS, MESSAGES_MAX), np.int64)
        self(b"PING\r\n", 0, ())  # compiled or loaded now, not when messages wait

    def __call__(self, data: bytes, place: int, wanted: Container[int]) -> Run | None:
        """The messages from `place` on; see `tickbus.wire.RunReader`."""
        text = np.frombuffer(data, np.uint8)
        count, end, sid, pending = find_run(text, place, self._columns)
        if count == 0:
            return None
        if sid not in wanted:
            return Run(sid, end, None)
        subject, subject_end, block, body, body_end, seqs, stored_ns = self._columns[
            :, :count
        ].tolist()
        take = data.__getitem__
        blocks: list[bytes | None] = [None] * count
        if body[0] > block[0]:
            blocks = list(map(take, map(slice, block, body)))
        return Run(
            sid,
            end,
            Messages(
                list(map(take, map(slice, subject, subject_end))),
                list(map(take, map(slice, body, body_end))),
                blocks,
                Deliveries(seqs, stored_ns, pending) if pending >= 0 else None,
            ),
        )
