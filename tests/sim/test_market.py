"""The synthetic market: reproducible, linked, never crossed, and deep."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_sim.dialect import Dialect
from tickbus_sim.events import ACTIONS, Change, Liquidation, Trade
from tickbus_sim.market import Burst, Market, MarketFrame, Season
from tickbus_sim.pace import SECOND

from tests.sim.recordings import SPOT, USDM

TICKERS = ["BTCDEMO", "ETHDEMO", "XYZDEMO"]
START_MS = 1_700_000_000_000
Levels = dict[str, str]


def _market(dialect: Dialect = USDM, *, seed: int = 7, rate: float = 600) -> Market:
    return Market(dialect, TICKERS, seed=seed, rate=rate, start_ms=START_MS)


def _events(frames: Iterable[MarketFrame], ticker: str) -> list[tuple[str, dict[str, Any]]]:
    """A ticker's (channel, payload) in order."""
    wrapped = [json.loads(frame.text) for frame in frames]
    mine = [frame for frame in wrapped if frame["stream"].startswith(f"{ticker.lower()}@")]
    return [(frame["stream"].partition("@")[2], frame["data"]) for frame in mine]


def _fold(side: Levels, levels: list[list[str]]) -> None:
    for price, qty in levels:
        side.pop(price, None)
        if float(qty):
            side[price] = qty


@pytest.mark.parametrize("dialect", [USDM, SPOT])
def test_a_ticker_is_heard_and_listed_within_its_season_only(dialect: Dialect) -> None:
    seasons = [Season(TICKERS[0], until_s=2.0), Season(TICKERS[1], from_s=1.0)]
    whole = Market(dialect, TICKERS, seed=1, rate=400, start_ms=START_MS)
    market = Market(dialect, TICKERS, seed=1, rate=400, start_ms=START_MS, seasons=seasons)
    found = market.advance(3 * 10**9)
    heard: dict[str, list[int]] = {}
    for frame in found:
        heard.setdefault(market.topics[frame.topic_id].symbol, []).append(frame.time_ns)
    assert max(heard[TICKERS[0]]) < 2 * 10**9
    assert min(heard[TICKERS[1]]) >= 10**9
    every = whole.advance(3 * 10**9)
    kept = [
        frame
        for frame in every
        if market.is_listed(market.topics[frame.topic_id].symbol, frame.time_ns)
    ]
    assert found == kept  # what is heard is the same


@pytest.mark.parametrize("dialect", [USDM, SPOT])
def test_the_same_seed_gives_the_same_frames_and_another_seed_others(dialect: Dialect) -> None:
    once, again = (_market(dialect).advance(3 * SECOND) for _ in range(2))

    assert once == again
    assert once != _market(dialect, seed=8).advance(3 * SECOND)


@given(cuts=st.lists(st.integers(0, 2 * SECOND), max_size=8).map(sorted))
def test_frames_do_not_depend_on_how_time_is_cut(cuts: list[int]) -> None:
    whole, parts = _market(rate=150), _market(rate=150)
    frames = [frame for cut in [*cuts, 2 * SECOND] for frame in parts.advance(cut)]

    assert frames == whole.advance(2 * SECOND)
    assert parts.snapshot("BTCDEMO", 1000) == whole.snapshot("BTCDEMO", 1000)


@pytest.mark.parametrize("dialect", [USDM, SPOT])
@pytest.mark.parametrize("ticker", TICKERS)
def test_depth_events_link_and_fold_to_the_snapshot_and_the_quotes(
    dialect: Dialect, ticker: str
) -> None:
    market = _market(dialect)
    first = json.loads(market.snapshot(ticker, 1_000_000))
    events = _events(market.advance(5 * SECOND), ticker)
    last = json.loads(market.snapshot(ticker, 1_000_000))
    bids, asks = dict(first["bids"]), dict(first["asks"])
    update_id, quote = first["lastUpdateId"], None
    for channel, data in events:
        if channel == "bookTicker":
            quote = data
        if channel != "depth@100ms":
            continue
        if dialect is USDM:
            assert data["pu"] == update_id < data["U"] <= data["u"]
        else:
            assert data["U"] == update_id + 1 <= data["u"]
        update_id = data["u"]
        _fold(bids, data["b"])
        _fold(asks, data["a"])
        best_bid, best_ask = max(bids, key=float), min(asks, key=float)
        assert float(best_bid) < float(best_ask)
        if quote is not None:
            assert quote["u"] <= update_id
            assert (quote["b"], quote["B"]) == (best_bid, bids[best_bid])
            assert (quote["a"], quote["A"]) == (best_ask, asks[best_ask])
    assert update_id == last["lastUpdateId"]
    assert (bids, asks) == (dict(last["bids"]), dict(last["asks"]))


def test_books_are_deeper_than_a_rest_answer() -> None:
    market = _market()
    market.advance(5 * SECOND)

    for ticker in TICKERS:
        book = json.loads(market.snapshot(ticker, 1000))
        assert len(book["bids"]) == len(book["asks"]) == 1000
        assert len(json.loads(market.snapshot(ticker, 10_000))["asks"]) > 1_100
        bids, asks = ([float(price) for price, _ in book[side]] for side in ("bids", "asks"))
        assert bids == sorted(bids, reverse=True)
        assert asks == sorted(asks)
        assert bids[0] < asks[0]


def test_quotes_are_never_crossed_and_each_one_is_new() -> None:
    events = _events(_market().advance(5 * SECOND), "BTCDEMO")
    quotes = [data for channel, data in events if channel == "bookTicker"]

    assert len(quotes) > 100
    assert all(float(quote["b"]) < float(quote["a"]) for quote in quotes)
    assert all(a["u"] < b["u"] for a, b in pairwise(quotes))
    same = [all(a[key] == b[key] for key in "bBaA") for a, b in pairwise(quotes)]
    assert not any(same)


def test_trades_take_the_best_price_and_are_numbered_without_holes() -> None:
    quote: dict[str, Any] | None = None
    taken, last_id, is_first = 0, None, False
    for channel, data in _events(_market().advance(5 * SECOND), "BTCDEMO"):
        if channel == "trade":
            assert last_id is None or data["t"] == last_id + 1
            if quote is not None and is_first:
                assert data["p"] == (quote["b"] if data["m"] else quote["a"])
                taken += 1
            last_id, is_first = data["t"], False
        elif channel == "bookTicker":
            quote, is_first = data, True
    assert taken > 50


def test_a_liquidation_follows_its_trade_which_says_so() -> None:
    market = _market()
    market.advance(60 * SECOND)
    events = market.take_events()

    forced = [one for one in events if isinstance(one, Trade) and one.is_liquidation]
    followed = [(before, one) for before, one in pairwise(events) if isinstance(one, Liquidation)]
    assert len(forced) > 5
    assert [before for before, _ in followed] == forced
    for trade, liquidation in followed:
        assert isinstance(trade, Trade)
        assert (trade.ticker, trade.price, trade.qty) == (
            liquidation.ticker, liquidation.price, liquidation.qty,
        )  # fmt: skip
        assert trade.sells is liquidation.sells


def test_venue_times_never_go_back_and_depth_comes_each_100_ms() -> None:
    events = _events(_market().advance(5 * SECOND), "ETHDEMO")

    times = [data["E"] for _, data in events]
    assert times == sorted(times)
    assert times[0] >= START_MS
    assert times[-1] <= START_MS + 5_000
    depths = [data["E"] for channel, data in events if channel == "depth@100ms"]
    assert len(depths) > 40
    assert all((event_ms - START_MS) % 100 == 0 for event_ms in depths)
    assert len(set(depths)) == len(depths)


def test_the_flow_has_about_the_wanted_rate_and_comes_in_bursts() -> None:
    frames = _market(rate=1_000).advance(60 * SECOND)

    assert 500 < len(frames) / 60 < 2_000
    per_second = Counter(frame.time_ns // (SECOND // 10) for frame in frames)
    mean = len(frames) / 600
    variance = sum((per_second[slot] - mean) ** 2 for slot in range(600)) / 600
    assert variance > 4 * mean, "a Poisson flow has as much variance as mean"


def test_frames_carry_the_topic_of_their_stream() -> None:
    market = _market(SPOT)
    frames = market.advance(2 * SECOND)

    for frame in frames:
        symbol, _, channel = json.loads(frame.text)["stream"].partition("@")
        topic = market.topics[frame.topic_id]
        assert (topic.symbol, topic.family) == (symbol.upper(), channel.partition("@")[0])
    families = {market.topics[frame.topic_id].family for frame in frames}
    assert families == {"trade", "depth", "bookTicker", "ticker"}


def test_spot_quotes_have_no_time_as_on_the_venue() -> None:
    events = _events(_market(SPOT).advance(SECOND), "BTCDEMO")

    for channel, data in events:
        assert ("E" in data) == (channel != "bookTicker")
        assert "pu" not in data


def test_open_interest_can_be_asked_for_before_anything_was_told() -> None:
    body = _market().polled("openInterest", "BTCDEMO", START_MS - 5)

    assert body is not None
    asked = json.loads(body)
    assert asked["symbol"] == "BTCDEMO"
    assert float(asked["openInterest"]) > 0
    assert asked["time"] == START_MS - 5
    assert _market().polled("openInterest", "NOPE", START_MS) is None


def test_a_venue_that_tells_one_action_a_frame_ends_with_the_same_book() -> None:
    class Parted(type(USDM)):  # type: ignore[misc]  # the class of an instance
        one_action = True

    whole, parted = _market(), _market(Parted())
    whole.advance(3 * SECOND)
    parted.advance(3 * SECOND)
    changes = [one for one in parted.take_events() if isinstance(one, Change)]
    assert {one.action for one in changes} == set(ACTIONS)
    for ticker in TICKERS:
        assert parted.book(ticker).top(0) == whole.book(ticker).top(0)
        mine = [one for one in changes if one.ticker == ticker]
        assert all(one.time_ms < other.time_ms for one, other in pairwise(mine))
        market = _market()
        sides = dict(market.book(ticker).bids), dict(market.book(ticker).asks)
        for change in mine:
            for side, levels in zip(sides, (change.bids, change.asks), strict=True):
                known = {price in side for price, _ in levels}
                assert known <= {change.action != "insert"}
                _fold(side, [list(level) for level in levels])
            assert max(map(float, sides[0])) < min(map(float, sides[1]))
        assert sides == (whole.book(ticker).bids, whole.book(ticker).asks)


def test_a_venue_that_tells_one_level_a_frame_counts_each_and_ends_with_the_same_book() -> None:
    class Levelled(type(USDM)):  # type: ignore[misc]  # the class of an instance
        one_level = True
        counts_updates = True

    whole, levelled = _market(), _market(Levelled())
    whole.advance(3 * SECOND)
    levelled.advance(3 * SECOND)
    changes = [one for one in levelled.take_events() if isinstance(one, Change)]
    for ticker in TICKERS:
        assert levelled.book(ticker).top(0) == whole.book(ticker).top(0)
        mine = [one for one in changes if one.ticker == ticker]
        assert all(len(one.bids) + len(one.asks) == 1 for one in mine)
        assert all(one.first_id == one.last_id == one.prev_id + 1 for one in mine)
        assert all(one.last_id == other.prev_id for one, other in pairwise(mine))
        assert levelled.book(ticker).last_id == mine[-1].last_id
        market = _market()
        sides = dict(market.book(ticker).bids), dict(market.book(ticker).asks)
        for change in mine:
            for side, levels in zip(sides, (change.bids, change.asks), strict=True):
                _fold(side, [list(level) for level in levels])
        assert sides == (whole.book(ticker).bids, whole.book(ticker).asks)


def test_a_burst_makes_so_many_times_the_frames_and_then_it_is_calm_again() -> None:
    market = Market(
        USDM, TICKERS, seed=7, rate=300, start_ms=START_MS, burst=Burst(20.0, 10.0, 10.0)
    )
    before = len(market.advance(20 * SECOND)) / 20
    during = len(market.advance(30 * SECOND)) / 10
    market.advance(35 * SECOND)  # excited orders excite more for a while
    after = len(market.advance(65 * SECOND)) / 30
    assert during > 5 * before
    assert after < 2 * before
