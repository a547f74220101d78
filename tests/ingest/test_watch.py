"""Streams that are acknowledged and then say nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus_ingest.lines.watch import DataWatch
from tickbus_ingest.venue.contract import Stream

from tests.ingest.plain_venue import PlainVenue, plain

FEEDS = PlainVenue.feeds


class Heard:
    """What a session heard of tickers A and B."""

    def __init__(self) -> None:
        self.flags: dict[str, npt.NDArray[np.bool_]] = {
            feed: np.zeros(2, np.bool_) for feed in FEEDS
        }

    def of(self, *places: tuple[str, int]) -> dict[str, npt.NDArray[np.bool_]]:
        for feed, ticker in places:
            self.flags[feed][ticker] = True
        return self.flags


def watch(*streams: Stream) -> DataWatch:
    return DataWatch(streams, plain("A", "B", feeds=FEEDS), 10.0)


TRADE_A, TRADE_B = Stream("ta", "A", ("trade",)), Stream("tb", "B", ("trade",))
BOTH_A = Stream("ba", "A", ("bbo", "derivative"))
MARKET = Stream("all", "", ("bbo",))
FORCED = Stream("liq", "A", ("liquidation",))


def test_each_stream_is_told_that_was_not_heard_for_so_long() -> None:
    one, heard = watch(TRADE_A, TRADE_B), Heard()
    assert one.silent(heard.of(), 0) == []
    assert one.silent(heard.of(("trade", 0)), 6) == []
    assert one.silent(heard.of(), 10) == [TRADE_B]
    assert one.silent(heard.of(), 16) == [TRADE_A]


def test_what_was_heard_is_cleared() -> None:
    one, heard = watch(TRADE_A), Heard()
    one.silent(heard.of(("trade", 0), ("bbo", 1)), 0)
    assert not any(flags.any() for flags in heard.flags.values())


def test_a_stream_of_several_feeds_lives_by_any_of_them() -> None:
    one, heard = watch(BOTH_A), Heard()
    one.silent(heard.of(), 0)
    assert one.silent(heard.of(("derivative", 0)), 9) == []
    assert one.silent(heard.of(("derivative", 1)), 18) == []
    assert one.silent(heard.of(("derivative", 1)), 19) == [BOTH_A]


def test_a_stream_of_the_whole_market_lives_by_any_ticker() -> None:
    one, heard = watch(MARKET), Heard()
    one.silent(heard.of(), 0)
    assert one.silent(heard.of(("bbo", 1)), 9) == []
    assert one.silent(heard.of(("trade", 1)), 19) == [MARKET]


def test_who_stays_silent_is_told_at_growing_distances_until_heard_again() -> None:
    one, heard = watch(TRADE_A), Heard()
    one.silent(heard.of(), 0)
    told = [s for s in range(1, 200) if one.silent(heard.of(), s)]
    assert told == [10, 30, 70, 150]
    one.silent(heard.of(("trade", 0)), 200)
    assert [s for s in range(201, 215) if one.silent(heard.of(), s)] == [210]


def test_feeds_that_may_be_silent_for_hours_are_not_watched() -> None:
    one, heard = watch(FORCED), Heard()
    one.silent(heard.of(), 0)
    assert one.silent(heard.of(), 1e6) == []
