"""What is Binance's own: which route carries what, how a book is asked for, what documents show.

How its frames are read stands in `venues/binance_usdm` and `venues/binance_spot`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tickbus_ingest.exchanges import load
from tickbus_ingest.session.decoding import FrameDecoder
from tickbus_ingest.venue.contract import Line, Venue
from tickbus_ingest.venue.guard import FAILED
from tickbus_ingest.venue.instruments import Instrument

from tests.ingest import wire

FEEDS = ("trade", "l2", "bbo", "ticker")


def venue_of(exchange: str, tickers: Sequence[str], feeds: Sequence[str]) -> Venue:
    return load(exchange)([Instrument(ticker=ticker) for ticker in tickers], feeds)


def test_usdm_opens_the_routes_that_its_feeds_need() -> None:
    venue = venue_of("binance_usdm", ["BTCUSDT", "ETHUSDT"], ["trade", "bbo"])
    assert [route.path for route in venue.routes()] == ["/public/stream"]
    feeds = ["trade:aggregate", "l2", "derivative", "liquidation"]
    venue = venue_of("binance_usdm", ["BTCUSDT"], feeds)
    assert {route.path: [one.name for one in route.streams] for route in venue.routes()} == {
        "/public/stream": ["btcusdt@depth@100ms"],
        "/market/stream": ["btcusdt@aggTrade", "btcusdt@markPrice@1s", "btcusdt@forceOrder"],
    }


def test_many_streams_are_spread_over_connections_and_asked_for_in_small_frames() -> None:
    venue = venue_of("binance_usdm", [f"T{n}USDT" for n in range(250)], ["bbo"])
    routes = venue.routes()
    assert [len(route.streams) for route in routes] == [200, 50]
    requests = [json.loads(one.frame) for one in venue.subscribe(routes[0].streams)]
    assert [len(one["params"]) for one in requests] == [100, 100]
    assert requests[0]["params"][0] == "t0usdt@bookTicker"
    assert len({one["id"] for one in requests}) == 2


@pytest.mark.parametrize(
    ("exchange", "levels", "path", "weight"),
    [
        ("binance_usdm", 0, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000", 20),
        ("binance_usdm", 60, "/fapi/v1/depth?symbol=BTCUSDT&limit=100", 5),
        ("binance_spot", 0, "/api/v3/depth?symbol=BTCUSDT&limit=5000", 250),
        ("binance_spot", 1000, "/api/v3/depth?symbol=BTCUSDT&limit=1000", 50),
    ],
)
def test_a_snapshot_request_names_its_weight(
    exchange: str, levels: int, path: str, weight: int
) -> None:
    request = venue_of(exchange, ["BTCUSDT"], ["l2"]).snapshot_request("BTCUSDT", levels)
    assert request is not None
    assert (request.path, request.weight) == (path, weight)


@pytest.mark.parametrize("exchange", ["binance_usdm", "binance_spot"])
@pytest.mark.parametrize("name", ["inline_crypto_msg_parser", "inline_nautilus"])
def test_frames_of_documentation_are_read_or_refused_but_never_break(
    captures: Path, name: str, exchange: str
) -> None:
    lines = list(wire.recorded(captures / "frames" / "binance" / f"{name}.jsonl.gz"))
    frames = [line["data"].encode() for line in lines]
    bodies = [json.loads(frame) for frame in frames]
    events = [body.get("data", body) for body in bodies if isinstance(body, dict)]
    tickers = sorted({one["s"] for one in events if isinstance(one, dict) and "s" in one})
    taken = 0
    for trades in ("trade", "trade:aggregate"):
        venue = venue_of(exchange, tickers, [trades, *FEEDS[1:]])
        decoded = FrameDecoder(venue, 2**22).frames(
            frames,
            [Line(0, venue.routes()[0])] * len(frames),
            np.full(len(frames), 2_000_000_000_000_000),
            0,
        )
        assert not [why for why in decoded.refused.values() if why.startswith(FAILED)]
        taken += len(frames) - len(decoded.refused)
    assert taken > 5
