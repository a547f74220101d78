"""A ticker's book from its first update to its resync, told as transcripts."""

from __future__ import annotations

import pytest
from tickbus_ingest.session.book_rules import SnapshotRule, State
from tickbus_ingest.session.tables import Flush
from tickbus_ingest.venue.contract import Get
from tickbus_ingest.wire.buffer import Failed
from tickbus_schemas.messages import ABSENT, Action, BboBatch, L2Batch, L2Flag, StatusKind

from tests.ingest import wire
from tests.ingest.wire import Transcript, book, depth, packets, quote, table, trade

SNAPSHOT = L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT | L2Flag.SNAPSHOT_LAST
US = 1000
T0_US = wire.T0_MS * US


def live(exchange: str = "binance_usdm", **options: object) -> Transcript:
    """A book that is LIVE at update 110, one level a side."""
    script = Transcript(exchange, **options)  # type: ignore[arg-type]  # Transcript's own names
    script.say(depth(91, 99, 90, 0), depth(100, 110, 99, 10, [("100", "2")], [("101", "3")]))
    script.answer(book(105, 5, [("100", "1")], [("101", "1")]))
    assert script.session.books[0].state is State.LIVE
    return script


def links(script: Transcript) -> list[tuple[int, int]]:
    return [(prev, last) for _, prev, last, _ in packets(script.messages)]


def test_nothing_is_published_before_there_is_a_book() -> None:
    script = Transcript().say(depth(91, 99, 90, 0), depth(100, 110, 99, 10))
    assert script.messages == []
    assert script.wanted == ["BTCUSDT"]


def test_a_snapshot_is_asked_for_after_two_updates_or_a_moment() -> None:
    assert Transcript().say(depth(91, 99, 90, 0)).wanted == []
    assert Transcript().say(depth(91, 99, 90, 0)).wait(0.25).wanted == ["BTCUSDT"]
    assert Transcript().wait(0.25).wanted == []
    assert Transcript().wait(3.1).wanted == ["BTCUSDT"]


def test_the_snapshot_comes_first_and_the_update_that_spans_it_follows() -> None:
    script = live()
    found = list(packets(script.messages))
    assert [flags for flags, *_ in found] == [SNAPSHOT, 0]
    assert links(script) == [(ABSENT, 105), (99, 110)]
    assert found[0][3] == [(1, 100.0, 1.0, Action.NEW), (-1, 101.0, 1.0, Action.NEW)]
    assert found[1][3] == [(1, 100.0, 2.0, Action.UPDATE), (-1, 101.0, 3.0, Action.UPDATE)]
    assert script.counts["stale_events", "l2"] == 1
    (status,) = script.statuses(StatusKind.SNAPSHOT)
    assert (status.feed, status.reason) == ("l2", "REST")


def test_released_updates_carry_the_packet_that_released_them() -> None:
    script = live().say(depth(111, 112, 110, 20))
    first = 2**40
    assert table(script.messages, L2Batch)["packet_id"] == [first + 3, first + 3, first + 4]


def test_an_update_is_new_changed_or_removed() -> None:
    script = live().say(
        depth(111, 112, 110, 20, [("100", "0"), ("99", "4"), ("98", "0")], [("101", "9")])
    )
    *_, last = packets(script.messages)
    assert [(price, action) for _, price, _, action in last[3]] == [
        (100.0, Action.DELETE), (99.0, Action.NEW), (98.0, Action.DELETE), (101.0, Action.UPDATE),
    ]  # fmt: skip


def test_a_snapshot_takes_the_time_of_an_earlier_update_that_joins_it() -> None:
    script = Transcript().say(depth(91, 99, 90, 0), depth(100, 110, 99, 10))
    script.answer(book(105, 50))
    rows = table(script.messages, L2Batch)
    assert rows["timestamp"] == [T0_US + 10 * US, T0_US + 10 * US]
    assert rows["flags"][0] == SNAPSHOT | L2Flag.TIME_INFERRED


def test_a_snapshot_waits_for_the_update_that_joins_it() -> None:
    script = Transcript().say(depth(91, 99, 90, 0), depth(100, 104, 99, 10))
    script.answer(book(105, 12, [("1", "1")]))
    assert script.messages == []
    script.say(depth(105, 110, 104, 11))
    assert links(script) == [(ABSENT, 105), (104, 110)]
    assert table(script.messages, L2Batch)["timestamp"] == [T0_US + 11 * US] * 2


def test_a_snapshot_that_nothing_joins_is_published_after_a_moment() -> None:
    script = Transcript().wait(3.1).answer(book(105, 12, [("1", "1")])).wait(0.5)
    assert script.messages == []
    script.wait(1.1)
    assert links(script) == [(ABSENT, 105)]
    assert links(script.say(depth(106, 110, 105, 30)))[1:] == [(105, 110)]


def test_at_the_end_of_the_input_a_waiting_snapshot_is_published() -> None:
    script = Transcript().wait(3.1).answer(book(105, 12, [("1", "1")])).wait(0, settle=True)
    assert links(script) == [(ABSENT, 105)]


def test_a_snapshot_older_than_the_first_waiting_update_is_fetched_again() -> None:
    script = Transcript().say(depth(91, 99, 90, 0), depth(100, 110, 99, 10))
    script.answer(book(80, 5))
    assert script.messages == []
    assert script.wait(1).wanted == ["BTCUSDT", "BTCUSDT"]
    script.answer(book(95, 5))
    assert links(script) == [(ABSENT, 95), (90, 99), (99, 110)]
    assert not script.statuses(StatusKind.GAP)


def test_a_snapshot_that_failed_is_asked_for_again_later_each_time() -> None:
    script = Transcript().say(depth(91, 99, 90, 0), depth(100, 110, 99, 10))
    script.notice(Failed(Get("", book_of="BTCUSDT"), "HTTP 500")).wait(0.3)
    assert script.wanted == ["BTCUSDT"]
    assert script.wait(0.3).wanted == ["BTCUSDT"] * 2
    script.notice(Failed(Get("", book_of="BTCUSDT"), "HTTP 500")).wait(0.5)
    assert len(script.wanted) == 2
    assert len(script.wait(0.5).wanted) == 3


@pytest.mark.parametrize(
    ("exchange", "first", "expected"),
    [
        ("binance_usdm", depth(106, 110, 105, 10), (105, 110)),  # pu is the snapshot itself
        ("binance_usdm", depth(105, 105, 104, 10), (104, 105)),  # USD-M drops u < L only
        ("binance_spot", depth(106, 110, 0, 10), (105, 110)),
        ("binance_spot", depth(100, 106, 0, 10), (99, 106)),
    ],
)
def test_the_first_update_joins_as_the_venue_says(
    exchange: str, first: bytes, expected: tuple[int, int]
) -> None:
    script = Transcript(exchange).say(depth(91, 99, 90, 0), first).answer(book(105, 5))
    assert links(script) == [(ABSENT, 105), expected]


def test_spot_drops_the_update_that_ends_at_the_snapshot() -> None:
    script = Transcript("binance_spot").say(depth(91, 99, 0, 0), depth(100, 105, 0, 10))
    script.answer(book(105, None)).say(depth(106, 107, 0, 20))
    assert links(script) == [(ABSENT, 105), (105, 107)]


def test_spots_snapshot_takes_the_highest_time_seen_and_says_so() -> None:
    script = Transcript("binance_spot").wait(3.1).say(trade(1, 40))
    script.answer(book(105, None, [("1", "1")])).wait(1.1)
    rows = table(script.messages, L2Batch)
    assert rows["timestamp"] == [T0_US + 40 * US]
    assert rows["flags"] == [SNAPSHOT | L2Flag.TIME_INFERRED]


def test_a_gap_is_announced_and_the_book_fetched_again() -> None:
    script = live().say(depth(120, 125, 119, 30, [("100", "7")]), depth(126, 128, 125, 40))
    (gap,) = script.statuses(StatusKind.GAP)
    assert (gap.feed, gap.from_id, gap.to_id) == ("l2", 110, 125)
    assert (gap.from_timestamp, gap.to_timestamp) == (T0_US + 10 * US, T0_US + 30 * US)
    assert [status.feed for status in script.statuses(StatusKind.RESYNC)] == ["l2"]
    assert script.wanted == ["BTCUSDT"] * 2
    assert len(links(script)) == 2

    script.answer(book(127, 35, [("90", "1")])).say(depth(129, 130, 128, 50))
    found = list(packets(script.messages))[2:]
    assert [(flags, prev, last) for flags, prev, last, _ in found] == [
        (SNAPSHOT | L2Flag.GAP_BEFORE, ABSENT, 127), (0, 125, 128), (0, 128, 130),
    ]  # fmt: skip
    assert found[0][3] == [(1, 90.0, 1.0, Action.NEW)]
    gaps = script.statuses(StatusKind.GAP)
    assert [(gap.from_id, gap.to_id) for gap in gaps] == [(110, 125), (125, 127)]


def test_repeated_and_older_updates_are_dropped_and_counted() -> None:
    again = depth(100, 110, 99, 10, [("100", "8")])
    script = live().say(again, depth(111, 112, 110, 20), again, depth(111, 112, 110, 20))
    assert links(script)[2:] == [(110, 112)]
    assert script.counts["stale_events", "l2"] == 4
    assert not script.statuses(StatusKind.GAP)


def test_a_gap_while_updates_wait_needs_another_snapshot() -> None:
    script = Transcript().say(depth(91, 99, 90, 0), depth(100, 110, 99, 10))
    script.say(depth(120, 125, 119, 30)).answer(book(105, 5))
    assert links(script) == [(ABSENT, 105), (99, 110)]
    assert len(script.statuses(StatusKind.GAP)) == 1
    script.wait(1).answer(book(122, 35))
    assert links(script)[2:] == [(ABSENT, 122), (119, 125)]


def test_a_predecessors_updates_are_never_published_again() -> None:
    script = Transcript(epoch=2)
    script.session.books[0].resume(110, T0_US + 10 * US)
    script.say(depth(91, 99, 90, 0), depth(100, 112, 99, 9)).answer(book(105, 5))
    assert script.messages == []
    script.wait(1).answer(book(111, 11))
    assert links(script) == [(ABSENT, 111), (99, 112)]
    (gap,) = script.statuses(StatusKind.GAP)
    assert (gap.from_id, gap.to_id) == (110, 111)


def test_updates_that_a_predecessor_stored_are_stale_and_ask_for_a_book_all_the_same() -> None:
    script = Transcript(epoch=2)
    script.session.books[0].resume(110, T0_US + 10 * US)
    script.say(depth(91, 99, 90, 0), depth(100, 110, 99, 10))
    assert script.fates["stale", "l2"] == 2
    assert script.wanted == ["BTCUSDT"]
    script.wait(9, settle=True)
    assert script.messages == []
    assert script.session.books[0].waiting_packets == 0


def test_lower_ids_at_a_later_time_are_no_updates_that_were_stored() -> None:
    script = Transcript(epoch=2)
    script.session.books[0].resume(110, T0_US + 10 * US)
    script.say(depth(1, 9, 0, 20), depth(10, 20, 9, 30)).answer(book(9, 20))
    assert links(script) == [(ABSENT, 9), (0, 9), (9, 20)]


def test_a_book_is_asked_for_again_when_so_much_of_the_venues_time_has_passed() -> None:
    script = Transcript().say(depth(100, 110, 99, 10), depth(111, 115, 110, 20))
    script.wait(0.01)
    assert script.wanted == ["BTCUSDT"]
    script.answer(book(50, 5))
    for n in range(20):  # a hundred ms of the venue's in no time of ours
        script.say(depth(116 + n, 116 + n, 115 + n, 120 + 100 * n)).wait(0)
    assert len(script.wanted) == 2


def test_books_that_wait_at_the_end_of_the_input_ask_once_more() -> None:
    script = Transcript().say(depth(100, 110, 99, 10), depth(111, 115, 110, 20))
    script.answer(book(50, 5))
    out = Flush()
    script.session.ask_last(out)
    assert out.snapshots_wanted == [0]
    again = Flush()
    script.session.ask_last(again)
    assert again.snapshots_wanted == []
    script.answer(book(116, 20)).wait(0, settle=True)
    assert links(script) == [(ABSENT, 116)]


@pytest.mark.parametrize(("snapshot_id", "prev"), [(110, 90), (112, 110)])
def test_nothing_was_lost_between_two_runs_when_the_ids_say_so(snapshot_id: int, prev: int) -> None:
    script = Transcript(epoch=2)
    script.session.books[0].resume(110, T0_US + 10 * US)
    script.say(depth(80, 90, 79, 8), depth(111, 115, prev, 12)).answer(book(snapshot_id, 11))
    assert len(links(script)) == 2
    assert not script.statuses(StatusKind.GAP)


def test_updates_that_the_bus_refused_make_the_book_sync_anew() -> None:
    script = live()
    out = Flush()
    script.session.books[0].lose("refused", 1, 2, out)
    assert [status.kind for status in out.statuses] == [StatusKind.RESYNC]
    script.say(depth(111, 112, 110, 20), depth(113, 114, 112, 30)).answer(book(113, 25))
    assert links(script)[2:] == [(ABSENT, 113), (112, 114)]
    (gap,) = script.statuses(StatusKind.GAP)
    assert (gap.from_id, gap.to_id) == (110, 113)


def rows_of(flush: int) -> dict[str, list[object]]:
    script = live(rule=SnapshotRule(interval_us=50_000, books=2))
    frames = [
        depth(110 + n, 111 + n, 110 + n, 10 + 10 * n, [(str(90 - n % 7), str(n % 3))])
        for n in range(60)
    ]
    for n in range(0, len(frames), flush):
        script.say(*frames[n : n + flush])
    assert script.counts["snapshots", "log"] > 3
    return table(script.messages, L2Batch)


@pytest.mark.parametrize("flush", [7, 60])
def test_own_snapshots_stand_at_the_same_packets_however_frames_were_flushed(flush: int) -> None:
    assert rows_of(flush) == rows_of(1)


def test_an_own_snapshot_is_the_book_behind_its_last_event() -> None:
    script = live(rule=SnapshotRule(interval_us=1000, books=1))
    script.say(depth(111, 112, 110, 20, [("99", "5"), ("100", "0")]))
    *_, update, snapshot = packets(script.messages)
    assert (update[2], snapshot[2]) == (112, 112)
    assert snapshot[0] == SNAPSHOT
    assert snapshot[3] == [(1, 99.0, 5.0, Action.NEW), (-1, 101.0, 3.0, Action.NEW)]
    rows = table(script.messages, L2Batch)
    for name in ("timestamp", "rcv_timestamp", "packet_id", "engine_timestamp"):
        assert rows[name][-1] == rows[name][-2]


def test_large_books_and_updates_are_cut_into_linked_packets() -> None:
    levels = [(f"{n}", "1") for n in range(1, 10_001)]
    script = Transcript().say(depth(91, 99, 90, 0), depth(100, 110, 99, 10, levels, levels))
    script.answer(book(105, 5, levels, levels[:10]))
    found = list(packets(script.messages))
    assert [(flags, len(rows)) for flags, _, _, rows in found] == [
        (L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT, 8192),
        (L2Flag.SNAPSHOT | L2Flag.SNAPSHOT_LAST, 1818),
        (0, 8192), (0, 8192), (0, 3616),
    ]  # fmt: skip
    assert links(script)[2:] == [(99, 110), (110, 110), (110, 110)]
    assert links(script.say(depth(111, 112, 110, 20)))[-1] == (110, 112)


def test_other_feeds_go_on_while_the_book_is_not_live() -> None:
    script = Transcript().say(trade(1, 1), quote(1, 2), depth(91, 99, 90, 0))
    assert wire.trade_ids(script.messages) == ["1"]
    assert table(script.messages, BboBatch)["update_id"] == [1]
