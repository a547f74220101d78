"""When and where the frames of a batch arrived, and their rows with that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tickbus_ingest.session.decoding import Decoded
from tickbus_ingest.session.kernels.batch import gather_levels
from tickbus_ingest.session.tables import I32, I64, L2Table, Table


@dataclass(frozen=True, slots=True)
class Arrived:
    """What ingest knows of each frame of a batch, whatever the frame says; columns [frames]."""

    received_us: I64
    packet_id: I64
    line: I32
    """the connection that it came over; -1: it is a REST body"""


def table_of(decoded: Decoded, feed: str, order: I64, arrived: Arrived) -> Table:
    """The rows of a feed in the order given, with what ingest knows of their packets."""
    columns = decoded.tables[feed]
    sorted_columns = {name: column[order] for name, column in columns.items()}
    ticker, frame = sorted_columns.pop("ticker"), sorted_columns.pop("frame")
    sorted_columns["rcv_timestamp"] = arrived.received_us[frame]
    sorted_columns["packet_id"] = arrived.packet_id[frame]
    ids = None
    if feed == "trade" and decoded.ids is not None:
        ids = decoded.ids.take(order)
    return Table(ticker, decoded.stands[feed][order], sorted_columns, ids)


def l2_table_of(decoded: Decoded, order: I64, arrived: Arrived) -> L2Table:
    """The book updates in the order given, their levels behind one another."""
    columns, levels = decoded.tables["l2"], decoded.levels
    assert levels is not None
    counts = np.diff(levels.ends)[order]
    ends = np.zeros(len(order) + 1, np.int64)
    np.cumsum(counts, out=ends[1:])
    side, price, qty = levels.side, levels.price, levels.qty
    if not (order[1:] > order[:-1]).all():
        parts = np.empty(len(side), np.int8), np.empty(len(side)), np.empty(len(side))
        gather_levels(levels.ends[order], counts, side, price, qty, ends, *parts)
        side, price, qty = parts
    frame = columns["frame"][order]
    return L2Table(
        columns["timestamp"][order],
        columns["engine_timestamp"][order],
        arrived.received_us[frame],
        arrived.packet_id[frame],
        columns["prev_update_id"][order],
        columns["update_id"][order],
        np.zeros(len(order), np.uint16),
        decoded.stands["l2"][order],
        columns["whole"][order],
        columns["checksum"][order],
        columns["depth"][order],
        columns["price_decimals"][order],
        columns["qty_decimals"][order],
        arrived.line[frame],
        ends,
        side,
        price,
        qty,
        np.empty(len(side), np.int8),
    )
