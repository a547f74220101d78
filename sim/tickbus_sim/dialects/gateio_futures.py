"""Gate's perpetuals. https://www.gate.com/docs/developers/futures/ws/en/"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar

from tickbus_schemas.exchanges import Exchange

from tickbus_sim.dialect import Line, Listing, Resource, Topic, compact
from tickbus_sim.dialects._gateio import BOOK, GateioDialect
from tickbus_sim.events import Derivative, Instrument, Liquidation, Trade

USDT, BTC = "/v4/ws/usdt", "/v4/ws/btc"
_TICKERS = "tickers"
_LIQUIDATIONS = "public_liquidates"


class Dialect(GateioDialect):
    """Sizes are contracts, signed where they tell a side; one ticker tells all."""

    exchange = Exchange.GATEIO_FUTURES
    hosts = frozenset({"fx-ws.gateio.ws", "api.gateio.ws"})
    paths = (USDT, BTC, "/api/v4/futures/")
    routes = (USDT, BTC)
    path_decides = True
    feeds: ClassVar[Mapping[str, str]] = {
        "trades": "trade",
        BOOK: "l2",
        "book_ticker": "bbo",
        _TICKERS: "ticker derivative",
        _LIQUIDATIONS: "liquidation",
    }
    market = "futures"
    marks_tell_day = True
    contract_size = "0.0001"
    demo = ("BTC_USDT", "ETH_USDT", "SOL_USDT")

    def topics(self, line: Line) -> frozenset[Topic]:
        return frozenset(
            one for one in line.streams.values() if line.route.endswith(_settle(one.symbol))
        )

    def instrument(self, ticker: str, listed: Instrument) -> Instrument:
        """Contracts are whole."""
        return replace(listed, qty_decimals=0)

    def resource_of(self, name: str, query: Mapping[str, list[str]]) -> Resource | None:
        settle, _, rest = name.partition("/")
        return Resource("instruments", settle) if rest == "contracts" else None

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        mine = [one for one in listed if _settle(one.ticker) == resource.symbol]
        return compact([_contract(one) for one in mine])

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        ms = event.time_ms
        row: dict[str, Any] = {"id": event.number, "create_time": ms // 1000}
        row |= {"create_time_ms": ms, "price": event.price, "contract": event.ticker}
        return self.told("trades", ms, [row | {"size": _signed(event.qty, event.sells)}])

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        day = event.day
        assert day is not None
        row: dict[str, Any] = {"contract": event.ticker, "last": event.last}
        row |= {"change_percentage": day.percent, "change_price": day.change}
        row |= {"total_size": event.open_interest, "low_24h": day.low, "high_24h": day.high}
        row |= {"volume_24h": day.volume, "volume_24h_quote": day.turnover}
        row |= {"mark_price": event.mark, "index_price": event.index, "quanto_base_rate": ""}
        row |= {"funding_rate": event.funding_rate, "funding_interval": 28800}
        row |= {"funding_rate_indicative": event.funding_rate, "t": event.time_ms}
        row |= {"funding_next_apply": event.next_funding_ms // 1000}
        yield _TICKERS, self.told(_TICKERS, event.time_ms, [row])

    def liquidation(self, event: Liquidation) -> bytes:
        row: dict[str, Any] = {"price": event.price, "size": _signed(event.qty, event.sells)}
        row |= {"time": event.time_ms, "contract": event.ticker}
        return self.told(_LIQUIDATIONS, event.time_ms, [row])


def _settle(ticker: str) -> str:
    """Contracts of a quote in USD are settled in the coin."""
    return "btc" if ticker.endswith("_USD") else "usdt"


def _signed(qty: str, sells: bool) -> str:
    return f"-{qty}" if sells and Decimal(qty) else qty


def _contract(listing: Listing) -> dict[str, Any]:
    row: dict[str, Any] = {"name": listing.ticker, "status": "trading", "in_delisting": False}
    row |= {"type": "inverse" if _settle(listing.ticker) == "btc" else "direct"}
    row |= {"quanto_multiplier": listing.contract_size or "0", "order_size_min": 1}
    row |= {"order_price_round": listing.tick, "mark_price_round": listing.tick}
    return row | {"funding_interval": 28800, "enable_decimal": False}
