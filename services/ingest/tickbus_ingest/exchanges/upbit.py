"""Upbit, the spot market of Korea.

https://docs.upbit.com/kr/reference/websocket-guide
Each message of a book is the whole book: 30 levels a side. Nothing has a number: a message that is
lost is not missed. A request names everything that its connection carries from then on and is not
answered, so each is followed by the question what is subscribed to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import Side

from tickbus_ingest.exchanges import _upbit as wire
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    PLAIN,
    Evidence,
    Get,
    Keepalive,
    Levels,
    Limit,
    Line,
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

PATH = "/websocket/v1"
CHANNELS = {"trade": ("trade",), "orderbook": ("l2",), "ticker": ("ticker",)}
QUOTES = {"orderbook.1": ("bbo",)}
"""A book of one level is the best quotes. No document says that a connection may carry books of
two depths, so they have one of their own; 1, 5, 15 and 30 levels can be asked for."""
LEVELS = {"orderbook": ".30", "orderbook.1": ".1"}
"""Channel -> what stands behind a ticker in its code."""
FORMAT = {"format": "SIMPLE"}
ALL, FEWER = "all", "fewer"
"""Tickets: whether the list that answers must name every stream of its connection."""
_FOR_GOOD = frozenset(
    {"INVALID_AUTH", "WRONG_FORMAT", "NO_TICKET", "NO_TYPE", "NO_CODES", "INVALID_PARAM"}
)
"""All errors that the guide names are about what a request says: asking again is no use. Any other
one is a failure of the venue, and what stays silent is asked for again."""


class Venue(contract.Venue):
    """Two routes; every book whole, trades by id, times in everything."""

    exchange = Exchange.UPBIT
    evidence = Evidence.CHECKED
    docs = (
        "https://docs.upbit.com/kr/reference/websocket-guide",
        "https://docs.upbit.com/kr/reference/websocket-orderbook",
        "https://docs.upbit.com/kr/reference/websocket-trade",
        "https://docs.upbit.com/kr/reference/websocket-ticker",
        "https://docs.upbit.com/kr/reference/list-subscriptions",
        "https://docs.upbit.com/kr/reference/rate-limits",
    )
    websocket_urls = ("wss://api.upbit.com",)
    rest_urls = ("https://api.upbit.com",)
    examples = ("KRW-BTC", "KRW-ETH")
    units = PLAIN
    feeds = ("trade", "l2", "bbo", "ticker", "instrument")
    snapshots = Snapshots.EVERY_FRAME
    update_ids = UpdateIds.NONE
    numbering_is_global = False
    trade_ids = TradeIds.UNIQUE  # sequential_id is unique and not promised to count by one
    levels = Levels("p", "s")  # as `wire.sides` leaves them
    # Cut after 120 s without a message; after a PING, {"status":"UP"} comes every 10 s.
    keepalive = Keepalive(b"PING", 30.0)
    silence_s = 65.0  # two answers to pings are missing
    limits = (
        # rate-limits: 5 connections a second of an address; 5 requests a second and 100 a minute
        Limit(What.ATTEMPTS, 5, 1),
        Limit(What.MESSAGES, 5, 1),
        Limit(What.MESSAGES, 100, 60),
        # No number is known. Each request names all of them, so they are few.
        Limit(What.STREAMS, 90),
        Limit(What.WEIGHT, 10, 1),  # REST of quotations: 10 requests a second of an address
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        self._quotes, self._books = "bbo" in feeds, "l2" in feeds
        acts: dict[type, tuple[bool, Callable[[Any, Rows], None]]] = {
            wire.Book: (self._quotes or self._books, self._book),
            wire.Trade: ("trade" in feeds, self._trade),
            wire.Ticker: ("ticker" in feeds, self._ticker),
        }
        self._acts = {kind: act if wanted else _ignore for kind, (wanted, act) in acts.items()}

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get("/v1/market/all?is_details=true")]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return wire.instruments(bodies)

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        return [
            route
            for channels in (CHANNELS, QUOTES)
            for route in self.split(PATH, self.streams_by_channel(channels))
        ]

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """Everything that the connections of these streams carry: a request replaces the last."""
        return [
            request
            for route in self._routes_of(streams)
            for request in _requests(ALL, _wanted(route.streams))
        ]

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """The same with these as snapshots only: they come once more and then no longer.

        There is no request that ends a subscription, and none of nothing.
        """
        ended = frozenset(streams)
        return [
            request
            for route in self._routes_of(streams)
            for request in _requests(FEWER, _wanted(route.streams, ended))
        ]

    def _routes_of(self, streams: Sequence[Stream]) -> list[Route]:
        named = set(streams)
        return [route for route in self.routes() if not named.isdisjoint(route.streams)]

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        try:
            event = wire.EVENTS.decode(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._read_other(frame, line, rows)
            return
        self._acts[type(event)](event, rows)

    def _read_other(self, frame: bytes, line: Line, rows: Rows) -> None:
        other = decoded(wire.OTHER, frame)
        if isinstance(other.ty, str):
            if other.ty in wire.TYPES:
                decoded(wire.EVENTS, frame)  # Reject says what is wrong
            rows.ignored(other.ty[:40])
        elif other.error is not UNSET:
            _refused(other.error, line, rows)
        elif other.mthd is not UNSET:
            streams = line.route.streams if other.tckt != FEWER else ()
            _subscribed(other.rslt, streams, rows)
        elif other.status is not UNSET:
            rows.control(f"status {other.status[:40]}")
        else:
            raise Reject("neither data of a type nor an answer")

    # --------------------------------------------------------------- events

    def _book(self, book: wire.Book, rows: Rows) -> None:
        """A book of one level is that of a subscription to quotes: others are never so short."""
        units = bytes(book.obu)
        is_quote = 0 <= units.find(b"{") == units.rfind(b"{")
        if not (self._quotes if is_quote else self._books):
            rows.ignored("orderbook.1" if is_quote else "orderbook")
        elif is_quote:
            (best,) = decoded(wire.UNITS, units)
            rows.bbo(book.cd, book.tms, best.bp, best.bs, best.ap, best.ask_size)
        else:
            rows.l2(book.cd, book.tms, *wire.sides(units), snapshot=True)

    def _trade(self, one: wire.Trade, rows: Rows) -> None:
        """A subscription begins with the latest trade before it."""
        rows.trade(
            one.cd, one.ttms, one.sid, Side.SELL if one.ab == "ASK" else Side.BUY, one.tp, one.tv,
            event_us=one.tms,
        )  # fmt: skip

    def _ticker(self, one: wire.Ticker, rows: Rows) -> None:
        rows.ticker(
            one.cd, one.tms, last_price=one.tp, last_qty=one.tv, volume=one.atv24h,
            turnover=one.atp24h,
        )  # fmt: skip


def _ignore(event: Any, rows: Rows) -> None:
    rows.ignored(type(event).__struct_config__.tag)


def _refused(error: wire.Failure, line: Line, rows: Rows) -> None:
    """A request is of all streams of its connection, and so is what refuses it."""
    text = f"{error.name} {error.message}"[:300]
    is_final = error.name in _FOR_GOOD
    for name in [one.name for one in line.route.streams] if is_final else [""]:
        rows.control(text, error=True, fatal=is_final, stream=name)


def _subscribed(told: Iterable[wire.Subscription], streams: Iterable[Stream], rows: Rows) -> None:
    """What the venue says that the connection carries, beside the streams that it should."""
    carried = {f"{one.ty}:{code.partition('.')[0]}" for one in told for code in one.cds}
    missing = [
        one.name
        for one in streams
        if f"{one.name.partition(':')[0].partition('.')[0]}:{one.ticker}" not in carried
    ]
    text = f"not subscribed to: {', '.join(missing)}"[:300] if missing else "subscriptions"
    rows.control(text, error=bool(missing), answer=True)


def _wanted(
    streams: Iterable[Stream], ended: frozenset[Stream] = frozenset()
) -> list[dict[str, Any]]:
    """A type with its codes, for each channel of some streams."""
    codes: dict[tuple[str, bool], list[str]] = {}
    for one in streams:
        channel = one.name.partition(":")[0]
        code = one.ticker + LEVELS.get(channel, "")
        codes.setdefault((channel.partition(".")[0], one in ended), []).append(code)
    return [
        {"type": kind, "codes": some} | ({"is_only_snapshot": True} if is_ended else {})
        for (kind, is_ended), some in codes.items()
    ]


def _requests(ticket: str, wanted: Sequence[dict[str, Any]]) -> list[Request]:
    """One is not answered; the list of subscriptions behind it is."""
    name = {"ticket": ticket}
    return [
        Request(msgspec.json.encode([name, *wanted, FORMAT]), answers=0),
        Request(msgspec.json.encode([name, {"method": "LIST_SUBSCRIPTIONS"}, FORMAT])),
    ]
