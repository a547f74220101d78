"""HTX (formerly Huobi), spot.

Channels: https://www.htx.com/en-us/opend/newApiPages/
Every frame is gzip. The venue asks `{"ping": n}` about every 5 s and hangs up on who leaves two
unanswered. Each update of a book names the one before (prevSeqNum). The whole book comes upon a
`req` over the same connection; newer updates may have come before it, and those that follow it
stay. Updates of 150 levels are the difference between two books 100 ms apart, so they say which
levels fall out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import Side

from tickbus_ingest.exchanges import _htx as wire
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    PLAIN,
    Compression,
    Evidence,
    Get,
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

MARKET, FEED = "/ws", "/feed"
BOOK = "mbp.150"
"""The deepest one of which the documents name both updates of all symbols and a `req`."""
WHOLE = "depth.step0"
"""Whole books, once a second: never asked for, but recordings hold them."""
TRADE, QUOTE, DETAIL = "trade.detail", "bbo", "detail"
CHANNELS = {BOOK: "l2", TRADE: "trade", QUOTE: "bbo", DETAIL: "ticker"}
"""channel -> the feed that it carries"""
ASKED = "book "
"""Before the stream's name in the id of a `req`."""


# Beginnings of `err-msg`, where `err-code` says little more than bad-request:
# https://huobiapi.github.io/docs/spot/v1/en/#websocket-market-data
ERRORS = {
    "invalid": OnError.REJECT,  # topic, symbol or parameter
    "request timeout": OnError.RETRY,
    "too many": OnError.RETRY,
}


class Venue(contract.Venue):
    """Two routes: increments of books have an address of their own."""

    exchange = Exchange.HTX
    evidence = Evidence.CHECKED
    docs = (
        "https://www.htx.com/en-us/opend/newApiPages/?id=7ec5362b-7773-11ed-9966-0242ac110003",
        "https://huobiapi.github.io/docs/spot/v1/en/#market-by-price-incremental-update",
        "https://huobiapi.github.io/docs/spot/v1/en/#websocket-market-data",
        "https://huobiapi.github.io/docs/spot/v1/en/#get-market-symbols-setting",
    )
    websocket_urls = ("wss://api.huobi.pro",)
    rest_urls = ("https://api.huobi.pro",)
    examples = ("btcusdt", "ethusdt")
    units = PLAIN
    feeds = ("trade", "l2", "bbo", "ticker", "instrument")
    snapshots = Snapshots.PUSHED
    update_ids = UpdateIds.LINKED
    # No document says that two connections see books cut at the same moments.
    numbering_is_global = False
    drops_equal = True  # an update that ends at the seqNum of the book is in it
    # Ids are numbers, but no document says that they count by one.
    trade_ids = TradeIds.UNIQUE
    compression = Compression.GZIP
    silence_s = 20.0  # pings come about every 5 s
    errors = ERRORS
    limits = (
        Limit(What.ATTEMPTS, 10, 10),  # no number is known
        Limit(What.STREAMS, 100),  # no number is known: the documents ask for not too many
        Limit(What.MESSAGES, 10, 1),  # no number is known; clients send as many
        Limit(What.WEIGHT, 10, 1),  # REST without a key: 10 requests a second of an address
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        acts: dict[str, tuple[str, Any, Callable[[str, int, Any, Rows], None]]] = {
            BOOK: ("l2", wire.Update, self._update),
            WHOLE: ("l2", wire.Depth, self._depth),
            TRADE: ("trade", wire.Trades, self._trades),
            QUOTE: ("bbo", wire.Quote, self._quote),
            DETAIL: ("ticker", wire.Detail, self._detail),
        }
        self._acts = {
            channel: (json_decoder(kind), act)
            for channel, (feed, kind, act) in acts.items()
            if feed in feeds
        }

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get("/v1/settings/common/market-symbols")]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return wire.instruments(bodies)

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        streams: dict[str, list[Stream]] = {FEED: [], MARKET: []}
        for ticker in self.tickers:
            for channel, feed in CHANNELS.items():
                if feed in self.wanted:
                    path = FEED if channel == BOOK else MARKET
                    streams[path].append(Stream(f"market.{ticker}.{channel}", ticker, (feed,)))
        return [route for path, some in streams.items() for route in self.split(path, some)]

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """One topic a frame. A book is asked for when its updates are subscribed to."""
        requests = []
        for stream in streams:
            requests.append(_request(sub=stream.name, id=stream.name))
            if "l2" in stream.feeds:
                asked = _request(req=stream.name, id=ASKED + stream.name)
                requests.append(Request(asked.frame, answers=0))
        return requests

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return [_request(unsub=stream.name, id=stream.name) for stream in streams]

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        told = decoded(wire.FRAME, frame)
        if told.ch and told.tick is not UNSET:
            ticker, channel = _named(told.ch)
            found = self._acts.get(channel)
            if found is None:
                rows.ignored(channel[:40])
                return
            decoder, act = found
            act(ticker, told.ts or 0, decoded(decoder, told.tick), rows)
        elif told.ping is not UNSET:
            rows.reply(b'{"pong":%d}' % told.ping)
            rows.control("ping")
        elif told.status == "error":
            self._refused(told, rows)
        elif told.status == "ok" and told.rep:
            self._asked(told, rows)
        elif told.status == "ok" and (told.subbed or told.unsubbed):
            rows.control("answer", answer=True, stream=told.subbed)
        else:
            raise Reject("neither data of a channel nor an answer")

    def _refused(self, told: wire.Frame, rows: Rows) -> None:
        """Wrong topics and symbols are refused for good; the id names the stream."""
        name = str(told.id)
        rows.refused(
            f"{told.err_code} {told.err_msg}", self.on_error(told.err_msg),
            stream=name.removeprefix(ASKED), answer=not name.startswith(ASKED),
        )  # fmt: skip

    def _asked(self, told: wire.Frame, rows: Rows) -> None:
        """The whole book; `data` is null where the venue has none yet: it is asked for again."""
        ticker, channel = _named(told.rep)
        if channel not in self._acts or channel != BOOK:
            rows.ignored(channel[:40])
        elif told.data is UNSET or bytes(told.data) == b"null":
            rows.control(f"{told.rep[:80]}: no book is there yet", error=True)
        else:
            book = decoded(wire.WHOLE_BOOK, told.data)
            rows.l2(ticker, told.ts or 0, book.bids, book.asks, book.seq_num, snapshot=True)

    def _update(self, ticker: str, time: int, book: wire.Update, rows: Rows) -> None:
        rows.l2(ticker, time, book.bids, book.asks, book.seq_num, book.prev_seq_num)

    def _depth(self, ticker: str, time: int, book: wire.Depth, rows: Rows) -> None:
        rows.l2(
            ticker, time, book.bids, book.asks, book.version, snapshot=True, engine_us=book.ts
        )  # fmt: skip

    def _trades(self, ticker: str, time: int, trades: wire.Trades, rows: Rows) -> None:
        """The newest is the first of a frame on the wire: the log has the oldest first."""
        for one in reversed(trades.data):
            rows.trade(
                ticker, one.ts, one.name, Side.BUY if one.direction == "buy" else Side.SELL,
                one.price, one.amount, event_us=time,
            )  # fmt: skip

    def _quote(self, ticker: str, time: int, quote: wire.Quote, rows: Rows) -> None:
        bid, ask = quote.bid or 0.0, quote.ask or 0.0
        rows.bbo(
            ticker, time, bid, (quote.bid_size or 0.0) if bid else 0.0, ask,
            (quote.ask_size or 0.0) if ask else 0.0, quote.seq_id, engine_us=quote.quote_time,
        )  # fmt: skip

    def _detail(self, ticker: str, time: int, day: wire.Detail, rows: Rows) -> None:
        rows.ticker(
            ticker, time, last_price=day.close, open=day.open, high=day.high, low=day.low,
            volume=day.amount, turnover=day.vol, trade_count=day.count,
        )  # fmt: skip


def _named(topic: str) -> tuple[str, str]:
    """Ticker and channel of `market.btcusdt.trade.detail`; Reject for another shape."""
    market, _, rest = topic.partition(".")
    ticker, _, channel = rest.partition(".")
    if market != "market" or not channel:
        raise Reject(f"channel {topic[:80]!r}")
    return ticker, channel


def _request(**frame: str) -> Request:
    return Request(msgspec.json.encode(frame))
