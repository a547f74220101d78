"""What Binance's markets share: subscriptions, frames, books. Each market's file says what differs.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Raw, UnsetType
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import (
    ABSENT,
    Side,
    TradeFlag,
)

from tickbus_ingest.exchanges._binance_instruments import SYMBOL, SYMBOLS, Symbol, instrument_of
from tickbus_ingest.exchanges._binance_wire import (
    BARE,
    BOOK,
    COMBINED,
    ENVELOPE,
    EVENT_NAMES,
    FAMILY_OF,
    LIST,
    AggTradeEvent,
    DepthEvent,
    ForceOrderEvent,
    MarkPriceEvent,
    QuoteEvent,
    TickerEvent,
    TradeEvent,
)
from tickbus_ingest.venue.contract import Get, Line, OnError, Request, Stream, TradeIds, Venue
from tickbus_ingest.venue.instruments import Instrument, Unread, each_of
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded

# Trades that no order book saw; the venue's own feed for others leaves them out.
# https://github.com/tardis-dev/tardis-node (mappers/binance.ts), field X undocumented
OFF_BOOK = frozenset({"INSURANCE_FUND", "ADL", "NA"})
# https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#error-messages
# None of them names the stream that is wrong.
ERRORS = {
    "0": OnError.REJECT,  # unknown property
    "1": OnError.REJECT,  # a value of the wrong type
    "2": OnError.REJECT,  # wrong request: method, id or parameters
    "3": OnError.REJECT,  # no JSON
}
SUBSCRIBE_MAX = 100  # names in one frame: a frame stays small, and few frames stay in the limits


class Binance(Venue):
    """Reading that is the same on every Binance market; the venue's file says what differs."""

    channels: ClassVar[Mapping[str, str]]
    """feed -> channel behind the `@` of a stream's name"""
    links_by_pu: ClassVar[bool] = True
    """futures say which update an update follows; Spot counts without holes: U - 1"""
    rest_root: ClassVar[str]
    trade_ids = TradeIds.DENSE
    errors = ERRORS

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        wanted = {self.channels[feed].partition("@")[0] for feed in feeds if feed in self.channels}
        acts: dict[type, Callable[[Any, Rows], None]] = {
            TradeEvent: self._trade,
            AggTradeEvent: self._aggregate,
            DepthEvent: self._depth,
            QuoteEvent: self._quote,
            TickerEvent: self._ticker,
            MarkPriceEvent: self._mark_price,
            ForceOrderEvent: self._force_order,
        }
        self._acts = {
            kind: act if FAMILY_OF[kind] in wanted else _ignoring(FAMILY_OF[kind])
            for kind, act in acts.items()
        }
        self._families = wanted

    # -------------------------------------------------------- subscriptions

    def streams(self) -> list[Stream]:
        """One stream a ticker and feed; names are in lower case."""
        return [
            Stream(f"{ticker.lower()}@{self.channels[feed]}", ticker, (feed.partition(":")[0],))
            for feed in self.wanted
            if feed in self.channels
            for ticker in self.tickers
        ]

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """SUBSCRIBE frames; the id only tells the answers apart."""
        return _requests("SUBSCRIBE", streams)

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return _requests("UNSUBSCRIBE", streams)

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        try:
            combined = COMBINED.decode(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._read_other(frame, rows)
            return
        event, stream = combined.data, combined.stream
        # Books of 20 levels are called depthUpdate, too: only the stream's name tells.
        if (type(event) is DepthEvent or stream[:1] == "!") and not self._takes(stream):
            rows.ignored(_label(stream))
            return
        self._acts[type(event)](event, rows)

    def _takes(self, stream: str) -> bool:
        """Whether a stream carries a wanted feed; of the whole market's, liquidations only."""
        family = _channel(stream).partition("@")[0]
        return family in self._families and (stream[:1] != "!" or family == "forceOrder")

    def _read_other(self, frame: bytes, rows: Rows) -> None:
        """What is no event of ours in an envelope: decoded step by step, with the reason."""
        envelope = decoded(ENVELOPE, frame)
        if isinstance(envelope.stream, str) and isinstance(envelope.data, Raw):
            self._read_stream(envelope.stream, envelope.data, frame, rows)
        elif isinstance(envelope.e, str) or envelope.u is not UNSET:
            self._read_bare(envelope.e, frame, rows)
        elif envelope.error is not UNSET or envelope.code is not UNSET:
            rows.refused(frame[:200].decode(errors="replace"), OnError.REJECT)
        elif envelope.result is not UNSET:
            rows.control("answer", answer=True)
        else:
            raise Reject("neither an event nor an answer")

    def _read_stream(self, stream: str, data: Raw, frame: bytes, rows: Rows) -> None:
        if stream == "!serverShutdown":
            rows.control("serverShutdown", closing=True, notice=True)
            return
        if not self._takes(stream):
            rows.ignored(_label(stream))
        elif stream[:1] == "!" and bytes(data).startswith(b"["):
            for one in decoded(LIST, data):
                self._act(decoded(BARE, one), rows)
        else:
            self._act(decoded(COMBINED, frame).data, rows)  # Reject says what is wrong

    def _read_bare(self, name: str | UnsetType, frame: bytes, rows: Rows) -> None:
        if name == "serverShutdown":
            rows.control("serverShutdown", closing=True, notice=True)
        elif isinstance(name, str) and name not in EVENT_NAMES:
            rows.ignored(name)
        else:
            self._act(decoded(BARE, frame), rows)

    def _act(self, event: Any, rows: Rows) -> None:
        self._acts[type(event)](event, rows)

    # --------------------------------------------------------------- events

    def _trade(self, event: TradeEvent, rows: Rows) -> None:
        # m: the buyer was the maker, so the taker sold
        rows.trade(
            event.s, event.T, event.t, -1 if event.m else 1, event.p, event.q,
            TradeFlag.OFF_BOOK if event.X in OFF_BOOK else 0, ABSENT, event.E,
        )  # fmt: skip

    def _aggregate(self, event: AggTradeEvent, rows: Rows) -> None:
        rows.trade(
            event.s, event.T, event.a, -1 if event.m else 1, event.p, event.q,
            TradeFlag.AGGREGATE, ABSENT, event.E,
        )  # fmt: skip

    def _depth(self, event: DepthEvent, rows: Rows) -> None:
        if not self.links_by_pu:
            prev = event.U - 1
        elif event.pu is UNSET:
            raise Reject("depth update without pu")
        else:
            prev = event.pu
        rows.l2(event.s, event.E, event.b, event.a, event.u, prev, engine_us=event.T)

    def _quote(self, event: QuoteEvent, rows: Rows) -> None:
        rows.bbo(event.s, event.E, event.b, event.B, event.a, event.A, event.u, event.T)

    def _ticker(self, event: TickerEvent, rows: Rows) -> None:
        rows.ticker(
            event.s, event.E, trade_count=event.n, last_price=event.c, last_qty=event.Q,
            open=event.o, high=event.h, low=event.low, volume=event.v, turnover=event.q,
            price_change=event.p,
        )  # fmt: skip

    def _mark_price(self, event: MarkPriceEvent, rows: Rows) -> None:
        rows.derivative(
            event.s, event.E, mark_price=event.p,
            index_price=None if event.i is UNSET else event.i,
            settlement_price=None if event.P is UNSET else event.P,
            funding_rate=event.r if isinstance(event.r, float) else None,
            next_funding_us=event.T or None,
        )  # fmt: skip

    def _force_order(self, event: ForceOrderEvent, rows: Rows) -> None:
        order = event.o
        if not rows.knows(order.s):
            rows.ignored("forceOrder")  # of the whole market: not one of our tickers
            return
        if order.S not in ("BUY", "SELL"):
            raise Reject(f"side {order.S[:20]!r} of a liquidation")
        rows.liquidation(
            order.s, event.E, Side.BUY if order.S == "BUY" else Side.SELL, order.p, order.q,
            average_price=order.ap, filled_qty=order.z, flags=SAMPLED, engine_us=order.T,
        )  # fmt: skip

    # ----------------------------------------------------------------- REST

    def parse_snapshot(self, body: bytes, ticker: str, rows: Rows) -> None:
        book = decoded(BOOK, body)
        rows.l2(
            ticker, book.E, book.bids, book.asks, book.last_update_id, snapshot=True,
            engine_us=book.T,
        )  # fmt: skip

    def depth_request(self, ticker: str, levels: int, weight: int) -> Get:
        """The request of a book."""
        return Get(f"{self.rest_root}/depth?symbol={quote(ticker)}&limit={levels}", weight, ticker)

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        rows = (row for body in bodies for row in decoded(SYMBOLS, body).symbols)
        return each_of(rows, SYMBOL, lambda one: instrument_of(one, cls.contract_of(one)))

    @classmethod
    def contract_of(cls, symbol: Symbol) -> dict[str, Any]:
        """What one unit of a quantity is: the base coin, but for coin-margined contracts."""
        return {"contract_size": 1.0, "contract_unit": symbol.base_asset}


SAMPLED = 2
"""Flag of a liquidation: the venue publishes only the latest of a second."""


def _channel(stream: str) -> str:
    """`depth@100ms` of `btcusdt@depth@100ms`, `forceOrder@arr` of `!forceOrder@arr`."""
    return stream[1:] if stream[:1] == "!" else stream.partition("@")[2]


def _label(stream: str) -> str:
    """What an ignored stream is counted as."""
    return stream if stream[:1] == "!" else _channel(stream) or stream


def _ignoring(channel: str) -> Callable[[Any, Rows], None]:
    return lambda event, rows: rows.ignored(channel)


def _requests(method: str, streams: Sequence[Stream]) -> list[Request]:
    names = [stream.name for stream in streams]
    return [
        Request(
            msgspec.json.encode(
                {"method": method, "params": names[n : n + SUBSCRIBE_MAX], "id": n + 1}
            )
        )
        for n in range(0, len(names), SUBSCRIBE_MAX)
    ]
