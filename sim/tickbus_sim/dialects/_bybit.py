"""What Bybit's v5 markets share. https://bybit-exchange.github.io/docs/v5/ws/connect"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

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
)
from tickbus_sim.events import Change, Derivative, Liquidation, Quote, Statistics, Trade

ARGUMENTS_BYTES = 21_000
_FAMILIES = ("orderbook", "publicTrade", "tickers", "allLiquidation", "kline")


class _Request(msgspec.Struct, gc=False):
    op: str
    args: list[str] = []
    req_id: str | int = ""


class _Data(msgspec.Struct, gc=False):
    s: str
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]
    u: int
    seq: int = 0


class _Frame(msgspec.Struct, gc=False):
    topic: str
    type: str = "snapshot"
    ts: int = 0
    cts: int = 0
    data: msgspec.Raw = msgspec.Raw(b"null")


_request = decoding(msgspec.json.Decoder(_Request).decode)
_frame = decoding(msgspec.json.Decoder(_Frame).decode)
_data = decoding(msgspec.json.Decoder(_Data).decode)


def topic_of_name(name: str) -> Topic:
    """The topic of `orderbook.50.BTCUSDT`.

    Depths are one family but for depth 1, the best quotes; `orderbook.rpi` is another book.
    """
    family, _, rest = name.partition(".")
    if family == "orderbook":
        level, _, symbol = rest.partition(".")
        is_book = level.isdecimal() and level != "1"
        return Topic(symbol, family if is_book else f"{family}.{level}", f"{family}.{level}")
    if family == "kline":
        return Topic(rest.partition(".")[2], "kline", "kline")
    return Topic(rest, family, family)


class BybitDialect(contract.Dialect):
    """Books are pushed and count by one; the client sends a JSON ping."""

    feeds: ClassVar[Mapping[str, str]] = {
        "publicTrade": "trade",
        "orderbook": "l2",
        "orderbook.1": "bbo",
        "tickers": "ticker derivative",
        "allLiquidation": "liquidation",
    }
    path_decides = True
    book_family = "orderbook"
    books = Books.PUSHED
    depth = 50
    counts_updates = True
    id_keys = ("topic", "ts", "u", "seq", "i", "T")
    idle_s = 600.0
    demo = ("BTCDEMO", "ETHDEMO", "SOLDEMO")
    category: ClassVar[str]
    args_max: ClassVar[int] = 2**31

    # ---------------------------------------------------------- connections

    def refuses(self, answer: bytes) -> bool:
        return b'"success":false' in answer

    def request(self, line: Line, text: bytes) -> Reply:
        try:
            asked = _request(text)
        except msgspec.MsgspecError:
            return Reply((_answer("", "", success=False, text="Invalid request"),))
        op, args, mark = asked.op, asked.args, asked.req_id
        topics = {name: self.topic_of_name(name) for name in args}
        if op == "ping":
            return Reply((self.pong(mark),))
        if op not in ("subscribe", "unsubscribe"):
            return Reply((_answer(op, mark, success=False, text=f"unknown operation {op}"),))
        if len(args) > self.args_max or len(text) > ARGUMENTS_BYTES:
            return Reply((_answer(op, mark, success=False, text="args size >10"),))
        unknown = [name for name, one in topics.items() if not self.has(one)]
        known = [name for name in topics if name not in unknown]
        for name in known:
            if op == "subscribe":
                line.streams[name] = topics[name]
            else:
                line.streams.pop(name, None)
        return Reply((self.answer(op, mark, known, unknown),))

    def topic_of_name(self, name: str) -> Topic:
        """What a client or a frame calls a topic."""
        return topic_of_name(name)

    def has(self, topic: Topic) -> bool:
        """Whether a client may subscribe to it."""
        return bool(topic.symbol) and topic.family in (*self.feeds, "kline")

    def pong(self, mark: str | int) -> bytes:
        """The answer to a ping."""
        return _answer("ping", mark, text="pong")

    def answer(self, op: str, mark: str | int, known: list[str], unknown: list[str]) -> bytes:
        """The answer to a subscription or its end: topics that exist, and that do not."""
        if not unknown:
            return _answer(op, mark)
        shown = f"Invalid topic :[{','.join(unknown)}] error:handler not found"
        return _answer(op, mark, success=False, text=shown)

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        try:
            return self.topic_of_name(_frame(text).topic)
        except msgspec.MsgspecError:
            return CONTROL if b'"op"' in text or b'"success"' in text else None

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            frame = _frame(text)
            data = _data(frame.data)
        except msgspec.MsgspecError:
            return None
        whole = frame.type == "snapshot" or data.u == 1
        return BookEvent(
            data.s, data.b, data.a, data.u, data.u - 1, whole=whole, event_ms=frame.ts,
            engine_ms=frame.cts, depth=_level(frame.topic) if whole else 0,
        )  # fmt: skip

    def write_book(self, symbol: str, book: NaiveBook) -> bytes:
        bids, asks = book.top(book.depth)
        last, level = book.last_id, book.depth or self.depth
        return _book(
            symbol, "snapshot", bids, asks, last, last, book.event_ms, book.engine_ms, level
        )

    # ----------------------------------------------------------------- REST

    def owns(self, path: str, query: Mapping[str, list[str]]) -> bool:
        """REST paths are the same on every market: the category tells."""
        return super().owns(path, query) and query.get("category", [self.category])[0] == (
            self.category
        )

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        if not path.startswith("/v5/market/"):
            return None
        category, symbol = (query.get(name, [""])[0] for name in ("category", "symbol"))
        if category != self.category:
            raise BadRequest(compact({"retCode": 10001, "retMsg": "params error: category"}))
        if path == "/v5/market/instruments-info":
            return Resource("instruments")
        if path == "/v5/market/orderbook":
            try:
                return Resource("book", symbol, count(query.get("limit", [""])[0], 25))
            except ValueError:
                body = compact({"retCode": 10001, "retMsg": "params error: limit"})
                raise BadRequest(body, 200) from None
        return Resource(path.rpartition("/")[2], symbol)

    def write_body(self, symbol: str, book: NaiveBook, levels: int) -> bytes:
        bids, asks = book.top(levels)
        result = {"s": symbol, "b": bids, "a": asks, "ts": book.event_ms, "u": book.last_id}
        return compact({"retCode": 0, "retMsg": "OK", "result": result, "time": book.event_ms})

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        result = {"category": self.category, "list": [self.row(one) for one in listed]}
        result |= {"nextPageCursor": ""}
        return compact({"retCode": 0, "retMsg": "OK", "result": result, "time": now_ms})

    def row(self, listing: Listing) -> dict[str, Any]:
        """One instrument of instruments-info."""
        quote = next((q for q in ("USDT", "USDC", "DEMO", "USD") if listing.ticker.endswith(q)), "")
        return {
            "symbol": listing.ticker,
            "contractType": "LinearPerpetual",
            "status": "Trading",
            "baseCoin": listing.ticker.removesuffix(quote),
            "quoteCoin": quote,
            "settleCoin": quote,
            "launchTime": "0",
            "deliveryTime": "0",
            "priceScale": str(listing.price_decimals),
            "priceFilter": {"minPrice": listing.tick, "tickSize": listing.tick},
            "lotSizeFilter": {"minOrderQty": listing.lot, "qtyStep": listing.lot},
            "fundingInterval": 480,
        }

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        row = {"T": event.time_ms, "s": event.ticker, "S": "Sell" if event.sells else "Buy"}
        row |= {"v": event.qty, "p": event.price, "L": "PlusTick", "i": f"t{event.number}"}
        data = [row | {"BT": False, "RPI": False, "seq": event.number}]
        return topic_frame("publicTrade", event.ticker, "snapshot", event.time_ms, data)

    def change(self, event: Change) -> bytes:
        return _book(
            event.ticker, "delta", event.bids, event.asks, event.last_id, event.last_id,
            event.time_ms, event.engine_ms,
        )  # fmt: skip

    def quote(self, event: Quote) -> bytes:
        number, ms = event.update_id, event.time_ms
        return _book(event.ticker, "snapshot", [event.bid], [event.ask], number, number, ms, ms, 1)

    def statistics(self, event: Statistics) -> bytes:
        data = {"symbol": event.ticker, "lastPrice": event.last, "prevPrice24h": event.open}
        data |= {"highPrice24h": event.high, "lowPrice24h": event.low}
        data |= {"turnover24h": event.turnover, "volume24h": event.volume}
        data |= {"bid1Price": event.bid[0], "bid1Size": event.bid[1]}
        data |= {"ask1Price": event.ask[0], "ask1Size": event.ask[1]}
        return topic_frame("tickers", event.ticker, "snapshot", event.time_ms, data)

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        data = {"symbol": event.ticker, "markPrice": event.mark, "indexPrice": event.index}
        data |= {"openInterest": event.open_interest, "fundingIntervalHour": "8"}
        data |= {"openInterestValue": event.open_interest_value}
        data |= {"fundingRate": event.funding_rate, "nextFundingTime": str(event.next_funding_ms)}
        yield "tickers", topic_frame("tickers", event.ticker, "delta", event.time_ms, data)

    def liquidation(self, event: Liquidation) -> bytes:
        # S is the side of the position: a long one is closed by a sale
        row = {"T": event.time_ms, "s": event.ticker, "S": "Buy" if event.sells else "Sell"}
        row |= {"v": event.qty, "p": event.price}
        return topic_frame("allLiquidation", event.ticker, "snapshot", event.time_ms, [row])


def _level(topic: str) -> int:
    """Levels a side of `orderbook.50.BTCUSDT`."""
    level = topic.split(".")[1:2]
    return int(level[0]) if level and level[0].isdecimal() and len(level[0]) < 6 else 0


def topic_frame(family: str, symbol: str, kind: str, ms: int, data: Any) -> bytes:
    """A frame with data of a topic."""
    return compact({"topic": f"{family}.{symbol}", "type": kind, "ts": ms, "data": data})


def _book(
    symbol: str, kind: str, bids: Levels, asks: Levels, number: int, seq: int, ms: int,
    engine_ms: int = 0, level: int = 50,
) -> bytes:  # fmt: skip
    data = {"s": symbol, "b": bids, "a": asks, "u": number, "seq": seq}
    frame = {"topic": f"orderbook.{level}.{symbol}", "type": kind, "ts": ms, "data": data}
    return compact(frame | {"cts": engine_ms or ms})


def _answer(op: str, mark: str | int, *, success: bool = True, text: str = "") -> bytes:
    answer = {"success": success, "ret_msg": text, "conn_id": "a1b2c3d4", "req_id": mark}
    return compact(answer | {"op": op})
