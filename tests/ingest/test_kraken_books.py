"""Kraken's books while connections repeat, overtake, drop, spoil, break, replace each other."""

from __future__ import annotations

import random
import zlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from tickbus.book.orderbook import OrderBook
from tickbus_ingest.session.book_rules import SnapshotRule, State
from tickbus_ingest.venue.contract import Line
from tickbus_ingest.wire.buffer import Connected, Disconnected, Overflow, Replaced
from tickbus_schemas.messages import ABSENT, L2Batch, L2Flag, StatusKind

from tests.ingest.wire import T0_MS, Transcript, packets, trade_ids

US = 1000
T0_US = T0_MS * US
SNAPSHOT = L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT | L2Flag.SNAPSHOT_LAST
Sides = dict[str, str]
FEEDS = ("trade", "l2", "bbo")


class Market:
    """Kraken's book of one pair, in decimal text as Kraken has it; frames say what it does."""

    def __init__(self, depth: int = 10, levels: int = 3) -> None:
        self.depth = depth
        self.bids = {f"{1000 - n}.0": f"{n + 1}.00000000" for n in range(levels)}
        self.asks = {f"{1001 + n}.0": f"{n + 1}.50000000" for n in range(levels)}

    def subscribed(self) -> bytes:
        return (
            b'{"method":"subscribe","result":{"channel":"book","depth":%d,"symbol":"BTC/USD"},'
            b'"success":true}' % self.depth
        )

    def snapshot(self, ms: int) -> bytes:
        return self._frame("snapshot", ms, self.bids, self.asks, self.checksum())

    def update(
        self, ms: int, bids: Sides | None = None, asks: Sides | None = None, wrong: int = 0
    ) -> bytes:
        """The market changes, and tells; `wrong` spoils the checksum."""
        bids, asks = bids or {}, asks or {}
        self.bids = self._changed(self.bids, bids, -1)
        self.asks = self._changed(self.asks, asks, 1)
        return self._frame("update", ms, bids, asks, self.checksum() ^ wrong)

    def checksum(self) -> int:
        best = [*list(self.asks.items())[:10], *list(self.bids.items())[:10]]
        text = "".join(one.replace(".", "").lstrip("0") for level in best for one in level)
        return zlib.crc32(text.encode())

    def _changed(self, side: Sides, changes: Sides, sign: int) -> Sides:
        found = {price: size for price, size in (side | changes).items() if Decimal(size)}
        best = sorted(found, key=lambda price: sign * Decimal(price))[: self.depth]
        return {price: found[price] for price in best}

    def _frame(self, kind: str, ms: int, bids: Sides, asks: Sides, checksum: int) -> bytes:
        sides = [
            ",".join(f'{{"price":{price},"qty":{size}}}' for price, size in side.items())
            for side in (bids, asks)
        ]
        return (
            f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"BTC/USD","bids":[{sides[0]}],'
            f'"asks":[{sides[1]}],"checksum":{checksum},"timestamp":"{rfc3339(ms)}"}}]}}'
        ).encode()


def rfc3339(ms: int) -> str:
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=T0_MS + ms)
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def traded(kind: str, *id_and_ms: tuple[int, int]) -> bytes:
    """Kraken's trades."""
    data = ",".join(
        f'{{"symbol":"BTC/USD","side":"buy","price":1000.5,"qty":0.1,"trade_id":{one},'
        f'"timestamp":"{rfc3339(ms)}"}}'
        for one, ms in id_and_ms
    )
    return f'{{"channel":"trade","type":"{kind}","data":[{data}]}}'.encode()


def kraken(market: Market | None = None, **options: object) -> tuple[Transcript, Market]:
    """A LIVE book at number 1."""
    market = market or Market()
    script = Transcript("kraken", ["BTC/USD"], FEEDS, **options)  # type: ignore[arg-type]  # Transcript's own names
    script.say(market.subscribed(), market.snapshot(0))
    assert script.session.books[0].state is State.LIVE
    return script, market


def open_line(script: Transcript, number: int) -> None:
    """Another connection of the same route."""
    script.notice(Connected(Line(number, script.venue.routes()[0]), script.received_ns))


def links(script: Transcript) -> list[tuple[int, int]]:
    return [(prev, last) for _, prev, last, _ in packets(script.messages)]


def gaps(script: Transcript) -> list[tuple[str, int, int]]:
    """Feed, and the venue's times between which something is missing, in ms."""
    return [
        (gap.feed, (gap.from_timestamp - T0_US) // US, (gap.to_timestamp - T0_US) // US)
        for gap in script.statuses(StatusKind.GAP)
    ]


def assert_log_is(script: Transcript, market: Market) -> None:
    """A reader of what was published has the market's book."""
    reader = OrderBook()
    for message in script.messages:
        if isinstance(message, L2Batch):
            assert reader.apply_batch(message).broken == 0
    side, price, qty = reader.levels()
    for number, theirs in ((1, market.bids), (-1, market.asks)):
        own = side == number
        assert dict(zip(price[own].tolist(), qty[own].tolist(), strict=True)) == {
            float(price): float(size) for price, size in theirs.items()
        }


@pytest.mark.parametrize("flush", [1, 3, 1000])
@pytest.mark.parametrize("depth", [10, 25])
@pytest.mark.parametrize("seed", range(3))
def test_a_book_of_some_levels_a_side_stays_the_venues(seed: int, depth: int, flush: int) -> None:
    chance = random.Random(seed)  # a market, not a secret
    market = Market(depth, levels=depth)
    frames = [market.subscribed(), market.snapshot(0)]
    for n in range(1, 300):
        changes: list[Sides] = [{}, {}]
        for _ in range(chance.randrange(1, 4)):
            below = chance.randrange(2)
            price = (1000 if below else 1001) + (-1 if below else 1) * chance.randrange(2 * depth)
            size = chance.choice(["0.00000000", f"{chance.random():.8f}"])
            changes[1 - below][f"{price}.0"] = size
        frames.append(market.update(n, changes[0], changes[1]))
    script = Transcript("kraken", ["BTC/USD"], FEEDS, rule=SnapshotRule(50_000, 1))
    for n in range(0, len(frames), flush):
        script.say(*frames[n : n + flush])
    assert script.counts["snapshots", "log"] > 0
    assert not gaps(script)
    assert_log_is(script, market)


def test_the_same_update_again_changes_nothing() -> None:
    script, market = kraken()
    frame = market.update(1, {"1000.0": "5.00000000"})
    script.say(frame, frame)
    assert not gaps(script)
    assert_log_is(script, market)


@pytest.mark.parametrize("order", [(1, 0), (1, 2), (0, 2, 1)], ids=["overtaken", "dropped", "late"])
def test_an_update_out_of_place_is_a_gap_until_the_next_snapshot(order: tuple[int, ...]) -> None:
    script, market = kraken()
    frames = [
        market.update(1, {"1000.0": "5.00000000"}),
        market.update(2, {"999.0": "6.00000000"}),
        market.update(3, {"998.0": "7.00000000"}),
    ]
    script.say(*(frames[n] for n in order))
    assert len(gaps(script)) == 1
    assert script.again == ["BTC/USD"]
    script.say(market.snapshot(10), market.update(11, {}, {"1001.0": "2.00000000"}))
    assert script.again == ["BTC/USD"]
    assert_log_is(script, market)
    flags = [flags for flags, *_ in packets(script.messages)]
    assert flags[-2:] == [SNAPSHOT | L2Flag.GAP_BEFORE, 0]


def test_a_book_that_breaks_again_and_again_is_asked_for_ever_later() -> None:
    script, market = kraken()
    script.say(market.update(1, wrong=1))
    asked = []
    for n in range(2, 8):
        script.say(market.snapshot(2 * n), market.update(2 * n + 1, wrong=1))
        already = len(script.again)
        waited = 0.0
        while len(script.again) == already and waited < 60:
            script.wait(0.1)
            waited += 0.1
        asked.append(waited)
    assert asked == sorted(asked)
    assert asked[0] < 1
    assert asked[-1] > 5


def reconnect(script: Transcript, line: int, *frames: bytes) -> None:
    """The only connection is closed by the venue; another one, of this number, brings these."""
    script.notice(Disconnected(line - 1, "4900 the end", script.received_ns))
    open_line(script, line)
    script.say(*frames, line=line)


def test_the_same_book_again_after_a_reconnect_says_that_nothing_is_missing() -> None:
    script, market = kraken()
    script.say(market.update(5, {"1000.0": "5.00000000"}))
    for line in range(1, 4):
        reconnect(script, line, market.subscribed(), market.snapshot(5))
    assert gaps(script) == []
    assert L2Flag.GAP_BEFORE not in L2Flag([f for f, *_ in packets(script.messages)][-1])
    script.say(market.update(6, {"999.0": "6.00000000"}), line=3)
    assert_log_is(script, market)


@pytest.mark.parametrize("ms", [5, 7], ids=["same time, other levels", "same levels, later"])
def test_a_book_after_a_reconnect_that_may_be_another_ends_a_gap(ms: int) -> None:
    script, market = kraken()
    script.say(market.update(5, {"1000.0": "5.00000000"}))
    if ms == 5:
        market.update(ms, {"999.0": "6.00000000"})  # unheard
    reconnect(script, 1, market.subscribed(), market.snapshot(ms))
    assert gaps(script) == [("l2", 5, ms)]
    assert_log_is(script, market)


def test_sizes_that_are_no_double_leave_updates_unproved_and_counted() -> None:
    script, market = kraken()
    script.say(
        market.update(1, {"999.5": "123456789.12345678"}),
        market.update(2, {"999.0": "6.00000000"}),
        market.update(3, {"999.5": "0.00000000"}),
    )
    assert script.counts["unchecked_updates", ""] == 2
    assert not gaps(script)
    assert_log_is(script, market)
    script.say(market.update(4, wrong=1))
    assert gaps(script) == [("l2", 3, 4)]


def test_a_time_without_a_zone_is_refused_with_the_reason() -> None:
    script, market = kraken()
    script.say(market.update(1, {"1000.0": "5.00000000"}).replace(b'Z"', b'"'))
    assert script.refused == ["time 2024-08-08T23:54:15.001000 has no zone"]
    assert len(links(script)) == 1


def test_a_broken_connection_is_a_gap_by_time_and_our_numbers_go_on() -> None:
    script, market = kraken()
    script.say(market.update(1, {"1000.0": "5.00000000"}))
    script.notice(Disconnected(0, "1006 broken", script.received_ns))
    market.update(50, {"1000.0": "0.00000000"})
    open_line(script, 0)
    script.say(market.snapshot(100), market.update(101, {"998.5": "1.00000000"}))
    assert links(script) == [(ABSENT, 1), (1, 2), (ABSENT, 3), (3, 4)]
    assert gaps(script) == [("l2", 1, 100)]
    assert script.again == []  # the new connection subscribes by itself
    assert_log_is(script, market)


def test_the_last_trades_of_a_new_connection_fill_what_it_missed() -> None:
    script, _ = kraken()
    script.say(traded("snapshot", (8, -50), (9, -40)), traded("update", (10, 1)))
    script.notice(Disconnected(0, "1006 broken", script.received_ns))
    open_line(script, 0)
    script.say(traded("snapshot", (12, 60), (11, 50), (10, 1), (9, -40)))
    script.say(traded("update", (13, 70)))
    assert trade_ids(script.messages) == ["8", "9", "10", "11", "12", "13"]
    assert not gaps(script)
    script.say(traded("update", (15, 90)))
    assert gaps(script) == [("trade", 70, 90)]


def test_a_new_connection_leads_from_its_snapshot_on() -> None:
    script, market = kraken()
    open_line(script, 1)
    script.say(market.update(1, {"1000.0": "5.00000000"}))
    script.say(market.subscribed(), market.snapshot(2), line=1)
    late = market.update(3, {"999.0": "7.00000000"})
    script.say(late)  # the old one says it, too
    script.say(late, line=1)
    script.notice(Replaced(0, by=1))
    script.say(market.update(4, {}, {"1001.0": "9.00000000"}), line=1)
    assert script.counts["duplicates", "l2"] == 2  # the book is the one that is followed
    assert not gaps(script)
    assert script.wait(60).again == []
    assert_log_is(script, market)


def test_a_connection_that_took_over_without_a_snapshot_is_asked_for_one() -> None:
    script, market = kraken()
    open_line(script, 1)
    script.notice(Replaced(0, by=1))
    market.update(1, {"1000.0": "5.00000000"})  # lost between the two
    script.say(market.update(2, {}, {"1001.0": "9.00000000"}), line=1)
    assert links(script) == [(ABSENT, 1)]
    assert script.again == ["BTC/USD"]
    script.say(market.snapshot(5), line=1)
    assert gaps(script) == [("l2", 0, 5)]
    assert_log_is(script, market)


def test_when_the_leading_connection_breaks_another_one_is_asked_for_the_book() -> None:
    script, market = kraken()
    open_line(script, 1)
    script.notice(Replaced(0, 1, "1006 broken", script.received_ns))
    assert script.again == ["BTC/USD"]
    script.say(market.update(1, {"1000.0": "5.00000000"}), line=1)
    script.say(market.snapshot(5), market.update(6, {"999.0": "8.00000000"}), line=1)
    assert gaps(script) == [("l2", 0, 5)]
    assert_log_is(script, market)


def test_frames_that_were_dropped_here_are_a_gap_and_the_book_is_asked_for() -> None:
    script, market = kraken()
    script.notice(Overflow(100, script.received_ns))
    assert script.wait(4).again == ["BTC/USD"]
    script.say(market.snapshot(5))
    assert gaps(script) == [("l2", 0, 5)]
