"""Every dialect, found by walking, is asked the same questions: a new one brings no test code."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tickbus_sim
from hypothesis import given
from hypothesis import strategies as st
from tickbus_sim import dialects
from tickbus_sim.book import Levels, NaiveBook
from tickbus_sim.dialect import CONTROL, Binary, Books, Dialect, Line, Listing, Topic, split_url
from tickbus_sim.events import Change, Derivative, Statistics, Trade
from tickbus_sim.faults import Fault, Faults, Frame, Schedule
from tickbus_sim.market import Market, MarketFrame
from tickbus_sim.pace import SECOND

DIALECTS = [dialects.load(exchange) for exchange in dialects.exchanges()]
REQUESTS = Path(__file__).with_name("requests")
START_MS = 1_700_000_000_000
PLAYED_NS = 6 * SECOND


def _token(dialect: Dialect) -> str:
    return dialect.exchange.token


def _written(dialect: Dialect) -> dict[str, Any]:
    """What a client sends, from the venue's documents; skipped where nobody has written it down."""
    path = REQUESTS / f"{_token(dialect)}.json"
    if not path.exists():
        pytest.skip(f"no {path.name}: ingest's requests are used")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=_token)


def _market(dialect: Dialect) -> Market:
    return Market(dialect, list(dialect.demo[:2]), seed=11, rate=400, start_ms=START_MS)


@cache
def _played(dialect: Dialect) -> tuple[Market, list[MarketFrame]]:
    market = _market(dialect)
    return market, market.advance(PLAYED_NS)


def _opened(dialect: Dialect, target: str) -> Line:
    _, path, query = split_url(target)
    line = dialect.open(path, query)
    assert isinstance(line, Line), line
    return line


def _encoded(frame: Any) -> bytes:
    return frame.encode() if isinstance(frame, str) else json.dumps(frame).encode()


def _levels(book: NaiveBook) -> tuple[list[tuple[Decimal, Decimal]], ...]:
    def numbers(levels: Levels) -> list[tuple[Decimal, Decimal]]:
        return [(Decimal(price), Decimal(qty)) for price, qty in levels]

    return tuple(map(numbers, book.top(0)))


# ------------------------------------------------------------------ frames


@every_dialect
def test_a_frame_of_the_market_tells_its_topic(dialect: Dialect) -> None:
    market, frames = _played(dialect)

    assert frames
    for frame in frames:
        topic, told = market.topics[frame.topic_id], dialect.topic_of(frame.text)
        assert told is not None
        assert told.family == topic.family
        # A stream of the whole market names no symbol.
        assert told.symbol in (topic.symbol, "")


@every_dialect
def test_the_market_speaks_in_every_main_feed(dialect: Dialect) -> None:
    market, frames = _played(dialect)

    sent = {(market.topics[frame.topic_id].symbol, frame.topic_id) for frame in frames}
    spoken = {market.topics[place].family for _, place in sent}
    assert set(market.families) <= spoken <= set(dialect.feeds)
    for symbol in dialect.demo[:2]:
        mine = {market.topics[place].family for one, place in sent if one == symbol}
        assert set(market.families) <= mine


@every_dialect
def test_the_frames_fold_to_the_markets_book(dialect: Dialect) -> None:
    for symbol in dialect.demo[:2]:
        market, book = _market(dialect), NaiveBook()
        if dialect.books is Books.PULLED:
            first = dialect.read_body(market.snapshot(symbol, 0))
            assert first is not None
            book.load(first)
        elif dialect.books is Books.PUSHED:
            pushed = dialect.write_book(symbol, market.book(symbol))
            assert dialect.topic_of(pushed) == Topic(symbol, dialect.book_family)
            first = dialect.read_book(pushed)
            assert first is not None
            assert first.whole
            book.apply(first)
        updates = 0
        for frame in market.advance(PLAYED_NS):
            if market.topics[frame.topic_id] != Topic(symbol, dialect.book_family):
                continue
            event = dialect.read_book(frame.text)
            assert event is not None
            assert (event.symbol, event.whole) == (symbol, dialect.books is Books.WHOLE)
            book.apply(event)
            assert dialect.holds(book, event)
            updates += 1
        assert updates > 30
        assert book.whole
        assert _levels(book) == _levels(market.book(symbol))
        assert not dialect.depth or all(len(side) <= dialect.depth for side in _levels(book))


@every_dialect
def test_a_wrong_checksum_is_noticed(dialect: Dialect) -> None:
    market, frames = _played(dialect)
    event = next(
        event
        for frame in frames
        if market.topics[frame.topic_id].family == dialect.book_family
        and (event := dialect.read_book(frame.text)) is not None
    )
    if event.checksum is None:
        pytest.skip("its books have no checksum")

    assert not dialect.holds(NaiveBook({"1": "1"}, {"2": "1"}), event)


@every_dialect
def test_a_book_over_rest_is_the_markets_book(dialect: Dialect) -> None:
    market, symbol = _market(dialect), dialect.demo[0]
    market.advance(SECOND)
    try:
        text = market.snapshot(symbol, 0)
    except NotImplementedError:
        assert dialect.books is not Books.PULLED
        pytest.skip("it has no books over REST")

    told = dialect.read_body(text)
    if told is None:
        pytest.skip("its bodies are not read")
    book = NaiveBook()
    book.load(told)
    if dialect.books is not Books.PULLED:
        assert _levels(book) == _levels(market.book(symbol))
    assert book.last_id
    assert dialect.read_body(b'{"error":"busy"}') is None


@every_dialect
@given(text=st.binary(max_size=200))
def test_any_bytes_have_a_topic_or_none(dialect: Dialect, text: bytes) -> None:
    topic = dialect.topic_of(text)
    assert topic is None or isinstance(topic, Topic)
    assert dialect.read_book(text) is None
    assert dialect.read_body(text) is None


@every_dialect
def test_a_frame_cut_short_is_nothing(dialect: Dialect) -> None:
    market, frames = _played(dialect)
    for frame in {market.topics[frame.topic_id].family: frame for frame in frames}.values():
        assert dialect.read_book(frame.text[:-1]) is None
        assert dialect.topic_of(frame.text[:-1]) in (None, CONTROL)


# ---------------------------------------------------------------- requests


def _answers(
    dialect: Dialect, line: Line, connection: dict[str, Any], kind: str
) -> list[tuple[bytes, ...]]:
    """The answers to each request of a kind; only so many as the venue leaves have none."""
    told = [dialect.request(line, _encoded(frame)).frames for frame in connection[kind]]
    assert told.count(()) == connection.get("unanswered", 0)
    return [answers for answers in told if answers]


@every_dialect
def test_subscriptions_begin_and_end_as_a_client_asks(dialect: Dialect) -> None:
    heard: set[Topic] = set()
    for connection in _written(dialect)["connections"]:
        line = _opened(dialect, connection["path"])
        wanted = {Topic(symbol, family) for symbol, family in connection["topics"]}
        unanswered = 0
        for frame in connection["subscribe"]:
            before = {topic.family for topic in line.streams.values()}
            answers = dialect.request(line, _encoded(frame)).frames
            begun = {topic.family for topic in line.streams.values()} - before
            book_alone = dialect.book_is_answer and begun == {dialect.book_family}
            unanswered += not answers and not book_alone
            assert {dialect.topic_of(answer) for answer in answers} <= {CONTROL}
        assert unanswered == connection.get("unanswered", 0)
        assert dialect.topics(line) == wanted
        heard |= wanted
        _answers(dialect, line, connection, "unsubscribe")
        assert dialect.topics(line) == frozenset()
    assert {topic.family for topic in heard} == set(dialect.feeds)
    market, frames = _played(dialect)
    whole = {topic.family for topic in heard if not topic.symbol}
    for frame in frames:
        topic = market.topics[frame.topic_id]
        if topic.symbol == dialect.demo[0]:
            assert topic in heard or topic.family in whole


@every_dialect
def test_a_book_comes_for_each_request_where_it_must_be_asked_for(dialect: Dialect) -> None:
    asked: list[str] = []
    for connection in _written(dialect)["connections"]:
        line = _opened(dialect, connection["path"])
        for frame in (*connection["subscribe"], *connection["unsubscribe"]):
            assert dialect.request(line, _encoded(frame)).books == ()
        before = dict(line.streams)
        for frame in connection.get("ask", ()):
            reply = dialect.request(line, _encoded(frame))
            assert reply.frames == ()
            asked += reply.books
            assert line.streams == before
    assert asked == [dialect.demo[0]] * dialect.books_are_asked_for


@every_dialect
def test_a_wrong_request_is_answered_with_an_error(dialect: Dialect) -> None:
    written = _written(dialect)
    line = _opened(dialect, written["connections"][0]["path"])

    for frame in ["no json", "{}", "[]", *written["wrong"]]:
        reply = dialect.request(line, _encoded(frame))
        assert reply.close is not None or any(map(dialect.refuses, reply.frames)), frame
        assert not line.streams


@every_dialect
@given(data=st.data())
def test_no_request_breaks_the_venue(dialect: Dialect, data: st.DataObject) -> None:
    written = _written(dialect)
    connection = data.draw(st.sampled_from(written["connections"]))
    line = _opened(dialect, connection["path"])
    frame = json.loads(json.dumps(data.draw(st.sampled_from(connection["subscribe"]))))
    wrong: st.SearchStrategy[Any] = st.sampled_from(
        [None, True, 7, "x", [], {}, [None], [[]], [{}], {"x": []}]
    )
    name = data.draw(
        st.sampled_from(sorted(frame) if isinstance(frame, dict) else range(len(frame)))
    )
    inner = frame[name]
    if isinstance(inner, dict) and data.draw(st.booleans()):
        inner[data.draw(st.sampled_from(sorted(inner)))] = data.draw(wrong)
    elif isinstance(inner, list) and inner and data.draw(st.booleans()):
        inner[0] = data.draw(wrong)
    else:
        frame[name] = data.draw(wrong)

    dialect.request(line, _encoded(frame))
    assert all(isinstance(topic.symbol, str) for topic in dialect.topics(line))


@every_dialect
def test_a_path_that_the_venue_does_not_have_is_refused(dialect: Dialect) -> None:
    assert not isinstance(dialect.open("/no/such/path", {}), Line)
    assert dialect.resource("/no/such/path", {}) is None


# -------------------------------------------------------------------- REST


@every_dialect
def test_the_instrument_list_names_every_ticker(dialect: Dialect) -> None:
    listed = [Listing(ticker, 2, 3) for ticker in dialect.demo]
    named = b""
    for target in _written(dialect)["instruments"]:
        _, path, query = split_url(target)
        resource = dialect.resource(path, query)
        assert resource is not None
        assert resource.kind == "instruments"
        named += dialect.write_instruments(listed, START_MS, resource)
    for ticker in dialect.demo:
        assert f'"{ticker}"'.encode() in named


@every_dialect
def test_a_recorded_url_of_a_book_names_its_ticker(dialect: Dialect) -> None:
    if "book" not in _written(dialect):
        pytest.skip("it has no books over REST")
    _, path, query = split_url(_written(dialect)["book"])
    resource = dialect.resource(path, query)

    assert resource is not None
    assert (resource.kind, resource.symbol) == ("book", dialect.demo[0])
    assert resource.levels > 0


# ------------------------------------------------------------------- the core


@every_dialect
def test_a_recorded_address_tells_the_exchange(dialect: Dialect) -> None:
    """Where two markets have the very same address, it tells neither: their frames do."""
    for host in dialect.hosts:
        for route in dialect.routes:
            path = next((one for one in dialect.paths if route.startswith(one)), route)
            target = f"wss://{host}{route if path else '/stream'}"
            owners = [one for one in DIALECTS if host in one.hosts and one.owns(route, {})]
            told = dialect.exchange if len(owners) < 2 else None
            assert dialects.of_url(target) is told, target


@every_dialect
def test_the_frames_of_a_market_are_not_those_of_another_one_at_its_address(
    dialect: Dialect,
) -> None:
    others = [
        one
        for one in DIALECTS
        if one is not dialect
        and one.hosts & dialect.hosts
        and any(one.owns(route, {}) for route in dialect.routes)
    ]
    for frame in _played(dialect)[1]:
        for other in others:
            assert other.topic_of(frame.text) is None


def test_no_word_of_any_venue_stands_outside_its_dialect() -> None:
    """The command line names exchanges as its users do; every other file speaks of none."""
    words = {part for one in dialects.exchanges() for part in one.token.split("_")[:1]}
    for one in DIALECTS:
        words |= {host.split(".")[-2] for host in one.hosts} | {*one.hosts}
        words |= {route for route in one.routes if route} | {*one.paths}
        # Plain words such as `trade` are ours too; `bookTicker` and `trades-all` are a venue's.
        words |= {family for family in one.feeds if re.search(r"[A-Z.-]", family)}
        words |= {one.weight_header} - {""}
    words |= {"usdm", "usd-m", "coin-m", "fapi", "dapi"}
    words -= {"/ws", "/stream", "gate"}  # the last one is an English word, too
    folder = Path(tickbus_sim.__file__).parent
    files = [file for file in folder.glob("*.py") if file.name != "__main__.py"]
    assert len(files) > 10

    found = {
        f"{file.name}: {word}"
        for file in files
        for word in words
        if word.lower() in file.read_text().lower()
    }
    assert found == set()


# ---------------------------------------------------------------------- faults


def _faulty(dialect: Dialect, fault: Fault) -> tuple[list[MarketFrame], Faults]:
    market, frames = _played(dialect)
    faults = Faults(Schedule([fault]), market.topics, 0, dialect.identity)
    sent = faults.apply(
        Frame(number, frame.text, frame.topic_id, frame.time_ns)
        for number, frame in enumerate(frames)
    )
    return [MarketFrame(one.received_ns, one.topic_id, one.text) for one in sent], faults


@every_dialect
@pytest.mark.parametrize("feed", ["trade", "l2"])
def test_a_fault_touches_the_frames_of_its_ticker_and_family_and_names_their_ids(
    dialect: Dialect, feed: str
) -> None:
    market, frames = _played(dialect)
    symbol, family = dialect.demo[1], dialect.family_of(feed)
    sent, faults = _faulty(dialect, Fault("drop", at=5, count=3, ticker=symbol, channel=family))

    lost = [frame for frame in frames if frame not in sent]
    assert [market.topics[frame.topic_id] for frame in lost] == [Topic(symbol, family)] * 3
    (report,) = faults.report()
    told = [dict(one) for one in report["frames"]]
    assert [frames[one.pop("frame")] for one in told] == lost
    assert all(told), "no id by which a reader finds what was lost"
    assert len({json.dumps(one) for one in told}) == 3


@every_dialect
@pytest.mark.parametrize("feed", ["trade", "l2"])
def test_what_is_no_number_stands_where_a_price_or_a_quantity_was(
    dialect: Dialect, feed: str
) -> None:
    _, frames = _played(dialect)
    fault = Fault("nan", count=1, channel=dialect.family_of(feed), value="NaN")
    sent, _ = _faulty(dialect, fault)

    ((before, after),) = [
        (one.text, other.text) for one, other in zip(frames, sent, strict=True) if one != other
    ]
    if isinstance(before, Binary):  # which tells lengths: the value is as long as the number
        place = after.index(b"NaN")
        number = re.match(rb"\d+\.\d+", before[place:])
        assert number is not None
        value = b"NaN".ljust(len(number[0]))
        assert before[:place] + value + before[place + number.end() :] == after
        return
    # Where a longer text begins with the number, the word begins it, too.
    word, numbers = b'"NaN"', rb'"?-?\d+\.\d+"?'
    if word not in after:
        word, numbers = b"NaN", rb"-?\d+\.\d+"
    place = after.index(word)
    number = re.match(numbers, before[place:])
    assert number is not None
    assert before[:place] + word + before[place + number.end() :] == after
    assert json.loads(after)


# ----------------------------------------------------------------------- market


@every_dialect
def test_the_statistics_of_the_day_are_those_of_its_trades(dialect: Dialect) -> None:
    market = _market(dialect)
    market.advance(PLAYED_NS)
    happened = market.take_events()
    for symbol in dialect.demo[:2]:
        mine = [event for event in happened if event.ticker == symbol]
        day = next(event for event in reversed(mine) if isinstance(event, Statistics))
        trades = [e for e in mine[: mine.index(day)] if isinstance(e, Trade)]
        prices = [Decimal(trade.price) for trade in trades]
        assert day.trades == len(trades) > 0
        assert Decimal(day.volume) == sum(Decimal(trade.qty) for trade in trades)
        turnover = sum(Decimal(trade.price) * Decimal(trade.qty) for trade in trades)
        assert Decimal(day.turnover) == turnover
        assert Decimal(day.last) == prices[-1]
        assert Decimal(day.low) <= min(prices) <= Decimal(day.vwap) <= Decimal(day.high)
        mark = next(event for event in reversed(mine) if isinstance(event, Derivative))
        value = Decimal(mark.mark) * Decimal(mark.open_interest)
        assert Decimal(mark.open_interest_value) == value


@every_dialect
def test_the_journal_tells_each_change_as_it_was_sent(dialect: Dialect) -> None:
    market = _market(dialect)
    frames = market.advance(PLAYED_NS)
    changes = [event for event in market.take_events() if isinstance(event, Change)]
    sent = [
        event
        for frame in frames
        if market.topics[frame.topic_id].family == dialect.book_family
        and (event := dialect.read_book(frame.text)) is not None
    ]

    assert [change.ticker for change in changes] == [event.symbol for event in sent]
    if dialect.books is not Books.WHOLE:
        for change, event in zip(changes, sent, strict=True):
            for one, other in ((change.bids, event.bids), (change.asks, event.asks)):
                assert [(Decimal(p), Decimal(q)) for p, q in one] == [
                    (Decimal(p), Decimal(q)) for p, q in other
                ]
