"""How long venues forbid requests, where they say so in words of their own."""

from __future__ import annotations

import pytest
from tickbus_ingest.exchanges import load
from tickbus_ingest.venue.contract import HELD_AFTER_BAN_S


@pytest.mark.parametrize(
    ("status", "headers", "held_s"),
    [
        (429, {"RateLimit-Remaining": "0", "Retry-After": "8500"}, 8.5),
        (429, {"Retry-After": "30"}, 30.0),  # of the proxy before it
        (429, {"RateLimit-Remaining": "0"}, HELD_AFTER_BAN_S),
        (403, {}, None),  # of a country that is not served
        (200, {"RateLimit-Remaining": "99"}, None),
    ],
)
def test_the_indexer_of_dydx_counts_milliseconds_and_its_proxy_seconds(
    status: int, headers: dict[str, str], held_s: float | None
) -> None:
    assert load("dydx")([], ("l2",)).hold_s(status, headers) == held_s


def test_what_is_left_of_a_budget_tells_what_is_used() -> None:
    venue = load("dydx")([], ("l2",))
    assert venue.weight_used({"RateLimit-Remaining": "98"}) == 2
    assert venue.weight_used({"RateLimit-Remaining": "500"}) == 0
    assert venue.weight_used({"RateLimit-Remaining": "many"}) is None
    assert venue.weight_used({}) is None
