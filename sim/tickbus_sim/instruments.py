"""The venue's instrument list: stated by the synthetic market, inferred from a capture's texts.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-endpoints
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from tickbus_schemas.exchanges import Exchange

from tickbus_sim.capture import Capture
from tickbus_sim.dialect import Dialect

_QUOTES = (
    "USDT",
    "USDC",
    "FDUSD",
    "TUSD",
    "BUSD",
    "USD",
    "DEMO",
    "BTC",
    "ETH",
    "BNB",
    "EUR",
    "TRY",
)
_SAMPLE = 2_000  # frames a topic that prices and quantities are looked up in
_LEVEL = re.compile(rb'\["(\d+\.?\d*)","(\d+\.?\d*)"')
_FIELD_PRICE = re.compile(rb'"[pba]":"(\d+\.?\d*)"')
_FIELD_QTY = re.compile(rb'"[qBA]":"(\d+\.?\d*)"')


@dataclass(frozen=True)
class Listing:
    """One ticker with its steps, as decimals after the point."""

    ticker: str
    price_decimals: int
    qty_decimals: int


def listings(capture: Capture) -> list[Listing]:
    """Every ticker of a capture with the finest price and quantity seen in a sample of it."""
    steps = {ticker: [0, 0] for ticker in capture.tickers}
    left = [_SAMPLE] * len(capture.topics)
    for text, topic_id in zip(capture.texts, capture.topic_ids, strict=True):
        ticker = capture.topics[topic_id].ticker
        if ticker and left[topic_id]:
            left[topic_id] -= 1
            _refine(steps[ticker], text)
    for body in capture.bodies:
        if body.ticker and body.resource == "depth":
            _refine(steps[body.ticker], body.text)
    return [Listing(ticker, price, qty) for ticker, (price, qty) in steps.items()]


def _refine(step: list[int], text: bytes) -> None:
    levels = _LEVEL.findall(text)
    prices = [price for price, _ in levels] or _FIELD_PRICE.findall(text)
    qtys = [qty for _, qty in levels] or _FIELD_QTY.findall(text)
    step[0] = max(step[0], _decimals(prices))
    step[1] = max(step[1], _decimals(qtys))


def _decimals(texts: Iterable[bytes]) -> int:
    """Most digits after the point that are not just padding."""
    return max((len(text.partition(b".")[2].rstrip(b"0")) for text in texts), default=0)


def exchange_info(dialect: Dialect, listed: Iterable[Listing], now_ms: int) -> bytes:
    """The body of exchangeInfo: all tickers trading."""
    body = {"timezone": "UTC", "serverTime": now_ms, "rateLimits": [], "exchangeFilters": []}
    return msgspec.json.encode(body | {"symbols": [_symbol(dialect, one) for one in listed]})


def _symbol(dialect: Dialect, listing: Listing) -> dict[str, object]:
    base, quote = _split(listing.ticker)
    symbol: dict[str, object] = {
        "symbol": listing.ticker,
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": quote,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": _step(listing.price_decimals),
                "maxPrice": "1000000000",
                "tickSize": _step(listing.price_decimals),
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": _step(listing.qty_decimals),
                "maxQty": "1000000000",
                "stepSize": _step(listing.qty_decimals),
            },
        ],
    }
    if dialect.exchange is Exchange.BINANCE_USDM:
        symbol |= {
            "pair": listing.ticker.partition("_")[0],
            "contractType": "CURRENT_QUARTER" if "_" in listing.ticker else "PERPETUAL",
            "marginAsset": quote,
            "pricePrecision": listing.price_decimals,
            "quantityPrecision": listing.qty_decimals,
        }
    return symbol


def _split(ticker: str) -> tuple[str, str]:
    pair = ticker.partition("_")[0]
    quote = next((q for q in _QUOTES if pair.endswith(q) and len(pair) > len(q)), "")
    return pair.removesuffix(quote) if quote else pair, quote


def _step(decimals: int) -> str:
    return "1" if decimals == 0 else f"0.{'0' * (decimals - 1)}1"
