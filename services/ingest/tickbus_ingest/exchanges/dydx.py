"""dYdX v4: perpetuals, as its public indexer tells of them.

https://docs.dydx.exchange/api_integration-indexer/indexer_websocket
Books have no times and no numbers; `message_id` counts what a connection is sent. A subscription
takes its number when it is asked for and is answered when its first contents are there, so messages
with higher numbers may come before it: socks/src/websocket/index.ts. There is no central book: an
update may cross it, and then the older levels are gone
(https://docs.dydx.exchange/guides/how_to_uncross_orderbook).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange

from tickbus_ingest.exchanges import _dydx as wire
from tickbus_ingest.exchanges._dydx import BOOK, MARKETS, TRADES
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    Evidence,
    Get,
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
from tickbus_ingest.venue.instruments import Instrument, Unread
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded, us_of_datetime

CARRIES = {BOOK: ("l2",), TRADES: ("trade", "liquidation")}
"""Channel of one market -> feeds; v4_markets is one stream of all markets."""
FUNDING_MS = 3_600_000
"""`nextFundingRate` is that of an hour."""
MARKETS_PER_CONNECTION = 32
"""Subscriptions of a connection to each channel: socks/src/config.ts V4_ORDERBOOK_CHANNEL_LIMIT"""
LAST, MISSING, SETTLED = "message_id", "missing", "settled"
"""In a line's memory: the highest number, lower ones that are missing, streams that were answered:
of those no number is to come."""
Act = Callable[[str, Any, Rows, bool], None]
"""Of a channel: ticker, contents, rows, whether they are the first of a subscription."""


class Venue(contract.Venue):
    """Books by the connection's count, trades by id, the oracle's price as mark price."""

    exchange = Exchange.DYDX
    evidence = Evidence.BETA
    docs = (
        "https://docs.dydx.exchange/api_integration-indexer/indexer_websocket",
        "https://docs.dydx.exchange/api_integration-indexer/indexer_api",
        "https://docs.dydx.exchange/guides/how_to_uncross_orderbook",
        "https://github.com/dydxprotocol/v4-chain/tree/main/indexer/services/socks",
    )
    websocket_urls = ("wss://indexer.dydx.trade",)
    rest_urls = ("https://indexer.dydx.trade",)
    examples = ("BTC-USD", "ETH-USD")
    units = contract.PLAIN
    feeds = ("trade", "l2", "ticker", "derivative", "liquidation", "instrument")
    # `subscribed` holds the book; that over REST has nothing to join it by.
    snapshots = Snapshots.PUSHED
    update_ids = UpdateIds.PER_CONNECTION
    numbering_is_global = False
    trade_ids = TradeIds.UNIQUE  # the taker fill's UUID
    crosses = True
    # The server pings each 30 s and hangs up 10 s later; nothing is said where nothing happens.
    silence_s = 60.0
    maintenance_codes = frozenset({1012})  # `Service restarting`: socks/src/websocket/index.ts
    weight_left_header = "RateLimit-Remaining"  # comlink/src/lib/rate-limit.ts
    errors = wire.ERRORS
    limits = (
        Limit(What.STREAMS, len(CARRIES) * MARKETS_PER_CONNECTION + 1),
        # Two a second of one subscription, two a second that are wrong: socks/src/config.ts. None
        # of all messages is known.
        Limit(What.MESSAGES, 10, 1),
        Limit(What.ATTEMPTS, 2, 1),  # no number is known
        Limit(What.WEIGHT, 100, 10),  # comlink/src/config.ts RATE_LIMIT_GET_POINTS, of an address
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        acts: dict[str, tuple[tuple[str, ...], Act]] = {
            BOOK: (CARRIES[BOOK], self._book),
            TRADES: (CARRIES[TRADES], self._trades),
            MARKETS: (("ticker", "derivative"), self._markets),
        }
        self._acts = {name: act for name, (own, act) in acts.items() if {*own} & {*feeds}}

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        return [Get("/v4/perpetualMarkets")]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return [one for body in bodies for one in wire.instruments(body)]

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        """So many markets a connection; the stream of all markets goes with the first of them."""
        streams = self.streams_by_channel(CARRIES)
        most = MARKETS_PER_CONNECTION * len({one.name.partition(":")[0] for one in streams})
        parts = [streams[n : n + most] for n in range(0, len(streams), most or 1)]
        wanted = tuple(feed for feed in ("ticker", "derivative") if feed in self.wanted)
        if wanted:
            parts[:1] = [[Stream(MARKETS, "", wanted), *(parts[0] if parts else ())]]
        return [Route("/v4/ws", tuple(part)) for part in parts]

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """Each is answered with its first contents; a book is asked for again where it fails."""
        return [_request("subscribe", one) for one in streams]

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return [_request("unsubscribe", one) for one in streams]

    def hold_s(self, status: int, headers: Mapping[str, str]) -> float | None:
        """The indexer's own Retry-After counts milliseconds, that of the proxy before it seconds.

        comlink/src/lib/rate-limit.ts
        """
        left_ms = headers.get("Retry-After", "")
        is_own = status == 429 and self.weight_left_header in headers
        if is_own and left_ms.isascii() and left_ms.isdecimal() and len(left_ms) < 6:
            return int(left_ms) / 1000
        return super().hold_s(status, headers)

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        """A refused message is not counted: it is missing afterwards."""
        told: wire.Frame = decoded(wire.FRAME, frame)
        match told.type:
            case "channel_data" | "channel_batch_data":
                self._take(told, rows)
            case "subscribed":
                rows.control("subscribed", answer=told.channel != BOOK, stream=_name(told))
                self._take(told, rows)
                line.memory[SETTLED] = line.memory.get(SETTLED, NONE) | {_name(told)}
            case "unsubscribed":
                rows.control("unsubscribed", answer=True)
                line.memory[SETTLED] = line.memory.get(SETTLED, NONE) - {_name(told)}
            case "error":
                self._refuse(told, line, rows)
            case "connected":
                rows.control("connected")
            case _:
                raise Reject(f"type {told.type[:40]!r}")
        _follow(told.message_id, line, rows)

    def _refuse(self, told: wire.Frame, line: Line, rows: Rows) -> None:
        """An error has the number of the request, or if that took none the last one again."""
        message, stream = told.message, wire.named(told.message)
        is_answer = BOOK not in message
        if message.startswith(wire.ALREADY):
            rows.control(message, stream=stream, answer=is_answer)
        else:
            rows.refused(message, self.on_error(message), stream=stream, answer=is_answer)
        if message.startswith("Invalid sub") and stream:
            line.memory[SETTLED] = line.memory.get(SETTLED, NONE) | {stream}

    def _take(self, told: wire.Frame, rows: Rows) -> None:
        act, is_first = self._acts.get(told.channel), told.type == "subscribed"
        if act is not None:
            is_batch = told.type == "channel_batch_data"
            decoder = (wire.BATCHES if is_batch else wire.CONTENTS)[told.channel]
            contents = decoded(decoder, told.contents)
            for one in contents if is_batch else (contents,):
                act(told.id, one, rows, is_first)
        elif not is_first:
            rows.ignored(told.channel)

    def _book(self, ticker: str, sides: wire.Sides, rows: Rows, is_first: bool) -> None:
        """The first contents are the best levels, uncrossed: comlink's orderbook-controller.ts."""
        bids, asks = sides.bids, sides.asks
        if is_first:
            rows.l2(ticker, 0, wire.pairs(bids), wire.pairs(asks), snapshot=True)
        else:
            rows.l2(ticker, 0, bids, asks)

    def _trades(self, ticker: str, told: wire.Trades, rows: Rows, is_first: bool) -> None:
        """The first contents are the latest trades, newest first: ids tell which are new.

        Liquidations have no ids, so only those that come afterwards are told.
        """
        trades = told.trades[::-1] if is_first else told.trades
        if "trade" in self.wanted:
            for one in trades:
                if not one.id:
                    raise Reject("a trade without its id")
                rows.trade(
                    ticker, us_of_datetime(one.created_at), one.id, wire.SIDE[one.side], one.price,
                    one.size, one.flags,
                )  # fmt: skip
        liquidated = [one for one in trades if one.is_liquidation and not is_first]
        if "liquidation" in self.wanted:
            for one in liquidated:
                rows.liquidation(
                    ticker, us_of_datetime(one.created_at), wire.SIDE[one.side], one.price,
                    one.size, average_price=one.price, filled_qty=one.size,
                )  # fmt: skip
        if not is_first and "trade" not in self.wanted and not liquidated:
            rows.ignored(TRADES)

    def _markets(self, _: str, told: wire.Markets, rows: Rows, is_first: bool) -> None:
        """All markets at first, then what changes; only the oracle's prices have a time."""
        is_told = is_first
        for ticker, one in (*told.markets.items(), *told.trading.items()):
            is_told |= rows.knows(ticker) and self._market(ticker, one, rows)
        for ticker, price in told.oracle_prices.items():
            if rows.knows(ticker) and "derivative" in self.wanted:
                time_us = us_of_datetime(price.effective_at) if price.effective_at else 0
                mark = price.price if price.oracle_price is None else price.oracle_price
                rows.derivative(ticker, time_us, mark_price=mark)
                is_told = True
        if not is_told:
            rows.ignored(MARKETS)

    def _market(self, ticker: str, one: wire.Market, rows: Rows) -> bool:
        """Whether it says anything of ours."""
        day = "ticker" in self.wanted and one.tells_day
        if day:
            rows.ticker(ticker, 0, turnover=one.volume_24h, trade_count=one.trades_24h)
        derivative = "derivative" in self.wanted and one.tells_derivative
        if derivative:
            rows.derivative(
                ticker, 0, mark_price=one.oracle_price, funding_rate=one.next_funding_rate,
                funding_interval_ms=None if one.next_funding_rate is None else FUNDING_MS,
                open_interest=one.open_interest,
            )  # fmt: skip
        return day or derivative


NONE: frozenset[Any] = frozenset()


def _request(kind: str, stream: Stream) -> Request:
    frame: dict[str, Any] = {"type": kind, "channel": stream.name.partition(":")[0]}
    if stream.ticker:
        frame["id"] = stream.ticker
    if kind == "subscribe":
        frame["batched"] = False
    is_book = kind == "subscribe" and stream.name.startswith(BOOK)
    return Request(msgspec.json.encode(frame), answers=0 if is_book else 1)


def _name(told: wire.Frame) -> str:
    return wire.stream_name(told.channel, told.id)


def _follow(number: int, line: Line, rows: Rows) -> None:
    """Note a message's number; what is missing and no answer that is still to come is lost."""
    memory = line.memory
    last, missing = memory.get(LAST, number - 1), memory.get(MISSING, NONE)
    if number == last + 1 and not missing:
        memory[LAST] = number
        return
    settled = memory.get(SETTLED, NONE)
    answers = sum(one.name not in settled for one in line.route.streams)
    hole, goes_back = number - last - 1, number < last and number not in missing
    if hole <= answers:
        missing = (missing | {*range(last + 1, number)}) - {number}
    if goes_back or hole > answers or len(missing) > answers:
        rows.lost(f"message_id {number} after {last}; {answers} answers are to come")
        missing = NONE
    memory[LAST], memory[MISSING] = max(last, number), missing
