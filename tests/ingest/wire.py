"""Frames in Binance's words, and what a session made of them: tests read like transcripts."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tickbus_ingest.exchanges import load
from tickbus_ingest.publish.messages import Messages
from tickbus_ingest.session.book_rules import SnapshotRule
from tickbus_ingest.session.session import Session
from tickbus_ingest.session.tables import Flush
from tickbus_ingest.venue.contract import Get, Line
from tickbus_ingest.venue.instruments import Instrument
from tickbus_ingest.wire.buffer import Body, BufferNotice, Connected, Frames
from tickbus_schemas import codec
from tickbus_schemas.messages import Clock, L2Batch, L2Flag, Message, Status, TradeBatch

T0_MS = 1_723_161_255_000
FEEDS = ("trade", "l2", "bbo")
Levels = Sequence[tuple[str, str]]


def trade(trade_id: int, ms: int, price: str = "100.5", qty: str = "2", **extra: Any) -> bytes:
    """A USD-M or Spot trade, taker sold when m is true."""
    data = {"e": "trade", "E": T0_MS + ms, "T": T0_MS + ms, "s": "BTCUSDT", "t": trade_id}
    data |= {"p": price, "q": qty, "X": "MARKET", "m": False} | extra
    return envelope("btcusdt@trade", data)


def depth(
    first: int, last: int, pu: int, ms: int, bids: Levels = (), asks: Levels = (), **extra: Any
) -> bytes:
    """A USD-M book update (Spot does not look at pu)."""
    data = {"e": "depthUpdate", "E": T0_MS + ms, "T": T0_MS + ms - 1, "s": "BTCUSDT"}
    data |= {"U": first, "u": last, "pu": pu, "b": bids, "a": asks} | extra
    return envelope("btcusdt@depth@100ms", data)


def quote(update_id: int, ms: int | None, bid: str = "100", ask: str = "101") -> bytes:
    """A bookTicker frame; without time as Spot sends it."""
    data: dict[str, Any] = {"e": "bookTicker"} if ms is not None else {}
    data |= {"u": update_id, "s": "BTCUSDT", "b": bid, "B": "1", "a": ask, "A": "2"}
    if ms is not None:
        data |= {"T": T0_MS + ms, "E": T0_MS + ms}
    return envelope("btcusdt@bookTicker", data)


def envelope(stream: str, data: Any) -> bytes:
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()


def book(update_id: int, ms: int | None, bids: Levels = (), asks: Levels = ()) -> bytes:
    """A REST book; without time as Spot sends it."""
    times = {} if ms is None else {"E": T0_MS + ms, "T": T0_MS + ms - 1}
    return json.dumps({"lastUpdateId": update_id, **times, "bids": bids, "asks": asks}).encode()


class Transcript:
    """A session fed frame by frame; `messages` is all that it published."""

    def __init__(
        self,
        exchange: str = "binance_usdm",
        tickers: Sequence[str] = ("BTCUSDT",),
        feeds: Sequence[str] = FEEDS,
        *,
        epoch: int = 1,
        rule: SnapshotRule | None = None,
        max_frame_bytes: int = 4 * 2**20,
        wait_us: int = 0,
        instruments: Sequence[Instrument] = (),
    ) -> None:
        listed = list(instruments) or [Instrument(ticker=ticker) for ticker in tickers]
        self.venue = load(exchange)(listed, feeds)
        self.session = Session(
            self.venue, rule=rule, max_frame_bytes=max_frame_bytes, wait_us=wait_us
        )
        self.batches = Messages(self.venue.exchange, exchange, self.venue.tickers, epoch)
        self.messages: list[Message] = []
        self.refused: list[str] = []
        self.wanted: list[str] = []
        self.again: list[str] = []
        self.counts = Flush().counts
        self.fates = Flush().fates
        self.out = Flush()
        self.received_ns = T0_MS * 1_000_000
        self.now_s = 0.0
        for number, route in enumerate(self.venue.routes()):
            out = Flush()
            self.session.notice(Connected(Line(number, route), self.received_ns), out)

    def say(self, *frames: bytes, line: int = 0) -> Transcript:
        """These frames arrive and are flushed together."""
        batch = Frames()
        for frame in frames:
            self.received_ns += 1_000_000
            batch.data.append(frame)
            batch.received_ns.append(self.received_ns)
            batch.line.append(line)
            batch.size += len(frame)
        out = Flush()
        self.session.receive(batch, out)
        return self._take(out)

    def answer(self, body: bytes, ticker: str = "BTCUSDT") -> Transcript:
        """A snapshot arrives."""
        self.received_ns += 1_000_000
        return self.notice(Body(Get("", book_of=ticker), body, self.received_ns, 0))

    def notice(self, notice: BufferNotice) -> Transcript:
        out = Flush()
        self.session.notice(notice, out)
        return self._take(out)

    def wait(self, seconds: float, *, settle: bool = False) -> Transcript:
        """Time passes, seen by a tick now and one then."""
        for now_s in (self.now_s, self.now_s + seconds):
            out = Flush()
            self.session.tick(now_s, out, settle=settle)
            self._take(out)
        self.now_s += seconds
        return self

    def _take(self, out: Flush) -> Transcript:
        self.out = out
        self.counts.update(out.counts)
        self.fates.update(out.fates)
        self.wanted += [self.venue.tickers[one] for one in out.snapshots_wanted]
        self.again += [self.venue.tickers[one] for one in out.subscriptions_wanted]
        self.refused += [one.reason for one in out.refused]
        for one in self.batches.of(out):
            self.messages.append(codec.decode(one.payload, one.subject))
        return self

    def statuses(self, kind: int) -> list[Status]:
        return [one for one in self.messages if isinstance(one, Status) and one.kind == kind]


def table(messages: Iterable[Message], kind: type[Message]) -> dict[str, list[Any]]:
    """All rows of one message type, column by column, as Python values."""
    rows: dict[str, list[Any]] = {}
    for message in messages:
        if not isinstance(message, kind) or isinstance(message, Status | Clock):
            continue
        for name, width in message.columns.items():
            if width.per in ("rows", "levels"):
                values = np.frombuffer(getattr(message, name), width.code)
                rows.setdefault(name, []).extend(values.tolist())
    return rows


def trade_ids(messages: Iterable[Message]) -> list[str]:
    ids: list[str] = []
    for message in messages:
        if isinstance(message, TradeBatch):
            ends = np.frombuffer(message.trade_id_offsets, np.int32).tolist()
            text = message.trade_id_bytes.decode()
            ids += [text[a:b] for a, b in itertools.pairwise(ends)]
    return ids


def packets(messages: Iterable[Message]) -> Iterator[tuple[L2Flag, int, int, list[Any]]]:
    """(flags, prev_update_id, update_id, levels (side, price, qty, action)) of each L2 packet."""
    for message in messages:
        if not isinstance(message, L2Batch):
            continue
        levels = list(
            zip(
                np.frombuffer(message.side, np.int8).tolist(),
                np.frombuffer(message.price).tolist(),
                np.frombuffer(message.qty).tolist(),
                np.frombuffer(message.action, np.int8).tolist(),
                strict=True,
            )
        )
        at = 0
        for flags, prev, last, count in zip(
            np.frombuffer(message.flags, np.uint16).tolist(),
            np.frombuffer(message.prev_update_id, np.int64).tolist(),
            np.frombuffer(message.update_id, np.int64).tolist(),
            np.frombuffer(message.levels, np.int32).tolist(),
            strict=True,
        ):
            yield L2Flag(flags), prev, last, levels[at : at + count]
            at += count


def recorded(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of a capture."""
    with gzip.open(path, "rt") as lines:
        for line in lines:
            yield json.loads(line)
