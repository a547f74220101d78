"""What Bybit's v5 markets share: frames, books, requests. Each market's file says what differs.

https://bybit-exchange.github.io/docs/v5/ws/connect
A book begins with a snapshot; `u` of each delta is one more. A snapshot in the middle replaces the
book, and so does `u` 1, which comes after a restart of the venue's service. The order of keys
differs by market, and data may come before the answer to its subscription.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Raw
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import (
    ABSENT,
    LiquidationFlag,
    TradeFlag,
)

from tickbus_ingest.exchanges._bybit_instruments import ROW, Listed, instrument_of, page_of
from tickbus_ingest.exchanges._bybit_wire import (
    BOOK,
    FRAME,
    LIQUIDATIONS,
    QUOTE,
    TICKER,
    TRADES,
    Book,
    Frame,
    Quote,
    Ticker,
    tell_derivative,
    tell_statistics,
)
from tickbus_ingest.venue.contract import (
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
    Venue,
    What,
    in_parts,
)
from tickbus_ingest.venue.instruments import Instrument, Unread, each_of
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import (
    decoded,
)

SUBSCRIBE_MAX = 100  # arguments in one frame; only spot has a limit (10)
BANNED_S = 600.0
"""After 403 the venue wants ten minutes without a request."""
_ABOUT = re.compile(r"(?:topic:\s*|:\[)([A-Za-z]+\.[^\s,\]]+)")
"""The topic that the text of an error names; the other topics of its request go on."""
# Texts, for no document has codes of this WebSocket; the first that fits counts.
ERRORS = {
    "already subscribed": OnError.RETRY,
    "handler not found": OnError.REJECT,
    "Invalid symbol": OnError.REJECT,
    "Invalid topic": OnError.REJECT,
    "args size": OnError.REJECT,
    "Request not authorized": OnError.REJECT,
    "Too many": OnError.RETRY,
}
_NOTHING = (0.0, 0.0)


class Bybit(Venue):
    """Reading that is the same on every market; the venue's file says what differs."""

    category: ClassVar[str]
    channels: ClassVar[Mapping[str, str]]
    """feed -> topic without the ticker"""
    sums_quote: ClassVar[bool] = True
    """turnover and the value of open interest are in the quote currency"""
    websocket_urls = ("wss://stream.bybit.com",)
    rest_urls = ("https://api.bybit.com",)
    snapshots = Snapshots.PUSHED
    # The documents say so of orderbook.full only; of the other depths all recordings do.
    update_ids = UpdateIds.COUNTED
    trade_ids = TradeIds.UNIQUE
    # Recommended; a connection without a frame of ours is cut after ten minutes.
    keepalive = Keepalive(b'{"op":"ping"}', 20.0)
    errors = ERRORS
    limits: ClassVar[tuple[Limit, ...]] = (
        Limit(What.ATTEMPTS, 500, 300),
        Limit(What.CONNECTIONS, 1000),
        # Arguments of a connection may have 21,000 characters: 200 topics of up to 100.
        Limit(What.STREAMS, 200),
        Limit(What.FRAME_BYTES, 21_000),
        Limit(What.WEIGHT, 600, 5),
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        acts: Mapping[str, Callable[[Frame, Raw, Rows], None]] = {
            "trade": self._trades,
            "l2": self._book,
            "bbo": self._quote,
            "ticker": self._ticker,
            "derivative": self._ticker,
            "liquidation": self._liquidations,
        }
        self._acts = {
            self.family_of(channel): acts[feed]
            for feed, channel in self.channels.items()
            if feed in feeds
        }
        self._tells_statistics = "ticker" in feeds
        self._tells_derivative = "derivative" in feeds

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        return self.split(f"/v5/public/{self.category}", self.streams())

    def streams(self) -> list[Stream]:
        """One stream a topic and ticker; a topic may carry two feeds."""
        feeds_of: dict[str, list[str]] = {}
        for feed in self.wanted:
            if feed in self.channels:
                feeds_of.setdefault(self.channels[feed], []).append(feed)
        return [
            Stream(f"{channel}.{ticker}", ticker, tuple(feeds))
            for channel, feeds in feeds_of.items()
            for ticker in self.tickers
        ]

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """One answer a frame, whatever the number of its arguments."""
        return self._requests("subscribe", streams)

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return self._requests("unsubscribe", streams)

    def _requests(self, op: str, streams: Sequence[Stream]) -> list[Request]:
        most = self.limit(What.ARGUMENTS, SUBSCRIBE_MAX)
        names = [stream.name for stream in streams]
        parts = in_parts(names, most)
        return [Request(msgspec.json.encode({"op": op, "args": one})) for one in parts]

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        found: Frame = decoded(FRAME, frame)
        if found.topic and found.data is not UNSET:
            family = self.family_of(found.topic)
            act = self._acts.get(family)
            if act is None:
                rows.ignored(family)
            else:
                act(found, found.data, rows)
        elif found.op == "pong" or found.ret_msg == "pong":
            rows.control("pong")
        elif found.success is UNSET:
            raise Reject("neither data of a topic nor an answer")
        else:
            self._answer(found, rows)

    def _answer(self, found: Frame, rows: Rows) -> None:
        if found.success:
            rows.control(found.op, answer=True)
            return
        about = _ABOUT.search(found.ret_msg)
        stream = about[1] if about else ""
        rows.refused(found.ret_msg, self.on_error(found.ret_msg), stream=stream)

    @staticmethod
    def family_of(topic: str) -> str:
        """`publicTrade`, `orderbook.1`, `orderbook` of any other depth, `orderbook.rpi`."""
        family, _, rest = topic.partition(".")
        depth = rest.partition(".")[0]
        if family == "orderbook" and (depth == "1" or not depth.isdecimal()):
            return f"{family}.{depth}"
        return family

    def _trades(self, frame: Frame, data: Raw, rows: Rows) -> None:
        for one in decoded(TRADES, data):
            flags = (TradeFlag.BLOCK if one.BT else 0) | (TradeFlag.RPI if one.RPI else 0)
            side = 1 if one.S == "Buy" else -1
            rows.trade(one.s, one.T, one.i, side, one.p, one.v, flags, ABSENT, frame.ts)

    def _book(self, frame: Frame, data: Raw, rows: Rows) -> None:
        book: Book = decoded(BOOK, data)
        if frame.type not in ("snapshot", "delta"):
            raise Reject(f"type {frame.type[:20]!r} of a book")
        whole = frame.type == "snapshot" or book.u == 1
        rows.l2(book.s, frame.ts, book.b, book.a, book.u, snapshot=whole, engine_us=frame.cts)

    def _quote(self, frame: Frame, data: Raw, rows: Rows) -> None:
        """Every message is whole; after three seconds without a change the last one comes again."""
        quote: Quote = decoded(QUOTE, data)
        if frame.type != "snapshot":
            raise Reject(f"type {frame.type[:20]!r} of the best quotes, which are always whole")
        bid = quote.b[0] if quote.b else _NOTHING
        ask = quote.a[0] if quote.a else _NOTHING
        rows.bbo(quote.s, frame.ts, bid[0], bid[1], ask[0], ask[1], quote.u, frame.cts)

    def _ticker(self, frame: Frame, data: Raw, rows: Rows) -> None:
        ticker: Ticker = decoded(TICKER, data)
        if not self.sums_quote:
            ticker.turnover_24h = ticker.open_interest_value = ""
        told = self._tells_statistics and tell_statistics(ticker, frame.ts, rows)
        told |= self._tells_derivative and tell_derivative(ticker, frame.ts, rows)
        if not told:
            rows.ignored("tickers")  # what has changed is in no wanted feed: the best quotes

    def _liquidations(self, frame: Frame, data: Raw, rows: Rows) -> None:
        for one in decoded(LIQUIDATIONS, data):
            side = -1 if one.S == "Buy" else 1
            rows.liquidation(
                one.s, frame.ts, side, one.p, one.v, flags=LiquidationFlag.BANKRUPTCY_PRICE,
                engine_us=one.T,
            )  # fmt: skip

    # ----------------------------------------------------------------- REST

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        """https://bybit-exchange.github.io/docs/v5/market/instrument"""
        return [Get(f"/v5/market/instruments-info?category={cls.category}&limit=1000")]

    @classmethod
    def more_instruments_requests(cls, get: Get, body: bytes) -> list[Get]:
        """The next page."""
        cursor = page_of(body).next_page_cursor
        first = get.path.partition("&cursor=")[0]
        return [Get(f"{first}&cursor={quote(cursor, safe='')}")] if cursor else []

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        rows = (row for body in bodies for row in page_of(body).rows)
        return each_of(rows, ROW, lambda row: instrument_of(row, cls.contract_of(row)))

    @classmethod
    def contract_of(cls, row: Listed) -> dict[str, Any]:
        """What one unit of a quantity is: the base coin, but for inverse contracts."""
        return {"contract_size": 1.0, "contract_unit": row.base_coin}

    def hold_s(self, status: int, headers: Mapping[str, str]) -> float | None:
        """https://bybit-exchange.github.io/docs/v5/rate-limit: 403 is "access too frequent"."""
        return BANNED_S if status == 403 else super().hold_s(status, headers)
