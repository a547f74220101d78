"""A capture's frames as plain events, and events as stored messages; nothing of ingest is used."""

from __future__ import annotations

import gzip
import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tickbus.columns.assembler import Assembler
from tickbus.columns.group import Group
from tickbus.log.stored import Stored
from tickbus_schemas import codec, subjects
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import (
    ABSENT,
    PACKETS_PER_EPOCH,
    Action,
    BboBatch,
    Clock,
    Header,
    L2Batch,
    L2Flag,
    Side,
    Status,
    StatusKind,
    TradeBatch,
)

SNAPSHOT = int(L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT | L2Flag.SNAPSHOT_LAST)


@dataclass(frozen=True)
class Event:
    """One thing that happened; times in us."""

    feed: str
    """trade, l2, bbo, status or clock"""
    ticker: str
    timestamp: int
    packet: int
    fields: dict[str, Any] = field(default_factory=dict)
    epoch: int = 1

    @property
    def packet_id(self) -> int:
        return self.epoch * PACKETS_PER_EPOCH + self.packet

    @property
    def rcv_timestamp(self) -> int:
        return self.timestamp + 1_000


def trade(
    timestamp: int, packet: int, price: float, qty: float, *, side: int = Side.BUY, flags: int = 0
) -> Event:
    fields = {"price": price, "qty": qty, "side": int(side), "flags": flags}
    return Event("trade", "BTCUSDT", timestamp, packet, fields)


def quote(
    timestamp: int, packet: int, bid_px: float, bid_sz: float, ask_px: float, ask_sz: float
) -> Event:
    fields = {"bid_px": bid_px, "bid_sz": bid_sz, "ask_px": ask_px, "ask_sz": ask_sz}
    return Event("bbo", "BTCUSDT", timestamp, packet, fields)


Levels = Iterable[tuple[int, float, float]]
"""side, price, size; size 0 deletes"""


def book(
    timestamp: int,
    packet: int,
    levels: Levels,
    *,
    prev: int = ABSENT,
    update: int = 0,
    flags: int = 0,
) -> Event:
    fields = {"levels": list(levels), "prev": prev, "update": update, "flags": flags}
    return Event("l2", "BTCUSDT", timestamp, packet, fields)


def snapshot(timestamp: int, packet: int, levels: Levels, *, update: int = 0) -> Event:
    return book(timestamp, packet, levels, update=update, flags=SNAPSHOT)


def gap(timestamp: int, packet: int, feed: str, from_timestamp: int = ABSENT) -> Event:
    fields = {"feed": feed, "kind": int(StatusKind.GAP), "from_timestamp": from_timestamp}
    return Event("status", "BTCUSDT", timestamp, packet, fields)


def clock(timestamp: int, packet: int) -> Event:
    return Event("clock", "", timestamp, packet)


# ------------------------------------------------------------------ captures


class _Venue:
    """Reads one Binance capture; books are joined by the venue's rule."""

    def __init__(self, exchange: Exchange) -> None:
        self.spot = exchange is Exchange.BINANCE_SPOT
        self.seen: dict[str, int] = {}
        self.waiting: dict[str, list[Event]] = {}
        self.last: dict[str, int] = {}

    def time(self, ticker: str, venue_ms: int | None, received_us: int) -> int:
        known = self.seen.get(ticker, received_us)
        if venue_ms is None:
            return known
        self.seen[ticker] = max(self.seen.get(ticker, 0), venue_ms * 1_000)
        return venue_ms * 1_000

    def read(self, line: dict[str, Any], packet: int) -> Iterator[Event]:
        received_us = line["ts"] // 1_000
        if line["dir"] == "http":
            yield from self._snapshot(line, received_us, packet)
            return
        frame = json.loads(line["data"])
        if "stream" not in frame:
            return
        channel, data = frame["stream"].split("@")[1], frame["data"]
        if channel.startswith("depth"):
            yield from self._depth(data, received_us, packet)
        elif channel == "bookTicker":
            at = self.time(data["s"], data.get("E"), received_us)
            fields = dict(
                zip(
                    ("bid_px", "bid_sz", "ask_px", "ask_sz"),
                    (float(data[key]) for key in "bBaA"),
                    strict=True,
                )
            )
            yield Event("bbo", data["s"], at, packet, fields)
        elif channel in ("trade", "aggTrade"):
            at = self.time(data["s"], data["T"], received_us)
            fields = {
                "price": float(data["p"]),
                "qty": float(data["q"]),
                "side": -1 if data["m"] else 1,
                "flags": 0,
            }
            yield Event("trade", data["s"], at, packet, fields)

    def _depth(self, data: dict[str, Any], received_us: int, packet: int) -> Iterator[Event]:
        ticker = data["s"]
        fields = {
            "levels": _levels(data["b"], data["a"]),
            "prev": data["U"] - 1 if self.spot else data["pu"],
            "update": data["u"],
            "flags": 0,
        }
        event = Event("l2", ticker, self.time(ticker, data["E"], received_us), packet, fields)
        if ticker in self.last:
            if not self._contained(event):
                yield event
        else:
            self.waiting.setdefault(ticker, []).append(event)

    def _snapshot(self, line: dict[str, Any], received_us: int, packet: int) -> Iterator[Event]:
        if "/depth?symbol=" not in line["url"]:
            return
        ticker = line["url"].split("symbol=")[1].split("&")[0]
        body = json.loads(line["data"])
        last = body["lastUpdateId"]
        at = self.time(ticker, body.get("E"), received_us)
        fields = {
            "levels": _levels(body["bids"], body["asks"]),
            "prev": ABSENT,
            "update": last,
            "flags": SNAPSHOT,
        }
        yield Event("l2", ticker, at, packet, fields)
        self.last[ticker] = last
        for event in self.waiting.pop(ticker, []):
            if not self._contained(event):
                yield Event("l2", ticker, event.timestamp, packet, event.fields)

    def _contained(self, event: Event) -> bool:
        """Whether the snapshot has the update: Spot drops `u <= lastUpdateId`, USD-M `u <`."""
        last, update = self.last[event.ticker], event.fields["update"]
        return update < last or (update == last and self.spot)


def _levels(bids: list[list[str]], asks: list[list[str]]) -> list[tuple[int, float, float]]:
    return [(1, float(price), float(size)) for price, size in bids] + [
        (-1, float(price), float(size)) for price, size in asks
    ]


def events(captures: Path, name: str) -> list[Event]:
    """The events of a Binance capture in order of arrival, a clock after each second of it."""
    venue = _Venue(Exchange.from_token(name.split("/")[0]))
    found: list[Event] = []
    next_clock_ns = 0
    with gzip.open(captures / "frames" / f"{name}.jsonl.gz", "rt") as lines:
        for packet, text in enumerate(lines, 1):
            line = json.loads(text)
            if line["dir"] not in ("in", "http"):
                continue
            if line["ts"] >= next_clock_ns and venue.seen:
                next_clock_ns = line["ts"] + 1_000_000_000
                found.append(clock(max(venue.seen.values()), packet - 1))
            found += venue.read(line, packet)
    return [*found, clock(max(venue.seen.values()), found[-1].packet)]


# ------------------------------------------------------------------ messages


def _columns(kind: type[Header], values: dict[str, list[Any]]) -> dict[str, Any]:
    return {
        name: np.array(values[name], width.code).tobytes() for name, width in kind.columns.items()
    }


def _common(batch: list[Event]) -> dict[str, list[Any]]:
    return {
        "timestamp": [one.timestamp for one in batch],
        "engine_timestamp": [0 for _ in batch],
        "rcv_timestamp": [one.rcv_timestamp for one in batch],
        "packet_id": [one.packet_id for one in batch],
        "update_id": [one.fields.get("update", 0) for one in batch],
        "flags": [one.fields.get("flags", 0) for one in batch],
    }


def _trade_columns(batch: list[Event]) -> dict[str, Any]:
    values = _common(batch) | {
        name: [one.fields[name] for one in batch] for name in ("side", "price", "qty")
    }
    ids = [str(one.packet) for one in batch]
    values["trade_id_offsets"] = np.cumsum([0, *map(len, ids)]).tolist()
    values["trade_id_bytes"] = list("".join(ids).encode())
    return _columns(TradeBatch, values)


def _quote_columns(batch: list[Event]) -> dict[str, Any]:
    names = ("bid_px", "bid_sz", "ask_px", "ask_sz")
    return _columns(
        BboBatch, _common(batch) | {name: [one.fields[name] for one in batch] for name in names}
    )


def _book_columns(batch: list[Event]) -> dict[str, Any]:
    rows = [level for one in batch for level in one.fields["levels"]]
    return _columns(
        L2Batch,
        _common(batch)
        | {
            "prev_update_id": [one.fields["prev"] for one in batch],
            "levels": [len(one.fields["levels"]) for one in batch],
            "side": [side for side, _, _ in rows],
            "action": [int(Action.UPDATE if size else Action.DELETE) for _, _, size in rows],
            "price": [price for _, price, _ in rows],
            "qty": [size for _, _, size in rows],
        },
    )


class Log:
    """Stored messages of one shard, as a publisher would have written them."""

    def __init__(self, exchange: Exchange, first_seq: int = 1) -> None:
        self.exchange = exchange
        self.seq = first_seq
        self.message_no: dict[int, int] = defaultdict(int)

    def flush(self, batch: list[Event]) -> list[Stored]:
        """One flush: messages by ticker and feed, `more` counts down; the clock comes last."""
        stored: list[Stored] = []
        by_ticker: dict[str, dict[str, list[Event]]] = {}
        for one in batch:
            if one.feed != "clock":
                by_ticker.setdefault(one.ticker, {}).setdefault(one.feed, []).append(one)
        for ticker, feeds in by_ticker.items():
            parts = [
                part
                for feed, of_feed in feeds.items()
                for part in ([[one] for one in of_feed] if feed == "status" else _split(of_feed))
            ]
            for place, part in enumerate(parts):
                more = len(parts) - 1 - place
                stored.append(self._store(ticker, part, more))
        stored += [self._clock(one) for one in batch if one.feed == "clock"]
        return stored

    def _header(self, ticker: str, epoch: int, more: int = 0) -> dict[str, Any]:
        number = self.message_no[epoch]
        self.message_no[epoch] += 1
        return {
            "exchange": int(self.exchange),
            "ticker": ticker,
            "epoch": epoch,
            "message_no": number,
            "more": more,
        }

    def _store(self, ticker: str, part: list[Event], more: int) -> Stored:
        feed, header = part[0].feed, self._header(ticker, part[-1].epoch, more)
        message: Header
        if feed == "trade":
            message = TradeBatch(**header, **_trade_columns(part))
        elif feed == "bbo":
            message = BboBatch(**header, **_quote_columns(part))
        elif feed == "l2":
            message = L2Batch(**header, **_book_columns(part))
        else:
            one = part[0]
            message = Status(
                **header,
                timestamp=one.timestamp,
                rcv_timestamp=one.rcv_timestamp,
                packet_id=one.packet_id,
                **one.fields,
            )
        return self._stored(subjects.md(self.exchange, ticker, feed), message)

    def _clock(self, one: Event) -> Stored:
        message = Clock(
            **self._header("", one.epoch),
            timestamp=one.timestamp,
            rcv_timestamp=one.rcv_timestamp,
            packet_id=one.packet_id,
        )
        return self._stored(subjects.clock(self.exchange.token), message)

    def _stored(self, subject: str, message: Any) -> Stored:
        stored = Stored(self.seq, self.seq * 1_000, subject, codec.encode(message), None)
        self.seq += 1
        return stored


def _split(of_feed: list[Event], levels_max: int = 10_000) -> Iterator[list[Event]]:
    """Parts that fit into a message; a snapshot of more levels is a message of its own."""
    part: list[Event] = []
    levels = 0
    for one in of_feed:
        levels += len(one.fields.get("levels", ()))
        if part and levels > levels_max:
            yield part
            part, levels = [], len(one.fields.get("levels", ()))
        part.append(one)
    yield part


def log(found: list[Event], exchange: Exchange, flush_events: int) -> list[Stored]:
    """All events as messages, so many in a flush; a clock ends a flush."""
    shard, stored, batch = Log(exchange), [], []
    for one in found:
        batch.append(one)
        if len(batch) == flush_events or one.feed == "clock":
            stored += shard.flush(batch)
            batch = []
    return stored + shard.flush(batch)


def groups(stored: list[Stored], cuts: Iterable[int] = ()) -> Iterator[Group]:
    """Groups of a log that arrives in pieces cut at these places."""
    assembler = Assembler()
    places = [0, *sorted(cuts), len(stored)]
    for first, last in itertools.pairwise(places):
        group = assembler.add(stored[first:last])
        if group is not None:
            assert not group.rejected, group.rejected
            yield group


def decoded(payload: bytes) -> Any:
    """A message without the check of its subject."""
    return codec.decode(payload)
