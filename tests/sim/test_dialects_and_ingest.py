"""Ingest's venues are written by others from the same documents: both must mean the same."""

from __future__ import annotations

import pytest
from tickbus_ingest import exchanges
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.instruments import Instrument, understood
from tickbus_ingest.venue.rows import Rows
from tickbus_sim import dialects, events
from tickbus_sim.dialect import Books, Dialect, Line, Listing, Topic, split_url
from tickbus_sim.market import Market, MarketFrame
from tickbus_sim.pace import SECOND

BOTH = [
    dialects.load(exchange)
    for exchange in dialects.exchanges()
    if exchange.token in exchanges.names()
]
every_dialect = pytest.mark.parametrize("dialect", BOTH, ids=lambda one: one.exchange.token)
START_MS = 1_700_000_000_000


def _market(dialect: Dialect) -> Market:
    return Market(dialect, list(dialect.demo), seed=4, rate=500, start_ms=START_MS)


def _instruments(dialect: Dialect, market: Market) -> list[Instrument]:
    """What ingest makes of the dialect's instrument lists."""
    listed = [
        Listing(one.ticker, one.price_decimals, one.qty_decimals) for one in market.instruments
    ]
    venue, bodies = exchanges.load(dialect.exchange.token), []
    waiting = venue.instruments_requests()
    for get in waiting:  # which grows: a body may name what must be asked for besides
        _, path, query = split_url(get.path)
        resource = dialect.resource(path, query, get.body)
        assert resource is not None
        assert resource.kind == "instruments"
        bodies.append(dialect.write_instruments(listed, START_MS, resource))
        waiting += venue.more_instruments_requests(get, bodies[-1])
    return understood(venue.parse_instruments(bodies))


def _venue(dialect: Dialect, market: Market) -> contract.Venue:
    venue = exchanges.load(dialect.exchange.token)
    # A feed's variant, such as aggregated trades, stands for the feed itself.
    feeds = [feed for feed in venue.feeds if ":" not in feed]
    return venue(_instruments(dialect, market), feeds)


def _target(
    dialect: Dialect, venue: contract.Venue, route: contract.Route
) -> tuple[str, dict[str, list[str]]]:
    """Path and query of the WebSocket that carries a route, asked for where the venue wants it."""
    url = route.path
    if route.address is not None:
        _, path, query = split_url(route.address.path)
        resource = dialect.resource(path, query, route.address.body)
        assert resource is not None
        assert resource.kind == "address"
        url = venue.address(dialect.write_address("ws://127.0.0.1:1"))
        assert url.startswith("ws://127.0.0.1:1/")
    _, path, query = split_url(url)
    return path, query


class Session:
    """Ingest's connections to the dialect, and what it reads on them."""

    def __init__(self, dialect: Dialect, venue: contract.Venue) -> None:
        self.dialect, self.venue = dialect, venue
        self.rows = Rows(venue.index)
        self.lines: list[tuple[Line, contract.Line]] = []
        for number, route in enumerate(venue.routes()):
            line = dialect.open(*_target(dialect, venue, route))
            assert isinstance(line, Line), line
            self.lines.append((line, contract.Line(number, route)))
            venue.connected(self.lines[-1][1])

    def ask(self, line: Line, own: contract.Line, requests: list[contract.Request]) -> None:
        """Send requests: as many answers come as ingest waits for, and none is an error."""
        before = len(self.rows.controls)
        for request in requests:
            self._send(line, own, request.frame)
        controls = self.rows.controls[before:]
        assert not any(control.error for control in controls), controls
        assert len([c for c in controls if c.answer]) == sum(one.answers for one in requests)

    def _send(self, line: Line, own: contract.Line, frame: bytes) -> None:
        """Ingest reads the answers, and sends what it replies to them."""
        for answer in self.dialect.request(line, frame).frames:
            replied = len(self.rows.replies)
            self.venue.read(answer, own, self.rows)
            for _, reply in self.rows.replies[replied:]:
                self._send(line, own, reply)

    def subscribe(self) -> None:
        for line, own in self.lines:
            self.ask(line, own, [*self.venue.greet(), *self.venue.subscribe(own.route.streams)])
            assert len(self.dialect.topics(line)) == len(line.streams) > 0

    def hear(self, text: bytes, topic: Topic) -> None:
        """A frame goes to the connection that subscribed to its topic."""
        for line, own in self.lines:
            topics = self.dialect.topics(line)
            if topic in topics or Topic("", topic.family) in topics:
                self.venue.read(self.dialect.on_wire(line, text, topic), own, self.rows)
                return
        raise AssertionError(f"ingest does not ask for {topic}")


@every_dialect
def test_ingest_reads_the_instrument_list(dialect: Dialect) -> None:
    market = _market(dialect)
    read = {one.ticker: one for one in _instruments(dialect, market)}

    assert sorted(read) == sorted(dialect.demo)


@every_dialect
def test_ingests_requests_begin_and_end_subscriptions(dialect: Dialect) -> None:
    session = Session(dialect, _venue(dialect, _market(dialect)))
    session.subscribe()

    for line, own in session.lines:
        session.ask(line, own, session.venue.unsubscribe(own.route.streams))
        assert dialect.topics(line) == frozenset()


@every_dialect
def test_ingest_asks_for_books_where_the_dialect_has_them(dialect: Dialect) -> None:
    venue = _venue(dialect, _market(dialect))
    get = venue.snapshot_request(dialect.demo[0], 0)
    if get is None:
        assert dialect.books is not Books.PULLED
        return
    _, path, query = split_url(get.path)
    resource = dialect.resource(path, query, get.body)

    assert resource is not None
    assert (resource.kind, resource.symbol) == ("book", dialect.demo[0])
    rows = Rows(venue.index)
    market = _market(dialect)
    market.advance(SECOND)
    venue.parse_snapshot(market.snapshot(dialect.demo[0], resource.levels), dialect.demo[0], rows)
    assert len(rows.events["l2"]) == 1


@every_dialect
def test_ingest_reads_everything_that_the_market_says(dialect: Dialect) -> None:
    market = _market(dialect)
    session = Session(dialect, _venue(dialect, market))
    session.subscribe()
    if dialect.books is Books.PUSHED:
        for symbol in dialect.demo:
            book = dialect.write_book(symbol, market.book(symbol))
            session.hear(book, Topic(symbol, dialect.book_family))
    frames: list[MarketFrame] = market.advance(5 * SECOND)
    for frame in frames:
        session.hear(frame.text, market.topics[frame.topic_id])

    happened = market.take_events()
    rows, pushed = session.rows, len(dialect.demo) * (dialect.books is Books.PUSHED)
    assert len(rows.events["trade"]) == sum(isinstance(one, events.Trade) for one in happened) > 0
    assert len(rows.events["l2"]) == pushed + sum(
        isinstance(one, events.Change) for one in happened
    )
    if "bbo" in " ".join(dialect.feeds.values()).split():
        assert len(rows.events["bbo"]) >= sum(isinstance(one, events.Quote) for one in happened) > 0
    assert rows.ignored_frames == []
    assert rows.losses == []
