"""KuCoin spot, classic API. https://www.kucoin.com/docs-new/websocket-api/base-info/introduction"""

from __future__ import annotations

from typing import Any

import msgspec
from tickbus_schemas.exchanges import Exchange

from tickbus_sim.book import BookEvent, Levels, NaiveBook
from tickbus_sim.dialect import Listing, decoding, parse
from tickbus_sim.dialects._kucoin import KucoinDialect, answer, frame_of, told
from tickbus_sim.events import Change, Quote, Statistics, Trade
from tickbus_sim.numbers import json_number


class _Changes(msgspec.Struct, gc=False):
    asks: list[list[str]]
    bids: list[list[str]]


class _Update(msgspec.Struct, gc=False):
    changes: _Changes
    sequenceStart: int
    sequenceEnd: int
    time: int = 0


_update = decoding(msgspec.json.Decoder(_Update).decode)


class Dialect(KucoinDialect):
    """Updates that name the one before them."""

    exchange = Exchange.KUCOIN
    hosts = frozenset({"ws-api-spot.kucoin.com", "push-private.kucoin.com", "api.kucoin.com"})
    depths = {  # noqa: RUF012  # a constant of the family's ClassVar
        "/api/v1/market/orderbook/level2_20": 20,
        "/api/v1/market/orderbook/level2_100": 100,
        "/api/v3/market/orderbook/level2": 0,  # which needs a key at the venue
    }
    list_path = "/api/v2/symbols"
    book_weight = list_weight = 4
    paths = ("/endpoint", "/api/v1/bullet-public", list_path, *depths)
    feeds = {  # noqa: RUF012  # a constant of the contract's ClassVar
        "/market/match": "trade",
        "/market/level2": "l2",
        "/spotMarket/level1": "bbo",
        "/market/snapshot": "ticker",
    }
    others = ("/market/ticker", "/market/candles")
    book_family = "/market/level2"
    id_keys = ("topic", "tradeId", "sequenceStart", "sequenceEnd", "sequence", "timestamp")
    demo = ("BTC-USDT", "ETH-USDT", "SOL-BTC")

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            frame = frame_of(text)
            update = _update(frame.data)
            bids, asks = (
                # A row of price 0 only tells that the sequence went on.
                [(level[0], level[1]) for level in side if level[0].strip("0.")]
                for side in (update.changes.bids, update.changes.asks)
            )
        except (msgspec.MsgspecError, IndexError):
            return None  # no frame of a book, or a level without a size
        channel, _, symbol = frame.topic.partition(":")
        if channel != self.book_family:
            return None
        return BookEvent(
            symbol, bids, asks, update.sequenceEnd, update.sequenceStart - 1, event_ms=update.time
        )  # fmt: skip

    # ----------------------------------------------------------------- REST

    def read_body(self, text: bytes) -> BookEvent | None:
        try:
            book = parse(text)["data"]
            bids, asks = (
                [(level[0], level[1]) for level in book[side]] for side in ("bids", "asks")
            )
            ms, last_id = int(book["time"]), int(book["sequence"])
            return BookEvent("", bids, asks, last_id, whole=True, event_ms=ms)
        except (msgspec.DecodeError, LookupError, TypeError, ValueError):
            return None

    def write_body(self, symbol: str, book: NaiveBook, levels: int) -> bytes:
        bids, asks = book.top(levels)
        data: dict[str, Any] = {"time": book.event_ms, "sequence": str(book.last_id)}
        return answer(data | {"bids": bids, "asks": asks})

    def listed(self, listing: Listing) -> dict[str, Any]:
        base, _, quote = listing.ticker.partition("-")
        row: dict[str, Any] = {"symbol": listing.ticker, "name": listing.ticker}
        row |= {"baseCurrency": base, "quoteCurrency": quote, "feeCurrency": quote}
        row |= {"baseMinSize": listing.lot, "baseIncrement": listing.lot}
        return row | {"priceIncrement": listing.tick, "enableTrading": True}

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        data = {"type": "match", "symbol": event.ticker, "price": event.price, "size": event.qty}
        data |= {"side": "sell" if event.sells else "buy", "sequence": str(3 * event.number)}
        data |= {"time": f"{event.time_ms}000000", "tradeId": f"6085c0{event.number:018x}"}
        return told("/market/match", event.ticker, "trade.l3match", data)

    def change(self, event: Change) -> bytes:
        number = str(event.last_id)
        sides = {"asks": _rows(event.asks, number), "bids": _rows(event.bids, number)}
        data = {"changes": sides, "sequenceStart": event.prev_id + 1}
        data |= {"sequenceEnd": event.last_id, "symbol": event.ticker, "time": event.time_ms}
        return told("/market/level2", event.ticker, "trade.l2update", data)

    def quote(self, event: Quote) -> bytes:
        data = {"asks": event.ask, "bids": event.bid, "timestamp": event.time_ms}
        return told("/spotMarket/level1", event.ticker, "level1", data)

    def statistics(self, event: Statistics) -> bytes:
        numbers = {"lastTradedPrice": event.last, "open": event.open, "high": event.high}
        numbers |= {"low": event.low, "vol": event.volume, "volValue": event.turnover}
        numbers |= {"changePrice": event.change, "buy": event.bid[0], "sell": event.ask[0]}
        day: dict[str, Any] = {"symbol": event.ticker, "datetime": event.time_ms, "trading": True}
        day |= {name: json_number(text) for name, text in numbers.items()}
        data = {"sequence": str(event.trades), "data": day}
        return told("/market/snapshot", event.ticker, "trade.snapshot", data)


def _rows(levels: Levels, number: str) -> list[list[str]]:
    return [[price, qty, number] for price, qty in levels]
