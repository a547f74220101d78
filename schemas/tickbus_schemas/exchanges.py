"""The exchange table: codes and names never change once published."""

from __future__ import annotations

from enum import IntEnum

from tickbus_schemas.errors import Reject


class Exchange(IntEnum):
    """A venue's market: its value stands in messages and files, its `token` in subjects."""

    BINANCE_SPOT = 1
    BINANCE_USDM = 2
    BINANCE_COINM = 3
    OKX = 4
    BYBIT_SPOT = 5
    BYBIT_LINEAR = 6
    BYBIT_INVERSE = 7
    BYBIT_OPTION = 8
    DERIBIT = 9
    COINBASE = 10
    KRAKEN = 11
    HYPERLIQUID = 12
    BITGET = 13
    BITMEX = 14
    BITGET_FUTURES = 15
    HTX = 16
    KUCOIN = 17
    KUCOIN_FUTURES = 18
    GATEIO = 19
    GATEIO_FUTURES = 20
    KRAKEN_FUTURES = 21
    MEXC = 22
    DYDX = 23
    UPBIT = 24
    BITFINEX = 25
    CRYPTOCOM = 26
    BITSTAMP = 27
    GEMINI = 28

    @property
    def token(self) -> str:
        """Name in subjects, paths and settings, e.g. `binance_usdm`."""
        return _TOKENS[self]

    @classmethod
    def from_token(cls, token: str) -> Exchange:
        """The exchange of a subject token or setting; Reject when there is none of that name."""
        try:
            return _EXCHANGES[token]
        except KeyError:
            known = ", ".join(sorted(_EXCHANGES))
            raise Reject(f"unknown exchange {token[:80]!r}: one of {known}") from None


_TOKENS = {exchange: exchange.name.lower() for exchange in Exchange}
_EXCHANGES = {token: exchange for exchange, token in _TOKENS.items()}
