"""Venues made for tests: each a combination of properties that some real venue has.

A frame is a JSON array of events, `[kind, ...]`; the functions below write them. No event of a
made venue needs more than its properties say. They have rows only: what a venue answers to requests
and asks for is that of `plain_venue.py`.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from tickbus.book.orderbook import OrderBook
from tickbus_ingest.session.book_rules import SnapshotRule
from tickbus_ingest.venue.contract import (
    BookForm,
    Get,
    Limit,
    Line,
    Request,
    Route,
    Snapshots,
    Stream,
    TradeIds,
    UpdateIds,
    Venue,
    What,
)
from tickbus_ingest.venue.instruments import Instrument
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded, json_decoder
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import ABSENT

from tests.ingest.venues.playing import NEVER, Player

T0_MS = 1_760_000_000_000
TICKERS = ("A", "B")
FEEDS = ("trade", "l2", "bbo")
Levels = Sequence[tuple[float, float]]
Event = list[Any]

_EVENTS: msgspec.json.Decoder[list[list[Any]]] = json_decoder(list[list[Any]])


class Made(Venue):
    """Reads the frames below; subclasses set the properties."""

    exchange = Exchange.DERIBIT
    docs = ("https://example.org",)
    websocket_urls = ("wss://example.org",)
    rest_urls = ("https://example.org",)
    feeds = (*FEEDS, "ticker", "derivative", "liquidation", "instrument")
    limits = (Limit(What.ATTEMPTS, 10, 1),)
    depth: ClassVar[int] = 0
    """levels a side of its books; what lies deeper falls out without a word"""

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get("/instruments")]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return [Instrument(ticker=name) for body in bodies for name in msgspec.json.decode(body)]

    def routes(self) -> list[Route]:
        return self.split("", [Stream(one, one, FEEDS) for one in self.tickers])

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return [Request(b"subscribe")]

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return [Request(b"unsubscribe")]

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        for kind, *values in decoded(_EVENTS, frame):
            match kind:
                case "trade":
                    ticker, ms, trade_id, side, price, qty, number = values
                    rows.trade(
                        ticker, ms, trade_id, side, price, qty, 0,
                        ABSENT if number is None else number, ms,
                    )  # fmt: skip
                case "update":
                    ticker, ms, prev, own, bids, asks, checksum = values
                    rows.l2(
                        ticker, ms, _text(bids), _text(asks), _id(own), _id(prev),
                        checksum=_id(checksum),
                    )  # fmt: skip
                case "book":
                    ticker, ms, own, bids, asks, checksum = values
                    rows.l2(
                        ticker, ms, _text(bids), _text(asks), _id(own), snapshot=True,
                        checksum=_id(checksum), form=BookForm(self.depth),
                    )  # fmt: skip
                case "quote":
                    ticker, ms, own, bid, bid_sz, ask, ask_sz = values
                    rows.bbo(ticker, ms, bid, bid_sz, ask, ask_sz, _id(own))
                case "forced":
                    ticker, ms, side, price, qty = values
                    rows.liquidation(ticker, ms or 0, side, price, qty)
                case "state":
                    ticker, ms, values = values
                    rows.derivative(ticker, ms or 0, **values)
                case "notice":
                    rows.control(values[0], closing=values[1], notice=True)
                case "count":
                    self._count(values[0], line, rows)
                case "lost":
                    rows.lost("an id that is not known", values[0])
                case _:
                    raise Reject(f"kind {kind!r}")

    def _count(self, number: int, line: Line, rows: Rows) -> None:
        """The message's number on its connection."""
        last = line.memory.get("last")
        if last is not None and number != last + 1:
            rows.lost(f"messages {last + 1} to {number - 1}")
        line.memory["last"] = number


class Pulling(Made):
    """A book is asked for over REST."""

    def snapshot_request(self, ticker: str, levels: int) -> Get | None:
        return Get("/book", book_of=ticker)

    def parse_snapshot(self, body: bytes, ticker: str, rows: Rows) -> None:
        for _, name, ms, own, bids, asks, _ in decoded(_EVENTS, body):
            assert name == ticker
            rows.l2(ticker, ms, _text(bids), _text(asks), _id(own), snapshot=True)


class Checking(Made):
    """A checksum tells whether the book is right."""

    def checksum(self, book: OrderBook, form: BookForm) -> int:
        side, price, qty = book.levels()
        return crc(zip(side.tolist(), price.tolist(), qty.tolist(), strict=True))


def made(
    snapshots: Snapshots = Snapshots.PUSHED,
    update_ids: UpdateIds = UpdateIds.LINKED,
    trade_ids: TradeIds = TradeIds.DENSE,
    *,
    pulls: bool = False,
    **properties: Any,
) -> type[Venue]:
    """A venue of this kind. `pulls`: it can be asked for a book over REST, too."""
    base: type[Made] = Made
    if pulls or snapshots is Snapshots.PULLED:
        base = Pulling
    elif update_ids is UpdateIds.CHECKSUM:
        base = Checking
    named = {"snapshots": snapshots, "update_ids": update_ids, "trade_ids": trade_ids}
    return type("Venue", (base,), named | properties)


def play(
    kind: type[Venue],
    *,
    tickers: Sequence[str] = TICKERS,
    feeds: Sequence[str] = FEEDS,
    lines: int = 1,
    wait_us: int = 0,
    rule: SnapshotRule = NEVER,
) -> Player:
    """A session of a made venue, with so many connections that carry all of it."""
    venue = kind([Instrument(ticker=name) for name in tickers], feeds)
    (route,) = venue.routes()
    return Player(venue, [Line(n, route) for n in range(lines)], wait_us=wait_us, rule=rule)


# ---------------------------------------------------------------------- events


def trade(
    trade_id: int | str,
    ms: int,
    price: float = 100.0,
    qty: float = 1.0,
    side: int = 1,
    *,
    number: int | None = None,
    ticker: str = "A",
) -> Event:
    return ["trade", ticker, T0_MS + ms, trade_id, side, price, qty, number]


def update(
    prev: int | None,
    own: int | None,
    ms: int,
    bids: Levels = (),
    asks: Levels = (),
    *,
    checksum: int | None = None,
    ticker: str = "A",
) -> Event:
    return ["update", ticker, T0_MS + ms, prev, own, bids, asks, checksum]


def book(
    own: int | None,
    ms: int,
    bids: Levels = (),
    asks: Levels = (),
    *,
    checksum: int | None = None,
    ticker: str = "A",
) -> Event:
    return ["book", ticker, T0_MS + ms, own, bids, asks, checksum]


def quote(
    own: int | None, ms: int, bid: float = 100.0, ask: float = 101.0, ticker: str = "A"
) -> Event:
    return ["quote", ticker, T0_MS + ms, own, bid, 1.0, ask, 2.0]


def forced(ms: int | None, price: float = 100.0, ticker: str = "A") -> Event:
    """A liquidation; None: the venue gives no time."""
    return ["forced", ticker, None if ms is None else T0_MS + ms, -1, price, 1.0]


def state(ms: int | None, ticker: str = "A", **values: float) -> Event:
    """A derivative's values, of which some are left out; None: the venue gives no time."""
    return ["state", ticker, None if ms is None else T0_MS + ms, values]


def count(number: int) -> Event:
    return ["count", number]


def notice(text: str, *, closing: bool = False) -> Event:
    """What the venue says of itself."""
    return ["notice", text, closing]


def lost(ticker: str) -> Event:
    return ["lost", ticker]


def frame(*events: Event) -> bytes:
    """One frame with these events."""
    return msgspec.json.encode(events)


def frames(*events: Event) -> list[bytes]:
    """A frame for each event."""
    return [frame(event) for event in events]


def crc(levels: Any) -> int:
    """The checksum of a made venue's book: bids and asks, best first."""
    return zlib.crc32(repr([tuple(map(float, level)) for level in levels]).encode())


def _text(levels: Any) -> bytes:
    return msgspec.json.encode(levels)


def _id(value: int | None) -> int:
    return ABSENT if value is None else value
