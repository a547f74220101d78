"""What Binance's markets share: the envelope, the wire types, prices as decimal text.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

import msgspec
import numpy as np
from msgspec import UNSET, Raw
from tickbus_schemas.errors import Fatal, Reject
from tickbus_schemas.messages import ABSENT, Side, TradeFlag

from tickbus_ingest.exchanges import _binance_scan as wire
from tickbus_ingest.exchanges import _binance_wire as json
from tickbus_ingest.exchanges._binance_wire import decoded, is_long, levels, number
from tickbus_ingest.exchanges.contract import (
    Control,
    Decoded,
    Depth,
    Get,
    Ignored,
    Kind,
    Parsed,
    Quote,
    Snapshot,
    Stream,
    Trade,
    Venue,
)
from tickbus_ingest.frames import join

# Trades that no order book saw; the venue's own feed for others leaves them out.
# https://github.com/tardis-dev/tardis-node (mappers/binance.ts), field X undocumented
OFF_BOOK = frozenset({"INSURANCE_FUND", "ADL", "NA"})
SUBSCRIBE_MAX = 100  # names in one frame: a frame stays small, and few frames stay in the limits


_COMMON = wire.SAW_s | wire.SAW_E
_TRADE = _COMMON | wire.SAW_e | wire.SAW_T | wire.SAW_p | wire.SAW_q | wire.SAW_m
_QUOTE = wire.SAW_s | wire.SAW_u | wire.SAW_b | wire.SAW_B | wire.SAW_ask | wire.SAW_A
_DEPTH = _COMMON | wire.SAW_e | wire.SAW_U | wire.SAW_u | wire.SAW_bids | wire.SAW_asks
_EVENT_OF = {"trade": "trade", "aggTrade": "aggTrade", "bookTicker": "bookTicker"}


class Binance(Venue):
    """Parsing that is the same on every Binance market; the venue's file says what differs."""

    depth_speeds: ClassVar[tuple[str, ...]]
    ignored_channels: ClassVar[tuple[str, ...]]
    """prefixes of channels that are known and no feed of ours"""
    links_by_pu: ClassVar[bool]
    """USD-M says which update an update follows; Spot counts without holes: U - 1"""
    quotes_have_times: ClassVar[bool]

    def __init__(self, tickers: Sequence[str], channels: Sequence[str]) -> None:
        super().__init__(tickers, channels)
        kinds = _one_channel_a_feed([self.kind_of(channel) for channel in self.channels])
        self.streams = [
            Stream(f"{ticker.lower()}@{channel}", ticker, channel, kind)
            for channel, kind in zip(self.channels, kinds, strict=True)
            for ticker in self.tickers
        ]
        self._by_name = {stream.name: stream for stream in self.streams}
        self._by_event = {(_event_text(stream), stream.ticker): stream for stream in self.streams}
        self._table = self._scan_table()

    def kind_of(self, channel: str) -> Kind:
        """What a channel carries; Fatal for one that the venue does not have."""
        if channel in ("trade", "aggTrade"):
            return Kind.TRADE
        if channel == "bookTicker":
            return Kind.QUOTE
        if channel == "depth" or channel.removeprefix("depth@") in self.depth_speeds:
            return Kind.DEPTH
        if channel.startswith(self.ignored_channels):
            return Kind.IGNORED
        raise Fatal(
            f"ingest.channels: {self.exchange.token} has no {channel!r}: use trade or aggTrade, "
            f"bookTicker, depth@{' or depth@'.join(self.depth_speeds)}"
        )

    def _required(self, stream: Stream) -> int:
        if stream.kind == Kind.TRADE:
            return _TRADE | (wire.SAW_a if stream.channel == "aggTrade" else wire.SAW_t)
        if stream.kind == Kind.QUOTE:
            times = wire.SAW_E | wire.SAW_T | wire.SAW_e
            return _QUOTE | (times if self.quotes_have_times else 0)
        link = wire.SAW_T | wire.SAW_pu
        return _DEPTH | (link if self.links_by_pu else 0)

    def _allowed(self, stream: Stream) -> int:
        if stream.kind == Kind.TRADE:
            return self._required(stream) | wire.SAW_X
        return self._required(stream) | wire.SAW_e | wire.SAW_E | wire.SAW_T | wire.SAW_pu

    def _scan_table(self) -> wire.Table:
        """The streams for the scanner; ignored ones are left out, so that `parse` sees them."""
        streams = self.streams
        slots = np.full(1 << (2 * len(streams) + 2).bit_length(), -1, np.int64)
        for n, stream in enumerate(streams):
            if stream.kind == Kind.IGNORED:
                continue
            slot = wire.name_hash(stream.name.encode()) & (len(slots) - 1)
            while slots[slot] >= 0:
                slot = (slot + 1) & (len(slots) - 1)
            slots[slot] = n
        flags = [TradeFlag.AGGREGATE * (stream.channel == "aggTrade") for stream in streams]
        return wire.Table(
            slots,
            *_joined([stream.name for stream in streams]),
            *_joined([stream.ticker for stream in streams]),
            *_joined([_event_text(stream) for stream in streams]),
            np.array([self._required(stream) for stream in streams], np.int64),
            ~np.array([self._allowed(stream) for stream in streams], np.int64),
            np.array([stream.kind for stream in streams], np.int8),
            np.array([self.index[stream.ticker] for stream in streams], np.int32),
            np.array(flags, np.uint16),
            self.links_by_pu,
        )

    def subscribe(self, streams: Sequence[Stream]) -> Iterable[bytes]:
        """SUBSCRIBE frames; the id only tells the answers apart."""
        names = [stream.name for stream in streams]
        for n in range(0, len(names), SUBSCRIBE_MAX):
            yield msgspec.json.encode(
                {"method": "SUBSCRIBE", "params": names[n : n + SUBSCRIBE_MAX], "id": n + 1}
            )

    def decode(self, text: wire.U8, ends: wire.I64) -> Decoded:
        """Columns of all frames that the fast reader understands (see `_binance_scan`)."""
        out = Decoded.room(len(ends) - 1, len(text) // 10 + 1)
        columns = wire.Columns(
            out.kind, out.ticker, out.event_us, out.engine_us, out.update_id, out.prev_update_id,
            out.values, out.side, out.flags, out.level_start, out.level_count, out.level_side,
            out.level_price, out.level_qty, np.empty(wire.INTS, np.int64),
        )  # fmt: skip
        filled, out.long_decimals = wire.scan(text, ends, self._table, columns)
        out.level_side = out.level_side[:filled]
        out.level_price, out.level_qty = out.level_price[:filled], out.level_qty[:filled]
        return out

    def parse(self, frame: bytes) -> Parsed:
        """What one frame means, decoded in full."""
        envelope = decoded(json.ENVELOPE, frame)
        if isinstance(envelope.data, Raw) and isinstance(envelope.stream, str):
            if envelope.stream == "!serverShutdown":
                return Control("serverShutdown", closing=True)
            stream = self._by_name.get(envelope.stream)
            if stream is None:
                raise Reject(f"stream {envelope.stream[:80]!r} was not asked for")
            return self._event(stream, envelope.data)
        if isinstance(envelope.e, str):
            if envelope.e == "serverShutdown":
                return Control("serverShutdown", closing=True)
            ticker = envelope.s if isinstance(envelope.s, str) else ""
            stream = self._by_event.get((envelope.e, ticker))
            if stream is None:
                raise Reject(f"event {envelope.e[:40]!r} of {ticker[:40]!r} was not asked for")
            return self._event(stream, frame)
        if envelope.error is not UNSET or envelope.code is not UNSET:
            return Control(frame[:200].decode(errors="replace"), error=True)
        if envelope.result is not UNSET:
            return Control("answer")
        raise Reject("neither an event nor an answer")

    def _event(self, stream: Stream, data: bytes | Raw) -> Parsed:
        if stream.kind == Kind.IGNORED:
            return Ignored(stream.channel)
        parsed: Trade | Depth | Quote
        if stream.kind == Kind.DEPTH:
            parsed = self._depth(decoded(json.DEPTH, data))
        elif stream.kind == Kind.QUOTE:
            parsed = self._quote(decoded(json.QUOTE, data))
        elif stream.channel == "aggTrade":
            agg = decoded(json.AGG_TRADE, data)
            parsed = _as_trade(agg, agg.a, TradeFlag.AGGREGATE)
        else:
            trade = decoded(json.TRADE, data)
            off_book = TradeFlag.OFF_BOOK if trade.X in OFF_BOOK else TradeFlag(0)
            parsed = _as_trade(trade, trade.t, off_book)
        if parsed.ticker != stream.ticker:
            raise Reject(f"{parsed.ticker[:40]!r} in the stream {stream.name}")
        return parsed

    def _depth(self, raw: json.WireDepth) -> Depth:
        if self.links_by_pu:
            if raw.pu is UNSET:
                raise Reject("depth update without pu")
            prev = raw.pu
        else:
            prev = raw.U - 1
        bids, long_bids = levels(raw.b)
        asks, long_asks = levels(raw.a)
        return Depth(
            raw.s, raw.E * 1000, raw.T * 1000, prev, raw.u, bids, asks, long_bids + long_asks
        )

    def _quote(self, raw: json.WireQuote) -> Quote:
        if self.quotes_have_times and (raw.E is UNSET or raw.T is UNSET):
            raise Reject("bookTicker without its times")
        texts = (raw.b, raw.B, raw.a, raw.A)
        event_us = 0 if raw.E is UNSET else raw.E * 1000
        engine_us = 0 if raw.T is UNSET else raw.T * 1000
        bid_px, bid_sz, ask_px, ask_sz = map(number, texts)
        return Quote(
            raw.s, event_us, engine_us, raw.u, bid_px, bid_sz, ask_px, ask_sz,
            sum(map(is_long, texts)),
        )  # fmt: skip

    def parse_snapshot(self, body: bytes) -> Snapshot:
        """A REST book; E and T on USD-M, no time on Spot."""
        raw = decoded(json.BOOK, body)
        bids, asks = (np.frombuffer(bytes(part), np.uint8) for part in (raw.bids, raw.asks))
        room = (len(bids) + len(asks)) // 10 + 1
        side, price, qty = np.empty(room, np.int8), np.empty(room), np.empty(room)
        filled, longs = wire.read_levels(bids, asks, side, price, qty)
        event_us = ABSENT if raw.E is UNSET else raw.E * 1000
        engine_us = 0 if raw.T is UNSET else raw.T * 1000
        if filled >= 0:
            parts = (side[:filled], price[:filled], qty[:filled])
            return Snapshot(raw.last_update_id, event_us, engine_us, *parts, longs)
        bid_levels, long_bids = levels(decoded(json.LEVELS, raw.bids))
        ask_levels, long_asks = levels(decoded(json.LEVELS, raw.asks))
        columns = np.array([*bid_levels, *ask_levels], np.float64).reshape(-1, 2)
        side = np.repeat(np.array((1, -1), np.int8), (len(bid_levels), len(ask_levels)))
        longs = long_bids + long_asks
        return Snapshot(
            raw.last_update_id, event_us, engine_us, side, columns[:, 0], columns[:, 1], longs
        )

    @classmethod
    def parse_instruments(cls, body: bytes) -> list[str]:
        """Symbols whose status is TRADING."""
        return [
            one.symbol for one in decoded(json.INSTRUMENTS, body).symbols if one.status == "TRADING"
        ]

    @abstractmethod
    def snapshot_request(self, ticker: str, limit: int) -> Get: ...


def _one_channel_a_feed(kinds: list[Kind]) -> list[Kind]:
    """The first channel of a kind is the feed; others say the same again and are only counted."""
    return [Kind.IGNORED if kind in kinds[:n] else kind for n, kind in enumerate(kinds)]


def _as_trade(raw: json.WireTrade | json.WireAggTrade, trade_id: int, flags: int) -> Trade:
    # m: the buyer was the maker, so the taker sold
    side = Side.SELL if raw.m else Side.BUY
    long = is_long(raw.p) + is_long(raw.q)
    return Trade(
        raw.s, raw.E * 1000, raw.T * 1000, trade_id, side, number(raw.p), number(raw.q), flags, long
    )


def _event_text(stream: Stream) -> str:
    """What the key `e` says in the events of a stream."""
    return "depthUpdate" if stream.kind == Kind.DEPTH else _EVENT_OF.get(stream.channel, "")


def _joined(texts: list[str]) -> tuple[wire.U8, wire.I64]:
    return join([text.encode() for text in texts])
