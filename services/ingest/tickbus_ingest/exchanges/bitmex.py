"""BitMEX: perpetuals, futures and spot over one WebSocket that sends the changes of tables.

https://www.bitmex.com/app/wsAPI
A subscription begins with a partial, the table as it is; then rows are inserted, updated, deleted.
A row of orderBookL2 is a level; its keys are an id and the side. Updates and deletions need not
name the price, so each connection keeps the price of every id. Nothing numbers the changes and no
checksum proves them: an id that is not known, or known already, is all that tells of a loss. The
documents do not say that quotes and books come in step, so they are not held against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import InstrumentKind

from tickbus_ingest.exchanges import _bitmex as wire
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    QUOTE,
    Evidence,
    Get,
    Keepalive,
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
    in_parts,
)
from tickbus_ingest.venue.instruments import Instrument, Unread
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded, us_of_datetime

BOOK, LIQUIDATION = "orderBookL2", "liquidation"
CARRIES = {
    "trade": ("trade",),
    BOOK: ("l2",),
    "quote": ("bbo",),
    "instrument": ("ticker", "derivative"),
    LIQUIDATION: ("liquidation",),
}
"""Table -> feeds; liquidation is one subscription for all symbols, the others are by symbol."""
# Status of the answer, as HTTP has them: https://www.bitmex.com/app/wsAPI
ERRORS = {
    "400": OnError.REJECT,  # wrong request, table or symbol
    "401": OnError.REJECT,  # needs a login
    "403": OnError.REJECT,  # not for this login
    "404": OnError.REJECT,
    "429": OnError.RETRY,  # too many requests
    "503": OnError.RETRY,  # overloaded, or down
}
ALREADY = "You are already subscribed"
"""Has the status 400, and nothing is wrong."""


class Venue(contract.Venue):
    """One connection carries any tables; quantities are contracts, of spot a small unit."""

    exchange = Exchange.BITMEX
    evidence = Evidence.WORKS
    docs = (
        "https://www.bitmex.com/app/wsAPI",
        "https://www.bitmex.com/app/restAPI",
        "https://www.bitmex.com/api/explorer/",
    )
    websocket_urls = ("wss://ws.bitmex.com",)
    rest_urls = ("https://www.bitmex.com",)
    examples = ("XBTUSD", "ETHUSD")
    units = (
        Units(
            "contract of 1 unit of the quote currency",
            QUOTE,
            of="inverse perpetuals and futures",
        ),
        Units(
            "contract of 1 / `underlyingToPositionMultiplier` in the base currency",
            QUOTE,
            of="linear perpetuals and futures",
        ),
        Units(
            "contract worth `multiplier` in the smallest unit of the settlement currency for each "
            "1 of its price: `contract_size`, `contract_unit`",
            QUOTE,
            of="quanto perpetuals and futures",
        ),
        Units("small unit of the base currency, `contract_size` of it", QUOTE, of="spot"),
    )
    feeds = ("trade", "l2", "bbo", "ticker", "derivative", "liquidation", "instrument")
    snapshots = Snapshots.PUSHED  # the partial; the book over REST has nothing to join it by
    update_ids = UpdateIds.KEYED
    numbering_is_global = False
    trade_ids = TradeIds.UNIQUE  # trdMatchID
    # The page advises to ask after 5 s without a message: https://www.bitmex.com/app/wsAPI
    keepalive = Keepalive(b"ping", 5.0)
    silence_s = 20.0  # at least the answers to pings come
    weight_left_header = "x-ratelimit-remaining"  # https://www.bitmex.com/app/restAPI
    errors = ERRORS
    limits = (
        Limit(What.ATTEMPTS, 20, 3600),  # a burst of 20 an hour, as the venue's blog once said
        Limit(What.STREAMS, 200),  # no number is known: subscriptions are not limited
        Limit(What.ARGUMENTS, 10),  # no number is known
        Limit(What.MESSAGES, 10, 1),  # no number is known
        Limit(What.WEIGHT, 30, 60),  # https://www.bitmex.com/app/restAPI: without a login
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        self._contracts = {one.ticker for one in instruments if one.kind is not InstrumentKind.SPOT}
        # A partial of trades is history; a liquidation is told once, when its order is placed.
        acts: dict[str, tuple[Callable[[Any, Rows], None], tuple[str, ...]]] = {
            "trade": (self._trades, ("insert",)),
            "quote": (self._quotes, ("partial", "insert")),
            "instrument": (self._states, ("partial", "insert", "update")),
            LIQUIDATION: (self._liquidations, ("insert",)),
        }
        self._acts = {
            (table, action): (wire.ROWS[table], act)
            for table, (act, actions) in acts.items()
            for action in actions
            if {*CARRIES[table]} & {*feeds}
        }
        self._follows = "l2" in feeds

    # ---------------------------------------------------------- instruments

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        """What is open, and what has expired within a day."""
        return [Get("/api/v1/instrument/active")]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        return [one for body in bodies for one in wire.instruments(body)]

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        return self.split("/realtime", list(self._streams()))

    def _streams(self) -> Iterator[Stream]:
        """Spot has no funding, no open interest and no liquidations."""
        if "liquidation" in self.wanted and self._contracts:
            yield Stream(LIQUIDATION, "", ("liquidation",))
        for ticker in self.tickers:
            wanted = {*self.wanted}
            if ticker not in self._contracts:
                wanted.discard("derivative")
            for table, carries in CARRIES.items():
                feeds = tuple(feed for feed in carries if feed in wanted)
                if feeds and table != LIQUIDATION:
                    yield Stream(f"{table}:{ticker}", ticker, feeds)

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """Each argument is answered by itself."""
        return self._requests("subscribe", streams)

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return self._requests("unsubscribe", streams)

    def _requests(self, op: str, streams: Sequence[Stream]) -> list[Request]:
        names, most = [one.name for one in streams], self.limit(What.ARGUMENTS)
        parts = in_parts(names, most)
        return [Request(msgspec.json.encode({"op": op, "args": one}), len(one)) for one in parts]

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        if frame == b"pong":
            rows.control("pong")
            return
        told = decoded(wire.FRAME, frame)
        table = told.table
        if not table:
            self._answer(told, rows)
        elif told.action not in ("partial", "insert", "update", "delete"):
            raise Reject(f"action {told.action[:20]!r} of a table")
        elif table == BOOK and self._follows:
            self._book(told, line, rows)
        elif (table, told.action) in self._acts:
            decoder, act = self._acts[table, told.action]
            act(decoded(decoder, told.data), rows)
        else:
            rows.ignored(table)

    def _answer(self, told: wire.Frame, rows: Rows) -> None:
        if told.error:
            is_known = told.error.startswith(ALREADY)
            follows = OnError.RETRY if is_known else self.on_error(f"{told.status}")
            rows.refused(
                f"{told.status} {told.error}", follows, stream=told.request.only,
                answer=bool(told.request.op),
            )  # fmt: skip
        elif told.success and (topic := told.subscribe or told.unsubscribe):
            rows.control(topic, answer=True)
        elif told.info:
            rows.control(told.info)
        else:
            raise Reject("neither of a table nor an answer")

    def _book(self, told: wire.Frame, line: Line, rows: Rows) -> None:
        """Nearly always of one symbol."""
        levels: list[wire.Level] = decoded(wire.ROWS[BOOK], told.data)
        by_symbol: dict[str, list[wire.Level]] = {}
        if told.action == "partial" and told.filter.symbol:
            by_symbol[told.filter.symbol] = []  # an empty book is one, too
        for level in levels:
            by_symbol.setdefault(level.symbol, []).append(level)
        for symbol, own in by_symbol.items():
            if not rows.knows(symbol):
                raise Reject(f"ticker {symbol[:80]!r} was not asked for")
            if told.action == "partial":
                self._begin(symbol, own, line, rows)
            elif symbol in line.memory:
                self._change(symbol, own, told.action, line, rows)
            else:
                rows.ignored(BOOK)  # before its partial, or after a loss

    def _begin(self, symbol: str, levels: list[wire.Level], line: Line, rows: Rows) -> None:
        book = wire.Change(levels)
        book.begin(levels)
        _put(symbol, book, rows, snapshot=True)
        line.memory[symbol] = wire.Prices({}).changed(book.prices)

    def _change(
        self, symbol: str, levels: list[wire.Level], action: str, line: Line, rows: Rows
    ) -> None:
        known: wire.Prices = line.memory[symbol]
        change = wire.Change(levels)
        why = change.follow(action, levels, known)
        if why:
            line.memory.pop(symbol)
            rows.lost(why, symbol)
            return
        if change.bids or change.asks:
            _put(symbol, change, rows)
        else:
            rows.ignored(BOOK)
        if change.prices:
            line.memory[symbol] = known.changed(change.prices)

    # --------------------------------------------------------------- events

    def _trades(self, trades: list[wire.Trade], rows: Rows) -> None:
        for one in trades:
            time_us = us_of_datetime(one.timestamp)
            rows.trade(one.symbol, time_us, one.trade_id, one.taker, one.price, one.size, one.flags)

    def _quotes(self, quotes: list[wire.Quote], rows: Rows) -> None:
        for one in quotes:
            rows.bbo(
                one.symbol, us_of_datetime(one.timestamp), one.bid_price or 0.0,
                one.bid_size or 0.0, one.ask_price or 0.0, one.ask_size or 0.0,
            )  # fmt: skip

    def _states(self, states: list[wire.State], rows: Rows) -> None:
        """A row tells what has changed; ingest merges."""
        told = False
        for one in states:
            ticker, time_us, due = one.symbol, _us(one.timestamp), one.funding_timestamp
            if "ticker" in self.wanted and one.tells_day:
                rows.ticker(
                    ticker, time_us, last_price=one.last_price, open=one.prev_price24h,
                    high=one.high_price, low=one.low_price, volume=one.volume24h,
                    turnover=one.foreign_notional24h,
                )  # fmt: skip
                told = True
            is_contract = ticker in self._contracts and "derivative" in self.wanted
            if is_contract and one.tells_derivative:
                rows.derivative(
                    ticker, time_us, last_price=one.last_price, mark_price=one.mark_price,
                    index_price=one.indicative_settle_price, funding_rate=one.funding_rate,
                    predicted_funding_rate=one.indicative_funding_rate,
                    next_funding_us=us_of_datetime(due) if due else None,
                    funding_interval_ms=one.interval_ms, open_interest=one.open_interest,
                )  # fmt: skip
                told = True
        if not told:
            rows.ignored("instrument")

    def _liquidations(self, orders: list[wire.Liquidation], rows: Rows) -> None:
        mine = [one for one in orders if rows.knows(one.symbol)]
        for one in mine:
            rows.liquidation(one.symbol, 0, wire.SIDES[one.side], one.price, one.leaves_qty)
        if not mine:
            rows.ignored(LIQUIDATION)


def _put(symbol: str, book: wire.Change, rows: Rows, *, snapshot: bool = False) -> None:
    rows.l2(
        symbol, book.time_us, msgspec.json.encode(book.bids), msgspec.json.encode(book.asks),
        snapshot=snapshot, engine_us=book.engine_us,
    )  # fmt: skip


def _us(time: datetime | None) -> int:
    """Microseconds of a time; 0 where there is none."""
    return 0 if time is None else us_of_datetime(time)
