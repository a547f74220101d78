"""Compiles or loads every kernel of ingest, so that the first frame does not pay for it.

The frames are of a venue that there is none of: kernels depend on types, not on words.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange

from tickbus_ingest import exchanges
from tickbus_ingest.publish.messages import Messages
from tickbus_ingest.session.session import Session
from tickbus_ingest.session.tables import Flush
from tickbus_ingest.venue.contract import (
    BookForm,
    Get,
    Levels,
    Limit,
    Line,
    Request,
    Route,
    Snapshots,
    Stream,
    TradeIds,
    UpdateIds,
    Venue,
)
from tickbus_ingest.venue.feeds import FEEDS
from tickbus_ingest.venue.instruments import Instrument
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.wire.buffer import Connected, Frames
from tickbus_ingest.wire.raw_lines import encode_frames

TICKERS = ("A", "B")
NAMES = tuple(feed.name for feed in FEEDS)
_NOW_US = 1_700_000_000_000_000


class Nowhere(Venue):
    """Reads frames of one number: one event of each feed, with that number. 0 is refused."""

    exchange = next(iter(Exchange))
    docs = ()
    websocket_urls = ()
    rest_urls = ()
    feeds = NAMES
    snapshots = Snapshots.PUSHED
    update_ids = UpdateIds.LINKED
    trade_ids = TradeIds.DENSE
    limits: ClassVar[tuple[Limit, ...]] = ()
    form: ClassVar[BookForm | None] = None

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return []

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return []

    def routes(self) -> list[Route]:
        return [Route("", tuple(Stream("", ticker, NAMES) for ticker in TICKERS))]

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return []

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return []

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        number = int(frame)
        if not number:
            raise Reject("0")
        time_us = _NOW_US + number
        sides = self._sides
        for ticker in TICKERS:
            if number == 1:
                rows.l2(ticker, time_us, sides, sides, 1, snapshot=True, form=self.form)
            rows.trade(ticker, time_us, number, 1, 1.5, 2.0)
            rows.l2(ticker, time_us, sides, sides, number + 1, number)
            rows.bbo(ticker, 0, 1.0, 1.0, 2.0, 1.0, number)
            rows.ticker(ticker, time_us, last_price=1.0, trade_count=number)
            rows.derivative(ticker, time_us, mark_price=1.0, next_funding_us=time_us)
            rows.liquidation(ticker, time_us, 1, 1.0, 1.0)

    @property
    def _sides(self) -> bytes:
        if isinstance(self.levels.price, str):
            return b'[{"p":"1.5","q":"2"},{"p":"2.5","q":"2"}]'
        return b'[["1.5","2"],[1e1,20]]'


class _Objects(Nowhere):
    """With levels as objects, and levels that fall out of the book."""

    levels = Levels("p", "q")
    form = BookForm(1)


class _Texts(Nowhere):
    """With trade ids that are no numbers, and books without numbers that updates may cross."""

    crosses = True
    trade_ids = TradeIds.UNIQUE
    update_ids = UpdateIds.NONE
    snapshots = Snapshots.EVERY_FRAME


def warm() -> None:
    """Run each kernel with the types that it gets."""
    for kind in (Nowhere, _Objects, _Texts):
        venue = kind([Instrument(ticker=ticker) for ticker in TICKERS], NAMES)
        session = Session(venue)
        messages = Messages(venue.exchange, "warm", venue.tickers, 1)
        route = venue.routes()[0]
        out = Flush()
        for number in range(2):
            session.notice(Connected(Line(number, route), time.time_ns()), out)
        # In order, with a hole, a repeat, a refusal and what came too late: each has its kernel.
        for numbers in ((1, 2, 3), (5, 4, 2, 0), (9,), (7, 8)):
            session.receive(_frames(*numbers), out)
        session.report_lines(time.time_ns() // 1000, out)
        session.list_instruments(venue.instruments.values(), time.time_ns(), out)
        session.tick(time.monotonic(), out, settle=True)
        messages.of(out)
    encode_frames(_frames(1))


def _frames(*numbers: int) -> Frames:
    count = len(numbers)
    received = [_NOW_US * 1000 + number * 1000 for number in numbers]
    data = [b"%d" % number for number in numbers]
    return Frames(data, received, [0] * count, [0] * count, count)


def main() -> None:
    """Fill the kernel cache; called by `make setup`. A venue's file may have kernels of its own."""
    warm()
    for token in exchanges.names():
        exchanges.load(token)([], ())
