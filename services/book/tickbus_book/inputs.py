"""What the kernel reads of a group: one ticker's packets and gaps, and the shard's clocks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from tickbus.group import Group, Table
from tickbus.kernels.grid_layout import Clocks, Gaps, Messages, Packets
from tickbus_schemas import subjects
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import ABSENT, L2Batch, StatusKind

Ticker = tuple[int, str]
"""exchange code and ticker"""


class Gap(NamedTuple):
    """Updates of a book are missing from here on."""

    seq: int
    more: int
    packet_id: int
    """ABSENT: of a message that could not be read"""


_NONE = np.zeros(0, np.int64)
_NO_MESSAGES = Messages(_NONE, _NONE, _NONE)
_DTYPES = {"side": "<i1", "flags": "<u2", "levels": "<i4", "price": "<f8", "qty": "<f8"}
_NO_PACKETS = Packets(*(np.zeros(0, _DTYPES.get(name, "<i8")) for name in Packets._fields))
_COLUMNS = Packets._fields[1:]


def packets_of(table: Table | None) -> tuple[Messages, Packets]:
    """Messages and columns of a ticker's L2; None has none."""
    if table is None:
        return _NO_MESSAGES, _NO_PACKETS
    columns: Any = map(table.columns.__getitem__, _COLUMNS)
    messages = Messages(table.message_seq, table.message_rows, table.message_more)
    return messages, Packets(table.row_seq(), *columns)


def gaps_of(gaps: list[Gap]) -> tuple[Messages, Gaps]:
    """Messages and packets of a ticker's gaps."""
    if not gaps:
        return _NO_MESSAGES, Gaps(_NONE)
    columns = np.array([(one.seq, 1, one.more, one.packet_id) for one in gaps], np.int64)
    seq, rows, more, packet_id = np.ascontiguousarray(columns.T)
    return Messages(seq, rows, more), Gaps(packet_id)


def clocks_of(group: Group) -> Clocks:
    """The clocks of a group, and with an absent time the places where messages are missing."""
    if not group.clocks and not group.missing:
        return Clocks(_NONE, _NONE, _NONE)
    rows = [(seq, one.timestamp, one.epoch) for seq, one in group.clocks]
    rows += [(one.last_seq, ABSENT, ABSENT) for one in group.missing]
    return Clocks(*np.ascontiguousarray(np.array(sorted(rows), np.int64).T))


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
