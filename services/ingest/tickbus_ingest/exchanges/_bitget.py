"""What Bitget's markets share: v3 of its API, whose one WebSocket carries every kind of market.

https://www.bitget.com/docs/uta/quick-start
An argument of a subscription names the kind of market, the topic and the symbol. A symbol such as
BTCUSDT is one of spot and one of futures: so each kind is a venue here. A book begins with a
snapshot; `pseq` of each update is `seq` of the one before, and the first one may hold the snapshot
between both. No checksum is sent any more, though a field of that name came until 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from msgspec import UNSET
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import ABSENT

from tickbus_ingest.exchanges import _bitget_wire as wire
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    BookForm,
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
    in_parts,
)
from tickbus_ingest.venue.instruments import Instrument, Unread
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded, known

LIQUIDATION = "liquidation"
CARRIES: Mapping[str, tuple[str, ...]] = {
    "publicTrade": ("trade",),
    "books": ("l2",),
    "books1": ("bbo",),
    "ticker": ("ticker", "derivative"),
    LIQUIDATION: ("liquidation",),
}
"""Topic -> feeds; liquidation is subscribed to by kind of market, the others by symbol."""
# https://www.bitget.com/docs/classic/websocket/intro
ERRORS = {
    "30001": OnError.REJECT,  # no such subscription
    "30002": OnError.REJECT,  # wrong request
    "30003": OnError.REJECT,  # wrong operation
    "30004": OnError.REJECT,  # needs a login
    "30006": OnError.RETRY,  # too many requests
    "30007": OnError.RESYNC,  # too many requests: the venue hangs up
    "30016": OnError.REJECT,  # wrong parameters
}


class Bitget(contract.Venue):
    """Quantities are in the base coin."""

    categories: ClassVar[Mapping[str, str]]
    """currency of settlement -> the kind of market, as subscriptions spell it; the first one also
    where no currency is known, and of spot, which has none"""
    docs = (
        "https://www.bitget.com/docs/uta/quick-start",
        "https://www.bitget.com/docs/uta/websocket/public/Order-Book-Channel",
        "https://www.bitget.com/docs/uta/websocket/public/Tickers-Channel",
        "https://www.bitget.com/docs/classic/websocket/intro",
    )
    websocket_urls = ("wss://ws.bitget.com",)
    rest_urls = ("https://api.bitget.com",)
    snapshots = Snapshots.PUSHED
    update_ids = UpdateIds.LINKED
    # Where a book is idle, connections may be sent updates of their own.
    numbering_is_global = False
    trade_ids = TradeIds.UNIQUE
    keepalive = Keepalive(b"ping", 25.0)  # each 30 s; after 2 min without one the venue hangs up
    silence_s = 60.0  # at least the answers to pings come
    connection_life_s = 23.5 * 3600  # it is cut after 24 h
    errors = ERRORS
    # https://www.bitget.com/docs/classic/websocket/intro
    limits = (
        Limit(What.ATTEMPTS, 300, 300),
        Limit(What.CONNECTIONS, 100),
        Limit(What.STREAMS, 48),  # 1000 are allowed, fewer than 50 recommended
        Limit(What.MESSAGES, 10, 1),  # pings are among them
        Limit(What.SUBSCRIPTIONS, 240, 3600),
        Limit(What.ARGUMENTS, 10),  # 25 books in one frame were seen to end the connection
        Limit(What.FRAME_BYTES, 4096),
        Limit(What.WEIGHT, 20, 1),  # requests of an address
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        kinds = self.categories
        first = next(iter(kinds.values()))
        self._kinds = {one.ticker: kinds.get(one.settle, first) for one in instruments}
        acts: dict[str, Callable[[Any, wire.Frame, Rows], None]] = {
            "publicTrade": self._trades,
            "books": self._books,
            "books1": self._quotes,
            "ticker": self._tickers,
            LIQUIDATION: self._liquidations,
        }
        self._acts = {
            topic: (wire.DATA[topic], act)
            for topic, act in acts.items()
            if {*CARRIES[topic]} & {*feeds}
        }

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        path = "/api/v3/market/instruments?category="
        return [Get(f"{path}{kind.upper()}") for kind in cls.categories.values()]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return [one for body in bodies for one in wire.instruments(body)]

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        return self.split("/v3/ws/public", list(self._streams()))

    def _streams(self) -> Iterator[Stream]:
        for topic, carries in CARRIES.items():
            feeds = tuple(feed for feed in carries if feed in self.wanted)
            if feeds and topic == LIQUIDATION:
                for kind in sorted({*self._kinds.values()}):
                    yield Stream(f"{topic}:{kind}", "", feeds)
            elif feeds:
                yield from (Stream(f"{topic}:{one}", one, feeds) for one in self.tickers)

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """Each argument is answered by itself."""
        return self._requests("subscribe", streams)

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return self._requests("unsubscribe", streams)

    def _requests(self, op: str, streams: Sequence[Stream]) -> list[Request]:
        args, most = [self._argument(one) for one in streams], self.limit(What.ARGUMENTS)
        parts = in_parts(args, most)
        return [Request(msgspec.json.encode({"op": op, "args": one}), len(one)) for one in parts]

    def _argument(self, stream: Stream) -> dict[str, str]:
        topic, _, name = stream.name.partition(":")
        if not stream.ticker:
            return {"instType": name, "topic": topic}
        return {"instType": self._kinds[name], "topic": topic, "symbol": name}

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        """The server's own pings are answered, though only clients are said to send any."""
        if frame in (b"pong", b"ping"):
            if frame == b"ping":
                rows.reply(b"pong")
            rows.control(frame.decode())
            return
        told = decoded(wire.FRAME, frame)
        topic = told.arg.topic
        if told.event:
            self._event(told, rows)
        elif not topic or told.data is UNSET:
            raise Reject("neither data of a topic nor an event")
        elif told.action not in ("snapshot", "update"):
            raise Reject(f"action {told.action[:20]!r}")
        elif topic in self._acts:
            self._check(told.arg)
            decoder, act = self._acts[topic]
            act(decoded(decoder, told.data), told, rows)
        else:
            rows.ignored(topic)

    def _check(self, arg: wire.Arg) -> None:
        """A symbol may be one of spot and of futures: only the kind of market tells."""
        kind = self._kinds.get(arg.symbol)
        if arg.topic == LIQUIDATION:
            kind = arg.inst_type if arg.inst_type in self.categories.values() else None
        if kind != arg.inst_type:
            raise Reject(f"ticker {arg.symbol[:80]!r} of {arg.inst_type[:20]!r} was not asked for")

    def _event(self, told: wire.Frame, rows: Rows) -> None:
        if told.event in ("subscribe", "unsubscribe"):
            rows.control(told.event, answer=True)
        elif told.event == "error":
            stream = told.arg.name if told.arg.topic else wire.about(told.msg)
            follows = self.on_error(f"{told.code}")
            rows.refused(f"{told.code} {told.msg}", follows, stream=stream)
        else:
            rows.control(told.event)

    # --------------------------------------------------------------- events

    def _trades(self, trades: list[wire.Trade], told: wire.Frame, rows: Rows) -> None:
        """A snapshot holds trades before the subscription: history."""
        if told.action != "update" or not trades:
            rows.ignored("publicTrade")
            return
        for one in trades:
            rows.trade(
                told.arg.symbol, one.time, one.trade_id, one.side, one.price, one.qty, one.flags,
                event_us=told.ts or 0,
            )  # fmt: skip

    def _books(self, books: list[wire.Book], told: wire.Frame, rows: Rows) -> None:
        """What falls out of the depth is not said to be gone, as far as the documents tell."""
        whole = told.action == "snapshot"
        for one in books:
            if one.pseq is None and not whole:
                raise Reject("an update without pseq")
            prev = ABSENT if whole or one.pseq is None else one.pseq
            form = BookForm(one.depth) if whole else None
            rows.l2(
                told.arg.symbol, one.ts, one.bids, one.asks, one.seq, prev, snapshot=whole,
                form=form,
            )  # fmt: skip
        if not books:
            rows.ignored("books")

    def _quotes(self, quotes: list[wire.Quote], told: wire.Frame, rows: Rows) -> None:
        for one in quotes:
            mark = ABSENT if one.seq is None else one.seq
            rows.bbo(told.arg.symbol, one.ts, *one.best, mark)

    def _tickers(self, tickers: list[wire.Ticker], told: wire.Frame, rows: Rows) -> None:
        ticker, time_us = told.arg.symbol, told.ts or 0
        for one in tickers:
            if "ticker" in self.wanted:
                rows.ticker(
                    ticker, time_us, last_price=known(one.last_price),
                    open=known(one.open_price24h), high=known(one.high_price24h),
                    low=known(one.low_price24h), volume=known(one.volume24h),
                    turnover=known(one.turnover24h),
                )  # fmt: skip
            if "derivative" in self.wanted:
                rate, due = one.funding
                rows.derivative(
                    ticker, time_us, last_price=known(one.last_price),
                    mark_price=known(one.mark_price), index_price=known(one.index_price),
                    funding_rate=rate, next_funding_us=due,
                    open_interest=known(one.open_interest),
                )  # fmt: skip

    def _liquidations(self, orders: list[wire.Liquidation], told: wire.Frame, rows: Rows) -> None:
        mine = [one for one in orders if self._kinds.get(one.symbol) == told.arg.inst_type]
        for one in mine:
            rows.liquidation(one.symbol, one.ts, one.order_side, one.price, one.amount)
        if not mine:
            rows.ignored(LIQUIDATION)
