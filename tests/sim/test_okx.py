"""What only OKX has: lists by type, options by their index, contracts of several kinds."""

from __future__ import annotations

import json
from typing import Any

from tickbus_schemas.exchanges import Exchange
from tickbus_sim import dialects
from tickbus_sim.dialect import Listing, split_url

OKX = dialects.load(Exchange.OKX)
LISTED = [
    Listing("BTC-USDT", 1, 8),
    Listing("BTC-USDT-SWAP", 1, 2, "0.01"),
    Listing("BTC-USD-SWAP", 1, 0),
    Listing("BTC-USD-261225", 1, 0),
    Listing("BTC-USD-261225-90000-C", 4, 0),
]


def _asked(target: str) -> Any:
    _, path, query = split_url(target)
    resource = OKX.resource(path, query)
    assert resource is not None
    assert resource.kind == "instruments"
    answer = json.loads(OKX.write_instruments(LISTED, 0, resource))
    assert answer["code"] == "0"
    return answer["data"]


def _named(target: str) -> list[str]:
    return [row["instId"] for row in _asked(target)]


def test_each_list_has_the_instruments_of_its_type() -> None:
    path = "/api/v5/public/instruments?instType="

    assert _named(f"{path}SPOT") == ["BTC-USDT"]
    assert _named(f"{path}SWAP") == ["BTC-USDT-SWAP", "BTC-USD-SWAP"]
    assert _named(f"{path}FUTURES") == ["BTC-USD-261225"]
    assert _asked("/api/v5/public/underlying?instType=OPTION") == [["BTC-USD"]]
    assert _named(f"{path}OPTION&uly=BTC-USD") == ["BTC-USD-261225-90000-C"]
    assert _named(f"{path}OPTION&uly=ETH-USD") == []


def test_a_contract_is_worth_what_was_told_and_nothing_where_nobody_told() -> None:
    linear, inverse = _asked("/api/v5/public/instruments?instType=SWAP")

    assert (linear["ctVal"], linear["ctValCcy"], linear["settleCcy"]) == ("0.01", "BTC", "USDT")
    assert (inverse["ctType"], inverse["ctVal"], inverse["ctMult"]) == ("inverse", "", "")
    assert (inverse["ctValCcy"], inverse["settleCcy"]) == ("USD", "BTC")


def test_a_contract_that_ends_says_when() -> None:
    (future,) = _asked("/api/v5/public/instruments?instType=FUTURES")
    (option,) = _asked("/api/v5/public/instruments?instType=OPTION&uly=BTC-USD")

    assert future["expTime"] == option["expTime"] == "1798185600000"  # 2026-12-25 08:00 UTC
    assert (option["stk"], option["optType"]) == ("90000", "C")
