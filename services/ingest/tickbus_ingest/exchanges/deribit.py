"""Deribit: perpetuals, futures, options and spot over one JSON-RPC WebSocket.

Notifications: https://docs.deribit.com/articles/notifications
A subscription to a book begins with a snapshot; each change names the one before (prev_change_id).
After a hole another subscription gives another snapshot. A level that is deleted has the amount 0.
Channels of 100 ms need no login: they bring every trade, and changes of the book ten times a
second. The raw ones are refused without a login (13778).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import msgspec
from msgspec import UNSET
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import ABSENT, InstrumentKind

from tickbus_ingest.exchanges import _deribit as wire
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    BASE,
    QUOTE,
    Evidence,
    Get,
    Levels,
    Limit,
    Line,
    OnError,
    Request,
    Route,
    Snapshots,
    Stream,
    TradeIds,
    Units,
    UpdateIds,
    What,
)
from tickbus_ingest.venue.instruments import Instrument, Unread
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded, json_decoder

HEARTBEAT_S = 30
"""30 to 60 s are advised: https://support.deribit.com/hc/en-us/articles/25944603459613"""
HEARTBEAT_ID, TEST_ID, UNSUBSCRIBE_ID, PLATFORM_ID = 1, 2, 3, 4
FIRST_ID = 1000
"""Ids of subscriptions: place of the first stream + 1 times this, plus the number of streams."""
PLATFORM = "platform_state"
"""Whether an index, and all that is settled by it, is locked."""
# https://docs.deribit.com/articles/errors https://docs.deribit.com/articles/json-rpc-overview
# A request for several channels is refused whole.
ERRORS = {
    "-32700": OnError.RETRY,  # no JSON
    "-32600": OnError.REJECT,  # no request
    "-32601": OnError.REJECT,  # no such method
    "-32602": OnError.REJECT,  # wrong parameters
    "10028": OnError.RESYNC,  # too many requests: the session is ended
    "10040": OnError.RETRY,  # "retry"
    "10041": OnError.RETRY,  # settlement in progress
    "10047": OnError.RETRY,  # the engine's queue is full
    "10066": OnError.RETRY,  # too many requests at once
    "11029": OnError.REJECT,  # wrong arguments
    "11044": OnError.RETRY,  # not open now
    "11050": OnError.REJECT,  # bad request
    "11051": OnError.RETRY,  # maintenance
    "11094": OnError.RETRY,  # internal error
    "13009": OnError.REJECT,  # not authorized
    "13020": OnError.REJECT,  # not found
    "13028": OnError.RETRY,  # not available for a while
    "13503": OnError.RETRY,  # not available
    "13778": OnError.REJECT,  # raw channels need a login
    "13888": OnError.RETRY,  # timed out
}


class Venue(contract.Venue):
    """One connection carries all kinds of instruments; each channel is of one instrument."""

    exchange = Exchange.DERIBIT
    evidence = Evidence.CHECKED
    docs = (
        "https://docs.deribit.com/articles/notifications",
        "https://docs.deribit.com/articles/market-data-collection-best-practices",
        "https://docs.deribit.com/articles/rate-limits",
        "https://docs.deribit.com/api-reference/subscription-management/public-subscribe",
        "https://docs.deribit.com/api-reference/session-management/public-set_heartbeat",
    )
    websocket_urls = ("wss://www.deribit.com",)
    rest_urls = ("https://www.deribit.com",)
    examples = ("BTC-PERPETUAL", "ETH-PERPETUAL")
    units = (
        Units(
            "USD: one, whatever a contract is worth",
            QUOTE,
            of="inverse perpetuals and futures",
        ),
        Units(BASE, QUOTE, of="linear perpetuals and futures, spot"),
        Units(BASE, "absent", of="options"),
    )
    feeds = ("trade", "l2", "bbo", "ticker", "derivative", "liquidation", "instrument")
    # https://docs.deribit.com/subscriptions/orderbook/bookinstrument_nameinterval
    # No document says how a book over REST joins the changes, so none is asked for.
    snapshots = Snapshots.PUSHED
    update_ids = UpdateIds.LINKED
    levels = Levels(1, 2)  # ["new" | "change" | "delete", price, amount]
    # trade_seq is the number of the trade within its instrument; trade_id is only unique.
    trade_ids = TradeIds.SEQUENCED
    # https://docs.deribit.com/api-reference/session-management/public-set_heartbeat
    silence_s = 2 * HEARTBEAT_S + 15.0  # heartbeats come where nothing else does
    errors = ERRORS
    # https://docs.deribit.com/articles/rate-limits
    # https://docs.deribit.com/articles/connection-management-best-practices
    limits = (
        Limit(What.CONNECTIONS, 32),  # of an address; a REST request counts while it is open
        Limit(What.ATTEMPTS, 20, 10),  # no number is known
        Limit(What.STREAMS, 400),  # no number is known
        Limit(What.ARGUMENTS, 100),  # no number is known: channels in one request
        Limit(What.MESSAGES, 20, 1),  # 500 of 10,000 credits a second each
        Limit(What.SUBSCRIPTIONS, 10, 3),  # 3.3 a second; more end the connection (10028)
        Limit(What.WEIGHT, 5, 50),  # lists of instruments: one in 10 s, five at once
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        self._inverse = {one.ticker for one in instruments if one.inverse}
        spot = {one.ticker for one in instruments if one.kind is InstrumentKind.SPOT}
        self._derivatives = self.index.keys() - spot
        self._streams = list(self._every_stream())
        self._places = {stream.name: n for n, stream in enumerate(self._streams)}
        # A channel's first word and number of words: there are others of whole markets, or grouped.
        acts: dict[tuple[str, int], tuple[Any, Callable[[Any, Rows], None], set[str]]] = {
            ("trades", 3): (list[wire.Trade], self._trades, {"trade", "liquidation"}),
            ("book", 3): (wire.Book, self._book, {"l2"}),
            ("quote", 2): (wire.Quote, self._quote, {"bbo"}),
            ("ticker", 3): (wire.Ticker, self._ticker, {"ticker", "derivative"}),
        }
        self._acts = {
            shape: (json_decoder(kind), act)
            for shape, (kind, act, carried) in acts.items()
            if carried & {*feeds}
        }

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        """Combos are left out: no kind of ours is theirs."""
        path = "/api/v2/public/get_instruments?currency=any&expired=false&kind="
        return [Get(f"{path}{kind}") for kind in ("future", "option", "spot")]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return [one for body in bodies for one in wire.instruments(body)]

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        return self.split("/ws/api/v2", self._streams)

    def _every_stream(self) -> Iterator[Stream]:
        """Spot has no funding, no open interest and no liquidations."""
        channels = (
            ("trades.{}.100ms", ("trade", "liquidation")),
            ("book.{}.100ms", ("l2",)),
            ("quote.{}", ("bbo",)),
            ("ticker.{}.100ms", ("ticker", "derivative")),
        )
        for ticker in self.tickers:
            wanted = {*self.wanted}
            if ticker not in self._derivatives:
                wanted -= {"liquidation", "derivative"}
            for channel, carried in channels:
                if feeds := tuple(feed for feed in carried if feed in wanted):
                    yield Stream(channel.format(ticker), ticker, feeds)

    def greet(self) -> list[Request]:
        """Heartbeats, and the state of the platform: each is a request with one answer."""
        return [
            _request(HEARTBEAT_ID, "set_heartbeat", {"interval": HEARTBEAT_S}),
            _request(PLATFORM_ID, "subscribe", {"channels": [PLATFORM]}),
        ]

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """The answer names the channels that were taken: its id tells which were asked for."""
        requests = []
        for some in self._runs(streams):
            first = self._places[some[0].name]
            names = {"channels": [one.name for one in some]}
            requests.append(_request(FIRST_ID * (first + 1) + len(some), "subscribe", names))
        return requests

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return [
            _request(UNSUBSCRIBE_ID, "unsubscribe", {"channels": [one.name for one in some]})
            for some in self._runs(streams)
        ]

    def _runs(self, streams: Sequence[Stream]) -> Iterator[Sequence[Stream]]:
        """Streams that follow each other in the venue's own order, as many as a request takes."""
        places = [self._places[one.name] for one in streams]
        holes = [n for n, (one, other) in enumerate(pairwise(places), 1) if other != one + 1]
        most = self.limit(What.ARGUMENTS)
        for start, stop in pairwise([0, *holes, len(streams)]):
            for n in range(start, stop, most):
                yield streams[n : min(n + most, stop)]

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        told = decoded(wire.FRAME, frame)
        channel, data = told.params.channel, told.params.data
        if told.method == "subscription" and channel and data is not UNSET:
            if channel == PLATFORM:
                self._platform(decoded(wire.PLATFORM, data), line, rows)
                return
            words = channel.split(".")
            found = self._acts.get((words[0], len(words)))
            if found is None:
                rows.ignored(words[0])
            else:
                decoder, act = found
                act(decoded(decoder, data), rows)
        elif told.method == "heartbeat":
            if told.params.type == "test_request":
                rows.reply(TEST)
            rows.control(f"heartbeat {told.params.type}")
        elif told.error is not None or told.result is not UNSET:
            self._answer(told, rows)
        else:
            raise Reject("neither a notification nor an answer")

    def _platform(self, state: wire.Platform, line: Line, rows: Rows) -> None:
        """An index is locked while the platform is maintained, one after the other: told once."""
        changes = line.memory.get(PLATFORM, False) != state.locked
        line.memory[PLATFORM] = state.locked
        words = "is locked for maintenance" if state.locked else "is open again"
        rows.control(f"the index {state.price_index} {words}", notice=changes)

    def _answer(self, told: wire.Frame, rows: Rows) -> None:
        number = told.id or 0
        first, count = divmod(number, FIRST_ID)
        asked = self._streams[first - 1 : first - 1 + count] if first > 0 else []
        is_counted = number not in (0, TEST_ID)
        if told.error is not None:
            about = asked[0].name if len(asked) == 1 else ""
            follows = self.on_error(f"{told.error.code}")
            rows.refused(str(told.error), follows, stream=about, answer=is_counted)
            return
        rows.control("answer", answer=is_counted)
        if asked:
            taken = {*decoded(wire.NAMES, told.result)}  # type: ignore[arg-type]  # there is one
            for stream in asked:
                if stream.name not in taken:
                    rows.control(f"{stream.name} was not taken", error=True, stream=stream.name)

    def _trades(self, trades: list[wire.Trade], rows: Rows) -> None:
        """A trade says whether its orders were liquidations: a row for each that was."""
        liquidated = [(one, side) for one in trades for side in one.liquidated]
        if "trade" in self.wanted:
            for one in trades:
                rows.trade(
                    one.instrument_name, one.timestamp, one.trade_id, one.side, one.price,
                    one.amount, one.flags, one.trade_seq,
                )  # fmt: skip
        elif not liquidated:
            rows.ignored("trades")
        if "liquidation" in self.wanted:
            for one, side in liquidated:
                rows.liquidation(
                    one.instrument_name, one.timestamp, side, one.price, one.amount,
                    average_price=one.price, filled_qty=one.amount,
                )  # fmt: skip

    def _book(self, book: wire.Book, rows: Rows) -> None:
        whole, prev_id = book.type == "snapshot", book.prev_change_id
        if prev_id is None and not whole:
            raise Reject("a change without prev_change_id")
        rows.l2(
            book.instrument_name, book.timestamp, book.bids, book.asks, book.change_id,
            ABSENT if whole or prev_id is None else prev_id, snapshot=whole,
        )  # fmt: skip

    def _quote(self, quote: wire.Quote, rows: Rows) -> None:
        """Null where a side is empty."""
        rows.bbo(
            quote.instrument_name, quote.timestamp, quote.best_bid_price or 0.0,
            quote.best_bid_amount or 0.0, quote.best_ask_price or 0.0, quote.best_ask_amount or 0.0,
        )  # fmt: skip

    def _ticker(self, one: wire.Ticker, rows: Rows) -> None:
        """Statistics in the unit of amounts, which of inverse contracts is USD."""
        ticker, stats = one.instrument_name, one.stats
        is_derivative = ticker in self._derivatives and "derivative" in self.wanted
        if "ticker" in self.wanted:
            volume = stats.volume_usd if ticker in self._inverse else stats.volume
            rows.ticker(
                ticker, one.timestamp, last_price=one.last_price, high=stats.high, low=stats.low,
                volume=volume, turnover=stats.volume_notional,
            )  # fmt: skip
        elif not is_derivative:
            rows.ignored("ticker")
        if is_derivative:
            rows.derivative(
                ticker, one.timestamp, mark_price=one.mark_price, index_price=one.index_price,
                settlement_price=one.estimated_delivery_price, last_price=one.last_price,
                funding_rate=one.current_funding, open_interest=one.open_interest,
            )  # fmt: skip


def _request(number: int, method: str, params: dict[str, Any]) -> Request:
    frame = {"jsonrpc": "2.0", "id": number, "method": f"public/{method}", "params": params}
    return Request(msgspec.json.encode(frame))


TEST = _request(TEST_ID, "test", {}).frame
"""Answers a test_request; who does not is cut off."""
