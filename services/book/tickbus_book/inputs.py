"""What the kernel reads of a group: one ticker's packets and gaps, and the shard's clocks.

All come as plain tuples, in the order of the named ones that the kernel makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from tickbus.columns.group import Group
from tickbus.columns.table import Table
from tickbus_schemas import subjects
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import ABSENT, L2Batch, StatusKind

from tickbus_book.kernels.grid_layout import Clocks, Gaps, Messages, Packets

Ticker = tuple[int, str]
"""exchange code and ticker"""


class Gap(NamedTuple):
    """Updates of a book are missing from here on."""

    seq: int
    more: int
    packet_id: int
    """ABSENT: of a message that could not be read"""


Arrays = tuple[Any, ...]
_NONE = np.zeros(0, np.int64)
_NO_GAPS: Arrays = (_NONE,) * len(Gaps._fields)
_NO_MESSAGES: Arrays = (_NONE,) * len(Messages._fields)
_NO_CLOCKS: Arrays = (_NONE,) * len(Clocks._fields)
_NO_PACKETS: Arrays = tuple(np.zeros(0, L2Batch.columns[name].code) for name in Packets._fields)
_packets = itemgetter(*Packets._fields)


def packets_of(table: Table | None) -> tuple[Arrays, Arrays]:
    """Messages and Packets of a ticker's L2; None has none."""
    if table is None:
        return _NO_MESSAGES, _NO_PACKETS
    messages = (table.message_seq, table.message_rows, table.message_more)
    return messages, _packets(table.columns)


def gaps_of(gaps: list[Gap]) -> Arrays:
    """Gaps of a ticker."""
    return _columns(gaps) if gaps else _NO_GAPS


def clocks_of(group: Group) -> Arrays:
    """Clocks of a group, and with an absent time the places where messages are missing."""
    rows = [(seq, one.timestamp, one.epoch) for seq, one in group.clocks]
    rows += [(one.last_seq, ABSENT, ABSENT) for one in group.missing]
    return _columns(sorted(rows)) if rows else _NO_CLOCKS


def _columns(rows: Sequence[tuple[int, ...]]) -> Arrays:
    return tuple(np.array(column, np.int64) for column in zip(*rows, strict=True))


def tables_of(group: Group) -> dict[Ticker, Table]:
    """The L2 of each ticker that has any."""
    return {(key[1], key[2]): table for key, table in group.tables.items() if key[0] is L2Batch}


def gaps_by_ticker(group: Group) -> dict[Ticker, list[Gap]]:
    """What tells of updates lost, in log order: gap statuses, and messages that were refused."""
    found: dict[Ticker, list[Gap]] = {}
    for seq, status in group.statuses:
        if status.kind == StatusKind.GAP and status.feed in ("", "l2"):
            gap = Gap(seq, status.more, status.packet_id)
            found.setdefault((status.exchange, status.ticker), []).append(gap)
    for refused in group.rejected:
        ticker = _whose(refused.subject)
        if ticker:
            found.setdefault(ticker, []).append(Gap(refused.seq, 0, ABSENT))
    for gaps in found.values():
        gaps.sort()
    return found


def _whose(subject: str) -> Ticker | None:
    """The ticker whose book a message on this subject tells of."""
    try:
        address = subjects.parse(subject)
    except Reject:
        return None
    if address.kind != "md" or address.leaf not in ("l2", "status"):
        return None
    return int(address.exchange), address.ticker
