"""Bybit v5, options. https://bybit-exchange.github.io/docs/v5/ws/connect"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from tickbus_schemas.exchanges import Exchange

from tickbus_sim.dialect import Listing, Resource, Topic, compact
from tickbus_sim.dialects._bybit import BybitDialect, topic_frame, topic_of_name
from tickbus_sim.events import Derivative, Liquidation, Quote, Statistics, Trade

COINS = "/v5/market/option-base-coins"
TRADE = "publicTrade"


class Dialect(BybitDialect):
    """Trades are subscribed to by coin; the best quotes stand in the tickers."""

    exchange = Exchange.BYBIT_OPTION
    hosts = frozenset({"stream.bybit.com", "stream-testnet.bybit.com", "api.bybit.com"})
    paths = ("/v5/public/option", "/v5/market/")
    routes = ("/v5/public/option",)
    feeds: ClassVar[Mapping[str, str]] = {
        TRADE: "trade",
        "orderbook": "l2",
        "tickers": "bbo ticker derivative",
    }
    category = "option"
    depth = 100
    quotes_tell_day = True
    demo = ("BTC-25DEC26-90000-C-USDT", "BTC-25DEC26-90000-P-USDT", "BTC-25DEC26-85000-C")

    # ---------------------------------------------------------- connections

    def topic_of_name(self, name: str) -> Topic:
        """Trades of a coin are those of no single option."""
        topic = topic_of_name(name)
        return replace(topic, symbol="", channel=name) if topic.family == TRADE else topic

    def has(self, topic: Topic) -> bool:
        if topic.family == TRADE:
            coin = topic.channel.partition(".")[2]
            return bool(coin) and "-" not in coin
        return super().has(topic)

    def pong(self, mark: str | int) -> bytes:
        return compact({"args": ["1672916271846"], "op": "pong"})

    def answer(self, op: str, mark: str | int, known: list[str], unknown: list[str]) -> bytes:
        told = {"success": not unknown, "conn_id": "a1b2c3d4"}
        topics = {"failTopics": unknown, "successTopics": known}
        return compact(told | {"data": topics, "type": "COMMAND_RESP"})

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        if path == COINS:
            return Resource("instruments", COINS)
        found = super().resource(path, query, body)
        if found and found.kind == "instruments":
            return replace(found, symbol=query.get("baseCoin", ["BTC"])[0])
        return found

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        if resource.symbol != COINS:
            own = [one for one in listed if _coin(one.ticker) == resource.symbol]
            return super().write_instruments(own, now_ms, resource)
        rows: list[dict[str, Any]] = [
            {"baseCoin": coin, "quoteCoin": "USDT", "settleCoin": "USDT", "hasSymbol": 1}
            | {"optionShowName": f"{coin}-Options", "optionOnlineTime": 0, "underlyingType": 0}
            for coin in sorted({_coin(one.ticker) for one in listed})
        ]
        return compact(
            {"retCode": 0, "retMsg": "success", "result": {"list": rows}, "time": now_ms}
        )

    def row(self, listing: Listing) -> dict[str, Any]:
        """https://bybit-exchange.github.io/docs/v5/market/instrument"""
        parts = listing.ticker.split("-")
        settled = parts[4] if len(parts) > 4 else "USDC"
        row = super().row(listing) | {"baseCoin": parts[0], "quoteCoin": settled}
        for name in ("contractType", "priceScale", "fundingInterval"):
            del row[name]
        row |= {"optionsType": "Put" if parts[3:4] == ["P"] else "Call", "settleCoin": settled}
        return row | {"deliveryTime": _expiry(parts[1] if len(parts) > 1 else "")}

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        row = {"T": event.time_ms, "s": event.ticker, "S": "Sell" if event.sells else "Buy"}
        row |= {"v": event.qty, "p": event.price, "i": f"t{event.number}", "BT": False}
        return topic_frame(TRADE, _coin(event.ticker), "snapshot", event.time_ms, [row])

    def quote(self, event: Quote) -> bytes:
        assert event.day is not None
        return self.statistics(
            replace(event.day, time_ms=event.time_ms, bid=event.bid, ask=event.ask)
        )

    def statistics(self, event: Statistics) -> bytes:
        """The venue sends all of them in each frame; here marks come by themselves."""
        data = {"symbol": event.ticker, "lastPrice": event.last, "turnover24h": event.turnover}
        data |= {"highPrice24h": event.high, "lowPrice24h": event.low, "volume24h": event.volume}
        data |= {"bidPrice": event.bid[0], "bidSize": event.bid[1], "bidIv": "0.51"}
        data |= {"askPrice": event.ask[0], "askSize": event.ask[1], "askIv": "0.52"}
        return topic_frame("tickers", event.ticker, "snapshot", event.time_ms, data)

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        data = {"symbol": event.ticker, "markPrice": event.mark, "indexPrice": event.index}
        data |= {"openInterest": event.open_interest, "predictedDeliveryPrice": "0"}
        data |= {"underlyingPrice": event.index, "lastPrice": event.last, "markPriceIv": "0.515"}
        yield "tickers", topic_frame("tickers", event.ticker, "snapshot", event.time_ms, data)

    def liquidation(self, event: Liquidation) -> bytes:
        return b""


def _coin(ticker: str) -> str:
    return ticker.partition("-")[0]


def _expiry(date: str) -> str:
    """Milliseconds of an expiry such as `25DEC26`: 08:00 UTC that day."""
    try:
        at = datetime.strptime(date, "%d%b%y").replace(tzinfo=UTC, hour=8)
    except ValueError:
        return "0"
    return str(int(at.timestamp() * 1000))
