"""Gate spot. https://www.gate.com/docs/developers/apiv4/ws/en/

Recordings until 2025 hold `order_book_update`: the same updates without a book, which REST gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from tickbus_schemas.exchanges import Exchange

from tickbus_ingest.exchanges import _gateio_wire as wire
from tickbus_ingest.exchanges._gateio import LEVELS, Act, Gateio
from tickbus_ingest.venue.contract import PLAIN, BookForm, Get, Keepalive, Route
from tickbus_ingest.venue.instruments import Instrument, Unread
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded, known


class Venue(Gateio):
    """A trade is one object; the ticker has no time of its own."""

    exchange = Exchange.GATEIO
    docs = (
        "https://www.gate.com/docs/developers/apiv4/ws/en/",
        "https://www.gate.com/docs/developers/apiv4/en/",
        "https://www.gate.com/announcements/article/44946",
    )
    examples = ("BTC_USDT", "ETH_USDT")
    units = PLAIN
    market = "spot"
    carries: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "trades": ("trade",),
        "obu": ("l2",),
        "book_ticker": ("bbo",),
        "tickers": ("ticker",),
    }
    websocket_urls = ("wss://api.gateio.ws",)
    feeds = ("trade", "l2", "bbo", "ticker", "instrument")
    drops_equal = True  # the update that ends at the id of a book over REST is in it
    # https://www.gate.com/docs/developers/apiv4/ws/en/#application-ping-pong
    keepalive = Keepalive(b'{"channel":"spot.ping"}', 15.0)

    def acts(self) -> dict[str, tuple[Any, Act]]:
        return {
            "trades": (wire.Trade, self._trade),
            "obu": (wire.Book, self.book),
            "order_book_update": (wire.Book, self._recorded),
            "book_ticker": (wire.Quote, self.quote),
            "tickers": (wire.Day, self._day),
        }

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get("/api/v4/spot/currency_pairs")]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return [one for body in bodies for one in wire.pairs(decoded(wire.ROWS, body))]

    def routes(self) -> list[Route]:
        return self.split("/ws/v4/", self.streams_by_channel(self.carries))

    # --------------------------------------------------------------- events

    def _trade(self, one: wire.Trade, told: wire.Frame, rows: Rows) -> None:
        rows.trade(
            one.currency_pair, wire.us_of(one.create_time_ms), one.id, one.taker, one.price,
            one.amount, event_us=told.time_ms or 0,
        )  # fmt: skip

    def _recorded(self, one: wire.Book, told: wire.Frame, rows: Rows) -> None:
        self.update(one.s, one, rows)

    def _day(self, one: wire.Day, told: wire.Frame, rows: Rows) -> None:
        rows.ticker(
            one.currency_pair, told.time_ms or 0, last_price=known(one.last),
            high=known(one.high_24h), low=known(one.low_24h), volume=known(one.base_volume),
            turnover=known(one.quote_volume),
        )  # fmt: skip

    # ----------------------------------------------------------------- REST

    def snapshot_request(self, ticker: str, levels: int) -> Get:
        """Where no book is pushed; a long one may be old, then it joins updates that wait.

        https://www.gate.com/docs/developers/apiv4/en/#retrieve-order-book
        """
        most = min(levels or LEVELS, LEVELS)
        pair = quote(ticker, safe="")
        path = f"/api/v4/spot/order_book?currency_pair={pair}&limit={most}&with_id=true"
        return Get(path, 1, ticker)

    def parse_snapshot(self, body: bytes, ticker: str, rows: Rows) -> None:
        book = decoded(wire.REST_BOOK, body)
        time_us = 0 if book.update is None else wire.us_of(book.update)
        rows.l2(
            ticker, time_us, book.bids, book.asks, book.id, snapshot=True, form=BookForm(LEVELS)
        )
