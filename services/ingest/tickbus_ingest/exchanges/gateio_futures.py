"""Gate's perpetuals that are settled in USDT or BTC.

https://www.gate.com/docs/developers/futures/ws/en/
Sizes are contracts. Those settled in USD1, which began in August 2026, and futures that are
delivered have addresses of their own and are not read here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tickbus_schemas.exchanges import Exchange

from tickbus_ingest.exchanges import _gateio_wire as wire
from tickbus_ingest.exchanges._gateio import Act, Gateio
from tickbus_ingest.venue.contract import QUOTE, Get, Keepalive, Route, Units
from tickbus_ingest.venue.instruments import Instrument, Unread
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded, known

SETTLED = ("USDT", "BTC")
"""Each has a list of contracts and a WebSocket; the first also where no currency is known."""


class Venue(Gateio):
    """Trades, tickers and liquidations are arrays; one ticker tells statistics and funding."""

    exchange = Exchange.GATEIO_FUTURES
    docs = (
        "https://www.gate.com/docs/developers/futures/ws/en/",
        "https://www.gate.com/docs/developers/apiv4/en/",
        "https://www.gate.com/announcements/article/44946",
    )
    examples = ("BTC_USDT", "BTC_USD")
    units = (
        Units("contract of `quanto_multiplier` in the base currency", QUOTE, of="settled in USDT"),
        Units("contract of 1 unit of the quote currency", QUOTE, of="settled in BTC"),
    )
    market = "futures"
    carries: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "trades": ("trade",),
        "obu": ("l2",),
        "book_ticker": ("bbo",),
        "tickers": ("ticker", "derivative"),
        "public_liquidates": ("liquidation",),
    }
    websocket_urls = ("wss://fx-ws.gateio.ws",)
    feeds = ("trade", "l2", "bbo", "ticker", "derivative", "liquidation", "instrument")
    # https://www.gate.com/docs/developers/futures/ws/en/#ping-and-pong
    keepalive = Keepalive(b'{"channel":"futures.ping"}', 15.0)

    def acts(self) -> dict[str, tuple[Any, Act]]:
        return {
            "trades": (list[wire.Fill], self._trades),
            "obu": (wire.Book, self.book),
            "book_ticker": (wire.Quote, self.quote),
            "tickers": (list[wire.Contract] | wire.Contract, self._contracts),
            "public_liquidates": (list[wire.Liquidation], self._liquidations),
        }

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get(f"/api/v4/futures/{one.lower()}/contracts") for one in SETTLED]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return [
            one
            for body, settle in zip(bodies, SETTLED, strict=False)
            for one in wire.contracts(decoded(wire.ROWS, body), settle)
        ]

    def routes(self) -> list[Route]:
        streams = self.streams_by_channel(self.carries)
        routes = []
        for settle in SETTLED:
            mine = [one for one in streams if self._settled(one.ticker) == settle]
            routes += self.split(f"/v4/ws/{settle.lower()}", mine)
        return routes

    def _settled(self, ticker: str) -> str:
        settle = self.instruments[ticker].settle
        return settle if settle in SETTLED else SETTLED[0]

    # --------------------------------------------------------------- events

    def _trades(self, trades: list[wire.Fill], told: wire.Frame, rows: Rows) -> None:
        for one in trades:
            rows.trade(
                one.contract, wire.us_of(one.create_time_ms), one.id, one.taker, one.price,
                abs(one.size), one.flags, event_us=told.time_ms or 0,
            )  # fmt: skip
        if not trades:
            rows.ignored(told.channel)

    def _contracts(
        self, told_of: list[wire.Contract] | wire.Contract, told: wire.Frame, rows: Rows
    ) -> None:
        found = told_of if isinstance(told_of, list) else [told_of]
        for one in found:
            self._contract(one, one.t or told.time_ms or 0, rows)
        if not found:
            rows.ignored(told.channel)

    def _contract(self, one: wire.Contract, time_us: int, rows: Rows) -> None:
        """The rate in `funding_rate` is due at the next funding; the one after is estimated."""
        if "ticker" in self.wanted:
            rows.ticker(
                one.contract, time_us, last_price=known(one.last), high=known(one.high_24h),
                low=known(one.low_24h), volume=known(one.volume_24h),
                turnover=known(one.volume_24h_quote), price_change=known(one.change_price),
            )  # fmt: skip
        if "derivative" in self.wanted:
            rows.derivative(
                one.contract, time_us, last_price=known(one.last),
                mark_price=known(one.mark_price), index_price=known(one.index_price),
                funding_rate=known(one.funding_rate),
                predicted_funding_rate=known(one.funding_rate_indicative),
                next_funding_us=one.funding_next_apply * 1_000_000 or None,
                funding_interval_ms=one.funding_interval * 1000 or None,
                open_interest=known(one.total_size),
            )  # fmt: skip

    def _liquidations(self, orders: list[wire.Liquidation], told: wire.Frame, rows: Rows) -> None:
        """Up to a second's orders of one contract."""
        for one in orders:
            time_us = one.time_us or told.time_ms or 0
            rows.liquidation(one.contract, time_us, one.order_side, one.price, abs(one.size))
        if not orders:
            rows.ignored(told.channel)
