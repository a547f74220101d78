"""MEXC spot v3. https://www.mexc.com/api-docs/spot-v3/websocket-market-streams"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from tickbus_schemas.exchanges import Exchange

from tickbus_sim import dialect as contract
from tickbus_sim.book import BookEvent, Levels, NaiveBook
from tickbus_sim.dialect import (
    CONTROL,
    BadRequest,
    Books,
    Line,
    Listing,
    Reply,
    Resource,
    Topic,
    compact,
    count,
    decoding,
    parse,
)
from tickbus_sim.dialects._protobuf import Fields, Value, read, text_of, written
from tickbus_sim.events import Change, Quote, Statistics, Trade

ROUTE = "/ws"
DEALS, DEPTH, QUOTE, DAY = "aggre.deals", "aggre.depth", "aggre.bookTicker", "miniTicker"
_KINDS = {DEALS: 314, DEPTH: 313, QUOTE: 315, DAY: 309}
"""Channel -> the field of a push that holds its data."""
_SPEEDS = ("10ms", "100ms")
QUOTES = ("USDT", "USDC", "USDE", "BTC", "ETH", "MX")


class _Request(msgspec.Struct, gc=False):
    method: str
    params: list[str] = []


_request = decoding(msgspec.json.Decoder(_Request).decode)


class Dialect(contract.Dialect):
    """Requests and answers are JSON, data is binary; books are pulled and joined by versions."""

    exchange = Exchange.MEXC
    hosts = frozenset({"wbs-api.mexc.com", "api.mexc.com"})
    routes = (ROUTE,)
    feeds: ClassVar[Mapping[str, str]] = {
        DEALS: "trade",
        DEPTH: "l2",
        QUOTE: "bbo",
        DAY: "ticker",
    }
    book_family = DEPTH
    books = Books.PULLED
    keeps_zeros = True
    demo = ("BTCUSDT", "ETHUSDT", "SOLUSDC")
    idle_s = 60.0
    streams_max = 30

    # ---------------------------------------------------------- connections

    def refuses(self, answer: bytes) -> bool:
        return b'"code":0' not in answer or b"Not Subscribed" in answer

    def request(self, line: Line, text: bytes) -> Reply:
        try:
            asked = _request(text)
        except msgspec.MsgspecError:
            return _answer("msg format invalid", 1)
        if asked.method == "PING":
            return _answer("PONG")
        names = ",".join(asked.params)
        if asked.method not in ("SUBSCRIPTION", "UNSUBSCRIPTION"):
            return _answer("unknown method", 1)
        topics = {name: _topic(name) for name in asked.params}
        if not topics or not all(one.family in self.feeds for one in topics.values()):
            return _answer(f"Not Subscribed successfully! [{names}].  Reason： Blocked! ")
        if asked.method == "UNSUBSCRIPTION":
            for name in topics:
                line.streams.pop(name, None)
        elif len({**line.streams, **topics}) > self.streams_max:
            return _answer(f"Not Subscribed successfully! [{names}].  Reason： Too many! ")
        else:
            line.streams |= topics
        return _answer(names)

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        if text[:1] == b"{":
            try:
                return CONTROL if "msg" in parse(text) else None
            except msgspec.MsgspecError:
                return None
        try:
            push = read(text)
            topic = _topic(text_of(push, 1))
        except ValueError:
            return None
        return topic if topic.symbol and _KINDS.get(topic.family) in push else None

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            push = read(text)
            topic, body = _topic(text_of(push, 1)), _body(push, DEPTH)
            bids, asks = (_levels(body, number) for number in (2, 1))
            first, last = int(text_of(body, 4)), int(text_of(body, 5))
            ms = int(push[6][-1])
        except (ValueError, LookupError):
            return None  # no message, or none that changes a book
        if topic.family != DEPTH:
            return None
        return BookEvent(topic.symbol, bids, asks, last, first - 1, event_ms=ms)

    def identity(self, text: bytes) -> dict[str, Any]:
        try:
            push = read(text)
            family = _topic(text_of(push, 1)).family
            found: dict[str, Any] = {"channel": text_of(push, 1)}
            body = _body(push, family)
            if family == DEPTH:
                found |= {"fromVersion": text_of(body, 4), "toVersion": text_of(body, 5)}
            if family == DEALS:
                found["tradeId"] = text_of(read(bytes(body[1][0])), 5)
            return found
        except (ValueError, LookupError, TypeError):
            return {}

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        name = path.removeprefix("/api/v3/")
        symbol = query.get("symbol", [""])[0]
        if name == path:
            return None
        if name == "exchangeInfo":
            return Resource("instruments", weight=10)
        if name != "depth":
            return Resource(name, symbol)
        try:
            return Resource("book", symbol, count(query.get("limit", [""])[0], 100))
        except ValueError:
            raise BadRequest(_refused(-1121, "Invalid limit.")) from None

    def read_body(self, text: bytes) -> BookEvent | None:
        try:
            book = parse(text)
            bids, asks = ([(one[0], one[1]) for one in book[side]] for side in ("bids", "asks"))
            last_id, ms = int(book["lastUpdateId"]), int(book.get("timestamp", 0))
            return BookEvent("", bids, asks, last_id, whole=True, event_ms=ms)
        except (msgspec.DecodeError, AttributeError, LookupError, TypeError, ValueError):
            return None

    def write_body(self, symbol: str, book: NaiveBook, levels: int) -> bytes:
        bids, asks = book.top(levels)
        told = {"lastUpdateId": book.last_id, "bids": bids, "asks": asks}
        return compact(told | {"timestamp": book.event_ms})

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        rows = [_instrument(one) for one in listed]
        return compact({"timezone": "CST", "serverTime": now_ms, "symbols": rows})

    def no_book(self) -> BadRequest:
        return BadRequest(_refused(-1, "no book is known here"), 503)

    def no_symbol(self) -> BadRequest:
        return BadRequest(_refused(-1121, "Invalid symbol."))

    def no_path(self) -> BadRequest:
        return BadRequest(_refused(404, "Not Found"), 404)

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        deal: list[tuple[int, Value]] = [(1, event.price), (2, event.qty)]
        deal += [(3, 2 if event.sells else 1), (4, event.time_ms), (5, f"{event.number}X1")]
        channel = "spot@public.aggre.deals.v3.api.pb@100ms"
        return _push(event.ticker, DEALS, event.time_ms, [(1, written(deal)), (2, channel)])

    def change(self, event: Change) -> bytes:
        body: list[tuple[int, Value]] = []
        for number, side in ((1, event.asks), (2, event.bids)):
            body += [(number, written([(1, price), (2, qty)])) for price, qty in side]
        body += [(3, "spot@public.aggre.depth.v3.api.pb@100ms")]
        body += [(4, str(event.prev_id + 1)), (5, str(event.last_id))]
        return _push(event.ticker, DEPTH, event.time_ms, body)

    def quote(self, event: Quote) -> bytes:
        texts = (*event.bid, *event.ask, str(event.update_id))
        return _push(event.ticker, QUOTE, event.time_ms, [*enumerate(texts, 1)])

    def statistics(self, event: Statistics) -> bytes:
        body: list[tuple[int, Value]] = [(1, event.ticker), (2, event.last), (3, "0.01")]
        body += [(4, "0.01"), (5, event.high), (6, event.low)]
        body += [(7, event.turnover), (8, event.volume)]
        return _push(event.ticker, DAY, event.time_ms, body)


def _topic(name: str) -> Topic:
    """Of `spot@public.aggre.depth.v3.api.pb@100ms@BTCUSDT`; speeds of a channel are one family."""
    market, _, rest = name.partition("@")
    parts = rest.split("@")
    family = parts[0].removeprefix("public.").removesuffix(".v3.api.pb")
    if market != "spot" or len(parts) != 3 or family not in _KINDS:
        return Topic("", "", name)
    is_day = family == DAY
    if not is_day and parts[1] not in _SPEEDS:
        return Topic("", "", name)
    return Topic(parts[1] if is_day else parts[2], family, name)


def _push(symbol: str, family: str, ms: int, body: Sequence[tuple[int, Value]]) -> bytes:
    name = f"spot@public.{family}.v3.api.pb"
    channel = f"{name}@{symbol}@24H" if family == DAY else f"{name}@100ms@{symbol}"
    return written([(1, channel), (3, symbol), (6, ms), (_KINDS[family], written(body))])


def _body(push: Fields, family: str) -> Fields:
    """The data of a push. Errors: LookupError or ValueError where it has none of that kind."""
    value = push[_KINDS[family]][-1]
    if isinstance(value, int):
        raise ValueError("data that is no message")
    return read(value)


def _levels(body: Fields, number: int) -> Levels:
    levels = []
    for value in body.get(number, []):
        if isinstance(value, int):
            raise ValueError("a level that is no message")
        level = read(value)
        if not {1, 2} <= level.keys():
            raise ValueError("a level without a price or a size")
        levels.append((text_of(level, 1), text_of(level, 2)))
    return levels


def _answer(message: str, code: int = 0) -> Reply:
    return Reply((compact({"id": 0, "code": code, "msg": message}),))


def _refused(code: int, message: str) -> bytes:
    return compact({"code": code, "msg": message})


def _instrument(listing: Listing) -> dict[str, Any]:
    symbol = listing.ticker
    quote = next((one for one in QUOTES if symbol.endswith(one) and symbol != one), symbol[-3:])
    row: dict[str, Any] = {"symbol": symbol, "status": "1", "quoteAsset": quote}
    row |= {"baseAsset": symbol.removesuffix(quote), "baseAssetPrecision": listing.qty_decimals}
    row |= {"quotePrecision": listing.price_decimals, "baseSizePrecision": listing.lot}
    return row | {"isSpotTradingAllowed": True, "permissions": ["SPOT"]}
