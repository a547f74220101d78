"""What Gate's spot and futures share: v4 of its WebSocket.

https://www.gate.com/docs/developers/apiv4/ws/en/
Each request names a channel and symbols, and has one answer. Books are pushed: the channel `obu`
sends a whole book first, again whenever it likes, and updates from U to u between; of the same
numbers are the ones of quotes and of REST. Documents ask for the time in a request, but nothing
reads it where no key is needed: their own examples send a time of 1970.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from msgspec import UNSET
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import ABSENT

from tickbus_ingest.exchanges import _gateio_wire as wire
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    BookForm,
    Evidence,
    Limit,
    Line,
    Request,
    Snapshots,
    Stream,
    TradeIds,
    UpdateIds,
    What,
)
from tickbus_ingest.venue.instruments import Instrument
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded, json_decoder

LEVELS = 400
"""A side of a book, each 100 ms; the other choice is 50 each 20 ms."""
# https://www.gate.com/docs/developers/apiv4/ws/en/#error
_BAD_REQUEST, _BAD_ARGUMENT, _NO_KEY = "1", "2", "4"
"""3 is an error of the server: asking again may help."""
_TWICE = "Alert sub"
"""How the argument's error begins where a book is subscribed to already."""
Act = Callable[[Any, wire.Frame, Rows], None]


class Gateio(contract.Venue):
    """Streams are named after the channel without its market: `trades:BTC_USDT`."""

    market: ClassVar[str]
    """how the names of its channels begin"""
    carries: ClassVar[Mapping[str, tuple[str, ...]]]
    """channel without its market -> the feeds that it carries"""
    evidence = Evidence.CHECKED
    rest_urls = ("https://api.gateio.ws",)
    snapshots = Snapshots.PUSHED
    update_ids = UpdateIds.LINKED
    trade_ids = TradeIds.UNIQUE  # of all symbols, or of no documented order
    silence_s = 45.0  # pongs come each 15 s
    limits = (
        # No document says how many connections may be opened, only how many there may be.
        Limit(What.ATTEMPTS, 30, 60),
        Limit(What.CONNECTIONS, 300),  # of an address
        # No document names these three: so connections and requests stay small.
        Limit(What.STREAMS, 100),
        Limit(What.MESSAGES, 10, 1),
        Limit(What.ARGUMENTS, 10),
        # https://www.gate.com/docs/developers/apiv4/en/#frequency-limit-rule
        Limit(What.WEIGHT, 200, 10),
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        self._acts: dict[str, tuple[msgspec.json.Decoder[Any], Act]] = {
            f"{self.market}.{channel}": (json_decoder(kind), act)
            for channel, (kind, act) in self.acts().items()
            if {*self.carries.get(channel, ("l2",))} & {*feeds}
        }

    @abstractmethod
    def acts(self) -> dict[str, tuple[Any, Act]]:
        """Channel without its market -> the type of its data, and what is done with it.

        Channels that `carries` does not name are books of recordings.
        """

    # -------------------------------------------------------- subscriptions

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """One answer for each request, of up to ten symbols."""
        return self._requests("subscribe", streams)

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return self._requests("unsubscribe", streams)

    def _requests(self, event: str, streams: Sequence[Stream]) -> list[Request]:
        requests = []
        for channel, payload in self.tickers_by_channel(self.carries, streams):
            if channel == "obu":
                payload = [f"ob.{ticker}.{LEVELS}" for ticker in payload]
            frame = {"channel": f"{self.market}.{channel}", "event": event, "payload": payload}
            requests.append(Request(msgspec.json.encode(frame)))
        return requests

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        told = decoded(wire.FRAME, frame)
        if told.error is not None:
            self._error(told, told.error, rows)
        elif told.event == "update" and told.result is not UNSET:
            found = self._acts.get(told.channel)
            if found is not None:
                decoder, act = found
                act(decoded(decoder, told.result), told, rows)
            elif told.channel.startswith(f"{self.market}."):
                rows.ignored(told.channel[:40])
            else:
                raise Reject(f"channel {told.channel[:40]!r}")
        elif told.event in ("subscribe", "unsubscribe"):
            rows.control(told.event, answer=True, stream=self._about(told))
        elif told.channel == f"{self.market}.pong":
            rows.control("pong")
        else:
            raise Reject(f"event {told.event[:20]!r} of channel {told.channel[:40]!r}")

    def _error(self, told: wire.Frame, error: wire.Error, rows: Rows) -> None:
        """A book that is subscribed to twice goes on; another wrong argument stays wrong."""
        code, stream = str(error.code), self._about(told)
        is_twice = code == _BAD_ARGUMENT and error.message.startswith(_TWICE)
        rows.control(
            f"{code} {error.message}"[:300], error=True, stream=stream,
            answer=told.event in ("subscribe", "unsubscribe"),
            fatal=bool(stream) and not is_twice
            and code in (_BAD_REQUEST, _BAD_ARGUMENT, _NO_KEY),
        )  # fmt: skip

    def _about(self, told: wire.Frame) -> str:
        """The one stream that an answer is about: of its payload, else of its last word."""
        channel = told.channel.removeprefix(f"{self.market}.")
        named = told.payload if isinstance(told.payload, list) else []
        if not named and told.error is not None:
            named = told.error.message.split()[-1:]
        if len(named) != 1 or channel not in self.carries:
            return ""
        symbol = str(named[0])
        if channel == "obu":
            symbol = symbol.removeprefix("ob.").rpartition(".")[0]
        return f"{channel}:{symbol}" if symbol in self.index else ""

    # --------------------------------------------------------------- events

    def book(self, one: wire.Book, told: wire.Frame, rows: Rows) -> None:
        """No document says which levels fall out of the depth."""
        symbol, _, depth = one.s.removeprefix("ob.").rpartition(".")
        if not one.full:
            self.update(symbol, one, rows)
            return
        if not (depth.isascii() and depth.isdigit() and 0 < len(depth) < 6):
            raise Reject(f"a book without a depth: {one.s[:40]!r}")
        rows.l2(
            symbol, one.t, one.bids, one.asks, one.last, ABSENT, snapshot=True,
            form=BookForm(int(depth)),
        )  # fmt: skip

    def update(self, symbol: str, one: wire.Book, rows: Rows) -> None:
        """Updates of a book from the first to the last."""
        if one.first is None or not 0 < one.first <= one.last:
            raise Reject(f"updates {one.first} to {one.last}")
        rows.l2(symbol, one.t, one.bids, one.asks, one.last, one.first - 1)

    def quote(self, one: wire.Quote, told: wire.Frame, rows: Rows) -> None:
        """A quote of the time 0 is empty."""
        if not one.t:
            rows.ignored(told.channel)
            return
        rows.bbo(one.s, one.t, *one.best, one.u)
