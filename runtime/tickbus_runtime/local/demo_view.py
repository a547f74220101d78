"""The screen of the demo, made from live messages as any subscriber gets them; no I/O."""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from tickbus_schemas import codec
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import BarBatch, BookBatch, Message, Side, TradeBatch
from tickbus_schemas.subjects import escape

from tickbus_runtime.local.lives import Lives
from tickbus_runtime.settings import services
from tickbus_runtime.telemetry.names import STAGES
from tickbus_runtime.telemetry.waterfall import duration

# The whole screen fits 80 x 24.
LEVELS = 5
TRADES = 9
BARS = 4


class Trade(NamedTuple):
    """One trade of the tape."""

    timestamp_us: int
    side: int
    price: float
    qty: float


class Level(NamedTuple):
    """One price level."""

    price: float
    qty: float


class Bar(NamedTuple):
    """One bar."""

    timestamp_us: int
    open: float
    high: float
    low: float
    close: float
    volume: float


def subjects_of(exchange: Exchange, ticker: str) -> list[str]:
    """The subjects that the view shows."""
    market = f"{exchange.token}.{escape(ticker)}"
    return [f"live.book.{market}.100ms", f"live.md.{market}.trade", f"live.bar.{market}.1s"]


class DemoView:
    """The latest book, trades and bars of one ticker."""

    def __init__(self, exchange: Exchange, ticker: str) -> None:
        self.exchange = exchange
        self.ticker = ticker
        self.bids: list[Level] = []
        self.asks: list[Level] = []
        self.book_us = 0
        self.trades: deque[Trade] = deque(maxlen=TRADES)
        self.bars: deque[Bar] = deque(maxlen=BARS)
        self.messages = 0

    def take(self, subject: str, data: bytes) -> None:
        """Take one message; an unreadable one is ignored."""
        try:
            message = codec.decode(data, subject)
        except Reject:
            return
        self.messages += 1
        self._show(message)

    def _show(self, message: Message) -> None:
        match message:
            case BookBatch():
                self._show_book(message)
            case TradeBatch():
                sides = codec.column(message.side, "<i1").tolist()
                prices, sizes = _f64(message.price), _f64(message.qty)
                times = _i64(message.timestamp)
                self.trades.extend(map(Trade, times, sides, prices, sizes))
            case BarBatch():
                columns = [_f64(getattr(message, name)) for name in Bar._fields[1:]]
                self.bars.extend(map(Bar, _i64(message.timestamp), *columns))

    def _show_book(self, message: BookBatch) -> None:
        """Show the last grid point of the message."""
        last = len(message.timestamp) // 8 - 1
        if last < 0:
            return
        start = last * message.depth
        for side, prices, sizes, counts in (
            ("bids", message.bid_px, message.bid_sz, message.bid_levels),
            ("asks", message.ask_px, message.ask_sz, message.ask_levels),
        ):
            count = min(codec.column(counts, "<i4")[last], LEVELS)
            price, qty = _f64(prices)[start : start + count], _f64(sizes)[start : start + count]
            setattr(self, side, [Level(*row) for row in zip(price, qty, strict=True)])
        self.book_us = _i64(message.timestamp)[last]

    def line(self) -> str:
        """The view in one line, for logs."""
        if not (self.bids and self.asks):
            return f"{self.ticker}: no book yet"
        parts = [f"{self.ticker} {self.bids[0].price:g} x {self.asks[0].price:g}"]
        if self.trades:
            trade = self.trades[-1]
            parts.append(f"last trade {_side(trade.side)} {trade.qty:g} at {trade.price:g}")
        if self.bars:
            bar = self.bars[-1]
            parts.append(f"1 s bar {bar.open:g} {bar.high:g} {bar.low:g} {bar.close:g}")
        return ", ".join(parts)

    def render(self, lives: Lives, progress: str, left_s: float | None) -> RenderableType:
        """The whole screen."""
        left = "Ctrl-C ends it" if left_s is None else f"{max(left_s, 0):.0f} s left, or Ctrl-C"
        title = Text.assemble(
            ("tickbus demo", "bold"), f"  simulated venue, real NATS, all services · {left}"
        )
        above = _row(
            _panel(self._book(), f"{self.ticker} 100 ms"),
            _panel(self._tape(), "trades"),
            _panel(_latency(lives), "latency"),
        )
        below = _row(_panel(self._bars(), "bars, 1 s"), _panel(_lag(lives), "log read up to"))
        return Group(title, Text(progress, style="dim", overflow="ellipsis"), above, below)

    def _book(self) -> Table:
        table = _table("qty", "price")
        for level in reversed(self.asks):
            table.add_row(f"{level.qty:,.3f}", Text(f"{level.price:,.2f}", style="red"))
        for level in self.bids:
            table.add_row(f"{level.qty:,.3f}", Text(f"{level.price:,.2f}", style="green"))
        return table

    def _tape(self) -> Table:
        table = _table("time", "price", "qty")
        for trade in reversed(self.trades):
            style = {Side.BUY: "green", Side.SELL: "red"}.get(Side(trade.side), "")
            price = Text(f"{trade.price:,.2f}", style=style)
            table.add_row(_clock(trade.timestamp_us), price, f"{trade.qty:,.3f}")
        return table

    def _bars(self) -> Table:
        table = _table("time", "open", "high", "low", "close", "volume")
        for bar in reversed(self.bars):
            prices = [f"{price:,.2f}" for price in (bar.open, bar.high, bar.low, bar.close)]
            table.add_row(_clock(bar.timestamp_us), *prices, f"{bar.volume:,.2f}")
        return table


def _latency(lives: Lives) -> Table:
    table = _table("stage", "p50", "p99")
    latencies = lives.latencies()
    for stage in STAGES:
        if stage in latencies:
            latency = latencies[stage]
            p50, p99 = (duration(int(latency.percentile(p) * 1e3)) for p in (50, 99))
            table.add_row(stage, p50, p99)
    return table


def _lag(lives: Lives) -> Table:
    table = _table("", "message", "waiting")
    for name in services.NAMES[1:]:  # ingest reads no stream
        status = lives.latest(name)
        position = sum(status.get("positions", {}).values())
        pending = sum(
            int(value)
            for key, value in status.get("gauges", {}).items()
            if key.startswith("pending")
        )
        table.add_row(name, f"{position:,}", f"{pending:,}")
    return table


def _panel(table: Table, title: str) -> Panel:
    return Panel(table, title=title, padding=0)


def _row(*panels: Panel) -> Table:
    row = Table.grid()
    row.add_row(*panels)
    return row


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    return table


def _side(side: int) -> str:
    return {1: "bought", -1: "sold"}.get(side, "traded")


def _clock(us: int) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(us / 1e6))


def _f64(column: bytes) -> list[float]:
    return list(map(float, codec.column(column, "<f8")))


def _i64(column: bytes) -> list[int]:
    return codec.column(column, "<i8").tolist()
