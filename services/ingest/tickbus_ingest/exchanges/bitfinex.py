"""Bitfinex: spot pairs and perpetuals, WebSocket v2.

https://docs.bitfinex.com/docs/ws-general
A frame names its channel by a number that the answer to the subscription gave. All data of a
connection are counted, each has its time, and the changes of a book come together: flags ask for
that. The venue's checksums of books are not asked for: they come in messages of their own, and
nothing that they could find is left where every message is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import InstrumentKind, Side

from tickbus_ingest.exchanges import _bitfinex as wire
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    BASE,
    BookForm,
    Evidence,
    Get,
    Levels,
    Limit,
    Line,
    Request,
    Route,
    Snapshots,
    Stream,
    TradeIds,
    Units,
    UpdateIds,
    What,
)
from tickbus_ingest.venue.instruments import Instrument, Unread
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import Id, decoded

PATH = "/ws/2"
FLAGS = 32_768 + 65_536 + 536_870_912
"""TIMESTAMP, SEQ_ALL and BULK_UPDATES of ws-general."""
DEPTH = 250
"""Levels a side that are subscribed to: the most (1, 25, 100, 250)."""
TRADES, BOOK, QUOTE, TICKER, STATUS = "trades", "book", "book1", "ticker", "deriv"
CHANNELS = {TRADES: ("trade",), BOOK: ("l2",), QUOTE: ("bbo",), TICKER: ("ticker",)}
"""The sizes in a ticker are sums of 25 levels, so best quotes are a book of one level."""
LIQUIDATIONS = Stream("liq:global", "", ("liquidation",))
NUMBER, BY_NUMBER = "seq", "channels"
"""Of the last message, and the channels by their numbers, in a line's memory."""
_CODES = {
    10000: "fatal",  # unknown event
    10001: "fatal",  # unknown pair
    10011: "retry",  # not ready
    10020: "fatal",  # request failed: a parameter
    10300: "retry",  # subscription failed; an invalid symbol has this code, too, and its own words
    10301: "again",  # subscribed already
    10302: "fatal",  # unknown channel
    10305: "fatal",  # the connection is full
    10400: "retry",  # unsubscription failed
    10401: "retry",  # was not subscribed
}
"""What an error asks for; any other one is tried again. ws-general, ws-public"""
_RESTART, _PAUSE, _RESUME = 20051, 20060, 20061
"""Notices: reconnect; the venue is in maintenance; it is over, subscribe to everything anew."""


NOTHING = (0.0, 0.0, 0.0, 0.0)


class Channel(NamedTuple):
    """What a number means, in a line's memory."""

    stream: str
    kind: str
    ticker: str
    is_new: bool = True
    """its whole book has not come"""
    best: tuple[float, float, float, float] = NOTHING
    """of quotes: price and size of bid and ask"""


class Venue(contract.Venue):
    """One route; books by the connection's count, trades by id."""

    exchange = Exchange.BITFINEX
    evidence = Evidence.BETA
    docs = (
        "https://docs.bitfinex.com/docs/ws-general",
        "https://docs.bitfinex.com/docs/ws-public",
        "https://docs.bitfinex.com/reference/ws-public-books",
        "https://docs.bitfinex.com/reference/ws-public-trades",
        "https://docs.bitfinex.com/reference/ws-public-ticker",
        "https://docs.bitfinex.com/reference/ws-public-status",
        "https://docs.bitfinex.com/reference/rest-public-conf",
    )
    websocket_urls = ("wss://api-pub.bitfinex.com",)
    rest_urls = ("https://api-pub.bitfinex.com",)
    examples = ("BTCUSD", "BTCF0:USTF0")
    units = (Units(BASE, "absent"),)
    feeds = ("trade", "l2", "bbo", "ticker", "derivative", "liquidation", "instrument")
    snapshots = Snapshots.PUSHED
    update_ids = UpdateIds.PER_CONNECTION
    numbering_is_global = False
    trade_ids = TradeIds.UNIQUE  # no document says that they count by one
    levels = Levels(0, 2, count=1)
    silence_s = 40.0  # each channel has a heartbeat every 15 s
    limits = (
        Limit(What.ATTEMPTS, 20, 60),  # ws-public: 20 connections a minute
        Limit(What.STREAMS, 25),  # ws-public: 25 channels of a connection
        Limit(What.MESSAGES, 10, 1),  # no number is known
        Limit(What.WEIGHT, 10, 60),  # public REST: 10 to 90 requests a minute, by endpoint
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        self._streams = {one.name: one for route in self.routes() for one in route.streams}
        self._names = list(self._streams)
        self._acts: dict[str, Callable[[Channel, wire.Data, Line, Rows], None]] = {
            TRADES: self._trades,
            BOOK: self._book,
            QUOTE: self._quote,
            TICKER: self._ticker,
            STATUS: self._status,
            "liq": self._liquidations,
        }

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get("/v2/conf/pub:info:pair,pub:info:pair:futures")]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return wire.instruments(bodies)

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        streams = self.streams_by_channel(CHANNELS)
        if "derivative" in self.wanted:
            streams += [
                Stream(f"{STATUS}:{ticker}", ticker, ("derivative",))
                for ticker, one in self.instruments.items()
                if one.kind is InstrumentKind.PERPETUAL
            ]
        if "liquidation" in self.wanted:
            streams.append(LIQUIDATIONS)
        return self.split(PATH, streams)

    def greet(self) -> list[Request]:
        return [Request(msgspec.json.encode({"event": "conf", "flags": FLAGS}))]

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """One channel a frame."""
        return [Request(_subscription(stream.name)) for stream in streams]

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """The number that ends a subscription stands in the memory of its connection: when the
        answer to this ping comes back over it, `read` ends the stream whose place is its `cid`.
        """
        return [
            Request(
                msgspec.json.encode(
                    {"event": "ping", "cid": self._names.index(one.name), "about": one.name}
                )
            )
            for one in streams
        ]

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        """A refused message is not counted: the next one finds the hole that it leaves."""
        if frame.startswith(b"{"):
            self._event(decoded(wire.EVENT, frame), line, rows)
        elif _behind_comma(frame).startswith(b'"'):
            self._named(decoded(wire.NAMED, frame), line, rows)
        else:
            self._data(decoded(wire.DATA, frame), line, rows)

    def _data(self, data: wire.Data, line: Line, rows: Rows) -> None:
        if not _follows(data.seq, line, rows):
            rows.ignored("the last message again")
            return
        channel = _channels(line).get(data.chan)
        if channel is None:
            rows.ignored("a channel that was left")
        else:
            self._acts[channel.kind](channel, data, line, rows)
        line.memory[NUMBER] = data.seq

    def _named(self, named: wire.Named, line: Line, rows: Rows) -> None:
        """A trade comes as it is executed, `te`, and once more as it is booked, `tu`."""
        has_content = named.name in ("te", "tu", "cs")
        seq = named.fourth if has_content else decoded(_SEQ, named.third)
        if not _follows(seq, line, rows):
            rows.ignored("the last message again")
            return
        channel = _channels(line).get(named.chan)
        if named.name == "hb":
            rows.control("heartbeat")
        elif named.name == "te" and channel is not None and channel.kind == TRADES:
            one = decoded(wire.TRADE, named.third)
            _trade(channel.ticker, one, named.fifth or 0, rows)
        else:
            rows.ignored(named.name[:20])
        line.memory[NUMBER] = seq

    # -------------------------------------------------------------- answers

    def _event(self, told: wire.Event, line: Line, rows: Rows) -> None:
        if told.event == "subscribed" and told.chan is not UNSET:
            name = _name(told)
            ticker = name.partition(":")[2] if name != LIQUIDATIONS.name else ""
            kind = name.partition(":")[0]
            if kind in self._acts:
                _keep(told.chan, Channel(name, kind, ticker), line)
            rows.control("subscribed", answer=True, stream=name)
        elif told.event == "unsubscribed":
            rows.control("unsubscribed")
        elif told.event == "error":
            self._refused(told, line, rows)
        elif told.event == "info":
            _noticed(told, rows)
        elif told.event == "conf":
            is_wrong = told.status != "OK"
            rows.control(f"flags: {told.status}", error=is_wrong, answer=True)
        elif told.event == "pong":
            self._leave(told, line, rows)
        else:
            raise Reject(f"event {told.event[:40]!r}")

    def _leave(self, pong: wire.Event, line: Line, rows: Rows) -> None:
        rows.control("pong", answer=True)
        if pong.cid is not UNSET and 0 <= pong.cid < len(self._names):
            _end(self._names[pong.cid], line, rows)

    def _refused(self, told: wire.Event, line: Line, rows: Rows) -> None:
        """A stream that is subscribed to and asked for all the same is ended and begun anew."""
        name = _name(told)
        if told.code is UNSET:
            rows.control(f"error {told.msg}"[:300], error=True, answer=True)
            return
        does = _CODES.get(told.code, "retry")
        if does == "again" and name in self._streams:
            _end(name, line, rows)
            rows.reply(_subscription(name))
            rows.control("subscribed already", answer=True)
            return
        is_final = (does == "fatal" or "invalid" in told.msg) and name in self._streams
        rows.control(
            f"{told.code} {told.msg}"[:300], error=True, fatal=is_final, answer=told.code < 10400,
            stream=name if is_final else "",
        )  # fmt: skip

    # --------------------------------------------------------------- events

    def _trades(self, channel: Channel, data: wire.Data, line: Line, rows: Rows) -> None:
        """The latest before a subscription: they fill what an interruption left out."""
        for one in sorted(decoded(wire.TRADES, data.body), key=_trade_id):
            _trade(channel.ticker, one, 0, rows)

    def _book(self, channel: Channel, data: wire.Data, line: Line, rows: Rows) -> None:
        """A whole book, or changes: both are lists of levels, and the whole one is the first."""
        levels = bytes(data.body)
        is_one = not levels.startswith((b"[[", b"[]"))
        whole = channel.is_new and not is_one
        rows.l2(
            channel.ticker, data.time, b"[%b]" % levels if is_one else levels, b"",
            snapshot=whole, form=_FORM if whole else None,
        )  # fmt: skip
        if whole:
            _keep(data.chan, channel._replace(is_new=False), line)

    def _quote(self, channel: Channel, data: wire.Data, line: Line, rows: Rows) -> None:
        """A book of one level: what it tells is put together, side by side."""
        text = bytes(data.body)
        if not text.startswith((b"[[", b"[]")):
            text = b"[%b]" % text
        bid, bid_sz, ask, ask_sz = best = channel.best
        for price, count, amount in decoded(wire.LEVELS, text):
            if amount > 0:
                bid, bid_sz = (price, amount) if count else (0.0, 0.0) if price == bid else best[:2]
            elif amount < 0:
                ask, ask_sz = (
                    (price, -amount) if count else (0.0, 0.0) if price == ask else best[2:]
                )
            else:
                raise Reject("a quote of neither side")
            best = bid, bid_sz, ask, ask_sz
        if best != channel.best and (channel.is_new or (bid and ask)):
            # A side that is empty for the moment, because its new level comes next, is not told.
            rows.bbo(channel.ticker, data.time, *best)
        else:
            rows.control("no other quote")
        _keep(data.chan, channel._replace(is_new=False, best=best), line)

    def _ticker(self, channel: Channel, data: wire.Data, line: Line, rows: Rows) -> None:
        day = decoded(wire.TICKER, data.body)
        rows.ticker(
            channel.ticker, data.time, last_price=day.last, high=day.high, low=day.low,
            volume=day.volume, price_change=day.change, bid_px=day.bid, ask_px=day.ask,
        )  # fmt: skip

    def _status(self, channel: Channel, data: wire.Data, line: Line, rows: Rows) -> None:
        """`time` is that of what is told, the frame's that of sending it."""
        one = decoded(wire.STATUS, data.body)
        rows.derivative(
            channel.ticker, data.time, engine_us=one.time, mark_price=one.mark,
            index_price=one.spot, last_price=one.last, funding_rate=one.funding,
            predicted_funding_rate=one.accrued, open_interest=one.open_interest,
            next_funding_us=one.next_funding,
        )  # fmt: skip

    def _liquidations(self, channel: Channel, data: wire.Data, line: Line, rows: Rows) -> None:
        """Of all derivatives. A fill of a position that was told before is left out."""
        told = False
        for one in decoded(wire.LIQUIDATIONS, data.body):
            ticker = one.symbol.removeprefix("t")
            if one.is_match or one.price is None or not rows.knows(ticker):
                continue
            told = True
            rows.liquidation(
                ticker, one.time, Side.BUY if one.amount < 0 else Side.SELL, one.price,
                abs(one.amount),
            )  # fmt: skip
        if not told:
            rows.ignored("liquidations")


_FORM = BookForm(DEPTH)
_SEQ: msgspec.json.Decoder[int] = msgspec.json.Decoder(Id)
_trade_id = attrgetter("id")


def _behind_comma(frame: bytes) -> bytes:
    """What a frame's second value begins with."""
    place = frame.find(b",") + 1
    return frame[place : place + 2].lstrip()


def _trade(ticker: str, one: wire.Trade, sent: int, rows: Rows) -> None:
    if not one.amount:
        raise Reject("a trade of nothing")
    rows.trade(
        ticker, one.time, one.id, Side.BUY if one.amount > 0 else Side.SELL, one.price,
        abs(one.amount), event_us=sent,
    )  # fmt: skip


def _follows(number: int, line: Line, rows: Rows) -> bool:
    """Whether a message is new; a hole is told. What was lost may have been the whole book of a
    channel, so one that waits for it is left, and quotes are put together anew.
    """
    last = line.memory.get(NUMBER)
    if last is None or number == last + 1:
        return True
    if number == last:
        return False
    rows.lost(f"message {number} after {last}")
    line.memory[BY_NUMBER] = {
        chan: one._replace(is_new=False, best=NOTHING) if one.kind == QUOTE else one
        for chan, one in _channels(line).items()
        if not (one.is_new and one.kind == BOOK)
    }
    return True


def _channels(line: Line) -> dict[int, Channel]:
    found: dict[int, Channel] = line.memory.get(BY_NUMBER, {})
    return found


def _keep(chan: int, channel: Channel, line: Line) -> None:
    line.memory[BY_NUMBER] = _channels(line) | {chan: channel}


def _noticed(told: wire.Event, rows: Rows) -> None:
    """The first message of a connection says whether the platform works."""
    if told.code is not UNSET:
        text = f"{told.code} {told.msg}"[:300]
        rows.control(text, error=told.code == _PAUSE, closing=told.code in (_RESTART, _RESUME))
    elif told.platform is not UNSET and not told.platform.status:
        rows.control("the platform is in maintenance", error=True)
    else:
        rows.control("info")


def _name(told: wire.Event) -> str:
    """The stream that an answer is about; "" where it does not tell."""
    if told.key:
        return told.key.replace(f"{STATUS}:t", f"{STATUS}:", 1)
    if not (told.channel and told.symbol):
        return ""
    kind = QUOTE if told.channel == BOOK and str(told.len) == "1" else told.channel
    return f"{kind}:{told.symbol.removeprefix('t')}"


def _end(name: str, line: Line, rows: Rows) -> None:
    """Leave what the connection carries of a stream."""
    channels = _channels(line)
    for chan in [chan for chan, one in channels.items() if one.stream == name]:
        rows.reply(msgspec.json.encode({"event": "unsubscribe", "chanId": chan}))
    line.memory[BY_NUMBER] = {n: one for n, one in channels.items() if one.stream != name}


def _subscription(name: str) -> bytes:
    kind, _, ticker = name.partition(":")
    frame: dict[str, Any] = {"event": "subscribe"}
    if kind in (BOOK, QUOTE):
        levels = str(DEPTH) if kind == BOOK else "1"
        frame |= {
            "channel": BOOK,
            "symbol": f"t{ticker}",
            "prec": "P0",
            "freq": "F0",
            "len": levels,
        }
    elif kind in (TRADES, TICKER):
        frame |= {"channel": kind, "symbol": f"t{ticker}"}
    else:
        key = name if name == LIQUIDATIONS.name else f"{STATUS}:t{ticker}"
        frame |= {"channel": "status", "key": key}
    return msgspec.json.encode(frame)
