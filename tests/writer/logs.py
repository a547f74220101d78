"""A small, seeded log of every message that the writer reads: books that link, two days, gaps."""

from __future__ import annotations

import random
from math import nan
from typing import Any

import numpy as np
from tickbus.log.stored import Stored
from tickbus_schemas import codec, subjects
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.feeds import OF_NAME, RAW
from tickbus_schemas.messages import (
    ABSENT,
    PACKETS_PER_EPOCH,
    BarBatch,
    BboBatch,
    BookBatch,
    Clock,
    FeatureBatch,
    Fence,
    Header,
    Instrument,
    L2Batch,
    L2Flag,
    Message,
    Status,
    StatusKind,
    TradeBatch,
)
from tickbus_schemas.values import FINITE_OR_NULL

VENUE = Exchange.BINANCE_USDM
SHARD = VENUE.token
MIDNIGHT_US = 1_721_347_200_000_000
STEP_US = 50_000
FEATURES = ["mid", "ofi"]
STATISTICS = [
    name for name in RAW if OF_NAME[name].kind.columns and name not in ("trade", "l2", "bbo")
]
"""Feeds whose rows stand for themselves: any values that their columns allow will do."""


def packed(values: Any, code: str) -> bytes:
    return np.asarray(values, code).tobytes()


class LogWriter:
    """Appends messages to a log as ingest would: links, epochs and numbers are right."""

    def __init__(self, seed: int = 1, *, first_seq: int = 1) -> None:
        self.random = random.Random(seed)
        self.statistics_random = random.Random(seed)
        self.known: dict[tuple[str, str], dict[str, float]] = {}
        self.stored: list[Stored] = []
        self.seq = first_seq
        self.stored_ns = (MIDNIGHT_US - 3_000_000) * 1_000
        self.now_us = MIDNIGHT_US - 3_000_000
        self.epoch = 0
        self.message_no = 0
        self.packet = 0
        self.update_id = {"BTCUSDT": 1_000, "ETH/USDT": 5_000}
        self.books: dict[str, dict[tuple[int, float], float]] = {}

    def header(self, ticker: str) -> dict[str, Any]:
        number = self.message_no
        self.message_no += 1
        return {
            "exchange": int(VENUE),
            "ticker": ticker,
            "epoch": self.epoch,
            "message_no": number,
        }

    def store(self, subject: str, message: Message | bytes) -> None:
        data = message if isinstance(message, bytes) else codec.encode(message)
        self.stored.append(Stored(self.seq, self.stored_ns, subject, data))
        self.seq += 1
        self.stored_ns += 1_000_000

    def tick(self) -> int:
        self.now_us += STEP_US
        self.stored_ns += STEP_US * 1_000
        self.packet += 1
        return self.epoch * PACKETS_PER_EPOCH + self.packet

    def fence(self) -> None:
        self.epoch += 1
        self.message_no = 0
        self.store(
            subjects.fence(SHARD), Fence(**self.header(""), timestamp=self.now_us, owner="test")
        )

    def clock(self) -> None:
        self.store(
            subjects.clock(SHARD),
            Clock(
                **self.header(""),
                timestamp=self.now_us,
                rcv_timestamp=self.now_us + 5,
                packet_id=self.epoch * PACKETS_PER_EPOCH + self.packet,
            ),
        )

    def trades(self, ticker: str, rows: int) -> None:
        packets = [self.tick() for _ in range(rows)]
        times = [self.now_us - STEP_US * (rows - 1 - n) for n in range(rows)]
        texts = [f"{packet % 10_000}" for packet in packets]
        self.store(
            subjects.md(VENUE, ticker, "trade"),
            TradeBatch(
                **self.header(ticker),
                timestamp=packed(times, "<i8"),
                rcv_timestamp=packed(np.array(times) + 7, "<i8"),
                packet_id=packed(packets, "<i8"),
                side=packed([self.random.choice([1, -1, 0]) for _ in packets], "<i1"),
                price=packed([self.random.randint(100, 200) / 10 for _ in packets], "<f8"),
                qty=packed([self.random.randint(1, 50) / 1_000 for _ in packets], "<f8"),
                flags=packed([0] * rows, "<u2"),
                trade_id_offsets=packed(np.cumsum([0, *map(len, texts)]), "<i4"),
                trade_id_bytes="".join(texts).encode(),
            ),
        )

    def snapshot(self, ticker: str) -> None:
        book = self.books.setdefault(ticker, {})
        if not book:
            for n in range(15):
                book[1, 10.0 - n / 10] = 1.0 + n
                book[-1, 10.1 + n / 10] = 2.0 + n
        flags = L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT | L2Flag.SNAPSHOT_LAST
        levels = [(side, 1, price, qty) for (side, price), qty in sorted(book.items())]
        self.packets(ticker, [(ABSENT, self.update_id[ticker], int(flags), levels)])

    def deltas(self, ticker: str, packets: int, *, empty: bool = False) -> None:
        book = self.books[ticker]
        made = []
        for _ in range(packets):
            levels = []
            for _ in range(0 if empty else self.random.randint(1, 6)):
                side = self.random.choice([1, -1])
                price = (100 - self.random.randint(0, 20)) / 10
                price = price if side == 1 else price + 2.1
                qty = self.random.choice([0.0, self.random.randint(1, 99) / 100])
                known = (side, price) in book
                if qty:
                    book[side, price] = qty
                    levels.append((side, 2 if known else 1, price, qty))
                elif known:
                    del book[side, price]
                    levels.append((side, 3, price, qty))
            before = self.update_id[ticker]
            self.update_id[ticker] += self.random.randint(1, 9)
            made.append((before, self.update_id[ticker], 0, levels))
        self.packets(ticker, made)

    def packets(self, ticker: str, packets: list[Any]) -> None:
        ids = [self.tick() for _ in packets]
        times = [self.now_us - STEP_US * (len(ids) - 1 - n) for n in range(len(ids))]
        levels = [level for packet in packets for level in packet[3]]
        self.store(
            subjects.md(VENUE, ticker, "l2"),
            L2Batch(
                **self.header(ticker),
                timestamp=packed(times, "<i8"),
                engine_timestamp=packed(np.array(times) - 1, "<i8"),
                rcv_timestamp=packed(np.array(times) + 9, "<i8"),
                packet_id=packed(ids, "<i8"),
                prev_update_id=packed([packet[0] for packet in packets], "<i8"),
                update_id=packed([packet[1] for packet in packets], "<i8"),
                flags=packed([packet[2] for packet in packets], "<u2"),
                levels=packed([len(packet[3]) for packet in packets], "<i4"),
                side=packed([level[0] for level in levels], "<i1"),
                action=packed([level[1] for level in levels], "<i1"),
                price=packed([level[2] for level in levels], "<f8"),
                qty=packed([level[3] for level in levels], "<f8"),
            ),
        )

    def quotes(self, ticker: str, rows: int) -> None:
        packets = [self.tick() for _ in range(rows)]
        times = [self.now_us - STEP_US * (rows - 1 - n) for n in range(rows)]
        numbers: dict[str, Any] = {
            name: packed([self.random.randint(90, 110) / 10 for _ in packets], "<f8")
            for name in ("bid_px", "bid_sz", "ask_px", "ask_sz")
        }
        self.store(
            subjects.md(VENUE, ticker, "bbo"),
            BboBatch(
                **self.header(ticker),
                timestamp=packed(times, "<i8"),
                engine_timestamp=packed([0] * rows, "<i8"),
                rcv_timestamp=packed(np.array(times) + 3, "<i8"),
                packet_id=packed(packets, "<i8"),
                update_id=packed([ABSENT] * rows, "<i8"),
                **numbers,
                flags=packed([1] * rows, "<u2"),
            ),
        )

    def statistics(self, feed: str, ticker: str, rows: int) -> None:
        """Rows of one of STATISTICS."""
        kind = OF_NAME[feed].kind
        made = []
        for _ in range(rows):
            packet = self.tick()
            row = {name: self._drawn(kind, name) for name in kind.columns}
            row |= {"timestamp": self.now_us, "rcv_timestamp": self.now_us + 4, "packet_id": packet}
            if "position_side" in row:
                row["position_side"] = -row["side"]
            if "fields" in row:
                row = self._merged(feed, ticker, row)
            made.append(row)
        columns: dict[str, Any] = {
            name: packed([row[name] for row in made], width.code)
            for name, width in kind.columns.items()
        }
        self.store(subjects.md(VENUE, ticker, feed), kind(**self.header(ticker), **columns))

    def _drawn(self, kind: type[Header], name: str) -> float:
        choose, width = self.statistics_random.choice, kind.columns[name]
        if name in kind.codes:
            return choose([*kind.codes[name].names])
        if name in kind.bits:
            return choose([0, *map(int, kind.bits[name])])
        known = self.statistics_random.randint(1, 10**6)
        number = known / 100 if width.code == "<f8" else known
        return choose([number, number, number if width.absent is None else width.absent])

    def _merged(self, feed: str, ticker: str, row: dict[str, float]) -> dict[str, float]:
        """A row of parts: some values are new, the others those of the row before."""
        known = self.known.setdefault((feed, ticker), {})
        fields = OF_NAME[feed].kind.bits["fields"]
        new = self.statistics_random.sample([*fields], 3)
        for field in fields:
            name = str(field.name).lower()
            if field in new:
                known[name] = self.statistics_random.randint(1, 10**6)
            row[name] = known.get(name, ABSENT if "_ms" in name or "time" in name else nan)
        return row | {"fields": sum(new)}

    def instrument(self, ticker: str) -> None:
        """What is known of a spot pair; another tick each time."""
        packet = self.tick()
        self.store(
            subjects.md(VENUE, ticker, "instrument"),
            Instrument(
                **self.header(ticker),
                timestamp=self.now_us,
                rcv_timestamp=self.now_us + 1,
                packet_id=packet,
                base=ticker.partition("/")[0],
                quote="US Doллар",
                settle="",
                kind=1,
                tick_size=self.statistics_random.choice([0.1, 0.5, 1e-8]),
                lot_size=nan,
                price_precision=self.statistics_random.choice([ABSENT, 8]),
                status=1,
                venue_status="TRADING",
            ),
        )

    def status(self, ticker: str, feed: str = "") -> None:
        packet = self.tick()
        self.store(
            subjects.md(VENUE, ticker, "status"),
            Status(
                **self.header(ticker),
                timestamp=self.now_us,
                rcv_timestamp=self.now_us + 1,
                packet_id=packet,
                kind=int(StatusKind.CONNECTED),
                feed=feed,
                reason="socket opened, größer",
                line=2,
            ),
        )

    def garbage(self) -> None:
        """Something that is no message; it used up no number."""
        self.store(subjects.md(VENUE, "BTCUSDT", "trade"), b"\xc1 not a message")

    def skip(self, messages: int) -> None:
        """Sequences that the stream no longer has; the publisher had numbered them."""
        self.seq += messages
        self.message_no += messages

    def book(self, ticker: str, interval_ms: int, rows: int, depth: int = 3) -> None:
        times = [self.now_us + STEP_US * n for n in range(rows)]
        self.now_us = times[-1]
        packet = self.tick()
        shape = (rows, depth)
        self.store(
            subjects.derived("book", VENUE, ticker, interval_ms),
            BookBatch(
                **self.header(ticker),
                interval_ms=interval_ms,
                depth=depth,
                timestamp=packed(times, "<i8"),
                rcv_timestamp=packed(times, "<i8"),
                packet_id=packed([packet] * rows, "<i8"),
                update_id=packed(range(rows), "<i8"),
                flags=packed([self.random.randint(0, 7) for _ in times], "<u2"),
                bid_levels=packed([depth] * rows, "<i4"),
                ask_levels=packed([self.random.randint(0, depth) for _ in times], "<i4"),
                bid_px=packed(np.linspace(9, 10, rows * depth).reshape(shape), "<f8"),
                bid_sz=packed(np.ones(shape), "<f8"),
                ask_px=packed(np.linspace(11, 12, rows * depth).reshape(shape), "<f8"),
                ask_sz=packed(np.ones(shape) * 2, "<f8"),
            ),
        )

    def bar(self, ticker: str, interval_ms: int, rows: int) -> None:
        times = np.array([self.now_us + STEP_US * n for n in range(rows)])
        self.now_us = int(times[-1])
        packet = self.tick()
        columns: dict[str, Any] = {}
        for name, width in BarBatch.columns.items():
            if width.code == "<f8":
                choice = [1.5, -0.0, 0.0] + [float("nan")] * (name in FINITE_OR_NULL[BarBatch])
                values = [self.random.choice(choice) for _ in times]
                columns[name] = packed(values, "<f8")
            else:
                columns[name] = packed([self.random.randint(0, 3) for _ in times], width.code)
        columns |= {
            "timestamp": packed(times, "<i8"),
            "end_timestamp": packed(times + interval_ms * 1_000, "<i8"),
            "rcv_timestamp": packed(times, "<i8"),
            "packet_id": packed([packet] * rows, "<i8"),
        }
        self.store(
            subjects.derived("bar", VENUE, ticker, interval_ms),
            BarBatch(**self.header(ticker), interval_ms=interval_ms, **columns),
        )

    def features(self, ticker: str, interval_ms: int, rows: int) -> None:
        times = np.array([self.now_us + STEP_US * n for n in range(rows)])
        self.now_us = int(times[-1])
        packet = self.tick()
        self.store(
            subjects.derived("feature", VENUE, ticker, interval_ms),
            FeatureBatch(
                **self.header(ticker),
                interval_ms=interval_ms,
                catalogue="c0ffee",
                names=FEATURES,
                timestamp=packed(times, "<i8"),
                end_timestamp=packed(times + interval_ms * 1_000, "<i8"),
                rcv_timestamp=packed(times, "<i8"),
                packet_id=packed([packet] * rows, "<i8"),
                flags=packed([0] * rows, "<u2"),
                values=[
                    packed([self.random.choice([float("nan"), n / 7]) for n in range(rows)], "<f8")
                    for _ in FEATURES
                ],
            ),
        )


def market_log(seed: int = 1, rounds: int = 12, *, first_seq: int = 1) -> list[Stored]:
    """A raw stream: fence, snapshots, all feeds of two tickers over midnight, a second epoch."""
    log = LogWriter(seed, first_seq=first_seq)
    log.fence()
    for ticker in log.update_id:
        log.status(ticker)
        log.instrument(ticker)
        log.snapshot(ticker)
    for turn in range(rounds):
        for ticker in log.update_id:
            log.deltas(ticker, log.random.randint(1, 5))
            log.trades(ticker, log.random.randint(1, 4))
            log.quotes(ticker, log.random.randint(1, 6))
            for feed in STATISTICS:
                log.statistics(feed, ticker, log.statistics_random.randint(1, 3))
        log.clock()
        if turn == rounds // 2:
            log.instrument("BTCUSDT")
            log.deltas("BTCUSDT", 1, empty=True)
            log.garbage()
            log.fence()
            log.snapshot("BTCUSDT")
    return log.stored


def derived_log(kind: str, seed: int = 1, rounds: int = 6) -> list[Stored]:
    """A derived stream: two intervals of two tickers."""
    log = LogWriter(seed)
    log.epoch = 3
    for _ in range(rounds):
        for ticker in log.update_id:
            for interval_ms in (100, 1_000):
                rows = log.random.randint(1, 4)
                if kind == "book":
                    log.book(ticker, interval_ms, rows)
                elif kind == "bar":
                    log.bar(ticker, interval_ms, rows)
                else:
                    log.features(ticker, interval_ms, rows)
    return log.stored
