"""Gemini: spot and perpetuals, the streams of ws.gemini.com.

https://developer.gemini.com/websocket/streams
A connection that asks for snapshots gets each subscribed book whole, as an update like any other:
it is the first one of its symbol, and a single id is all that it covers. Changes cover ids U to u
without holes. Frames name their symbol and no stream; 24 h statistics come over REST only.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, unquote

import msgspec
from msgspec import UNSET
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import Side

from tickbus_ingest.exchanges import _gemini as wire
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    PLAIN,
    Evidence,
    Get,
    Keepalive,
    Limit,
    Line,
    Poll,
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
from tickbus_ingest.venue.wire_types import decoded

PATH = "/?snapshot=-1"
"""All levels of a book come first."""
DEPTH, TRADE, QUOTE = "@depth@100ms", "@trade", "@bookTicker"
CHANNELS = {TRADE: "trade", DEPTH: "l2", QUOTE: "bbo"}
SUMMARY = "/v1/pubticker/"
SUMMARY_S = 60.0
BEGUN = "books"
"""Symbols whose whole book has come, in a line's memory."""
SUBSCRIBE, UNSUBSCRIBE = "SUBSCRIBE", "UNSUBSCRIBE"
_FOR_GOOD = frozenset({-1002, -1013, -1020, -2010})
"""Authentication is wanted, parameters are invalid, the operation is not supported, an order is
rejected. Tried again are -1000, an internal error, and -1003, too many requests. Codes:
https://developer.gemini.com/trading/websocket/message-format"""


class Venue(contract.Venue):
    """One route; books by the ids that an update covers, trades by id."""

    exchange = Exchange.GEMINI
    evidence = Evidence.BETA
    docs = (
        "https://developer.gemini.com/websocket/streams",
        "https://developer.gemini.com/trading/websocket/message-format",
        "https://developer.gemini.com/trading/rest-api/market-data/get-symbol-details",
        "https://docs.gemini.com/websocket-api/",
    )
    websocket_urls = ("wss://ws.gemini.com",)
    rest_urls = ("https://api.gemini.com",)
    examples = ("btcusd", "ethusd")
    units = PLAIN
    feeds = ("trade", "l2", "bbo", "ticker", "instrument")
    snapshots = Snapshots.PUSHED
    update_ids = UpdateIds.LINKED
    drops_equal = True  # what ends at the id of the whole book is in it
    # No document says that two connections cut their updates at the same ids.
    numbering_is_global = False
    trade_ids = TradeIds.UNIQUE  # no document says that they count by one
    keepalive = Keepalive(b"", 30.0, as_ping=True)  # pings of both sides are answered
    limits = (
        Limit(What.ATTEMPTS, 12, 60),  # websocket-api, "Rate Limits": 12 requests a minute
        Limit(What.STREAMS, 60),  # no number is known
        Limit(What.MESSAGES, 5, 1),  # no number is known
        # REST: 120 requests a minute, and at most one a second is recommended.
        Limit(What.WEIGHT, 1, 1),
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        self._books, self._trades = "l2" in feeds, "trade" in feeds
        self._quotes = "bbo" in feeds

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get("/v1/symbols/details/all")]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return wire.instruments(bodies)

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        return self.split(
            PATH,
            [
                Stream(ticker + channel, ticker, (feed,))
                for ticker in self.tickers
                for channel, feed in CHANNELS.items()
                if feed in self.wanted
            ],
        )

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """One stream a frame, so that a refusal tells which one it is."""
        return [_request(SUBSCRIBE, stream) for stream in streams]

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return [_request(UNSUBSCRIBE, stream) for stream in streams]

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        if b'"depthUpdate"' in frame:
            self._depth(decoded(wire.DEPTH, frame), line, rows)
        elif b'"t"' in frame:
            self._trade(decoded(wire.TRADE, frame), rows)
        elif b'"B"' in frame:
            self._quote(decoded(wire.QUOTE, frame), rows)
        else:
            _answered(decoded(wire.ANSWER, frame), line, rows)

    def _depth(self, depth: wire.Depth, line: Line, rows: Rows) -> None:
        """The first one of a symbol is the whole book, if it is what a whole book must be.

        A single change has one side. Where a whole book has only one, it cannot be told from a
        change, and its ticker waits.
        """
        if not self._books:
            rows.ignored("depth")
            return
        begun: frozenset[str] = line.memory.get(BEGUN, frozenset())
        sides = bytes(depth.b), bytes(depth.a)
        is_new = depth.s not in begun and depth.first_id == depth.u
        whole = is_new and not any(side.strip(b"[ ]") == b"" for side in sides)
        rows.l2(
            depth.s, depth.E // 1000, *sides, depth.u, depth.first_id - 1, snapshot=whole
        )  # fmt: skip
        if whole:
            line.memory[BEGUN] = begun | {depth.s}

    def _trade(self, one: wire.Trade, rows: Rows) -> None:
        if not self._trades:
            rows.ignored("trade")
            return
        side = Side.SELL if one.m else Side.BUY
        rows.trade(one.s, one.E // 1000, one.t, side, one.p, one.q)

    def _quote(self, one: wire.Quote, rows: Rows) -> None:
        if not self._quotes:
            rows.ignored("bookTicker")
            return
        rows.bbo(one.s, one.E // 1000, one.b, one.B, one.a, one.A, one.u)

    # ----------------------------------------------------------------- REST

    def polls(self) -> list[Poll]:
        """https://developer.gemini.com/trading/rest-api/market-data/get-ticker"""
        if "ticker" not in self.wanted:
            return []
        return [Poll(Get(SUMMARY + quote(ticker, safe="")), SUMMARY_S) for ticker in self.tickers]

    def parse_poll(self, body: bytes, get: Get, rows: Rows) -> None:
        """The body does not name its symbol."""
        day, ticker = decoded(wire.SUMMARY, body), unquote(get.path.removeprefix(SUMMARY))
        own = self.instruments.get(ticker)
        if own is None:
            raise Reject(f"ticker {ticker[:80]!r} was not asked for")
        time, sums = decoded(wire.VOLUME, day.volume).timestamp, wire.sums_of(day.volume)
        rows.ticker(
            ticker, time, last_price=day.last, bid_px=day.bid, ask_px=day.ask,
            volume=sums.get(own.base), turnover=sums.get(own.quote),
        )  # fmt: skip


def _answered(told: wire.Answer, line: Line, rows: Rows) -> None:
    """The id of a request is its method and its stream; a book that is left begins anew."""
    if told.id is UNSET:
        if not told.e and told.last_id is UNSET:
            raise Reject("neither a stream's event nor an answer")
        rows.ignored(told.e[:40] or "depth of some levels")
        return
    method, _, stream = str(told.id).partition(" ")
    failure = told.error
    if failure is not None or told.status >= 400:
        code, text = (failure.code, failure.msg) if failure else (told.status, "")
        is_final = code in _FOR_GOOD and bool(stream)
        rows.control(
            f"{code} {text}"[:300], error=True, fatal=is_final, answer=True,
            stream=stream if is_final else "",
        )  # fmt: skip
        return
    if method == UNSUBSCRIBE and stream.endswith(DEPTH):
        begun: frozenset[str] = line.memory.get(BEGUN, frozenset())
        line.memory[BEGUN] = begun - {stream.removesuffix(DEPTH)}
    rows.control("answer", answer=True, stream=stream)


def _request(method: str, stream: Stream) -> Request:
    frame = {"id": f"{method} {stream.name}", "method": method, "params": [stream.name]}
    return Request(msgspec.json.encode(frame))
