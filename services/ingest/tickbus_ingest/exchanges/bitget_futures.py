"""Bitget's perpetuals and futures that are settled in USDT or USDC.

https://www.bitget.com/docs/uta/quick-start
Those settled in coins are left out: no document says what a unit of their quantities is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tickbus_schemas.exchanges import Exchange

from tickbus_ingest.exchanges._bitget import Bitget
from tickbus_ingest.venue.contract import PLAIN


class Venue(Bitget):
    """USDT's contracts are named BTCUSDT, USDC's BTCPERP."""

    exchange = Exchange.BITGET_FUTURES
    categories: ClassVar[Mapping[str, str]] = {"USDT": "usdt-futures", "USDC": "usdc-futures"}
    feeds = ("trade", "l2", "bbo", "ticker", "derivative", "liquidation", "instrument")
    examples = ("BTCUSDT", "ETHUSDT")
    units = PLAIN
