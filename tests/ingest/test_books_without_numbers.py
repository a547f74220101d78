"""Books of venues that number nothing: proved by a checksum (Kraken), or sent whole (Hyperliquid).

What connections may do to them: repeat, overtake, drop, spoil, break, take each other's place.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from tickbus.book.orderbook import OrderBook
from tickbus_ingest.session.book_rules import SnapshotRule, State
from tickbus_ingest.venue.contract import Line
from tickbus_ingest.wire.buffer import Connected, Disconnected, Overflow, Replaced
from tickbus_schemas.messages import (
    ABSENT,
    BboBatch,
    L2Batch,
    L2Flag,
    StatusKind,
    TradeBatch,
)

from tests.ingest.wire import T0_MS, Transcript, packets, table, trade_ids

US = 1000
T0_US = T0_MS * US
SNAPSHOT = L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT | L2Flag.SNAPSHOT_LAST
Sides = dict[str, str]
KRAKEN = ("trade", "l2", "bbo")


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


def whole(ms: int, bid: str, ask: str = "101.0") -> bytes:
    """Hyperliquid's book, one level a side."""
    return (
        f'{{"channel":"l2Book","data":{{"coin":"BTC","time":{T0_MS + ms},"levels":'
        f'[[{{"px":"{bid}","sz":"1.0","n":1}}],[{{"px":"{ask}","sz":"1.0","n":1}}]]}}}}'
    ).encode()


def quoted(ms: int, bid: str) -> bytes:
    """Hyperliquid's best quotes."""
    return (
        f'{{"channel":"bbo","data":{{"coin":"BTC","time":{T0_MS + ms},"bbo":'
        f'[{{"px":"{bid}","sz":"1.0","n":1}},null]}}}}'
    ).encode()


def fills(*id_and_ms: tuple[int, int]) -> bytes:
    """Hyperliquid's trades."""
    data = ",".join(
        f'{{"coin":"BTC","side":"A","px":"100.5","sz":"0.1","time":{T0_MS + ms},"tid":{one}}}'
        for one, ms in id_and_ms
    )
    return f'{{"channel":"trades","data":[{data}]}}'.encode()


def kraken(market: Market | None = None, **options: object) -> tuple[Transcript, Market]:
    """A LIVE book at number 1."""
    market = market or Market()
    script = Transcript("kraken", ["BTC/USD"], KRAKEN, **options)  # type: ignore[arg-type]  # Transcript's own names
    script.say(market.subscribed(), market.snapshot(0))
    assert script.session.books[0].state is State.LIVE
    return script, market


def hyperliquid(feeds: Sequence[str] = ("trade", "l2", "bbo")) -> Transcript:
    return Transcript("hyperliquid", ["BTC"], feeds)


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


# ------------------------------------------------- a checksum proves each update


def test_updates_are_numbered_by_ourselves_and_linked() -> None:
    script, market = kraken()
    script.say(
        market.update(1, {"1000.0": "5.00000000"}), market.update(2, {"999.5": "1.00000000"})
    )
    assert links(script) == [(ABSENT, 1), (1, 2), (2, 3)]
    assert_log_is(script, market)


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
    script = Transcript("kraken", ["BTC/USD"], KRAKEN, rule=SnapshotRule(50_000, 1))
    for n in range(0, len(frames), flush):
        script.say(*frames[n : n + flush])
    assert script.counts["snapshots", "log"] > 0
    assert not gaps(script)
    assert_log_is(script, market)


def test_rows_do_not_depend_on_the_flush_where_an_update_was_lost() -> None:
    found = []
    for flush in (1, 2, 100):
        script, market = kraken()
        frames = [market.update(n, {f"{990 + n}.5": "1.00000000"}) for n in range(1, 9)]
        del frames[3]
        frames += [market.snapshot(20), market.update(21, {"990.0": "1.00000000"})]
        for n in range(0, len(frames), flush):
            script.say(*frames[n : n + flush])
        assert_log_is(script, market)
        found.append((table(script.messages, L2Batch), gaps(script), script.again))
    assert found[0] == found[1] == found[2]
    assert found[0][1] == [("l2", 3, 5), ("l2", 5, 20)]
    assert found[0][2] == ["BTC/USD"]


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


def test_a_spoilt_update_is_not_published() -> None:
    script, market = kraken()
    before = len(links(script))
    script.say(market.update(1, {"1000.0": "5.00000000"}, wrong=1))
    assert len(links(script)) == before
    assert gaps(script) == [("l2", 0, 1)]


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


def test_a_wrong_snapshot_is_no_book() -> None:
    market = Market()
    script = Transcript("kraken", ["BTC/USD"], KRAKEN)
    script.say(market.snapshot(0).replace(b'"qty":1.0', b'"qty":9.0', 1))
    assert links(script) == []
    assert [one.reason for one in script.statuses(StatusKind.RESYNC)] == [
        "the checksum of a snapshot is wrong"
    ]
    assert script.wait(1).again == ["BTC/USD"]
    script.say(market.snapshot(5))
    assert not gaps(script)  # nothing was published before
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


# ------------------------------------------------------------------- connections


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
    assert script.counts["duplicates", "l2"] == 1
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
    assert script.wait(4).again == ["BTC/USD"]
    script.say(market.snapshot(5), line=1)
    assert gaps(script) == [("l2", 0, 5)]
    assert_log_is(script, market)


def test_when_the_leading_connection_breaks_another_one_is_asked_for_the_book() -> None:
    script, market = kraken()
    open_line(script, 1)
    script.notice(Disconnected(0, "1006 broken", script.received_ns))
    script.say(market.update(1, {"1000.0": "5.00000000"}), line=1)
    assert script.wait(4).again == ["BTC/USD"]
    script.say(market.snapshot(5), market.update(6, {"999.0": "8.00000000"}), line=1)
    assert gaps(script) == [("l2", 0, 5)]
    assert_log_is(script, market)


def test_frames_that_were_dropped_here_are_a_gap_and_the_book_is_asked_for() -> None:
    script, market = kraken()
    script.notice(Overflow(100, script.received_ns))
    assert script.wait(4).again == ["BTC/USD"]
    script.say(market.snapshot(5))
    assert gaps(script) == [("l2", 0, 5)]


# ------------------------------------------------------------- whole books only


def test_each_whole_book_is_published_once_and_replaces_the_last() -> None:
    script = hyperliquid().say(whole(1, "100.0"), whole(1, "100.0"), whole(500, "99.0"))
    found = list(packets(script.messages))
    assert [(flags, prev, last) for flags, prev, last, _ in found] == [
        (SNAPSHOT, ABSENT, 1), (SNAPSHOT, ABSENT, 2),
    ]  # fmt: skip
    assert found[1][3] == [(1, 99.0, 1.0, 1), (-1, 101.0, 1.0, 1)]
    assert script.counts["duplicates", "l2"] == 1
    assert len(script.statuses(StatusKind.SNAPSHOT)) == 1


def test_a_connection_that_lags_behind_brings_no_book_back() -> None:
    script = hyperliquid()
    open_line(script, 1)
    for ms in range(1, 4):
        script.say(whole(ms, f"{90 + ms}.0"), line=0)
    for ms in range(1, 5):
        script.say(whole(ms, f"{90 + ms}.0"), line=1)
    rows = table(script.messages, L2Batch)
    assert rows["timestamp"] == [T0_US + ms * US for ms in range(1, 5)]
    assert script.counts["duplicates", "l2"] == 1
    assert script.counts["stale_events", "l2"] == 2
    script.notice(Replaced(0, by=1)).say(whole(5, "95.0"), line=1)
    assert not gaps(script)


def test_a_venue_that_sets_its_clock_back_is_believed() -> None:
    script = hyperliquid().say(whole(5000, "100.0"), whole(1, "99.0"))
    assert len(links(script)) == 2
    script.say(whole(100_000, "98.0"))
    open_line(script, 1)
    script.notice(Replaced(0, by=1)).say(whole(99_000, "97.0"), whole(1, "96.0"), line=1)
    assert [levels[0][1] for *_, levels in packets(script.messages)] == [100.0, 99.0, 98.0, 96.0]


def test_whole_books_are_not_asked_for() -> None:
    script = hyperliquid().wait(60).say(whole(1, "100.0")).wait(60)
    script.notice(Disconnected(0, "1006 broken", script.received_ns)).wait(60)
    assert script.again == script.wanted == []
    open_line(script, 0)
    script.say(whole(5000, "98.0"))
    assert gaps(script) == [("l2", 1, 5000)]
    assert links(script) == [(ABSENT, 1), (ABSENT, 2)]


# ------------------------------------------------------ other feeds without numbers


def test_a_connection_that_lags_behind_brings_no_quote_back() -> None:
    script = hyperliquid()
    open_line(script, 1)
    script.say(quoted(1, "91.0"), quoted(2, "92.0"), quoted(3, "93.0"))
    script.say(quoted(1, "91.0"), quoted(2, "92.0"), quoted(3, "93.0"), quoted(4, "94.0"), line=1)
    assert table(script.messages, BboBatch)["bid_px"] == [91.0, 92.0, 93.0, 94.0]


def test_quotes_of_a_venue_that_sets_its_clock_back_come_through_in_the_end() -> None:
    script = hyperliquid().say(quoted(100_000, "91.0"))
    script.say(*(quoted(ms, "92.0") for ms in range(100)))
    assert len(table(script.messages, BboBatch)["bid_px"]) > 30


def test_trades_told_again_say_no_gap_and_the_first_new_one_does() -> None:
    script = hyperliquid().say(fills((70, -5), (30, 1)))
    script.notice(Disconnected(0, "1006 broken", script.received_ns))
    open_line(script, 0)
    script.say(fills((70, -5), (30, 1)))
    assert gaps(script) == []
    script.say(fills((30, 1), (50, 900), (10, 901)))
    assert trade_ids(script.messages) == ["70", "30", "50", "10"]
    assert gaps(script) == [("trade", 1, 900)]


def test_trades_that_a_predecessor_stored_are_not_stored_again() -> None:
    script = hyperliquid()
    script.session.trades.resume(0, ABSENT, T0_US + 1 * US)
    script.say(fills((70, -5), (30, 1), (50, 900)))
    assert trade_ids(script.messages) == ["50"]
    assert table(script.messages, TradeBatch)["timestamp"] == [T0_US + 900 * US]
    assert gaps(script) == [("trade", 1, 900)]


def test_a_predecessor_that_stored_no_trade_leaves_them_all_to_us() -> None:
    script = hyperliquid()
    script.session.resume_connected(0, T0_US, ["trade"])
    script.say(fills((70, -5), (30, 1)))
    assert trade_ids(script.messages) == ["70", "30"]


def test_a_price_of_any_number_of_digits_is_the_wires() -> None:
    script = hyperliquid().say(whole(1, "0.009875", "123456"))
    ((_, _, _, levels),) = packets(script.messages)
    assert [price for _, price, _, _ in levels] == [0.009875, 123456.0]
    assert np.isfinite([qty for _, _, qty, _ in levels]).all()
