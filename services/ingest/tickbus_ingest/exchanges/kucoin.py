"""KuCoin spot, classic API.

Channels: https://www.kucoin.com/docs-new/websocket-api/base-info/introduction
An update holds all changes of a book from sequenceStart to sequenceEnd, and joins a book over REST.
Without a key only the 100 best levels a side can be asked for: deeper ones are known as they
change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from msgspec import Raw
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import Side

from tickbus_ingest.exchanges import _kucoin_wire as wire
from tickbus_ingest.exchanges._kucoin import Act, KuCoin
from tickbus_ingest.venue.contract import PLAIN, Evidence, Get, Limit, UpdateIds, What
from tickbus_ingest.venue.instruments import Instrument, Unread
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded


class Venue(KuCoin):
    """Updates that name the one before them."""

    exchange = Exchange.KUCOIN
    evidence = Evidence.WORKS
    docs = (
        "https://www.kucoin.com/docs-new/websocket-api/base-info/introduction",
        "https://www.kucoin.com/docs-new/3470067w0",
        "https://www.kucoin.com/docs-new/3470068w0",
        "https://www.kucoin.com/docs-new/rate-limit",
    )
    websocket_urls = ("wss://ws-api-spot.kucoin.com",)
    rest_urls = ("https://api.kucoin.com",)
    examples = ("BTC-USDT", "ETH-USDT")
    units = PLAIN
    feeds = ("trade", "l2", "bbo", "ticker", "instrument")
    update_ids = UpdateIds.LINKED
    channels: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "/market/match": ("trade",),
        "/market/level2": ("l2",),
        "/spotMarket/level1": ("bbo",),
        "/market/snapshot": ("ticker",),
    }
    # The document of this channel knows one symbol in a topic, the others' up to 100.
    alone = frozenset({"/market/snapshot"})
    limits = (
        Limit(What.ATTEMPTS, 30, 60),
        Limit(What.STREAMS, 300),  # topics: each symbol of a channel is one
        Limit(What.MESSAGES, 100, 10),
        Limit(What.ARGUMENTS, 100),  # symbols in one topic
        Limit(What.WEIGHT, 2000, 30),  # of public REST requests
    )

    def acts(self) -> Mapping[str, tuple[Any, Act]]:
        return {
            "/market/match": (wire.Trade, self._trade),
            "/market/level2": (wire.Update, self._update),
            "/spotMarket/level1": (wire.Quote, self._quote),
            "/market/snapshot": (wire.Snapshot, self._snapshot),
        }

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get("/api/v2/symbols", weight=4)]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return wire.instruments(bodies)

    # --------------------------------------------------------------- frames

    def _trade(self, symbol: str, one: wire.Trade, frame: bytes, rows: Rows) -> None:
        side = Side.BUY if one.side == "buy" else Side.SELL
        rows.trade(symbol, one.time // 1000, one.trade_id, side, one.price, one.size)

    def _update(self, symbol: str, one: wire.Update, frame: bytes, rows: Rows) -> None:
        bids: bytes | Raw = one.changes.bids
        asks: bytes | Raw = one.changes.asks
        if wire.PRICE_0 in frame:
            bids, asks = wire.levels(bids), wire.levels(asks)
        if one.sequence_start > one.sequence_end:
            raise Reject(f"sequences {one.sequence_start} to {one.sequence_end}")
        rows.l2(symbol, one.time or 0, bids, asks, one.sequence_end, one.sequence_start - 1)

    def _quote(self, symbol: str, one: wire.Quote, frame: bytes, rows: Rows) -> None:
        rows.bbo(symbol, one.timestamp, *_best(one.bids), *_best(one.asks))

    def _snapshot(self, symbol: str, snapshot: wire.Snapshot, frame: bytes, rows: Rows) -> None:
        day = snapshot.data
        rows.ticker(
            symbol, day.datetime, last_price=day.last_traded_price, open=day.open, high=day.high,
            low=day.low, volume=day.vol, turnover=day.vol_value, price_change=day.change_price,
        )  # fmt: skip

    # ----------------------------------------------------------------- REST

    def snapshot_request(self, ticker: str, levels: int) -> Get:
        """https://www.kucoin.com/docs-new/rest/spot-trading/market-data/get-part-orderbook"""
        path = f"/api/v1/market/orderbook/level2_100?symbol={quote(ticker, safe='')}"
        return Get(path, 4, ticker)

    def parse_snapshot(self, body: bytes, ticker: str, rows: Rows) -> None:
        book = decoded(wire.BOOK, wire.data_of(body))
        rows.l2(ticker, book.time, book.bids, book.asks, book.sequence, snapshot=True)


def _best(side: list[float]) -> tuple[float, float]:
    if not side:
        return 0.0, 0.0
    if len(side) != 2:
        raise Reject("a best quote that is no price and size")
    return side[0], side[1]
