"""What Binance's markets share: streams, requests, depth frames and bodies.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar
from urllib.parse import unquote

import msgspec

from tickbus_sim import dialect as contract
from tickbus_sim.book import BookEvent, NaiveBook
from tickbus_sim.dialect import (
    BadRequest,
    Books,
    Line,
    Listing,
    Refusal,
    Reply,
    Resource,
    Topic,
    compact,
    decoding,
    parse,
)
from tickbus_sim.events import Change, Derivative, Liquidation, Quote, Statistics, Trade

METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_MS_MAX = 10**14
"""A time in ms is below it for some thousand years, one in us above it since 1973."""
_QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD", "DEMO", "BTC", "ETH", "BNB", "EUR")
_FAMILY_OF = {
    "trade": "trade", "aggTrade": "aggTrade", "depthUpdate": "depth", "bookTicker": "bookTicker",
    "24hrTicker": "ticker", "24hrMiniTicker": "miniTicker", "markPriceUpdate": "markPrice",
    "forceOrder": "forceOrder", "kline": "kline",
}  # fmt: skip


class _Envelope(msgspec.Struct, gc=False):
    stream: str
    data: msgspec.Raw


class _Order(msgspec.Struct, gc=False):
    s: str = ""


class _Bare(msgspec.Struct, gc=False):
    """An event without its envelope; Spot's quotes name no event, a liquidation is an order."""

    s: str = ""
    o: _Order | str = ""
    e: str = ""
    u: int = 0
    big_u: int = msgspec.field(name="U", default=0)


class _Depth(msgspec.Struct, gc=False):
    s: str
    first_id: int = msgspec.field(name="U")
    last_id: int = msgspec.field(name="u")
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]
    E: int = 0
    T: int = 0
    pu: int | None = None


class _DepthFrame(msgspec.Struct, gc=False):
    data: _Depth


class _Body(msgspec.Struct, gc=False):
    last_id: int = msgspec.field(name="lastUpdateId")
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]
    E: int = 0
    T: int = 0


_envelope = decoding(msgspec.json.Decoder(_Envelope).decode)
_bare = decoding(msgspec.json.Decoder(_Bare | list[_Bare]).decode)
_depth_frame = decoding(msgspec.json.Decoder(_DepthFrame).decode)
_depth = decoding(msgspec.json.Decoder(_Depth).decode)
_body = decoding(msgspec.json.Decoder(_Body).decode)


@lru_cache(maxsize=65_536)
def topic_of_stream(stream: str) -> Topic:
    """The topic of a stream name such as `btcusdt@depth@100ms`."""
    symbol, at, channel = stream.partition("@")
    if not at or symbol.startswith("!"):
        return Topic("", stream, stream)
    return Topic(symbol.upper(), channel.partition("@")[0], channel)


class BinanceDialect(contract.Dialect):
    """A Binance market; its file says what differs."""

    feeds: ClassVar[Mapping[str, str]] = {
        "trade": "trade",
        "aggTrade": "trade:aggregate",
        "depth": "l2",
        "bookTicker": "bbo",
        "ticker": "ticker",
    }
    book_family = "depth"
    books = Books.PULLED
    id_keys = ("stream", "U", "u", "pu", "t", "a", "E")
    weight_header = "X-MBX-USED-WEIGHT-1M"
    streams_max = 1024
    is_futures: ClassVar[bool]
    rest_root: ClassVar[str]
    depth_limits: ClassVar[tuple[int, ...]] = ()  # the only ones allowed; empty: any up to the max
    depth_limit_default: ClassVar[int]
    depth_limit_max: ClassVar[int]
    depth_weights: ClassVar[tuple[tuple[int, int], ...]]  # (largest limit, weight)

    # ---------------------------------------------------------- connections

    def open(self, path: str, query: Mapping[str, list[str]]) -> Line | Refusal:
        """`/ws` gives bare events, `/stream` events in an envelope; the URL may name streams."""
        for route in self.routes:
            mode, _, names = path.removeprefix(route).strip("/").partition("/")
            if path.startswith(f"{route}/") and mode in ("ws", "stream"):
                break
        else:
            return Refusal(self._wrong_path(path))
        listed = [names, *query.get("streams", [])]
        streams = [name for part in listed for name in unquote(part).split("/") if name]
        wrong = [name for name in streams if not _is_stream(name)]
        if wrong:
            return Refusal(f"invalid stream {wrong[0][:40]}")
        line = Line(route, streams={name: topic_of_stream(name) for name in streams})
        line.memory["combined"] = mode == "stream"
        return line

    def _wrong_path(self, path: str) -> str:
        known = ", ".join(f"{route}/{mode}" for route in self.routes for mode in ("ws", "stream"))
        if path.strip("/").partition("/")[0] in ("ws", "stream"):
            return f"unrouted URLs were retired on 2026-04-23: use {known}"
        return f"no such path: use {known}"

    def request(self, line: Line, text: bytes) -> Reply:
        try:
            parsed = parse(text)
        except msgspec.DecodeError as error:
            return _error(3, f"Invalid JSON: {error}", None)
        if not isinstance(parsed, dict):
            return _error(2, "Invalid request: expected an object", None)
        request_id = parsed.get("id")
        if not _is_request_id(request_id):
            return _error(2, "Invalid request: request ID must be an unsigned integer", None)
        method = parsed.get("method")
        if method not in METHODS:
            expected = ", ".join(f"`{known}`" for known in METHODS)
            shown = f"Invalid request: unknown variant `{method}`, expected one of {expected}"
            return _error(2, shown, request_id)
        return self._carry_out(line, str(method), parsed.get("params", []), request_id)

    def _carry_out(self, line: Line, method: str, params: Any, request_id: Any) -> Reply:
        if not isinstance(params, list):
            return _error(2, "Invalid request: params must be an array", request_id)
        if method == "LIST_SUBSCRIPTIONS":
            return _result(list(line.streams), request_id)
        if method.endswith("_PROPERTY"):
            return _property(line, method, params, request_id)
        wrong = [name for name in params if not _is_stream(name)]
        if wrong or not params:
            return _error(2, "Invalid request: invalid stream", request_id)
        if method == "UNSUBSCRIBE":
            for name in params:
                line.streams.pop(name, None)
        else:
            added = {name: topic_of_stream(name) for name in params}
            if len(line.streams | added) > self.streams_max:
                return _error(2, "Invalid request: too many subscriptions", request_id)
            line.streams |= added
        return _result(None, request_id)

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        try:
            return topic_of_stream(_envelope(text).stream)
        except msgspec.MsgspecError:
            return self._bare_topic(text)

    def _bare_topic(self, text: bytes) -> Topic | None:
        try:
            event = _bare(text)
        except msgspec.MsgspecError:
            return contract.CONTROL if _is_answer(text) else None
        if isinstance(event, list):
            # One of the streams of the whole market: they send arrays.
            name = f"!{_FAMILY_OF.get(event[0].e, event[0].e)}@arr" if event else ""
            return Topic("", name, name) if name else None
        symbol = event.s or (event.o.s if isinstance(event.o, _Order) else "")
        if symbol and event.e:
            family = _FAMILY_OF.get(event.e, event.e)
            return Topic(symbol, family, family)
        if event.s and event.u:
            return Topic(event.s, "bookTicker", "bookTicker")
        return contract.CONTROL if _is_answer(text) else None

    def on_wire(self, line: Line, text: bytes, topic: Topic) -> bytes:
        """Take an event out of its envelope, or put it into one, as the connection wants it."""
        if line.memory["combined"] and text.startswith(b'{"stream":'):
            return text
        try:
            envelope = _envelope(text)
        except msgspec.MsgspecError:
            is_event = topic.symbol and self._bare_topic(text) is not None
            if not line.memory["combined"] or not is_event:
                return text  # damaged ones stay as they are
            stream = f"{topic.symbol.lower()}@{topic.channel}"
            return b'{"stream":"%b","data":%b}' % (stream.encode(), text)
        return text if line.memory["combined"] else bytes(envelope.data)

    def read_book(self, text: bytes) -> BookEvent | None:
        try:
            event = _depth_frame(text).data
        except msgspec.MsgspecError:
            try:
                event = _depth(text)
            except msgspec.MsgspecError:
                return None
        prev = event.first_id - 1 if event.pu is None else event.pu
        return BookEvent(
            event.s, event.b, event.a, event.last_id, prev, event_ms=_ms(event.E),
            engine_ms=_ms(event.T),
        )  # fmt: skip

    def read_body(self, text: bytes) -> BookEvent | None:
        try:
            body = _body(text)
        except msgspec.MsgspecError:
            return None
        return BookEvent(
            "", body.bids, body.asks, body.last_id, whole=True, event_ms=_ms(body.E),
            engine_ms=_ms(body.T),
        )  # fmt: skip

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        name = path.removeprefix(self.rest_root).strip("/")
        symbol = query.get("symbol", [""])[0]
        if not path.startswith(self.rest_root):
            return None
        if name == "exchangeInfo":
            return Resource("instruments", weight=20)
        if name != "depth":
            return Resource(name, symbol)
        if not symbol:
            shown = "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."
            raise _bad(-1102, shown)
        limit = self._depth_limit(query.get("limit", [""])[0])
        weight = next(weight for largest, weight in self.depth_weights if limit <= largest)
        return Resource("book", symbol, limit, weight)

    def _depth_limit(self, text: str) -> int:
        if not text:
            return self.depth_limit_default
        if not (text.isascii() and text.isdigit() and len(text) <= 20):
            shown = "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'."
            raise _bad(-1100, shown)
        limit = int(text)
        if self.depth_limits and limit not in self.depth_limits:
            raise _bad(-4021, f"{limit} is not valid depth limit.")
        if limit == 0:
            raise _bad(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(limit, self.depth_limit_max)

    def write_body(self, symbol: str, book: NaiveBook, levels: int) -> bytes:
        head = f'{{"lastUpdateId":{book.last_id},'
        if book.engine_ms:  # Spot sends no times here
            head += f'"E":{book.event_ms},"T":{book.engine_ms},'
        bids, asks = book.top(levels)
        return head.encode() + compact({"bids": bids, "asks": asks})[1:]

    def own_answer(self, resource: Resource, now_ms: int) -> bytes | None:
        if resource.kind == "time":
            return compact({"serverTime": now_ms})
        return b"{}" if resource.kind == "ping" else None

    def no_book(self) -> BadRequest:
        return _bad(-1000, "no book is known here", 503)

    def no_symbol(self) -> BadRequest:
        return _bad(-1121, "Invalid symbol.")

    def no_path(self) -> BadRequest:
        return _bad(-1, "no such path", 404)

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        body = {"timezone": "UTC", "serverTime": now_ms, "rateLimits": [], "exchangeFilters": []}
        return compact(body | {"symbols": [self._symbol(one) for one in listed]})

    def _symbol(self, listing: Listing) -> dict[str, object]:
        base, quote = _split(listing.ticker)
        symbol: dict[str, object] = {
            "symbol": listing.ticker,
            "status": "TRADING",
            "baseAsset": base,
            "quoteAsset": quote,
            "filters": [
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": listing.tick,
                    "maxPrice": "1000000000",
                    "tickSize": listing.tick,
                },
                {
                    "filterType": "LOT_SIZE",
                    "minQty": listing.lot,
                    "maxQty": "1000000000",
                    "stepSize": listing.lot,
                },
            ],
        }
        if self.is_futures:
            symbol |= {
                "pair": listing.ticker.partition("_")[0],
                "contractType": "CURRENT_QUARTER" if "_" in listing.ticker else "PERPETUAL",
                "marginAsset": quote,
                "pricePrecision": listing.price_decimals,
                "quantityPrecision": listing.qty_decimals,
            }
        return symbol

    # --------------------------------------------------------------- market

    def trade(self, event: Trade) -> bytes:
        data: dict[str, Any] = {"e": "trade", "E": event.time_ms, "T": event.time_ms}
        data |= {"s": event.ticker, "t": event.number, "p": event.price, "q": event.qty}
        data |= {"X": "MARKET"} if self.is_futures else {}
        data |= {"m": event.sells} | ({} if self.is_futures else {"M": True})
        return _frame(event.ticker, "trade", data)

    def change(self, event: Change) -> bytes:
        data: dict[str, Any] = {"e": "depthUpdate", "E": event.time_ms}
        data |= {"T": event.engine_ms} if self.is_futures else {}
        data |= {"s": event.ticker, "U": event.first_id, "u": event.last_id}
        data |= {"pu": event.prev_id} if self.is_futures else {}
        return _frame(event.ticker, "depth@100ms", data | {"b": event.bids, "a": event.asks})

    def quote(self, event: Quote) -> bytes:
        data: dict[str, Any] = {"e": "bookTicker"} if self.is_futures else {}
        data |= {"u": event.update_id, "s": event.ticker, "b": event.bid[0], "B": event.bid[1]}
        data |= {"a": event.ask[0], "A": event.ask[1]}
        data |= {"T": event.time_ms, "E": event.time_ms} if self.is_futures else {}
        return _frame(event.ticker, "bookTicker", data)

    def turnover(self, event: Statistics) -> str:
        """What `q` sums: the quote currency."""
        return event.turnover

    def statistics(self, event: Statistics) -> bytes:
        data = {"e": "24hrTicker", "E": event.time_ms, "s": event.ticker, "p": event.change}
        data |= {"P": event.percent, "w": event.vwap, "c": event.last, "Q": event.last_qty}
        data |= {"o": event.open, "h": event.high, "l": event.low, "v": event.volume}
        data |= {"q": self.turnover(event), "O": event.time_ms - 86_400_000, "C": event.time_ms}
        data |= {"F": 0, "L": event.trades, "n": event.trades}
        return _frame(event.ticker, "ticker", data)

    def derivative(self, event: Derivative) -> Iterable[tuple[str, bytes]]:
        if not self.is_futures:
            return
        data = {"e": "markPriceUpdate", "E": event.time_ms, "s": event.ticker, "p": event.mark}
        data |= {"i": event.index, "P": event.mark, "r": event.funding_rate}
        data |= {"T": event.next_funding_ms}
        yield "markPrice", _frame(event.ticker, "markPrice@1s", data)

    def polled(self, kind: str, event: Derivative) -> bytes | None:
        if kind != "openInterest" or not self.is_futures:
            return None
        interest = {"openInterest": event.open_interest, "symbol": event.ticker}
        return compact(interest | {"time": event.time_ms})

    def liquidation(self, event: Liquidation) -> bytes:
        if not self.is_futures:
            return b""
        order: dict[str, Any] = {"s": event.ticker, "S": "SELL" if event.sells else "BUY"}
        order |= {"o": "LIMIT", "f": "IOC", "q": event.qty, "p": event.price, "ap": event.price}
        order |= {"X": "FILLED", "l": event.qty, "z": event.qty, "T": event.time_ms}
        data = {"e": "forceOrder", "E": event.time_ms, "o": order}
        return _frame(event.ticker, "forceOrder", data)


def _frame(ticker: str, channel: str, data: dict[str, Any]) -> bytes:
    return compact({"stream": f"{ticker.lower()}@{channel}", "data": data})


def _split(ticker: str) -> tuple[str, str]:
    pair = ticker.partition("_")[0]
    quote = next((q for q in _QUOTES if pair.endswith(q) and len(pair) > len(q)), "")
    return pair.removesuffix(quote) if quote else pair, quote


def _ms(time: int) -> int:
    """A venue time in ms: streams opened with `timeUnit=MICROSECOND` have it in us."""
    return time // 1000 if time > _MS_MAX else time


def _is_stream(name: object) -> bool:
    return isinstance(name, str) and ("@" in name or name.startswith("!")) and len(name) > 1


def _is_request_id(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return value is None or isinstance(value, int) or (isinstance(value, str) and len(value) <= 36)


def _is_answer(text: bytes) -> bool:
    """Whether a recorded frame answers a request or announces something."""
    try:
        parsed = parse(text)
    except msgspec.MsgspecError:
        return False
    if not isinstance(parsed, dict):
        return False
    return ("id" in parsed and ("result" in parsed or "error" in parsed)) or "code" in parsed


def _property(line: Line, method: str, params: list[Any], request_id: Any) -> Reply:
    if not params or not isinstance(params[0], str):
        return _error(2, "Invalid request: property name must be a string", request_id)
    if params[0] != "combined":
        return _error(0, "Unknown property", request_id)
    if method == "GET_PROPERTY":
        return _result(line.memory["combined"], request_id)
    if len(params) != 2 or not isinstance(params[1], bool):
        return _error(1, "Invalid value type: expected Boolean", request_id)
    line.memory["combined"] = params[1]
    return _result(None, request_id)


def _result(value: object, request_id: Any) -> Reply:
    return Reply((compact({"result": value, "id": request_id}),))


def _error(code: int, text: str, request_id: Any) -> Reply:
    return Reply((compact({"error": {"code": code, "msg": text}, "id": request_id}),))


def _bad(code: int, text: str, status: int = 400) -> BadRequest:
    return BadRequest(compact({"code": code, "msg": text}), status)


class FuturesDialect(BinanceDialect):
    """What USD-M and COIN-M share."""

    feeds: ClassVar[Mapping[str, str]] = {
        **BinanceDialect.feeds,
        "markPrice": "derivative",
        "forceOrder": "liquidation",
    }
    is_futures = True
    ids_are_shared = True
    depth_limits = (5, 10, 20, 50, 100, 500, 1000)
    depth_limit_default = 500
    depth_limit_max = 1000
    depth_weights = ((50, 2), (100, 5), (500, 10), (1000, 20))
    messages_per_s = 10
    ping_interval_s = 180.0
    pong_deadline_s = 600.0
