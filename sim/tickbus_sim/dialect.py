"""What differs between the two Binance markets that this venue speaks: routes, REST paths, limits.

Spot: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
USD-M: https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from tickbus_schemas.exchanges import Exchange

PUBLIC = "/public"
MARKET = "/market"
SPOT_ROUTE = ""

# USD-M families that the public root owns; every other one belongs to the market root.
_PUBLIC_FAMILIES = ("bookTicker", "!bookTicker", "trade", "rpiDepth")


@dataclass(frozen=True)
class Topic:
    """What a stream name asks for: a symbol and a channel family.

    `depth`, `depth@0ms` and `depth@100ms` are one family: a capture recorded with one of them
    answers a subscription to any. A stream for all symbols (`!bookTicker`) has no symbol.
    """

    symbol: str  # lower case, as stream names spell it
    family: str

    @property
    def ticker(self) -> str:
        """The symbol as REST and payloads spell it."""
        return self.symbol.upper()


def topic_of(stream: str) -> Topic:
    """The topic of a stream name such as `btcusdt@depth@100ms`."""
    symbol, at, channel = stream.partition("@")
    if not at or symbol.startswith("!"):
        return Topic("", stream)
    return Topic(symbol, channel.partition("@")[0])


def channel_of(stream: str) -> str:
    """The channel as subscribed, with its update speed: `depth@100ms`."""
    symbol, at, channel = stream.partition("@")
    return channel if at and not symbol.startswith("!") else stream


@dataclass(frozen=True)
class Dialect:
    """One market of Binance as its documents describe it."""

    exchange: Exchange
    routes: tuple[str, ...]  # WebSocket roots; the first one also carries what belongs to none
    rest_root: str
    depth_limits: tuple[int, ...]  # the only ones allowed; empty: any from 1 to depth_limit_max
    depth_limit_default: int
    depth_limit_max: int
    depth_weights: tuple[tuple[int, int], ...]  # (largest limit, weight)
    ping_interval_s: float
    pong_deadline_s: float

    def route_of(self, family: str) -> str:
        """The WebSocket root on which the venue sends this family."""
        if len(self.routes) == 1:
            return self.routes[0]
        public = family in _PUBLIC_FAMILIES or family.startswith("depth")
        return PUBLIC if public else MARKET

    def depth_weight(self, limit: int) -> int:
        """What a depth request of `limit` levels costs of the weight budget."""
        return next(weight for largest, weight in self.depth_weights if limit <= largest)


SPOT = Dialect(
    exchange=Exchange.BINANCE_SPOT,
    routes=(SPOT_ROUTE,),
    rest_root="/api/v3",
    depth_limits=(),
    depth_limit_default=100,
    depth_limit_max=5000,
    depth_weights=((100, 5), (500, 25), (1000, 50), (5000, 250)),
    ping_interval_s=20.0,
    pong_deadline_s=60.0,
)

USDM = Dialect(
    exchange=Exchange.BINANCE_USDM,
    routes=(PUBLIC, MARKET),
    rest_root="/fapi/v1",
    depth_limits=(5, 10, 20, 50, 100, 500, 1000),
    depth_limit_default=500,
    depth_limit_max=1000,
    depth_weights=((50, 2), (100, 5), (500, 10), (1000, 20)),
    ping_interval_s=180.0,
    pong_deadline_s=600.0,
)

DIALECTS = {dialect.exchange: dialect for dialect in (SPOT, USDM)}

_HOSTS = {
    "fstream.binance.com": Exchange.BINANCE_USDM,
    "fapi.binance.com": Exchange.BINANCE_USDM,
    "stream.binance.com": Exchange.BINANCE_SPOT,
    "data-stream.binance.vision": Exchange.BINANCE_SPOT,
    "api.binance.com": Exchange.BINANCE_SPOT,
    "data-api.binance.vision": Exchange.BINANCE_SPOT,
}

_PATHS = (
    ("/fapi/", Exchange.BINANCE_USDM),
    (f"{PUBLIC}/", Exchange.BINANCE_USDM),
    (f"{MARKET}/", Exchange.BINANCE_USDM),
    ("/api/v", Exchange.BINANCE_SPOT),
)


def exchange_of_url(url: str) -> Exchange | None:
    """The market that a recorded URL belongs to; None when the URL does not tell.

    The path decides where the host does not: a recording of this very venue names 127.0.0.1.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    by_host = _HOSTS.get(parts.hostname or "")
    if by_host is not None:
        return by_host
    return next((exchange for start, exchange in _PATHS if parts.path.startswith(start)), None)
