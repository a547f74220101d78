"""Crypto.com Exchange v1: spot, perpetuals and futures on one WebSocket.

https://exchange-docs.crypto.com/exchange/v1/rest-ws/index.html
A book begins with a snapshot, and `pu` of each update is `u` of the one before; an update without
levels comes each 5 s where nothing changes. The server asks each 30 s whether the client lives.
Requests that need no key are answered without a nonce, as the documents' own examples show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import ABSENT, InstrumentKind

from tickbus_ingest.exchanges import _cryptocom as wire
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    BASE,
    QUOTE,
    BookForm,
    Evidence,
    Get,
    Limit,
    Line,
    Request,
    Route,
    Snapshots,
    Stream,
    TradeIds,
    Units,
    UpdateIds,
    What,
    in_parts,
)
from tickbus_ingest.venue.instruments import Instrument, Unread
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded

DEPTH = 50
"""The most levels a side that there are updates of."""
OF_ALL = (
    ("trade.{}", ("trade",)),
    (f"book.{{}}.{DEPTH}", ("l2",)),
    ("ticker.{}", ("bbo", "ticker", "derivative")),
)
OF_DERIVATIVES = ("mark.{}", "index.{}")
OF_PERPETUALS = ("funding.{}", "estimatedfunding.{}")
# https://exchange-docs.crypto.com/exchange/v1/rest-ws/index.html#response-and-reason-codes
_FOR_GOOD = frozenset({206, 209, 40001, 40002, 40003, 40004, 40101, 40102, 40103, 40104, 40401})
"""Expired, no such instrument, wrong request, method or argument, no login, not found. Others pass:
too many requests (42901), a request twice (40006), a timeout (40801), their error (50001), and too
many subscriptions (40107), of which another connection has fewer."""


class Venue(contract.Venue):
    """Marks, indexes and rates come by channels of their own, open interest by the ticker."""

    exchange = Exchange.CRYPTOCOM
    evidence = Evidence.BETA
    docs = ("https://exchange-docs.crypto.com/exchange/v1/rest-ws/index.html",)
    websocket_urls = ("wss://stream.crypto.com",)
    rest_urls = ("https://api.crypto.com",)
    feeds = ("trade", "l2", "bbo", "ticker", "derivative", "instrument")
    examples = ("BTC_USDT", "BTCUSD-PERP")
    units = (
        Units(BASE, QUOTE, of="quoted in USD"),
        Units(BASE, "absent: the venue sums USD", of="quoted otherwise"),
    )
    snapshots = Snapshots.PUSHED
    update_ids = UpdateIds.LINKED
    # The documents say that `u` is unique in an instrument, not that connections are cut alike.
    numbering_is_global = False
    trade_ids = TradeIds.UNIQUE
    silence_s = 45.0  # the server's heartbeats come each 30 s
    maintenance_codes = frozenset({1013})  # the server restarts
    # https://exchange-docs.crypto.com/exchange/v1/rest-ws/index.html#rate-limits
    limits = (
        Limit(What.ATTEMPTS, 20, 60),  # no number is known
        Limit(What.STREAMS, 400),
        # 100 a second are allowed, in the second of the connection fewer: no number is known.
        Limit(What.MESSAGES, 10, 1),
        Limit(What.ARGUMENTS, 20),  # no number is known: channels in one request
        Limit(What.WEIGHT, 100, 1),  # requests of one method
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        self._by_index: dict[str, list[str]] = {}
        for one in instruments:
            if one.kind is not InstrumentKind.SPOT:
                self._by_index.setdefault(_index_of(one.ticker), []).append(one.ticker)
        acts: dict[str, tuple[Callable[[Any, wire.Result, Rows], None], set[str]]] = {
            "trade": (self._trades, {"trade"}),
            "book": (self._books, {"l2"}),
            "book.update": (self._updates, {"l2"}),
            "ticker": (self._tickers, {"bbo", "ticker", "derivative"}),
            "mark": (self._marks, {"derivative"}),
            "index": (self._indexes, {"derivative"}),
            "funding": (self._rates, {"derivative"}),
            "estimatedfunding": (self._estimates, {"derivative"}),
        }
        self._acts = {
            channel: (wire.DATA[channel], act)
            for channel, (act, carried) in acts.items()
            if carried & {*feeds}
        }
        self._streams = {one.name: one for one in self._every_stream()}

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get("/exchange/v1/public/get-instruments")]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return [one for body in bodies for one in wire.instruments(body)]

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        return self.split("/exchange/v1/market", [*self._streams.values()])

    def _every_stream(self) -> Iterator[Stream]:
        """Spot has no mark price, only perpetuals have funding; contracts may share an index."""
        for ticker in self.tickers:
            kind = self.instruments[ticker].kind
            for channel, carried in OF_ALL:
                feeds = tuple(one for one in carried if one in self.wanted)
                if kind is InstrumentKind.SPOT:
                    feeds = tuple(one for one in feeds if one != "derivative")
                if feeds:
                    yield Stream(channel.format(ticker), ticker, feeds)
            if "derivative" not in self.wanted or kind is InstrumentKind.SPOT:
                continue
            perpetual = OF_PERPETUALS if kind is InstrumentKind.PERPETUAL else ()
            for channel in (*OF_DERIVATIVES, *perpetual):
                of = _index_of(ticker) if channel.startswith("index.") else ticker
                if of is ticker or self._by_index[of][0] == ticker:
                    yield Stream(channel.format(of), ticker, ("derivative",))

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """Books apart from the rest: only they are told how they are wanted."""
        books = [one for one in streams if one.name.startswith("book.")]
        rest = [one for one in streams if not one.name.startswith("book.")]
        how = {"book_subscription_type": "SNAPSHOT_AND_UPDATE", "book_update_frequency": 100}
        return [*self._requests("subscribe", books, how), *self._requests("subscribe", rest, {})]

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return self._requests("unsubscribe", streams, {})

    def _requests(
        self, method: str, streams: Sequence[Stream], how: dict[str, Any]
    ) -> list[Request]:
        """One answer for each request."""
        most = self.limit(What.ARGUMENTS)
        requests = []
        for part in in_parts(streams, most):
            channels = [one.name for one in part]
            frame = {"id": 1, "method": method, "params": {"channels": channels, **how}}
            requests.append(Request(msgspec.json.encode(frame)))
        return requests

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        told = decoded(wire.FRAME, frame)
        result = told.result
        if told.method == "public/heartbeat":
            answer = {"id": told.id, "method": "public/respond-heartbeat"}
            rows.reply(msgspec.json.encode(answer))
            rows.control("heartbeat")
        elif told.code:
            self._error(told, rows)
        elif told.method not in ("subscribe", "unsubscribe"):
            raise Reject(f"method {told.method[:40]!r}")
        elif result is None or result.data is UNSET:
            rows.control(told.method, answer=True)
        elif result.channel in self._acts:
            decoder, act = self._acts[result.channel]
            found = decoded(decoder, result.data)
            act(found, result, rows)
            if not found:
                rows.ignored(result.channel)
        elif result.channel:
            rows.ignored(result.channel[:40])
        else:
            raise Reject("data without a channel")

    def _error(self, told: wire.Frame, rows: Rows) -> None:
        """The request comes back with it: one channel tells which stream it is about."""
        asked = wire.asked_for(told.original)
        stream = asked[0] if len(asked) == 1 and asked[0] in self._streams else ""
        rows.control(
            f"{told.code} {told.message}"[:300], error=True, stream=stream,
            answer=told.method in ("subscribe", "unsubscribe"),
            fatal=bool(stream) and told.code in _FOR_GOOD,
        )  # fmt: skip

    # --------------------------------------------------------------- events

    def _trades(self, trades: list[wire.Trade], told: wire.Result, rows: Rows) -> None:
        """The newest is the first; the last fifty trades come upon a subscription, ids tell them
        from what is known."""
        for one in reversed(trades):
            rows.trade(told.instrument_name, one.t, one.d, one.side, one.p, one.q)

    def _books(self, books: list[wire.Book], told: wire.Result, rows: Rows) -> None:
        """No document says which levels fall out of the depth."""
        if not 0 < told.depth <= 1000:
            raise Reject(f"a book of depth {told.depth}")
        for one in books:
            rows.l2(
                told.instrument_name, one.t, one.bids, one.asks, one.u, ABSENT, snapshot=True,
                engine_us=one.tt or 0, form=BookForm(told.depth),
            )  # fmt: skip

    def _updates(self, books: list[wire.Book], told: wire.Result, rows: Rows) -> None:
        for one in books:
            if one.update is None or one.pu is None:
                raise Reject("an update without levels or pu")
            rows.l2(
                told.instrument_name, one.t, one.update.bids, one.update.asks, one.u, one.pu,
                engine_us=one.tt or 0,
            )  # fmt: skip

    def _tickers(self, tickers: list[wire.Ticker], told: wire.Result, rows: Rows) -> None:
        """Turnover is in USD: it stays absent where that is not the quote currency."""
        ticker = told.instrument_name
        listed = self.instruments.get(ticker)
        for one in tickers:
            if "bbo" in self.wanted:
                rows.bbo(ticker, one.t, *one.best)
            if "ticker" in self.wanted:
                in_usd = listed is not None and listed.quote == "USD"
                rows.ticker(
                    ticker, one.t, last_price=one.a, high=one.h, low=one.l, volume=one.v,
                    turnover=one.vv if in_usd else None,
                )  # fmt: skip
            is_spot = listed is not None and listed.kind is InstrumentKind.SPOT
            if "derivative" in self.wanted and not is_spot:
                rows.derivative(ticker, one.t, last_price=one.a, open_interest=one.oi)

    def _marks(self, values: list[wire.Value], told: wire.Result, rows: Rows) -> None:
        for one in values:
            rows.derivative(told.instrument_name, one.t, mark_price=one.v)

    def _indexes(self, values: list[wire.Value], told: wire.Result, rows: Rows) -> None:
        """Of each contract that follows it."""
        tickers = self._by_index.get(told.instrument_name)
        if tickers is None:
            raise Reject(f"index {told.instrument_name[:80]!r} was not asked for")
        for one in values:
            for ticker in tickers:
                rows.derivative(ticker, one.t, index_price=one.v)

    def _rates(self, values: list[wire.Value], told: wire.Result, rows: Rows) -> None:
        """The rate of an hour, which is paid at its end."""
        for one in values:
            rows.derivative(
                told.instrument_name, one.t, funding_rate=one.v,
                next_funding_us=wire.next_hour_us(one.t),
                funding_interval_ms=wire.HOUR_US // 1000,
            )  # fmt: skip

    def _estimates(self, values: list[wire.Value], told: wire.Result, rows: Rows) -> None:
        """The hourly rate of the next four hours."""
        for one in values:
            rows.derivative(told.instrument_name, one.t, predicted_funding_rate=one.v)


def _index_of(ticker: str) -> str:
    """BTCUSD-INDEX of BTCUSD-PERP and BTCUSD-251226."""
    return f"{ticker.partition('-')[0]}-INDEX"
