"""The venue's side of one WebSocket connection: URLs, subscriptions, answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickbus_sim.dialect import Dialect, Line, Refusal, Topic
from tickbus_sim.sockets import open_line

from tests.sim.recordings import SPOT, USDM


def _opened(target: str, dialect: Dialect = USDM) -> Line:
    line = open_line(dialect, target, has_times=True)
    assert isinstance(line, Line), line
    return line


def _answer(line: Line, request: bytes, dialect: Dialect = USDM) -> Any:
    (frame,) = dialect.request(line, request).frames
    return json.loads(frame)


def _asked(line: Line, **request: Any) -> Any:
    return _answer(line, json.dumps(request).encode())


@pytest.mark.parametrize(
    ("dialect", "target", "route", "combined", "streams"),
    [
        (USDM, "/public/stream", "/public", True, []),
        (USDM, "/public/ws", "/public", False, []),
        (USDM, "/market/ws/btcusdt@aggTrade", "/market", False, ["btcusdt@aggTrade"]),
        (USDM, "/public/stream?streams=a@trade/b@trade", "/public", True, ["a@trade", "b@trade"]),
        (SPOT, "/stream?streams=a@trade", "", True, ["a@trade"]),
        (SPOT, "/ws/a@trade/b%40trade", "", False, ["a@trade", "b@trade"]),
        (SPOT, "/ws", "", False, []),
    ],
)
def test_a_url_says_route_mode_and_streams(
    dialect: Dialect, target: str, route: str, combined: bool, streams: list[str]
) -> None:
    line = _opened(target, dialect)

    assert (line.route, line.memory["combined"], list(line.streams)) == (route, combined, streams)


@pytest.mark.parametrize(
    ("dialect", "target", "reason"),
    [
        (USDM, "/stream?streams=btcusdt@trade", "retired"),
        (USDM, "/ws/btcusdt@trade", "retired"),
        (USDM, "/private/ws", "no such path"),
        (USDM, "//[", "no such path"),
        (SPOT, "/public/ws", "no such path"),
        (SPOT, "/wsx", "no such path"),
        (SPOT, "/stream?streams=btcusdt", "invalid stream"),
    ],
)
def test_other_urls_are_refused_with_the_reason(dialect: Dialect, target: str, reason: str) -> None:
    refusal = open_line(dialect, target, has_times=False)

    assert isinstance(refusal, Refusal)
    assert reason in refusal.reason


def test_receive_times_are_given_only_by_a_venue_that_has_them() -> None:
    assert _opened("/public/stream?tickbus_times=1").with_times
    assert not _opened("/public/stream").with_times
    assert isinstance(open_line(USDM, "/public/ws?tickbus_times=1", has_times=False), Refusal)


def test_subscriptions_are_answered_listed_and_taken_back() -> None:
    line = _opened("/public/stream")

    answer = _asked(line, method="SUBSCRIBE", params=["btcusdt@trade", "btcusdt@depth"], id=1)
    assert answer == {"result": None, "id": 1}
    assert _asked(line, method="LIST_SUBSCRIPTIONS", id="x") == {
        "result": ["btcusdt@trade", "btcusdt@depth"],
        "id": "x",
    }
    assert USDM.topics(line) == {Topic("BTCUSDT", "trade"), Topic("BTCUSDT", "depth")}
    assert _asked(line, method="UNSUBSCRIBE", params=["btcusdt@depth"], id=3)["result"] is None
    assert USDM.topics(line) == {Topic("BTCUSDT", "trade")}


def test_a_stream_of_the_other_route_is_acknowledged_and_stays_silent() -> None:
    public, market = _opened("/public/stream"), _opened("/market/stream")
    request = {"method": "SUBSCRIBE", "params": ["a@aggTrade", "a@trade", "a@depth@0ms"], "id": 1}

    assert _asked(public, **request) == _asked(market, **request) == {"result": None, "id": 1}
    assert {topic.family for topic in USDM.topics(public)} == {"trade", "depth"}
    assert {topic.family for topic in USDM.topics(market)} == {"aggTrade"}


def test_the_envelope_is_a_property_of_the_connection() -> None:
    line = _opened("/public/ws")

    assert _asked(line, method="GET_PROPERTY", params=["combined"], id=1)["result"] is False
    assert _asked(line, method="SET_PROPERTY", params=["combined", True], id=2)["result"] is None
    assert line.memory["combined"]


@pytest.mark.parametrize(
    ("request_text", "code"),
    [
        ('{"method":', 3),
        ("[1]", 2),
        ('{"method":"SUBSCRIBE","params":["a@trade"],"id":1.5}', 2),
        ('{"method":"SUBSCRIBE","params":["a@trade"],"id":true}', 2),
        ('{"method":"subscribe","params":["a@trade"],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":["btcusdt"],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[7],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":"a@trade","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[],"id":1}', 2),
        ('{"method":"GET_PROPERTY","params":["colour"],"id":1}', 0),
        ('{"method":"GET_PROPERTY","params":[],"id":1}', 2),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}', 1),
    ],
)
def test_wrong_requests_get_the_venues_error_code(request_text: str, code: int) -> None:
    line = _opened("/public/stream")
    answer = _answer(line, request_text.encode())

    assert answer["error"]["code"] == code
    assert not line.streams


@given(st.binary(max_size=200))
def test_whatever_a_client_sends_is_answered_in_json(request_bytes: bytes) -> None:
    answer = _answer(_opened("/public/stream"), request_bytes)

    assert {"result", "error"} & answer.keys()


def test_a_connection_takes_no_more_streams_than_the_venue_allows() -> None:
    line = _opened("/public/stream")
    names = [f"s{number}@trade" for number in range(1025)]

    assert _asked(line, method="SUBSCRIBE", params=names[:1024], id=1)["result"] is None
    assert _asked(line, method="SUBSCRIBE", params=names[1024:], id=2)["error"]["code"] == 2
    assert len(line.streams) == 1024
