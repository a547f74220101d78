"""What KuCoin's markets of the classic API share.

https://www.kucoin.com/docs-new/websocket-api/base-info/introduction
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from tickbus_sim import dialect as contract
from tickbus_sim.dialect import (
    CONTROL,
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
)

TOKEN = "local-venue"
SYMBOLS_MAX = 100
"""In one topic."""


class _Request(msgspec.Struct, gc=False):
    type: str
    id: str | int = ""
    topic: str = ""
    response: bool = False


class Frame(msgspec.Struct, gc=False):
    """Any frame; `type` is missing where the documents show none."""

    type: str = ""
    topic: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


_request = decoding(msgspec.json.Decoder(_Request).decode)
frame_of = decoding(msgspec.json.Decoder(Frame).decode)


class KucoinDialect(contract.Dialect):
    """Books over REST, joined by sequences; the address is asked for, with a token."""

    others: ClassVar[tuple[str, ...]]
    """Channels that carry no feed of ours."""
    depths: ClassVar[Mapping[str, int]]
    """Path -> levels a side, 0 for all."""
    list_path: ClassVar[str]
    book_weight: ClassVar[int]
    list_weight: ClassVar[int]
    routes = ("/endpoint",)
    books = Books.PULLED
    idle_s = 28.0  # pingInterval and pingTimeout of bullet-public
    messages_per_s = 100.0  # 100 in 10 s are allowed
    streams_max = 300

    # ---------------------------------------------------------- connections

    def open(self, path: str, query: Mapping[str, list[str]]) -> Line | Refusal:
        if query.get("token") != [TOKEN]:
            return Refusal("token is invalid")
        return super().open(path, query)

    def welcome(self, line: Line) -> tuple[bytes, ...]:
        return (compact({"id": "hQvf8jkno", "type": "welcome"}),)

    def request(self, line: Line, text: bytes) -> Reply:
        try:
            asked = _request(text)
        except msgspec.MsgspecError:
            return _error("", 400, "bad request")
        if asked.type == "ping":
            return Reply((compact({"id": asked.id, "type": "pong"}),))
        if asked.type not in ("subscribe", "unsubscribe"):
            return _error(asked.id, 415, f"type {asked.type} is not supported")
        channel, _, names = asked.topic.partition(":")
        symbols = [name for name in names.split(",") if name]
        if not symbols or channel not in (*self.feeds, *self.others):
            return _error(asked.id, 404, f"topic {asked.topic} is not found")
        if len(symbols) > SYMBOLS_MAX:
            return _error(asked.id, 400, "exceed max symbols count limitation of 100 per topic")
        topics = {f"{channel}:{symbol}": Topic(symbol, channel, channel) for symbol in symbols}
        if asked.type == "unsubscribe":
            for name in topics:
                line.streams.pop(name, None)
        elif len({**line.streams, **topics}) > self.streams_max:
            return _error(asked.id, 509, "exceed max subscription count limitation")
        else:
            line.streams |= topics
        ack = compact({"id": str(asked.id), "type": "ack"})
        return Reply((ack,) if asked.response else ())

    # --------------------------------------------------------------- frames

    def topic_of(self, text: bytes) -> Topic | None:
        try:
            frame = frame_of(text)
        except msgspec.MsgspecError:
            return None
        if frame.type in ("welcome", "ack", "pong", "error"):
            return CONTROL
        channel, _, symbol = frame.topic.partition(":")
        if frame.type not in ("message", "") or not symbol:
            return None
        return Topic(symbol, channel, channel)

    # ----------------------------------------------------------------- REST

    def resource(
        self, path: str, query: Mapping[str, list[str]], body: bytes = b""
    ) -> Resource | None:
        symbol = query.get("symbol", [""])[0]
        if path == "/api/v1/bullet-public":
            return Resource("address", weight=10)
        if path == self.list_path:
            return Resource("instruments", weight=self.list_weight)
        if path in self.depths:
            if not symbol:
                raise BadRequest(_refused("400100", "symbol can not be empty"))
            return Resource("book", symbol, self.depths[path], self.book_weight)
        if not path.startswith("/api/v"):
            return None
        return Resource(path.rpartition("/")[2], symbol)

    def write_address(self, ws_url: str) -> bytes:
        server: dict[str, Any] = {"endpoint": f"{ws_url}/endpoint", "encrypt": False}
        server |= {"protocol": "websocket", "pingInterval": 18000, "pingTimeout": 10000}
        return answer({"token": TOKEN, "instanceServers": [server]})

    def write_instruments(
        self, listed: Sequence[Listing], now_ms: int, resource: Resource
    ) -> bytes:
        return answer([self.listed(one) for one in listed])

    def listed(self, listing: Listing) -> dict[str, Any]:
        """One row of the list."""
        raise NotImplementedError

    def no_book(self) -> BadRequest:
        return BadRequest(_refused("500000", "no book is known here"), 503)

    def no_symbol(self) -> BadRequest:
        return BadRequest(_refused("400100", "symbol not exists"))

    def no_path(self) -> BadRequest:
        return BadRequest(_refused("404", "Not Found"), 404)


def told(channel: str, symbol: str, subject: str, data: dict[str, Any]) -> bytes:
    """A frame with data of a topic."""
    frame = {"topic": f"{channel}:{symbol}", "type": "message", "subject": subject}
    return compact(frame | {"data": data})


def answer(data: Any) -> bytes:
    """A REST answer."""
    return compact({"code": "200000", "data": data})


def _refused(code: str, text: str) -> bytes:
    return compact({"code": code, "msg": text})


def _error(request_id: str | int, code: int, text: str) -> Reply:
    error = {"id": str(request_id), "type": "error", "code": code, "data": text}
    return Reply((compact(error),))
