"""Bybit options, which are settled in USDT or USDC.

https://bybit-exchange.github.io/docs/v5/websocket/public/ticker
Trades come by the coin that the options are on; the best quotes stand in the tickers, each 100 ms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote

from msgspec import UNSET, Raw
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import TradeFlag

from tickbus_ingest.exchanges._bybit import Bybit
from tickbus_ingest.exchanges._bybit_instruments import ROW, instrument_of, page_of
from tickbus_ingest.exchanges._bybit_option_wire import ANSWERED, COIN, TICKER, Answered, Ticker
from tickbus_ingest.exchanges._bybit_wire import TRADES, Frame
from tickbus_ingest.venue.contract import BASE, Evidence, Get, Limit, Stream, Units, What
from tickbus_ingest.venue.instruments import Instrument, Unread, each_of
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.venue.wire_types import Number, decoded, known

COINS = "/v5/market/option-base-coins"
LISTS = "/v5/market/instruments-info?category=option"
TRADE = "publicTrade"


class Venue(Bybit):
    """Quantities are in the base coin."""

    exchange = Exchange.BYBIT_OPTION
    evidence = Evidence.BETA  # of this market only a ticker is known that a document shows
    category = "option"
    units = (Units(BASE, "absent: the venue sums the value of the coins that options are on"),)
    docs = (
        "https://bybit-exchange.github.io/docs/v5/ws/connect",
        "https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook",
        "https://bybit-exchange.github.io/docs/v5/websocket/public/trade",
        "https://bybit-exchange.github.io/docs/v5/websocket/public/ticker",
        "https://bybit-exchange.github.io/docs/v5/market/instrument",
        "https://bybit-exchange.github.io/docs/v5/market/option-base-coins",
    )
    feeds = ("trade", "l2", "bbo", "ticker", "derivative", "instrument")
    channels: ClassVar[Mapping[str, str]] = {
        "trade": TRADE,
        # 25 levels come each 20 ms, 100 each 100 ms: the deeper ones, as of the other markets.
        "l2": "orderbook.100",
        "bbo": "tickers",
        "ticker": "tickers",
        "derivative": "tickers",
    }
    limits = (
        *(one for one in Bybit.limits if one.what is not What.STREAMS),
        # 21,000 characters of topics of up to 42; the document allows 2,000 topics.
        Limit(What.STREAMS, 500),
    )

    def __init__(self, instruments: Sequence[Instrument], feeds: Sequence[str]) -> None:
        super().__init__(instruments, feeds)
        self._tells_quotes = "bbo" in feeds

    # -------------------------------------------------------- subscriptions

    def streams(self) -> list[Stream]:
        """Trades of all options on a coin are one stream."""
        coins = dict.fromkeys(one.base for one in self.instruments.values())
        trades = [Stream(f"{TRADE}.{coin}", "", ("trade",)) for coin in coins]
        by_ticker = [one for one in super().streams() if "trade" not in one.feeds]
        return [*(trades if "trade" in self.wanted else ()), *by_ticker]

    # --------------------------------------------------------------- frames

    def _answer(self, found: Frame, rows: Rows) -> None:
        """Topics fail without a reason, so each is asked for again."""
        if found.data is UNSET:
            super()._answer(found, rows)
            return
        told: Answered = decoded(ANSWERED, found.data)
        for n, topic in enumerate(told.fail_topics):
            rows.control(f"{topic[:80]} failed", error=True, answer=not n, stream=topic)
        if not told.fail_topics:
            rows.control("answer", answer=True)

    def _trades(self, frame: Frame, data: Raw, rows: Rows) -> None:
        trades = [one for one in decoded(TRADES, data) if rows.knows(one.s)]
        for one in trades:
            flags = TradeFlag.BLOCK if one.BT else 0
            side = 1 if one.S == "Buy" else -1
            rows.trade(one.s, one.T, one.i, side, one.p, one.v, flags, event_us=frame.ts)
        if not trades:
            rows.ignored(TRADE)  # of other options on the coin

    def _ticker(self, frame: Frame, data: Raw, rows: Rows) -> None:
        """`turnover24h` is left out: it sums the value of the coins, not what options cost.

        In the document's example it is `volume24h` times the price of the coin.
        """
        one: Ticker = decoded(TICKER, data)
        bid_px, bid_sz = known(one.bid_price), known(one.bid_size)
        ask_px, ask_sz = known(one.ask_price), known(one.ask_size)
        quotes = (bid_px, bid_sz, ask_px, ask_sz)
        if self._tells_quotes and None not in quotes:
            rows.bbo(one.symbol, frame.ts, *quotes)  # type: ignore[arg-type]  # none is None
        if self._tells_statistics:
            rows.ticker(
                one.symbol, frame.ts, last_price=_price(one.last_price),
                high=_price(one.high_price_24h), low=_price(one.low_price_24h),
                volume=known(one.volume_24h), bid_px=bid_px, bid_sz=bid_sz,
                ask_px=ask_px, ask_sz=ask_sz,
            )  # fmt: skip
        if self._tells_derivative:
            rows.derivative(
                one.symbol, frame.ts, mark_price=known(one.mark_price),
                index_price=known(one.index_price), last_price=_price(one.last_price),
                settlement_price=_price(one.predicted_delivery_price),
                open_interest=known(one.open_interest),
            )  # fmt: skip

    # ----------------------------------------------------------------- REST

    @classmethod
    def instruments_requests(cls) -> list[Get]:
        """The coins that options are on: without a coin the list holds those on BTC only."""
        return [Get(COINS)]

    @classmethod
    def more_instruments_requests(cls, get: Get, body: bytes) -> list[Get]:
        """The options on each coin, then their next page."""
        if get.path != COINS:
            return super().more_instruments_requests(get, body)
        coins = [decoded(COIN, row) for row in page_of(body).rows]
        names = dict.fromkeys(coin.base_coin for coin in coins if coin.has_symbol)
        return [Get(f"{LISTS}&baseCoin={quote(name, safe='')}&limit=1000") for name in names]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument | Unread]:
        pages = [page_of(body) for body in bodies]
        rows = (row for page in pages if page.category == cls.category for row in page.rows)
        return each_of(rows, ROW, lambda row: instrument_of(row, cls.contract_of(row)))


def _price(number: Number) -> float | None:
    """A price that is 0 where there is none."""
    return known(number) or None
