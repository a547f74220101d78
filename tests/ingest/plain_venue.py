"""A venue with a protocol of a few words, for tests of what is the same at every venue.

Frames are JSON objects of one key: `{"trade": 7}`, `{"book": 3}` (a whole book), `{"ok": 1}` (an
answer), `{"refused": "a word"}`, `{"never": "l2.A"}` (that stream is refused for good),
`{"ask": "x"}` (wants `x` back), `{"closing": 1}`, `{"hole": 1}`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from tickbus_ingest.venue.contract import (
    Get,
    Limit,
    Line,
    Poll,
    Request,
    Route,
    Snapshots,
    Stream,
    TradeIds,
    UpdateIds,
    Venue,
)
from tickbus_ingest.venue.instruments import Instrument
from tickbus_ingest.venue.rows import Rows
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange

T0_US = 1_723_161_255_000_000


class PlainVenue(Venue):
    """Two feeds, a stream each; every request has one answer."""

    exchange = Exchange.BINANCE_USDM
    docs = ()
    websocket_urls = ("wss://a.test", "wss://b.test")
    rest_urls = ("https://a.test",)
    feeds = ("trade", "l2", "bbo", "derivative", "liquidation")
    snapshots = Snapshots.PUSHED
    update_ids = UpdateIds.LINKED
    trade_ids = TradeIds.DENSE
    limits: ClassVar[tuple[Limit, ...]] = ()
    answers: ClassVar[int] = 1
    lists: ClassVar[list[str]] = []

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get("/one"), Get("/two")]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        try:
            return [Instrument(ticker=name) for body in bodies for name in json.loads(body)]
        except ValueError as error:
            raise Reject(str(error)) from None

    def routes(self) -> list[Route]:
        streams = [
            Stream(f"{feed}.{ticker}", ticker, (feed,))
            for ticker in self.tickers
            for feed in self.wanted
            if feed in ("trade", "l2", "bbo", "liquidation")
        ]
        return [Route("/all", tuple(streams))]

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return [
            Request(json.dumps({"subscribe": stream.name}).encode(), self.answers)
            for stream in streams
        ]

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return [
            Request(json.dumps({"unsubscribe": stream.name}).encode(), self.answers)
            for stream in streams
        ]

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        try:
            ((word, value),) = json.loads(frame).items()
        except (ValueError, AttributeError):
            raise Reject("not one word") from None
        self._read(word, value, rows)

    def _read(self, word: str, value: Any, rows: Rows) -> None:
        ticker = self.tickers[0]
        match word:
            case "trade":
                rows.trade(ticker, T0_US + value, value, 1, 1.0, 1.0)
            case "book":
                side = b'[["1","1"]]'
                rows.l2(ticker, T0_US + value, side, side, value, snapshot=True)
            case "ok":
                rows.control("ok", answer=True)
            case "refused":
                rows.control(value, error=True, answer=True)
            case "never":
                rows.control("unknown", error=True, fatal=True, answer=True, stream=value)
            case "ask":
                rows.control("ask")
                rows.reply(value.encode())
            case "closing":
                rows.control("closing", closing=True)
            case "hole":
                rows.lost("a number is missing")
            case _:
                raise Reject(f"{word} is no word of this venue")

    def polls(self) -> list[Poll]:
        if "derivative" not in self.wanted:
            return []
        return [Poll(Get(f"/interest/{ticker}"), 0.05) for ticker in self.tickers]

    def parse_poll(self, body: bytes, get: Get, rows: Rows) -> None:
        rows.derivative(get.path.rpartition("/")[2], T0_US, open_interest=float(body))


def plain(
    *tickers: str, feeds: Sequence[str] = ("trade",), kind: type[PlainVenue] = PlainVenue
) -> PlainVenue:
    """A venue of these tickers."""
    return kind([Instrument(ticker=ticker) for ticker in tickers or ("A",)], feeds)
