"""Gate spot. https://www.gate.com/docs/developers/apiv4/ws/en/"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from tickbus_schemas.exchanges import Exchange

from tickbus_sim.book import BookEvent, NaiveBook
from tickbus_sim.dialect import Listing, Resource, compact, parse
from tickbus_sim.dialects._gateio import BOOK, GateioDialect
from tickbus_sim.events import Statistics, Trade


class Dialect(GateioDialect):
    """A book can also be had over REST: recordings until 2025 have no other one."""

    exchange = Exchange.GATEIO
    hosts = frozenset({"api.gateio.ws", "ws.gate.io"})
    paths = ("/ws/v4", "/api/v4/spot/")
    routes = ("/ws/v4",)
    path_decides = True
    feeds: ClassVar[Mapping[str, str]] = {
        "trades": "trade",
        BOOK: "l2",
        "book_ticker": "bbo",
        "tickers": "ticker",
    }
    market = "spot"
    demo = ("BTC_USDT", "ETH_USDT", "SOL_BTC")

    def resource_of(self, name: str, query: Mapping[str, list[str]]) -> Resource | None:
        if name == "currency_pairs":
            return Resource("instruments")
        if name == "order_book":
            return Resource("book", query.get("currency_pair", [""])[0], self.levels_of(query))
        return None

    def read_body(self, text: bytes) -> BookEvent | None:
        try:
            book = parse(text)
            bids, asks = ([(one[0], one[1]) for one in book[side]] for side in ("bids", "asks"))
            last_id, ms = int(book["id"]), int(book.get("update", 0))
            return BookEvent("", bids, asks, last_id, whole=True, event_ms=ms)
        except (msgspec.DecodeError, AttributeError, LookupError, TypeError, ValueError):
            return None

    def write_body(self, symbol: str, book: NaiveBook, levels: int) -> bytes:
        bids, asks = book.top(levels)
        told = {"id": book.last_id, "current": book.event_ms, "update": book.event_ms}
        return compact(told | {"asks": asks, "bids": bids})

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        return compact([_pair(one) for one in listed])

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        number, ms = event.number, event.time_ms
        result: dict[str, Any] = {"id": number, "id_market": number, "create_time": ms // 1000}
        result |= {"create_time_ms": f"{ms}.0", "currency_pair": event.ticker}
        result |= {"side": "sell" if event.sells else "buy", "amount": event.qty}
        result |= {"price": event.price, "range": f"{number}-{number}"}
        return self.told("trades", ms, result)

    def statistics(self, event: Statistics) -> bytes:
        result = {"currency_pair": event.ticker, "last": event.last, "lowest_ask": event.ask[0]}
        result |= {"highest_bid": event.bid[0], "change_percentage": event.percent}
        result |= {"base_volume": event.volume, "quote_volume": event.turnover}
        result |= {"high_24h": event.high, "low_24h": event.low}
        return self.told("tickers", event.time_ms, result)


def _pair(listing: Listing) -> dict[str, Any]:
    base, _, quote = listing.ticker.rpartition("_")
    row: dict[str, Any] = {"id": listing.ticker, "base": base, "quote": quote, "fee": "0.2"}
    row |= {"min_base_amount": listing.lot, "min_quote_amount": "3"}
    row |= {"amount_precision": listing.qty_decimals, "precision": listing.price_decimals}
    return row | {"trade_status": "tradable", "sell_start": 0, "buy_start": 0}
