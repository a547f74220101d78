"""KuCoin spot, classic API.

Channels: https://www.kucoin.com/docs-new/websocket-api/base-info/introduction
Each connection needs a token: a POST to bullet-public tells it and the address. An update holds
all changes of a book from sequenceStart to sequenceEnd, and joins a book over REST. Without a key
only the 100 best levels a side can be asked for: deeper ones are known as they change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Raw
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import Side

from tickbus_ingest.exchanges import _kucoin as wire
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    HELD_MAX_S,
    PLAIN,
    Evidence,
    Get,
    Keepalive,
    Limit,
    Line,
    OnError,
    Request,
    Route,
    Snapshots,
    Stream,
    TradeIds,
    UpdateIds,
    What,
)
from tickbus_ingest.venue.instruments import Instrument, Unread
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded, json_decoder

CHANNELS = {
    "/market/match": ("trade",),
    "/market/level2": ("l2",),
    "/spotMarket/level1": ("bbo",),
    "/market/snapshot": ("ticker",),
}
"""channel -> the feeds that it carries"""
ALONE = "/market/snapshot"
"""The document of this channel knows one symbol in a topic, the others' up to 100."""
ADDRESS = Get("/api/v1/bullet-public", weight=10, body=b"{}")
# Errors of requests: https://www.kucoin.com/docs-new/websocket-api/base-info/introduction
ERRORS = {
    "400": OnError.REJECT,  # wrong request or topic
    "401": OnError.RESYNC,  # the token is wrong or has expired: another connection has another one
    "403": OnError.RETRY,  # too many requests
    "404": OnError.REJECT,  # no such topic
    "406": OnError.RETRY,  # too many requests
    "415": OnError.REJECT,  # no such type
    "500": OnError.RETRY,  # internal error
    "509": OnError.RETRY,  # too many subscriptions
}


class Venue(contract.Venue):
    """One route, whose address is asked for; books over REST; ids as text."""

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
    snapshots = Snapshots.PULLED
    update_ids = UpdateIds.LINKED
    drops_equal = True  # what ends at the sequence of a book over REST is in it
    trade_ids = TradeIds.UNIQUE  # the sequence beside an id is the book's: it does not count trades
    keepalive = Keepalive(b'{"id":"ping","type":"ping"}', 18.0)  # pingInterval of bullet-public
    silence_s = 30.0  # pongs come each 18 s, at most 10 s late (pingTimeout)
    weight_left_header = "gw-ratelimit-remaining"  # https://www.kucoin.com/docs-new/rate-limit
    errors = ERRORS
    limits = (
        Limit(What.ATTEMPTS, 30, 60),
        Limit(What.STREAMS, 300),  # topics: each symbol of a channel is one
        Limit(What.MESSAGES, 100, 10),
        Limit(What.ARGUMENTS, 100),  # symbols in one topic
        Limit(What.WEIGHT, 2000, 30),  # of public REST requests
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        acts: dict[str, tuple[Any, Callable[[str, Any, bytes, Rows], None]]] = {
            "/market/match": (wire.Trade, self._trade),
            "/market/level2": (wire.Update, self._update),
            "/spotMarket/level1": (wire.Quote, self._quote),
            "/market/snapshot": (wire.Snapshot, self._snapshot),
        }
        self._acts = {
            channel: (json_decoder(kind), act)
            for channel, (kind, act) in acts.items()
            if {*CHANNELS[channel]} & {*feeds}
        }

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get("/api/v2/symbols", weight=4)]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return wire.instruments(bodies)

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        streams = self.streams_by_channel(CHANNELS)
        return [
            Route(one.path, one.streams, one.host, ADDRESS)
            for one in self.split("/endpoint", streams)
        ]

    def address(self, body: bytes) -> str:
        return wire.address(body)

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """One answer for each topic, of up to 100 symbols."""
        return self._requests("subscribe", streams)

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return self._requests("unsubscribe", streams)

    def _requests(self, kind: str, streams: Sequence[Stream]) -> list[Request]:
        requests = []
        for channel in CHANNELS:
            symbols = [one.ticker for one in streams if one.name.partition(":")[0] == channel]
            most = 1 if channel == ALONE else self.limit(What.ARGUMENTS)
            for n in range(0, len(symbols), most):
                topic = f"{channel}:{','.join(symbols[n : n + most])}"
                # The answer has the id alone: of a topic of one symbol it is our name.
                number = topic if len(symbols[n : n + most]) == 1 else f"{channel} {n}"
                frame = {"id": number, "type": kind, "topic": topic, "privateChannel": False}
                requests.append(Request(msgspec.json.encode(frame | {"response": True})))
        return requests

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        told = decoded(wire.FRAME, frame)
        if told.type == "message" and told.data is not UNSET:
            channel, _, symbol = told.topic.partition(":")
            found = self._acts.get(channel)
            if found is None:
                rows.ignored(channel[:40])
                return
            decoder, act = found
            act(symbol, decoded(decoder, told.data), frame, rows)
        elif told.type == "ack":
            rows.control("answer", answer=True, stream=self._stream(told.id))
        elif told.type == "error":
            self._error(told, rows)
        elif told.type in ("welcome", "pong"):
            rows.control(told.type)
        else:
            raise Reject(f"a frame of type {told.type[:40]!r}")

    def _stream(self, number: Any) -> str:
        """The one subscription that a request with this id was about; "" of several."""
        name = str(number)
        return name if name.partition(":")[2] in self.index else ""

    def _error(self, told: wire.Frame, rows: Rows) -> None:
        code = str(told.code)
        reason = "" if told.data is UNSET else bytes(told.data).decode(errors="replace")
        stream = self._stream(told.id)
        rows.refused(f"{code} {reason}", self.on_error(code), stream=stream)

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

    def hold_s(self, status: int, headers: Mapping[str, str]) -> float | None:
        """Milliseconds until the window ends: https://www.kucoin.com/docs-new/rate-limit"""
        try:
            left_ms = float(headers.get("gw-ratelimit-reset", ""))
        except ValueError:
            return super().hold_s(status, headers)
        if status not in (403, 429) or not 0 <= left_ms <= 1000 * HELD_MAX_S:
            return super().hold_s(status, headers)
        return left_ms / 1000


def _best(side: list[float]) -> tuple[float, float]:
    if not side:
        return 0.0, 0.0
    if len(side) != 2:
        raise Reject("a best quote that is no price and size")
    return side[0], side[1]
