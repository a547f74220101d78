"""When and where the frames of a batch arrived, and their rows with that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tickbus_ingest.session.decoding import Decoded
from tickbus_ingest.session.kernels.batch import gather_levels
from tickbus_ingest.session.tables import I32, I64, Array, L2Table, Table
from tickbus_ingest.venue.feeds import BY_NAME, Treatment


@dataclass(frozen=True, slots=True)
class Arrived:
    """What ingest knows of each frame of a batch, whatever the frame says; columns [frames]."""

    received_us: I64
    packet_id: I64
    line: I32
    """the connection that it came over; -1: it is a REST body"""
    route: I32
    """its place among the venue's routes; -1: none"""
    slot: I32
    """the connection's place among those of its route"""


def placed(column: Array, order: I64 | None) -> Array:
    """The values in this order; None: as they are."""
    return column if order is None else column[order]


def table_of(decoded: Decoded, feed: str, order: I64 | None, arrived: Arrived) -> Table:
    """The rows of a feed in the order given, with what ingest knows of their packets.

    order: places of rows; None where they are in order already.
    """
    columns = {name: placed(column, order) for name, column in decoded.tables[feed].items()}
    ticker, frame = columns.pop("ticker"), columns.pop("frame")
    columns["rcv_timestamp"] = arrived.received_us[frame]
    columns["packet_id"] = arrived.packet_id[frame]
    columns["route"] = arrived.route[frame]
    columns["slot"] = arrived.slot[frame]
    ids = decoded.ids if BY_NAME[feed].treatment is Treatment.TRADES else None
    if ids is not None and order is not None:
        ids = ids.take(order)
    return Table(ticker, placed(decoded.stands[feed], order), columns, ids)


def l2_table_of(decoded: Decoded, order: I64 | None, arrived: Arrived) -> L2Table:
    """The book updates in the order given, their levels behind one another; `order` as above."""
    levels = decoded.levels
    assert levels is not None
    ends, side, price, qty = levels.ends, levels.side, levels.price, levels.qty
    if order is not None:
        counts = np.diff(levels.ends)[order]
        ends = np.zeros(len(order) + 1, np.int64)
        np.cumsum(counts, out=ends[1:])
        parts = np.empty(len(side), np.int8), np.empty(len(side)), np.empty(len(side))
        gather_levels(levels.ends[order], counts, side, price, qty, ends, *parts)
        side, price, qty = parts
    columns = {name: placed(column, order) for name, column in decoded.tables["l2"].items()}
    frame = columns["frame"]
    return L2Table(
        columns["timestamp"],
        columns["engine_timestamp"],
        arrived.received_us[frame],
        arrived.packet_id[frame],
        columns["prev_update_id"],
        columns["update_id"],
        np.zeros(len(frame), np.uint16),
        placed(decoded.stands["l2"], order),
        columns["whole"],
        columns["checksum"],
        columns["depth"],
        columns["price_decimals"],
        columns["qty_decimals"],
        arrived.line[frame],
        ends,
        side,
        price,
        qty,
        np.empty(len(side), np.int8),
    )
