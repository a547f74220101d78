"""What KuCoin's markets of the classic API share: an address with a token, topics, answers.

https://www.kucoin.com/docs-new/websocket-api/base-info/introduction
Each connection needs a token: a POST to bullet-public tells it and the address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from msgspec import UNSET
from tickbus_schemas.errors import Reject

from tickbus_ingest.exchanges import _kucoin_wire as wire
from tickbus_ingest.venue.contract import (
    HELD_MAX_S,
    Get,
    Keepalive,
    Line,
    OnError,
    Request,
    Route,
    Snapshots,
    Stream,
    TradeIds,
    Venue,
    What,
)
from tickbus_ingest.venue.instruments import Instrument
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded, json_decoder

ADDRESS = Get("/api/v1/bullet-public", weight=10, body=b"{}")
Act = Callable[[str, Any, bytes, Rows], None]
"""What a channel's frames do: symbol, data, frame, rows."""
# Errors of requests: https://www.kucoin.com/docs-new/websocket-api/base-info/introduction
ERRORS = {
    "400": OnError.REJECT,  # wrong request or topic
    "401": OnError.RESYNC,  # the token is wrong or has expired: another connection has another one
    "403": OnError.RETRY,  # too many requests
    "404": OnError.REJECT,  # no such topic
    "406": OnError.RETRY,  # too many requests
    "415": OnError.REJECT,  # no such type
    "500": OnError.RETRY,  # internal error
    "509": OnError.RETRY,  # too many subscriptions
}


class KuCoin(Venue):
    """One route, whose address is asked for; books over REST; ids as text."""

    channels: ClassVar[Mapping[str, tuple[str, ...]]]
    """channel -> the feeds that it carries"""
    alone: ClassVar[frozenset[str]] = frozenset()
    """channels whose documents know one symbol in a topic"""
    snapshots = Snapshots.PULLED
    drops_equal = True  # what ends at the sequence of a book over REST is in it
    trade_ids = TradeIds.UNIQUE  # the sequence beside an id is the book's: it does not count trades
    keepalive = Keepalive(b'{"id":"ping","type":"ping"}', 18.0)  # pingInterval of bullet-public
    silence_s = 30.0  # pongs come each 18 s, at most 10 s late (pingTimeout)
    weight_left_header = "gw-ratelimit-remaining"  # https://www.kucoin.com/docs-new/rate-limit
    errors = ERRORS

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        self._acts = {
            channel: (json_decoder(kind), act)
            for channel, (kind, act) in self.acts().items()
            if {*self.channels[channel]} & {*feeds}
        }

    def acts(self) -> Mapping[str, tuple[Any, Act]]:
        """Channel -> the type of its data, and what reads it."""
        raise NotImplementedError

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        streams = self.streams_by_channel(self.channels)
        return [
            Route(one.path, one.streams, one.host, ADDRESS)
            for one in self.split("/endpoint", streams)
        ]

    def address(self, body: bytes) -> str:
        return wire.address(body)

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """One answer for each topic, of up to 100 symbols."""
        return self._requests("subscribe", streams)

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return self._requests("unsubscribe", streams)

    def _requests(self, kind: str, streams: Sequence[Stream]) -> list[Request]:
        requests = []
        for channel in self.channels:
            symbols = [one.ticker for one in streams if one.name.partition(":")[0] == channel]
            most = 1 if channel in self.alone else self.limit(What.ARGUMENTS)
            for n in range(0, len(symbols), most):
                topic = f"{channel}:{','.join(symbols[n : n + most])}"
                # The answer has the id alone: of a topic of one symbol it is our name.
                number = topic if len(symbols[n : n + most]) == 1 else f"{channel} {n}"
                frame = {"id": number, "type": kind, "topic": topic, "privateChannel": False}
                requests.append(Request(msgspec.json.encode(frame | {"response": True})))
        return requests

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        told = decoded(wire.FRAME, frame)
        if told.topic and told.type in ("message", "") and told.data is not UNSET:
            channel, _, symbol = told.topic.partition(":")
            found = self._acts.get(channel)
            if found is None:
                rows.ignored(channel[:40])
                return
            decoder, act = found
            act(symbol, decoded(decoder, told.data), frame, rows)
        elif told.type == "ack":
            rows.control("answer", answer=True, stream=self._stream(told.id))
        elif told.type == "error":
            self._error(told, rows)
        elif told.type in ("welcome", "pong"):
            rows.control(told.type)
        else:
            raise Reject(f"a frame of type {told.type[:40]!r}")

    def _stream(self, number: Any) -> str:
        """The one subscription that a request with this id was about; "" of several."""
        name = str(number)
        return name if name.partition(":")[2] in self.index else ""

    def _error(self, told: wire.Frame, rows: Rows) -> None:
        code = str(told.code)
        reason = "" if told.data is UNSET else bytes(told.data).decode(errors="replace")
        stream = self._stream(told.id)
        rows.refused(f"{code} {reason}", self.on_error(code), stream=stream)

    # ----------------------------------------------------------------- REST

    def hold_s(self, status: int, headers: Mapping[str, str]) -> float | None:
        """Milliseconds until the window ends: https://www.kucoin.com/docs-new/rate-limit"""
        try:
            left_ms = float(headers.get("gw-ratelimit-reset", ""))
        except ValueError:
            return super().hold_s(status, headers)
        if status not in (403, 429) or not 0 <= left_ms <= 1000 * HELD_MAX_S:
            return super().hold_s(status, headers)
        return left_ms / 1000
