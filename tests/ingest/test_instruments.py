"""Which tickers are taken, and how a mistake is answered."""

from __future__ import annotations

import pytest
from tickbus_ingest.instruments import chosen
from tickbus_schemas.errors import Fatal

LISTED = ["BTCUSDT", "ETHUSDT", "BTCUSDC", "1000SHIBUSDT"]


def test_the_wanted_ones_or_all() -> None:
    assert chosen(["ETHUSDT"], LISTED, "binance_usdm") == ["ETHUSDT"]
    assert chosen(["*"], LISTED, "binance_usdm") == LISTED


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (["BTCUSD"], "binance_usdm does not list 'BTCUSD': did you mean BTCUSDT or BTCUSDC"),
        (["btcusdt"], "did you mean BTCUSDT"),
        (["ZZZZZZ"], "does not list 'ZZZZZZ'$"),
        ([], "ingest.tickers is empty"),
        (["ETHUSDT", "ETHUSDT"], "twice"),
        (["md.>"], "does not list"),
    ],
)
def test_a_mistake_names_the_nearest(wanted: list[str], says: str) -> None:
    with pytest.raises(Fatal, match=says):
        chosen(wanted, LISTED, "binance_usdm")


def test_an_empty_list_of_the_venue_is_not_all() -> None:
    with pytest.raises(Fatal, match="lists no instrument"):
        chosen(["*"], [], "binance_usdm")
