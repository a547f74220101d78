"""What every venue file says of itself: properties, connections, subscriptions, limits."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from tickbus_ingest.exchanges import load, names
from tickbus_ingest.venue.contract import (
    Compression,
    Get,
    Keepalive,
    Levels,
    Limit,
    OnError,
    Request,
    Route,
    Snapshots,
    Stream,
    TradeIds,
    UpdateIds,
    Venue,
    What,
)
from tickbus_ingest.venue.instruments import understood
from tickbus_ingest.venue.rows import Control
from tickbus_schemas.errors import Fatal
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.feeds import FEEDS
from tickbus_schemas.messages import InstrumentKind

from tests.ingest.venues import vectors
from tests.ingest.venues.reading import Reader

each_venue = pytest.mark.parametrize("token", names())
RATES = {What.ATTEMPTS, What.MESSAGES, What.SUBSCRIPTIONS, What.WEIGHT}
"""Limits that are so many within a time; the others hold at any moment."""
NOT_OF_SPOT = {"derivative", "liquidation"}


def venue_of(token: str, tickers: int, feeds: Sequence[str]) -> Venue:
    """A venue with so many tickers, made after those that its list holds."""
    listed = understood(load(token).parse_instruments(vectors.listed(token)[0]))
    return load(token)(
        [
            msgspec.structs.replace(
                one := listed[n % len(listed)],
                ticker=one.ticker if n < len(listed) else f"{one.ticker}{n}",
            )
            for n in range(tickers)
        ],
        feeds,
    )


def choices(token: str) -> Iterator[tuple[str, ...]]:
    """Every feed alone, and all of them."""
    feeds = load(token).feeds
    yield from ((feed,) for feed in feeds)
    yield tuple(feed for feed in feeds if ":" not in feed)


# ------------------------------------------------------------------ properties


@each_venue
def test_a_venue_says_who_it_is_and_where(token: str) -> None:
    venue = load(token)
    assert Exchange.from_token(token) is venue.exchange
    assert venue.docs
    for addresses, scheme in (
        (venue.docs, "https://"),
        (venue.websocket_urls, "wss://"),
        (venue.rest_urls, "https://"),
    ):
        assert isinstance(addresses, tuple)
        assert all(address.startswith(scheme) and " " not in address for address in addresses)
        assert len(set(addresses)) == len(addresses)
    assert venue.websocket_urls
    assert not any(url.endswith("/") for url in (*venue.websocket_urls, *venue.rest_urls))


@each_venue
def test_the_feeds_are_feeds_of_ours(token: str) -> None:
    known = {feed.name for feed in FEEDS if feed.stream == "md"}
    feeds = load(token).feeds
    assert "instrument" in feeds
    assert len(set(feeds)) == len(feeds)
    assert {feed.partition(":")[0] for feed in feeds} <= known - {"status"}


@each_venue
def test_every_property_is_one_that_the_contract_has(token: str) -> None:
    venue = load(token)
    for value, kind in (
        (venue.snapshots, Snapshots),
        (venue.update_ids, UpdateIds),
        (venue.trade_ids, TradeIds),
        (venue.compression, Compression),
        (venue.levels, Levels),
        (venue.numbering_is_global, bool),
        (venue.drops_equal, bool),
        (venue.weight_header, str),
        (venue.weight_left_header, str),
        (venue.maintenance_codes, frozenset),
    ):
        assert isinstance(value, kind), value
    assert venue.connection_life_s > 0
    assert 0 <= venue.silence_s < 3600
    assert all(1000 <= code < 5000 for code in venue.maintenance_codes)


@each_venue
def test_the_properties_agree_with_one_another(token: str) -> None:
    venue = load(token)
    has_books = "l2" in venue.feeds
    assert has_books == (venue.snapshots is not Snapshots.NONE)
    if venue.snapshots is Snapshots.PULLED:
        assert venue.update_ids in (UpdateIds.LINKED, UpdateIds.COUNTED), "what would join it?"
        assert _overrides(venue, "snapshot_request")
    if venue.update_ids is UpdateIds.NONE and has_books:
        assert venue.snapshots is Snapshots.EVERY_FRAME, "nobody could know whether it is whole"
    assert (venue.update_ids is UpdateIds.CHECKSUM) == _overrides(venue, "checksum")
    assert _overrides(venue, "snapshot_request") == _overrides(venue, "parse_snapshot")
    assert _overrides(venue, "polls") == _overrides(venue, "parse_poll")
    is_asked_for = venue.snapshots is Snapshots.PUSHED or _overrides(venue, "snapshot_request")
    assert not venue.drops_equal or is_asked_for, "each book is the next message: none is in it"


def _overrides(venue: type[Venue], name: str) -> bool:
    return getattr(venue, name) is not getattr(Venue, name)


@each_venue
def test_levels_name_two_places_or_two_keys(token: str) -> None:
    levels = load(token).levels
    assert type(levels.price) is type(levels.size)
    assert levels.price != levels.size
    assert not levels.side or isinstance(levels.price, str)
    assert levels.side not in (levels.price, levels.size)
    assert levels.bid != levels.ask


@each_venue
def test_the_keepalive_is_a_frame_and_a_time(token: str) -> None:
    keepalive = load(token).keepalive
    if keepalive is not None:
        assert isinstance(keepalive, Keepalive)
        assert 0 < keepalive.every_s < 3600
        assert keepalive.frame or keepalive.as_ping


@each_venue
def test_every_limit_is_a_number_of_something_within_a_time_or_at_any_moment(token: str) -> None:
    limits = load(token).limits
    for limit in limits:
        assert isinstance(limit, Limit)
        assert limit.n > 0
        assert (limit.per_s > 0) == (limit.what in RATES), limit
    assert any(one.what is What.ATTEMPTS for one in limits), "connecting again needs a measure"
    told = load(token).weight_header or load(token).weight_left_header
    assert not told or any(one.what is What.WEIGHT for one in limits)


@each_venue
def test_a_feed_that_the_venue_lacks_is_named_with_those_it_has(token: str) -> None:
    with pytest.raises(
        Fatal, match=f"{token} has no orderbook: choose among .*{load(token).feeds[0]}"
    ):
        venue_of(token, 1, ["orderbook"])


@each_venue
def test_an_answer_that_forbids_requests_holds_them_for_a_while(token: str) -> None:
    venue = venue_of(token, 1, load(token).feeds[:1])
    assert venue.hold_s(200, {}) is None
    assert venue.hold_s(404, {}) is None
    for headers in ({}, {"Retry-After": "7"}, {"Retry-After": "soon"}, {"Retry-After": "1e12"}):
        held = venue.hold_s(429, headers)
        assert held is not None
        assert 0 <= held <= 3600
    assert (venue.hold_s(429, {"Retry-After": "7"}) or 0) >= 7


# ------------------------------------------------------- routes and subscriptions


def cases() -> Iterator[Any]:
    for token in names():
        for tickers in (1, 3, 500):
            for feeds in choices(token):
                yield pytest.param(token, tickers, feeds, id=f"{token}-{tickers}-{'+'.join(feeds)}")


each_case = pytest.mark.parametrize(("token", "tickers", "feeds"), list(cases()))


@each_case
def test_every_ticker_of_every_feed_has_one_stream_or_is_polled(
    token: str, tickers: int, feeds: tuple[str, ...]
) -> None:
    venue = venue_of(token, tickers, feeds)
    routes = venue.routes()
    carried: Counter[tuple[str, str]] = Counter()
    of_market: set[str] = set()
    for route in routes:
        for stream in route.streams:
            if stream.ticker:
                carried.update((stream.ticker, feed) for feed in stream.feeds)
            else:
                of_market.update(stream.feeds)
    wanted = {feed.partition(":")[0] for feed in feeds} - {"instrument"}
    assert {feed for _, feed in carried} | of_market <= wanted
    polled = bool(venue.polls())
    for feed in sorted(wanted):
        counts = {
            carried[ticker, feed] + (feed in of_market)
            for ticker, one in venue.instruments.items()
            if feed not in NOT_OF_SPOT or one.kind is not InstrumentKind.SPOT
        }
        # Mark price, index, both rates and open interest may come by a channel each.
        allowed = {1} if feed in ("trade", "l2", "bbo") else {1, 2, 3, 4, 5}
        assert counts <= allowed or (polled and counts == {0}), f"{feed}: {counts}"
    assert all(route.streams for route in routes)


@each_case
def test_a_route_has_an_address_and_the_streams_that_a_connection_may_carry(
    token: str, tickers: int, feeds: tuple[str, ...]
) -> None:
    venue = venue_of(token, tickers, feeds)
    seen: set[tuple[int, str, str]] = set()
    for route in venue.routes():
        assert isinstance(route, Route)
        assert 0 <= route.host < len(venue.websocket_urls)
        assert route.path == "" or route.path.startswith("/")
        assert len(route.streams) <= venue.limit(What.STREAMS)
        for stream in route.streams:
            assert isinstance(stream, Stream)
            assert stream.name
            assert stream.ticker == "" or stream.ticker in venue.index
            key = route.host, route.path, stream.name
            assert key not in seen, f"{stream.name} is subscribed to twice"
            seen.add(key)


@each_case
def test_subscriptions_keep_to_the_limits_of_a_frame(
    token: str, tickers: int, feeds: tuple[str, ...]
) -> None:
    venue = venue_of(token, tickers, feeds)
    for route in venue.routes():
        for requests in (venue.subscribe(route.streams), venue.unsubscribe(route.streams)):
            assert requests
            assert len(requests) <= venue.limit(What.SUBSCRIPTIONS)
            for request in requests:
                _check_request(venue, request)
            texts = b"\n".join(request.frame for request in requests).decode().lower()
            missing = [
                one
                for one in route.streams
                if one.ticker.lower() not in texts and one.name.lower() not in texts
            ]
            assert not missing, f"no request names {missing[0]}"


def _check_request(venue: Venue, request: Request) -> None:
    assert isinstance(request, Request)
    assert request.answers >= 0
    assert 0 < len(request.frame) <= venue.limit(What.FRAME_BYTES)
    text = request.frame.decode()
    if text.lstrip()[:1] in ("{", "["):
        assert _longest_list(json.loads(text)) <= venue.limit(What.ARGUMENTS)


def _longest_list(value: Any) -> int:
    """How many arguments a request has: the length of its longest list."""
    if isinstance(value, dict):
        return max(map(_longest_list, value.values()), default=1)
    if isinstance(value, list):
        return max(len(value), *map(_longest_list, value), 1)
    return 1


@each_venue
def test_one_stream_can_be_asked_for_again_by_itself(token: str) -> None:
    venue = venue_of(token, 3, tuple(one for one in load(token).feeds if ":" not in one))
    for route in venue.routes():
        for stream in route.streams:
            for requests in (venue.subscribe([stream]), venue.unsubscribe([stream])):
                assert requests
                for request in requests:
                    _check_request(venue, request)
        assert venue.subscribe([]) == []


@each_venue
def test_the_same_streams_are_asked_for_in_the_same_way(token: str) -> None:
    feeds = tuple(one for one in load(token).feeds if ":" not in one)
    one, other = venue_of(token, 3, feeds), venue_of(token, 3, feeds)
    assert one.routes() == other.routes() == one.routes()


@each_venue
def test_a_venue_with_more_tickers_is_one_that_was_made_with_them(token: str) -> None:
    feeds = tuple(one for one in load(token).feeds if ":" not in one)
    one, other = venue_of(token, 1, feeds), venue_of(token, 3, feeds)
    one.extend(list(other.instruments.values())[1:])
    assert (one.tickers, one.index) == (other.tickers, other.index)
    assert one.instruments == other.instruments
    assert one.routes() == other.routes()
    assert one.polls() == other.polls()
    for route in other.routes():
        assert one.subscribe(route.streams) == other.subscribe(route.streams)


@each_venue
def test_requests_name_a_path_a_host_and_a_weight(token: str) -> None:
    feeds = tuple(one for one in load(token).feeds if ":" not in one)
    venue = venue_of(token, 3, feeds)
    gets = [*venue.instruments_requests(), *(poll.get for poll in venue.polls())]
    assert all(1 <= poll.every_s <= 3600 for poll in venue.polls())
    for ticker in venue.tickers:
        for levels in (0, 1, 10, 100, 1000, 100_000):
            get = venue.snapshot_request(ticker, levels)
            if get is not None:
                assert get.book_of == ticker
                gets.append(get)
    for get in gets:
        assert isinstance(get, Get)
        assert get.path.startswith("/")
        assert get.path.isascii()
        assert " " not in get.path
        assert 0 <= get.host < len(venue.rest_urls)
        assert get.weight >= 1


@each_venue
@pytest.mark.parametrize(
    "ticker", ["A&limit=5", "A B", "A/../B", "币安人生USDT", "A%26", 'a"b', "A?b#c"]
)
def test_a_strange_ticker_stays_one_value_of_a_request(token: str, ticker: str) -> None:
    listed = understood(load(token).parse_instruments(vectors.listed(token)[0]))[:1]
    feeds = tuple(one for one in load(token).feeds if ":" not in one)
    plain, strange = (
        load(token)([msgspec.structs.replace(listed[0], ticker=name)], feeds)
        for name in ("PLAIN", ticker)
    )
    for get, simple in zip(_gets(strange, ticker), _gets(plain, "PLAIN"), strict=True):
        for sign in "?&=# ":
            assert get.path.count(sign) == simple.path.count(sign), get.path
        folders, plain_folders = (one.path.partition("?")[0].count("/") for one in (get, simple))
        assert folders == plain_folders, get.path
        assert get.path.isascii()
    for route in strange.routes():
        for request in strange.subscribe(route.streams):
            json.loads(request.frame)


def _gets(venue: Venue, ticker: str) -> list[Get]:
    snapshot = venue.snapshot_request(ticker, 0)
    return [poll.get for poll in venue.polls()] + ([snapshot] if snapshot else [])


def test_an_exchange_without_a_file_is_answered_with_those_that_have_one() -> None:
    with pytest.raises(Fatal, match=r"no ingest for exchange 'nowhere' yet: one of .*okx"):
        load("nowhere")


# ---------------------------------------------------------------------- errors


@each_venue
def test_every_known_error_says_what_follows_from_it(token: str) -> None:
    """The venue's own frame of an error, with each of its known codes or texts in turn."""
    kind = load(token)
    if not kind.errors:
        pytest.skip("no error of this venue is known by a code or a text")
    assert all(isinstance(one, OnError) for one in kind.errors.values())
    for told, follows in kind.errors.items():
        assert kind.on_error(told) is follows
        (control,) = _control_of(token, told)
        is_wrong = follows is OnError.REJECT and bool(control.stream)
        assert control.fatal == (is_wrong or follows is OnError.FATAL), told
        assert control.closing == (follows is OnError.RESYNC), told
        assert control.error or follows is OnError.RETRY, told
    assert kind.on_error("99999") is OnError.RETRY
    assert kind.on_error("a text that nobody knows") is OnError.RETRY


def _control_of(token: str, told: str) -> list[Control]:
    """What a frame with this error is read as."""
    known = load(token).errors
    for file in (one for one in vectors.files() if one.startswith(f"{token}/")):
        story = vectors.story(file)
        for step in (one for one in story.steps if one.is_frame):
            for other in known:
                changed = _with_error(step.data, other, told)
                if changed is not None:
                    decoded = Reader(story).frames([changed], [0])
                    errors = [one for one in decoded.controls if one.error or one.closing]
                    return errors or decoded.controls
    raise AssertionError(f"{token}: no frame of the vectors is an error with {[*known]}")


def _with_error(frame: bytes, other: str, told: str) -> bytes | None:
    """The frame with another code or text; None: it is no such error."""
    if other[-1].isdecimal():
        pattern = rb'("(?:code|status)"\s*:\s*"?)%b(?=["\s,}])' % re.escape(other.encode())
        changed, count = re.subn(pattern, rb"\g<1>" + told.encode(), frame)
        return changed if count else None
    is_error = b"rror" in frame or b'"success":false' in frame
    return (
        frame.replace(other.encode(), told.encode())
        if is_error and other.encode() in frame
        else None
    )
