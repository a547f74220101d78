"""OKX: spot, perpetual swaps, futures and options over one WebSocket.

Channels: https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel
A book update names the one that it follows: prevSeqId is the last seqId. A subscription begins with
a snapshot, prevSeqId -1. Two odd updates follow the rule: an empty one with prevSeqId == seqId
after a minute without a change, and after maintenance one whose seqId is below its prevSeqId.
`checksum` is always 0 since 2026-06-23 and is not looked at. OKX has announced that the snapshot
goes; where none comes, the book is asked for over REST.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec
from msgspec import UNSET
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import (
    ABSENT,
    InstrumentKind,
    LiquidationFlag,
    TradeFlag,
)

from tickbus_ingest.exchanges import _okx as wire
from tickbus_ingest.venue import contract
from tickbus_ingest.venue.contract import (
    BASE,
    BASE_SUMMED,
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
from tickbus_ingest.venue.instruments import Instrument, Unread, each_of
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import decoded, known, us_of

PUBLIC, BUSINESS = "/ws/v5/public", "/ws/v5/business"
BOOKS_PER_CONNECTION = 29  # the overview asks for fewer than 30 deep books on a connection
SUBSCRIBE_MAX = 100  # arguments in one frame: about 8 of the 64 KB that it may have
LEVELS_MAX = 400
UPGRADE = "64008"
"""The connection will be closed within a minute."""
# https://www.okx.com/docs-v5/en/#error-code-websocket
ERRORS = {
    "60008": OnError.REJECT,  # another address carries the channel
    "60011": OnError.REJECT,  # needs a login
    "60012": OnError.REJECT,  # wrong request
    "60013": OnError.REJECT,  # wrong arguments
    "60014": OnError.RETRY,  # requests too frequent
    "60018": OnError.REJECT,  # wrong URL, or no such channel or instrument
    "60019": OnError.REJECT,  # wrong operation
    "60027": OnError.REJECT,  # an argument is empty
    "60028": OnError.REJECT,  # not supported
    "60029": OnError.REJECT,  # for the tier VIP5
    "60030": OnError.REJECT,  # for the tier VIP4
    "63999": OnError.RETRY,  # internal error
    "64000": OnError.REJECT,  # an argument that is no more
    "64001": OnError.REJECT,  # the channel has moved to another address
    "64002": OnError.REJECT,  # not at this address
    "64003": OnError.REJECT,  # for a higher tier
    "64004": OnError.REJECT,  # channels that exclude one another
    "64007": OnError.RETRY,  # internal error
    UPGRADE: OnError.RESYNC,
}
LIQUIDATION = LiquidationFlag.SAMPLED | LiquidationFlag.BANKRUPTCY_PRICE
"""One a second and contract at most; at the price at which the system takes the position over."""


class Venue(contract.Venue):
    """Every kind of instrument; quantities of all but spot are contracts."""

    exchange = Exchange.OKX
    evidence = Evidence.CHECKED
    docs = ("https://www.okx.com/docs-v5/en/",)
    websocket_urls = ("wss://ws.okx.com:8443",)
    rest_urls = ("https://www.okx.com",)
    examples = ("BTC-USDT", "BTC-USDT-SWAP")
    units = (
        Units(BASE, QUOTE, of="spot"),
        Units(
            "contract of `ctVal` times `ctMult` in `ctValCcy`",
            BASE_SUMMED,
            of="swaps, futures, options",
        ),
    )
    feeds = (
        "trade", "trade:aggregate", "l2", "bbo", "ticker", "derivative", "liquidation",
        "instrument",
    )  # fmt: skip
    channels: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "trade": ("trades-all",),  # each fill
        "trade:aggregate": ("trades",),  # fills of one order at one price as one
        "l2": ("books",),  # 400 levels each 100 ms; the faster ones need a login
        "bbo": ("bbo-tbt",),
        "ticker": ("tickers",),
        "derivative": ("mark-price", "open-interest", "funding-rate", "index-tickers"),
        "liquidation": ("liquidation-orders",),
    }
    snapshots = Snapshots.PUSHED
    update_ids = UpdateIds.LINKED
    drops_equal = True  # what ends at the seqId of a book over REST is in it
    # Ids are numbers, but no document says that they count by one.
    trade_ids = TradeIds.UNIQUE
    # The server hangs up (4004) after 30 s in which it has sent and received nothing.
    keepalive = Keepalive(b"ping", 20.0)
    errors = ERRORS
    limits = (
        Limit(What.ATTEMPTS, 3, 1),
        Limit(What.STREAMS, 240),  # the venue names no number: so a connection stays small
        Limit(What.SUBSCRIPTIONS, 480, 3600),  # subscribe and unsubscribe
        Limit(What.FRAME_BYTES, 65_536),
        Limit(What.WEIGHT, 40, 2),  # requests of books; of instruments 20
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        self._by_index: dict[str, list[str]] = {}
        for one in self.instruments.values():
            if one.kind is not InstrumentKind.SPOT:
                self._by_index.setdefault(f"{one.base}-{one.quote}", []).append(one.ticker)
        acts: dict[str, Callable[[Any, wire.Envelope, Rows], None]] = {
            "trades-all": self._trade,
            "trades": self._trade,
            "books": self._book,
            "bbo-tbt": self._quote,
            "tickers": self._ticker,
            "mark-price": self._mark_price,
            "index-tickers": self._index_price,
            "open-interest": self._open_interest,
            "funding-rate": self._funding,
            "liquidation-orders": self._liquidation,
        }
        wanted = [channel for feed in feeds for channel in self.channels.get(feed, ())]
        self._acts = {channel: (wire.DATA[channel], acts[channel]) for channel in wanted}

    # -------------------------------------------------------- subscriptions

    def routes(self) -> list[Route]:
        streams = list(self._streams())
        books = [one for one in streams if "l2" in one.feeds]
        fills = [one for one in streams if one.name.startswith("trades-all:")]
        rest = [one for one in streams if one not in {*books, *fills}]
        return [
            *(
                Route(PUBLIC, tuple(books[n : n + BOOKS_PER_CONNECTION]))
                for n in range(0, len(books), BOOKS_PER_CONNECTION)
            ),
            *self.split(PUBLIC, rest),
            *self.split(BUSINESS, fills),
        ]

    def _streams(self) -> Iterator[Stream]:
        """Of spot there is no mark price, and only swaps have funding."""
        for feed in self.wanted:
            carries = (feed.partition(":")[0],)
            for channel in self.channels.get(feed, ()):
                if channel == "liquidation-orders":
                    kinds = {wire.TYPES[one.kind] for one in self.instruments.values()} - {"SPOT"}
                    yield from (Stream(f"{channel}:{kind}", "", carries) for kind in sorted(kinds))
                elif channel == "index-tickers":
                    yield from (Stream(f"{channel}:{one}", "", carries) for one in self._by_index)
                else:
                    for one in self.instruments.values():
                        if wire.carries(channel, one):
                            yield Stream(f"{channel}:{one.ticker}", one.ticker, carries)

    def subscribe(self, streams: Sequence[Stream]) -> list[Request]:
        """Each argument is answered by itself."""
        return _requests("subscribe", streams)

    def unsubscribe(self, streams: Sequence[Stream]) -> list[Request]:
        return _requests("unsubscribe", streams)

    # --------------------------------------------------------------- frames

    def read(self, frame: bytes, line: Line, rows: Rows) -> None:
        if frame == b"pong":
            rows.control("pong")
            return
        envelope = decoded(wire.ENVELOPE, frame)
        channel = envelope.arg.channel
        if envelope.event:
            self._event(envelope, rows)
        elif not channel or envelope.data is UNSET:
            raise Reject("neither data of a channel nor an event")
        elif channel in self._acts:
            decoder, act = self._acts[channel]
            for event in decoded(decoder, envelope.data):
                act(event, envelope, rows)
        else:
            rows.ignored(channel)

    def _event(self, envelope: wire.Envelope, rows: Rows) -> None:
        event, code = envelope.event, envelope.code
        if event in ("subscribe", "unsubscribe"):
            rows.control(event, answer=True)
        elif event == "error":
            about = wire.stream_of(envelope.msg)
            rows.refused(f"{code} {envelope.msg}", self.on_error(code), stream=about)
        elif event == "notice":
            follows = self.on_error(code)
            is_closing = follows is OnError.RESYNC
            rows.control(f"{code} {envelope.msg}", closing=is_closing, notice=True)
        else:
            rows.control(event)

    def _trade(self, event: wire.Trade, frame: wire.Envelope, rows: Rows) -> None:
        flags = TradeFlag.AGGREGATE if frame.arg.channel == "trades" else 0
        if event.source == "1":
            flags |= TradeFlag.RPI
        side = 1 if event.side == "buy" else -1
        rows.trade(event.inst_id, event.ts, event.trade_id, side, event.px, event.sz, flags)

    def _book(self, event: wire.Book, frame: wire.Envelope, rows: Rows) -> None:
        if frame.action not in ("snapshot", "update"):
            raise Reject(f"action {frame.action[:20]!r} of a book")
        whole = frame.action == "snapshot"
        rows.l2(
            frame.arg.inst_id, event.ts, event.bids, event.asks, event.seq_id,
            ABSENT if whole else event.prev_seq_id, snapshot=whole,
        )  # fmt: skip

    def _quote(self, event: wire.Quote, frame: wire.Envelope, rows: Rows) -> None:
        bid = event.bids[0] if event.bids else _NOTHING
        ask = event.asks[0] if event.asks else _NOTHING
        rows.bbo(frame.arg.inst_id, event.ts, bid[0], bid[1], ask[0], ask[1], event.seq_id)

    def _ticker(self, event: wire.Ticker, frame: wire.Envelope, rows: Rows) -> None:
        rows.ticker(
            event.inst_id, event.ts, last_price=known(event.last), last_qty=known(event.last_sz),
            open=known(event.open24h), high=known(event.high24h), low=known(event.low24h),
            volume=known(event.vol24h),
            turnover=known(event.vol_ccy_24h) if event.inst_type == "SPOT" else None,
        )  # fmt: skip

    def _mark_price(self, event: wire.MarkPrice, frame: wire.Envelope, rows: Rows) -> None:
        rows.derivative(event.inst_id, event.ts, mark_price=event.mark_px)

    def _index_price(self, event: wire.IndexPrice, frame: wire.Envelope, rows: Rows) -> None:
        """An index is not traded: it belongs to all contracts on it."""
        tickers = self._by_index.get(event.inst_id)
        if not tickers:
            raise Reject(f"index {event.inst_id[:80]!r} was not asked for")
        for ticker in tickers:
            rows.derivative(ticker, event.ts, index_price=event.idx_px)

    def _open_interest(self, event: wire.OpenInterest, frame: wire.Envelope, rows: Rows) -> None:
        listed = self.instruments.get(event.inst_id)
        in_quote = known(event.oi_usd) if listed and listed.quote == "USD" else None
        rows.derivative(
            event.inst_id, event.ts, open_interest=event.oi, open_interest_value=in_quote
        )

    def _funding(self, event: wire.Funding, frame: wire.Envelope, rows: Rows) -> None:
        due, then = event.funding_time, event.next_funding_time
        rows.derivative(
            event.inst_id, event.ts, funding_rate=known(event.funding_rate),
            predicted_funding_rate=known(event.next_funding_rate), next_funding_us=due,
            funding_interval_ms=(us_of(then) - us_of(due)) // 1000 if then else None,
        )  # fmt: skip

    def _liquidation(self, event: wire.Liquidation, frame: wire.Envelope, rows: Rows) -> None:
        if not rows.knows(event.inst_id):
            rows.ignored("liquidation-orders")  # of the whole market: not one of our tickers
            return
        for order in event.details:
            side = 1 if order.side == "buy" else -1
            rows.liquidation(
                event.inst_id, order.ts, side, order.bk_px, order.sz, flags=LIQUIDATION
            )

    # ----------------------------------------------------------------- REST

    def snapshot_request(self, ticker: str, levels: int) -> Get:
        """https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-order-book"""
        most = min(levels, LEVELS_MAX) if levels else LEVELS_MAX
        return Get(f"/api/v5/market/books?instId={quote(ticker, safe='')}&sz={most}", 1, ticker)

    def parse_snapshot(self, body: bytes, ticker: str, rows: Rows) -> None:
        for book in decoded(wire.BOOKS, wire.data_of(body)):
            rows.l2(ticker, book.ts, book.bids, book.asks, book.seq_id, snapshot=True)

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        """https://www.okx.com/docs-v5/en/#public-data-rest-api-get-instruments"""
        lists = ("SPOT", "SWAP", "FUTURES")
        return [
            *(Get(f"/api/v5/public/instruments?instType={one}", 2) for one in lists),
            Get("/api/v5/public/underlying?instType=OPTION", 2),
        ]

    @classmethod
    def more_instruments_requests(cls, get: Get, body: bytes) -> list[Get]:
        """Options are listed by their index only."""
        return [
            Get(f"/api/v5/public/instruments?instType=OPTION&uly={quote(index, safe='')}", 2)
            for row in decoded(wire.ROWS, wire.data_of(body))
            if wire.is_list(row)
            for index in decoded(wire.INDEXES, row)
        ]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        rows = (row for body in bodies for row in decoded(wire.ROWS, wire.data_of(body)))
        listed = (row for row in rows if not wire.is_list(row))
        return each_of(listed, wire.ROW, wire.instrument_of)


_NOTHING = (0.0, 0.0)


def _requests(op: str, streams: Sequence[Stream]) -> list[Request]:
    args = []
    for stream in streams:
        channel, _, name = stream.name.partition(":")
        key = "instType" if channel == "liquidation-orders" else "instId"
        args.append({"channel": channel, key: name})
    parts = in_parts(args, SUBSCRIBE_MAX)
    return [Request(msgspec.json.encode({"op": op, "args": one}), len(one)) for one in parts]
