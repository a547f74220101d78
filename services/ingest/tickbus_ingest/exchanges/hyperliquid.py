"""Hyperliquid perpetuals.

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/subscriptions
Each message of a book is the whole book: the 20 best levels a side, at most every half second,
and after 5 s at the latest. Nothing has a number: a message that is lost is not missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import InstrumentKind, InstrumentStatus, Side

from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    Get,
    Keepalive,
    Levels,
    Limit,
    Line,
    Request,
    Route,
    Snapshots,
    Stream,
    TradeIds,
    UpdateIds,
    What,
)
from tickbus_ingest.venue.instruments import Instrument, last_place
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import Id, Time, decoded, json_decoder

FUNDING_MS = 3_600_000
"""Funding is paid every hour: hyperliquid-docs/trading/funding"""
PRICE_DECIMALS = 6
"""Of a perpetual's price at most, less its szDecimals (and five significant digits)."""
SIDES = {"B": Side.BUY, "A": Side.SELL}
"""The taker's: it hit bids or asks. WsTrade.side"""


class Level(msgspec.Struct):
    px: float
    sz: float


class Book(msgspec.Struct):
    coin: str
    time: Time
    levels: tuple[Raw, Raw]


class Quote(msgspec.Struct):
    """null stands for a side without orders."""

    coin: str
    time: Time
    bbo: tuple[Level | None, Level | None]


class Trade(msgspec.Struct):
    """`tid` is a hash of the two orders: unique, and says nothing else."""

    coin: str
    side: Literal["B", "A"]
    px: float
    sz: float
    time: Time
    tid: Id


class Context(msgspec.Struct, rename="camel"):
    """Of a perpetual; spot pairs have another channel."""

    funding: float | None = None
    open_interest: float | None = None
    prev_day_px: float | None = None
    day_ntl_vlm: float | None = None
    day_base_vlm: float | None = None
    oracle_px: float | None = None
    mark_px: float | None = None


class AssetContext(msgspec.Struct):
    coin: str
    ctx: Context


class Books(msgspec.Struct, tag_field="channel", tag="l2Book"):
    data: Book


class Trades(msgspec.Struct, tag_field="channel", tag="trades"):
    data: list[Trade]


class Quotes(msgspec.Struct, tag_field="channel", tag="bbo"):
    data: Quote


class Contexts(msgspec.Struct, tag_field="channel", tag="activeAssetCtx"):
    data: AssetContext


class Pong(msgspec.Struct, tag_field="channel", tag="pong"):
    pass


class Error(msgspec.Struct, tag_field="channel", tag="error"):
    data: str


class Subscription(msgspec.Struct):
    type: str
    coin: str = ""


class Subscribed(msgspec.Struct):
    method: str
    subscription: Subscription


class Answer(msgspec.Struct, tag_field="channel", tag="subscriptionResponse"):
    data: Subscribed


class Other(msgspec.Struct):
    channel: str | UnsetType = UNSET


class Asset(msgspec.Struct, rename="camel"):
    name: str
    sz_decimals: int
    is_delisted: bool | None = None


class Meta(msgspec.Struct):
    universe: list[Asset]


Event = Books | Trades | Quotes | Contexts | Pong | Error | Answer
EVENTS, OTHER, META = json_decoder(Event), json_decoder(Other), json_decoder(Meta)
OURS = {kind.__struct_config__.tag for kind in Event.__args__}
CHANNELS = {
    "trades": ("trade",),
    "l2Book": ("l2",),
    "bbo": ("bbo",),
    "activeAssetCtx": ("ticker", "derivative"),
}
"""channel -> the feeds that it carries"""


class Venue(contract.Venue):
    """One route; every book whole, trades by hash, no time in the context of an asset."""

    exchange = Exchange.HYPERLIQUID
    docs = (
        "https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/subscriptions",
        "https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/timeouts-and-heartbeats",
        "https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/rate-limits",
        "https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/tick-and-lot-size",
    )
    websocket_urls = ("wss://api.hyperliquid.xyz",)
    rest_urls = ("https://api.hyperliquid.xyz",)
    feeds = ("trade", "l2", "bbo", "ticker", "derivative", "instrument")
    snapshots = Snapshots.EVERY_FRAME
    update_ids = UpdateIds.NONE
    numbering_is_global = False
    trade_ids = TradeIds.UNIQUE
    levels = Levels("px", "sz")
    keepalive = Keepalive(b'{"method":"ping"}', 30.0)  # cut after 60 s without a message
    silence_s = 65.0  # two pongs are missing, and books come every 5 s at the latest
    limits = (
        # All are an address's. 1,000 subscriptions and 2,000 messages a minute, over 10 connections
        Limit(What.CONNECTIONS, 10),
        Limit(What.ATTEMPTS, 30, 60),
        Limit(What.STREAMS, 100),
        Limit(What.MESSAGES, 200, 60),
        Limit(What.WEIGHT, 1200, 60),
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        self._statistics, self._derivative = "ticker" in feeds, "derivative" in feeds
        acts: dict[type, tuple[bool, Callable[[Any, Rows], None]]] = {
            Books: ("l2" in feeds, self._book),
            Trades: ("trade" in feeds, self._trades),
            Quotes: ("bbo" in feeds, self._quote),
            Contexts: (self._statistics or self._derivative, self._context),
            Pong: (True, self._pong),
            Error: (True, self._error),
            Answer: (True, self._answer),
        }
        self._acts = {kind: act if wanted else _ignore for kind, (wanted, act) in acts.items()}

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        """https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint/perpetuals"""
        return [Get("/info", weight=20, body=b'{"type":"meta"}')]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return [_instrument(one) for body in bodies for one in decoded(META, body).universe]

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        streams = [
            Stream(f"{channel}:{ticker}", ticker, feeds)
            for ticker in self.tickers
            for channel, carried in CHANNELS.items()
            if (feeds := tuple(feed for feed in carried if feed in self.wanted))
        ]
        return self.split("/ws", streams)

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return [_request("subscribe", stream) for stream in streams]

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return [_request("unsubscribe", stream) for stream in streams]

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        try:
            event = EVENTS.decode(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            channel = decoded(OTHER, frame).channel
            if not isinstance(channel, str):
                raise Reject("a frame without a channel") from None
            if channel in OURS:
                decoded(EVENTS, frame)  # Reject says what is wrong
            rows.ignored(channel)
            return
        self._acts[type(event)](event, rows)

    def _book(self, event: Books, rows: Rows) -> None:
        book = event.data
        rows.l2(book.coin, book.time, *book.levels, snapshot=True)

    def _trades(self, event: Trades, rows: Rows) -> None:
        """The first frame of a subscription holds the latest trades before it."""
        for one in event.data:
            rows.trade(one.coin, one.time, one.tid, SIDES[one.side], one.px, one.sz)

    def _quote(self, event: Quotes, rows: Rows) -> None:
        bid, ask = (level or _NOTHING for level in event.data.bbo)
        rows.bbo(event.data.coin, event.data.time, bid.px, bid.sz, ask.px, ask.sz)

    def _context(self, event: Contexts, rows: Rows) -> None:
        """Without a time. Open interest is in the base coin; `prevDayPx` is of 24 hours ago."""
        coin, context = event.data.coin, event.data.ctx
        if self._statistics:
            rows.ticker(
                coin, 0, open=context.prev_day_px, volume=context.day_base_vlm,
                turnover=context.day_ntl_vlm,
            )  # fmt: skip
        if self._derivative:
            rows.derivative(
                coin, 0, mark_price=context.mark_px, index_price=context.oracle_px,
                funding_rate=context.funding, funding_interval_ms=FUNDING_MS,
                open_interest=context.open_interest,
            )  # fmt: skip

    def _pong(self, event: Pong, rows: Rows) -> None:
        rows.control("pong")

    def _error(self, event: Error, rows: Rows) -> None:
        """The text holds the request that it is about."""
        rows.control(event.data[:300], error=True, answer=True)

    def _answer(self, event: Answer, rows: Rows) -> None:
        about = event.data.subscription
        rows.control(event.data.method, answer=True, stream=f"{about.type}:{about.coin}")


_NOTHING = Level(0.0, 0.0)


def _ignore(event: Any, rows: Rows) -> None:
    rows.ignored(type(event).__struct_config__.tag)


def _request(method: str, stream: Stream) -> Request:
    channel = stream.name.partition(":")[0]
    frame = {"method": method, "subscription": {"type": channel, "coin": stream.ticker}}
    return Request(msgspec.json.encode(frame))


def _instrument(asset: Asset) -> Instrument:
    """No fixed tick: a price has five significant digits, or is whole; see PRICE_DECIMALS."""
    return Instrument(
        ticker=asset.name,
        kind=InstrumentKind.PERPETUAL,
        base=asset.name,
        quote="USD",
        settle="USDC",
        lot_size=last_place(asset.sz_decimals),
        contract_size=1.0,
        contract_unit=asset.name,
        price_precision=PRICE_DECIMALS - asset.sz_decimals,
        qty_precision=asset.sz_decimals,
        status=InstrumentStatus.DELISTED if asset.is_delisted else InstrumentStatus.TRADING,
        venue_status="delisted" if asset.is_delisted else "listed",
    )
