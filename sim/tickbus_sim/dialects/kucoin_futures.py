"""KuCoin Futures, classic API. https://www.kucoin.com/docs-new/3470082w0"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
from tickbus_schemas.exchanges import Exchange

from tickbus_sim.book import BookEvent, Levels, NaiveBook
from tickbus_sim.dialect import Listing, Resource, compact, decoding, parse
from tickbus_sim.dialects._kucoin import KucoinDialect, answer, frame_of, told
from tickbus_sim.events import Change, Derivative, Instrument, Quote, Statistics, Trade
from tickbus_sim.numbers import json_number

_CONTRACT = re.compile(r"/api/v1/contracts/([^/]+)")
_CHANGE = re.compile(r"(\d[\d.]{0,40}),(buy|sell),(\d[\d.]{0,40})", re.ASCII)
MULTIPLIER = "0.001"
FUNDING_MS = 28_800_000


class _Update(msgspec.Struct, gc=False):
    sequence: int
    change: str
    timestamp: int = 0


_update = decoding(msgspec.json.Decoder(_Update).decode)


class Dialect(KucoinDialect):
    """Each update is one level."""

    exchange = Exchange.KUCOIN_FUTURES
    hosts = frozenset({"ws-api-futures.kucoin.com", "api-futures.kucoin.com"})
    depths = {  # noqa: RUF012  # a constant of the family's ClassVar
        "/api/v1/level2/snapshot": 100_000,  # which is all
        "/api/v1/level2/depth20": 20,
        "/api/v1/level2/depth100": 100,
    }
    list_path = "/api/v1/contracts/active"
    book_weight = list_weight = 3
    paths = ("/endpoint", "/api/v1/bullet-public", "/api/v1/contracts/", *depths)
    feeds = {  # noqa: RUF012  # a constant of the contract's ClassVar
        "/contractMarket/execution": "trade",
        "/contractMarket/level2": "l2",
        "/contractMarket/tickerV2": "bbo",
        "/contractMarket/snapshot": "ticker",
        "/contract/instrument": "derivative",
    }
    others = ("/contractMarket/ticker", "/contract/announcement")
    book_family = "/contractMarket/level2"
    counts_updates = True
    one_level = True
    contract_size = MULTIPLIER
    id_keys = ("topic", "tradeId", "sequence", "ts", "timestamp")
    demo = ("XBTUSDTM", "ETHUSDM", "SOLUSDTM")
    streams_max = 100

    def instrument(self, ticker: str, listed: Instrument) -> Instrument:
        """Lots are whole."""
        return replace(listed, qty_decimals=0)

    # --------------------------------------------------------------- frames

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            frame = frame_of(text)
            update = _update(frame.data)
        except msgspec.MsgspecError:
            return None  # no frame of a book
        channel, _, symbol = frame.topic.partition(":")
        found = _CHANGE.fullmatch(update.change)
        if channel != self.book_family or found is None:
            return None
        price, side, qty = found.groups()
        # A change at price 0 only tells that the sequence went on.
        level = [(price, qty)] if price.strip("0.") else []
        bids, asks = (level, []) if side == "buy" else ([], level)
        number = update.sequence
        return BookEvent(symbol, bids, asks, number, number - 1, event_ms=update.timestamp)

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        contract = _CONTRACT.fullmatch(path)
        if contract and path != self.list_path:
            return Resource("contract", contract[1], weight=3)
        return super().resource(path, query, body)

    def read_body(self, text: bytes) -> BookEvent | None:
        try:
            book = parse(text)["data"]
            bids, asks = (
                [(_plain(level[0]), _plain(level[1])) for level in book[side] or ()]
                for side in ("bids", "asks")
            )
            ms, last_id = int(book["ts"]) // 1_000_000, int(book["sequence"])
            return BookEvent("", bids, asks, last_id, whole=True, event_ms=ms)
        except (msgspec.DecodeError, ArithmeticError, LookupError, TypeError, ValueError):
            return None

    def write_body(self, symbol: str, book: NaiveBook, levels: int) -> bytes:
        bids, asks = book.top(levels)
        data: dict[str, Any] = {"sequence": book.last_id, "symbol": symbol}
        data |= {"bids": _rows(bids), "asks": _rows(asks)}
        return answer(data | {"ts": book.event_ms * 1_000_000})

    def listed(self, listing: Listing) -> dict[str, Any]:
        """XBTUSDTM is linear, XBTUSDM inverse."""
        pair = listing.ticker.removesuffix("M")
        quote = "USDT" if pair.endswith("USDT") else "USD"
        base = pair.removesuffix(quote)
        inverse = quote == "USD"
        row: dict[str, Any] = {"symbol": listing.ticker, "type": "FFWCSX", "status": "Open"}
        row |= {"baseCurrency": base, "quoteCurrency": quote, "isInverse": inverse}
        row |= {"settleCurrency": base if inverse else quote, "expireDate": None}
        row |= {"tickSize": json_number(listing.tick), "lotSize": json_number(listing.lot)}
        return row | {"multiplier": -1.0 if inverse else json_number(MULTIPLIER)}

    def polled(self, kind: str, event: Derivative) -> bytes | None:
        if kind != "contract":
            return None
        data: dict[str, Any] = {"symbol": event.ticker, "status": "Open"}
        data |= {"openInterest": event.open_interest, "fundingRateGranularity": FUNDING_MS}
        data |= {"fundingFeeRate": json_number(event.funding_rate)}
        data |= {"nextFundingRateTime": event.next_funding_ms - event.time_ms}
        return answer(data | {"nextFundingRateDateTime": event.next_funding_ms})

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        data: dict[str, Any] = {"symbol": event.ticker, "sequence": 3 * event.number}
        data |= {"side": "sell" if event.sells else "buy", "size": json_number(event.qty)}
        data |= {"price": event.price, "tradeId": str(3 * event.number)}
        data |= {"ts": event.time_ms * 1_000_000}
        return told("/contractMarket/execution", event.ticker, "match", data)

    def change(self, event: Change) -> bytes:
        side = "buy" if event.bids else "sell"
        price, qty = (event.bids or event.asks)[0]
        data = {"sequence": event.last_id, "change": f"{price},{side},{qty}"}
        data |= {"timestamp": event.time_ms}
        return told("/contractMarket/level2", event.ticker, "level2", data)

    def quote(self, event: Quote) -> bytes:
        data: dict[str, Any] = {"symbol": event.ticker, "sequence": event.update_id}
        data |= {"bestBidPrice": event.bid[0], "bestBidSize": json_number(event.bid[1])}
        data |= {"bestAskPrice": event.ask[0], "bestAskSize": json_number(event.ask[1])}
        data |= {"ts": event.time_ms * 1_000_000}
        return told("/contractMarket/tickerV2", event.ticker, "tickerV2", data)

    def statistics(self, event: Statistics) -> bytes:
        """Volume and turnover are in coins, and in the settlement currency."""
        lots, price = Decimal(event.volume), Decimal(event.vwap)
        linear = event.ticker.endswith("USDTM")
        coins = lots * Decimal(MULTIPLIER) if linear else lots / price
        money = coins * price if linear else coins
        numbers = {"lastPrice": event.last, "highPrice": event.high, "lowPrice": event.low}
        numbers |= {"price24HoursBefore": event.open, "priceChg": event.change}
        numbers |= {"volume": f"{coins:.8f}", "turnover": f"{money:.8f}"}
        data: dict[str, Any] = {"symbol": event.ticker}
        data |= {name: json_number(text) for name, text in numbers.items()}
        data |= {"ts": event.time_ms * 1_000_000}
        return told("/contractMarket/snapshot", event.ticker, "snapshot.24h", data)

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        channel = "/contract/instrument"
        marks = {"markPrice": json_number(event.mark), "indexPrice": json_number(event.index)}
        data = marks | {"granularity": 1000, "timestamp": event.time_ms}
        yield channel, told(channel, event.ticker, "mark.index.price", data)
        rate: dict[str, Any] = {"granularity": 60000, "timestamp": event.time_ms}
        rate |= {"fundingRate": json_number(event.funding_rate)}
        frame = {"topic": f"{channel}:{event.ticker}", "subject": "funding.rate"}
        yield channel, compact(frame | {"data": rate})  # without a type, as in the documents


def _plain(number: Any) -> str:
    """A text as it is, a JSON number as updates write it. Errors: ArithmeticError, no number."""
    if isinstance(number, str):
        return number
    text = format(Decimal(str(number)[:60]), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _rows(levels: Levels) -> list[list[Any]]:
    return [[price, json_number(qty)] for price, qty in levels]
