"""Damaged frames, requests and URLs: the venue goes on, and says what is wrong where it can."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_schemas.exchanges import Exchange
from tickbus_sim import dialects
from tickbus_sim.book import CaptureBooks, NaiveBook, depths
from tickbus_sim.capture import read_capture
from tickbus_sim.dialect import BadRequest, Books, Dialect, Line, Topic, split_url
from tickbus_sim.market import Market
from tickbus_sim.pace import SECOND
from tickbus_sim.sockets import open_line
from websockets.asyncio.client import connect

from tests.sim.conftest import RunningVenue
from tests.sim.recordings import Recording, trade
from tests.sim.test_dialects_served import _bytes

StartVenue = Callable[..., RunningVenue]
DIALECTS = [dialects.load(exchange) for exchange in dialects.exchanges()]
every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.exchange.token)
DEEP = b'{"a":' * 5_000 + b"1" + b"}" * 5_000
NO_TEXT = b'{"stream":"\xff","topic":"\xff","channel":"\xff","arg":{"channel":"\xff"}}'
KRAKEN = dialects.load(Exchange.KRAKEN)


@cache
def _frames(dialect: Dialect) -> list[bytes]:
    """A frame of each family, and some of books."""
    market = Market(dialect, [dialect.demo[0]], seed=2, rate=200, start_ms=1_700_000_000_000)
    first: dict[int, bytes] = {}
    frames = market.advance(2 * SECOND)
    for frame in frames:
        first.setdefault(frame.topic_id, frame.text)
    books = [f.text for f in frames if market.topics[f.topic_id].family == dialect.book_family]
    return [*first.values(), *books[:5]]


_pieces = st.sampled_from(
    [b"", b"\xff", b'"', b"null", b"true", b"[]", b"{}", b'"x"', b"-", b"1e400", b"1e999999", b"7"]
)


@every_dialect
@given(data=st.data())
def test_a_damaged_frame_is_no_frame_and_breaks_nothing(
    dialect: Dialect, data: st.DataObject
) -> None:
    text = data.draw(st.sampled_from(_frames(dialect)))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.integers(start, min(start + 12, len(text))))
        text = text[:start] + data.draw(_pieces) + text[stop:]

    topic = dialect.topic_of(text)
    assert topic is None or isinstance(hash(topic), int)
    event = dialect.read_book(text)
    if event is not None:
        book = NaiveBook()
        book.apply(event)
        dialect.holds(book, event)
        if dialect.books is Books.PUSHED:
            assert dialect.write_book(event.symbol, book)
    dialect.read_body(text)


def _target(dialect: Dialect) -> str:
    """What a client opens first, as it is written down."""
    file = Path(__file__).parent / "requests" / f"{dialect.exchange.token}.json"
    if file.exists():
        return str(json.loads(file.read_text())["connections"][0]["path"])
    return dialect.routes[0] + ("/stream" if "binance" in dialect.exchange.token else "")


@every_dialect
@pytest.mark.parametrize("text", [DEEP, NO_TEXT, b"\xff", b"[" * 5_000], ids=range(4))
def test_text_that_no_decoder_takes_tells_no_topic_and_is_an_error_as_a_request(
    dialect: Dialect, text: bytes
) -> None:
    assert dialect.topic_of(text) is None
    assert dialect.read_book(text) is None
    assert dialect.read_body(text) is None
    line = open_line(dialect, _target(dialect), has_times=False)
    assert isinstance(line, Line)
    (answer,) = dialect.request(line, text).frames
    assert json.loads(answer)
    assert not line.streams


def test_a_number_whose_decimals_would_fill_the_memory_is_none() -> None:
    frame = b'{"channel":"book","type":"snapshot","data":[{"symbol":"A/B","bids":[%b],"asks":[]}]}'
    level = b'{"price":1.50,"qty":%b}'

    event = KRAKEN.read_book(frame % (level % b"2e-3"))
    assert event is not None
    assert event.bids == [("1.50", "0.002")]
    for qty in (b"1e300000", b"1E-300000", b"true", b'"1"', b"null", b"[1]"):
        assert KRAKEN.read_book(frame % (level % qty)) is None


@every_dialect
@pytest.mark.parametrize("levels", ["abc", "-5", "0", "1" * 30, "5.5"])
def test_a_wrong_number_of_levels_gets_the_venues_error(dialect: Dialect, levels: str) -> None:
    path = Path(__file__).with_name("requests") / f"{dialect.exchange.token}.json"
    written = json.loads(path.read_text()) if path.exists() else {}
    if "book" not in written:
        pytest.skip("it has no books over REST, or nobody has written their URL down")
    _, target, query = split_url(written["book"])
    name = next((name for name in ("limit", "sz") if name in query), "")
    if not name:
        pytest.skip("its path tells how many levels a book has")

    with pytest.raises(BadRequest) as refused:
        dialect.resource(target, query | {name: [levels]})
    assert json.loads(refused.value.body)


def test_frames_that_no_decoder_takes_are_counted_and_the_rest_plays(tmp_path: Path) -> None:
    recording = Recording().frames(trade("btcusdt", 1), DEEP.decode())
    recording.raw(f'{{"ts":1700000001000000000,"dir":"in","data_hex":"{NO_TEXT.hex()}"}}')
    capture = recording.frames(trade("btcusdt", 2)).capture(tmp_path)

    assert capture.tickers == ["BTCUSDT"]
    assert len(capture.texts) == 4
    assert capture.topic_ids.count(0) == 2


@pytest.mark.connected
async def test_a_client_that_sends_garbage_is_answered_and_stays(start_venue: StartVenue) -> None:
    for dialect in DIALECTS:
        venue = start_venue("--synthetic", "--exchange", dialect.exchange.token)
        async with connect(venue.ws + _target(dialect)) as socket:
            for text in (DEEP, NO_TEXT, b""):
                await socket.send(text, text=True)
            errors = 0
            while errors < 3:
                errors += dialect.refuses(_bytes(await socket.recv()))
        venue.stop()


@pytest.mark.connected
def test_a_wrong_url_is_answered_in_the_venues_words(start_venue: StartVenue) -> None:
    venue = start_venue("--synthetic", "--exchange", "okx")
    with pytest.raises(urllib.error.HTTPError) as refused:
        venue.get("/api/v5/market/books?instId=BTC-USDT-SWAP&sz=abc")
    with refused.value as answer:
        assert answer.code == 400
        assert json.loads(answer.read())["code"] == "51000"


def _snapshot(levels: int) -> str:
    rows = [f'{{"price":{100 + n}.0,"qty":1.0}}' for n in range(levels)]
    book = f'{{"symbol":"A/B","bids":[],"asks":[{",".join(rows)}]}}'
    return f'{{"channel":"book","type":"snapshot","data":[{book}]}}'


@pytest.mark.parametrize(("levels", "depth"), [(3, 10), (10, 10), (23, 25), (700, 1000)])
def test_the_depth_of_an_answer_is_the_depth_that_was_recorded(
    tmp_path: Path, levels: int, depth: int
) -> None:
    """A client cuts its book to the depth of the answer: one asked for is not one played."""
    path = Recording().frames(_snapshot(levels)).write(tmp_path / "kraken" / "c.jsonl")
    capture = read_capture([path])
    line = open_line(KRAKEN, "/v2", has_times=False, depths=depths(capture))
    assert isinstance(line, Line)
    params = {"channel": "book", "symbol": ["A/B"], "depth": 500, "snapshot": True}

    (answer,) = KRAKEN.request(
        line, json.dumps({"method": "subscribe", "params": params, "req_id": 3}).encode()
    ).frames
    told = json.loads(answer)
    assert (told["success"], told["req_id"]) == (True, 3)
    assert told["result"] == {
        "channel": "book", "symbol": "A/B", "depth": depth, "snapshot": True
    }  # fmt: skip
    assert CaptureBooks(capture).at("A/B", 1).depth == depth
    assert line.streams == {"book:A/B": Topic("A/B", "book")}


def test_a_depth_that_the_venue_does_not_have_is_refused() -> None:
    line = open_line(KRAKEN, "/v2", has_times=False)
    assert isinstance(line, Line)
    request = b'{"method":"subscribe","params":{"channel":"book","symbol":["A/B"],"depth":7}}'

    (answer,) = KRAKEN.request(line, request).frames
    assert json.loads(answer)["error"] == "Subscription depth not supported"
    assert not line.streams
