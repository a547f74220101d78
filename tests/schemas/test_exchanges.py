"""The exchange table is frozen: its codes stand in messages and in files for good."""

from __future__ import annotations

import pytest
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange

FROZEN = {
    1: "binance_spot",
    2: "binance_usdm",
    3: "binance_coinm",
    4: "okx",
    5: "bybit_spot",
    6: "bybit_linear",
    7: "bybit_inverse",
    8: "bybit_option",
    9: "deribit",
    10: "coinbase",
    11: "kraken",
    12: "hyperliquid",
    13: "bitget",
    14: "bitmex",
    15: "bitget_futures",
    16: "htx",
    17: "kucoin",
    18: "kucoin_futures",
    19: "gateio",
    20: "gateio_futures",
    21: "kraken_futures",
    22: "mexc",
    23: "dydx",
    24: "upbit",
    25: "bitfinex",
    26: "cryptocom",
    27: "bitstamp",
    28: "gemini",
}


def test_codes_and_names_never_change() -> None:
    table = {int(exchange): exchange.token for exchange in Exchange}
    assert {code: table.get(code) for code in FROZEN} == FROZEN
    assert table == FROZEN, "a new exchange: add its line here, it is frozen from now on"


def test_a_code_fits_the_int16_of_the_files() -> None:
    assert all(0 < exchange < 2**15 for exchange in Exchange)


@pytest.mark.parametrize("exchange", Exchange)
def test_a_token_names_its_exchange(exchange: Exchange) -> None:
    assert Exchange.from_token(exchange.token) is exchange


@pytest.mark.parametrize("token", ["", "binance", "BINANCE_USDM", "okx ", "*"])
def test_an_unknown_name_is_answered_with_the_known_ones(token: str) -> None:
    with pytest.raises(Reject, match=r"unknown exchange .*binance_usdm"):
        Exchange.from_token(token)
