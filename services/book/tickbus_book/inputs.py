"""What the kernel reads of a group: one ticker's packets and gaps, and the shard's clocks."""

from __future__ import annotations

from typing import Any

import numpy as np
from tickbus.group import Group, Table
from tickbus.kernels.grid_layout import Clocks, Gaps, Messages, Packets
from tickbus_schemas.messages import L2Batch, Status, StatusKind

Ticker = tuple[int, str]
"""exchange code and ticker"""

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


def gaps_of(statuses: list[tuple[int, Status]]) -> tuple[Messages, Gaps]:
    """Messages and packets of a ticker's gaps; its statuses come with their stream sequences."""
    if not statuses:
        return _NO_MESSAGES, Gaps(_NONE)
    columns = np.array([(seq, 1, one.more, one.packet_id) for seq, one in statuses], np.int64)
    seq, rows, more, packet_id = np.ascontiguousarray(columns.T)
    return Messages(seq, rows, more), Gaps(packet_id)


def clocks_of(group: Group) -> Clocks:
    """The clocks of a group."""
    if not group.clocks:
        return Clocks(_NONE, _NONE, _NONE)
    columns = np.array([(seq, one.timestamp, one.epoch) for seq, one in group.clocks], np.int64)
    return Clocks(*np.ascontiguousarray(columns.T))


def tables_of(group: Group) -> dict[Ticker, Table]:
    """The L2 of each ticker that has any."""
    return {(key[1], key[2]): table for key, table in group.tables.items() if key[0] is L2Batch}


def gaps_by_ticker(group: Group) -> dict[Ticker, list[tuple[int, Status]]]:
    """Statuses that tell of updates lost, in log order."""
    found: dict[Ticker, list[tuple[int, Status]]] = {}
    for seq, status in group.statuses:
        if status.kind == StatusKind.GAP and status.feed in ("", "l2"):
            found.setdefault((status.exchange, status.ticker), []).append((seq, status))
    return found
