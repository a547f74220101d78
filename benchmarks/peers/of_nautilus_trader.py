"""nautilus_trader: its Rust OrderBook, price levels only, fed with OrderBookDeltas.

Timed: `OrderBook.apply_deltas`, a packet a call. Before: JSON, and making the deltas, which takes
about ten times as long.
"""

from __future__ import annotations

import time

from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.data import BookOrder, OrderBookDelta, OrderBookDeltas
from nautilus_trader.model.enums import BookAction, BookType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import Price, Quantity
from recorded import Packet, Recorded

INSTRUMENT = InstrumentId.from_str("BTCUSDT-PERP.BINANCE")


def _deltas(packet: Packet) -> OrderBookDeltas:
    deltas = []
    for side, levels in ((OrderSide.BUY, packet.bids), (OrderSide.SELL, packet.asks)):
        for price, size in levels:
            order = BookOrder(side, Price.from_str(price), Quantity.from_str(size), 0)
            action = BookAction.UPDATE if float(size) else BookAction.DELETE
            times = packet.received_ns, packet.received_ns
            deltas.append(OrderBookDelta(INSTRUMENT, action, order, 0, packet.update_id, *times))
    return OrderBookDeltas(INSTRUMENT, deltas)


def ns_a_level(recorded: Recorded, runs: int) -> list[float]:
    """CPU ns of each run."""
    packets = [_deltas(packet) for packet in recorded.packets if packet.bids or packet.asks]
    found = []
    for _ in range(runs):
        book = OrderBook(INSTRUMENT, BookType.L2_MBP)
        book.apply_deltas(_deltas(recorded.snapshot))
        start_ns = time.process_time_ns()
        for deltas in packets:
            book.apply_deltas(deltas)
        found.append((time.process_time_ns() - start_ns) / recorded.levels)
    return found
