"""MEXC spot v3. https://www.mexc.com/api-docs/spot-v3/websocket-market-streams

Requests and answers are JSON texts, data comes as binary frames of Protocol Buffers over the same
connection: the first byte tells. Books are pulled over REST and joined by versions, which count by
one; an update holds those from `fromVersion` to `toVersion`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import quote

import msgspec
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange

from tickbus_ingest.exchanges import _mexc as wire
from tickbus_ingest.exchanges._mexc_protobuf import Reader
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    PLAIN,
    Evidence,
    Get,
    Keepalive,
    Limit,
    Line,
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
from tickbus_ingest.venue.wire_types import decoded

CHANNELS = {
    "spot@public.aggre.deals.v3.api.pb@100ms": ("", "trade"),
    "spot@public.aggre.depth.v3.api.pb@100ms": ("", "l2"),
    "spot@public.aggre.bookTicker.v3.api.pb@100ms": ("", "bbo"),
    "spot@public.miniTicker.v3.api.pb": ("@24H", "ticker"),
}
"""How a stream's name begins -> how it ends behind the ticker, and its feed."""
DEPTH, DEALS, QUOTE, DAY = 313, 314, 315, 309
"""Fields of a push that hold data of ours."""
LEVELS_MAX = 5000
_REFUSED = "Not Subscribed successfully"
_NAMES = re.compile(r"spot@[^\s,\[\]]+")


class Venue(contract.Venue):
    """Thirty streams a connection; books over REST; ids as text."""

    exchange = Exchange.MEXC
    evidence = Evidence.BETA
    docs = (
        "https://www.mexc.com/api-docs/spot-v3/websocket-market-streams",
        "https://www.mexc.com/api-docs/spot-v3/market-data-endpoints",
        "https://github.com/mexcdevelop/websocket-proto",
    )
    websocket_urls = ("wss://wbs-api.mexc.com",)
    rest_urls = ("https://api.mexc.com",)
    feeds = ("trade", "l2", "bbo", "ticker", "instrument")
    examples = ("BTCUSDT", "ETHUSDT")
    units = PLAIN
    snapshots = Snapshots.PULLED
    update_ids = UpdateIds.LINKED
    drops_equal = True  # what ends at the version of a book over REST is in it
    trade_ids = TradeIds.UNIQUE
    # Without data for a minute the server hangs up, but for a ping.
    keepalive = Keepalive(b'{"method":"PING"}', 20.0)
    silence_s = 45.0  # at least the answers to pings come
    connection_life_s = 23.5 * 3600  # it is cut after 24 h
    limits = (
        Limit(What.ATTEMPTS, 20, 60),  # no number is known
        Limit(What.STREAMS, 30),
        Limit(What.MESSAGES, 10, 1),  # no number is known
        Limit(What.ARGUMENTS, 12),  # as many names as a frame has room for
        Limit(What.FRAME_BYTES, 1024),  # in no document: clients have met it
        Limit(What.WEIGHT, 500, 10),  # of one path
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        acts: dict[int, tuple[Callable[[wire.Push, Rows], None], str]] = {
            DEALS: (self._trades, "trade"),
            DEPTH: (self._update, "l2"),
            QUOTE: (self._quote, "bbo"),
            DAY: (self._day, "ticker"),
        }
        self._acts = {kind: act for kind, (act, feed) in acts.items() if feed in feeds}
        self._reader = Reader()

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get("/api/v3/exchangeInfo", weight=10)]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return [one for body in bodies for one in wire.instruments(body)]

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        streams = [
            Stream(f"{begin}@{ticker}{end}", ticker, (feed,))
            for ticker in self.tickers
            for begin, (end, feed) in CHANNELS.items()
            if feed in self.wanted
        ]
        return self.split("/ws", streams)

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """One answer for each request, which names all that it asked for."""
        return self._requests("SUBSCRIPTION", streams)

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return self._requests("UNSUBSCRIPTION", streams)

    def _requests(self, method: str, streams: Sequence[Stream]) -> list[Request]:
        names, most = [one.name for one in streams], self.limit(What.ARGUMENTS)
        parts = in_parts(names, most)
        return [Request(msgspec.json.encode({"method": method, "params": one})) for one in parts]

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        if frame[:1] == b"{":
            self._answer(decoded(wire.ANSWER, frame), rows)
            return
        push = wire.push(self._reader, frame)
        act = self._acts.get(push.kind)
        if act is None:
            rows.ignored(push.channel[:60])
            return
        if push.symbol not in push.channel.split("@"):
            raise Reject(f"symbol {push.symbol[:40]!r} in channel {push.channel[:60]!r}")
        act(push, rows)

    def _answer(self, told: wire.Answer, rows: Rows) -> None:
        """An answer repeats the names, whether they were taken or not. No document says why one
        is refused, and whether asking again helps: so it is asked again."""
        names = _NAMES.findall(told.msg)
        if told.msg == "PONG":
            rows.control("pong")
        elif told.code or told.msg.startswith(_REFUSED):
            stream = names[0] if len(names) == 1 and self._is_ours(names[0]) else ""
            rows.control(
                f"{told.code} {told.msg}"[:300], error=True, answer=bool(names), stream=stream
            )
        elif names:
            rows.control("answer", answer=True, stream=names[0] if len(names) == 1 else "")
        else:
            raise Reject(f"an answer that says {told.msg[:60]!r}")

    def _is_ours(self, name: str) -> bool:
        return any(part in self.index for part in name.split("@"))

    # --------------------------------------------------------------- events

    def _trades(self, push: wire.Push, rows: Rows) -> None:
        found = wire.trades(self._reader, push.start, push.stop)
        for one in found:
            rows.trade(
                push.symbol, one.time, one.trade_id, one.side, one.price, one.qty,
                event_us=push.sent,
            )  # fmt: skip
        if not found:
            rows.ignored(push.channel[:60])

    def _update(self, push: wire.Push, rows: Rows) -> None:
        one = wire.depth(self._reader, push.start, push.stop)
        rows.l2(push.symbol, push.sent, one.bids, one.asks, one.last, one.first - 1)

    def _quote(self, push: wire.Push, rows: Rows) -> None:
        rows.bbo(push.symbol, push.sent, *wire.best(self._reader, push.start, push.stop))

    def _day(self, push: wire.Push, rows: Rows) -> None:
        one = wire.day(self._reader, push.start, push.stop)
        rows.ticker(
            push.symbol, push.sent, last_price=one.last, high=one.high, low=one.low,
            volume=one.volume, turnover=one.turnover,
        )  # fmt: skip

    # ----------------------------------------------------------------- REST

    def snapshot_request(self, ticker: str, levels: int) -> Get:
        """https://www.mexc.com/api-docs/spot-v3/market-data-endpoints#order-book"""
        most = min(levels, LEVELS_MAX) if levels else LEVELS_MAX
        return Get(f"/api/v3/depth?symbol={quote(ticker, safe='')}&limit={most}", 1, ticker)

    def parse_snapshot(self, body: bytes, ticker: str, rows: Rows) -> None:
        book = decoded(wire.REST_BOOK, body)
        rows.l2(
            ticker, book.timestamp or 0, book.bids, book.asks, book.last_update_id, snapshot=True
        )
