"""Bitget Spot. https://www.bitget.com/docs/uta/quick-start"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tickbus_schemas.exchanges import Exchange

from tickbus_ingest.exchanges._bitget import Bitget
from tickbus_ingest.venue.contract import PLAIN


class Venue(Bitget):
    """A ticker holds statistics only."""

    exchange = Exchange.BITGET
    categories: ClassVar[Mapping[str, str]] = {"": "spot"}
    feeds = ("trade", "l2", "bbo", "ticker", "instrument")
    examples = ("BTCUSDT", "ETHUSDT")
    units = PLAIN
