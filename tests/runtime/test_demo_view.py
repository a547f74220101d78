"""The demo's screen shows what live subjects carry, and survives what they must not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tickbus_runtime.local.demo_view import BARS, TRADES, DemoView, subjects_of
from tickbus_runtime.local.lives import Lives
from tickbus_runtime.telemetry.metrics import Telemetry
from tickbus_runtime.telemetry.names import STAGES
from tickbus_schemas import codec
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import BarBatch, BookBatch, TradeBatch

USDM = Exchange.BINANCE_USDM


def f64(*values: float) -> bytes:
    return np.array(values, "<f8").tobytes()


def i64(*values: int) -> bytes:
    return np.array(values, "<i8").tobytes()


def i32(*values: int) -> bytes:
    return np.array(values, "<i4").tobytes()


def u16(*values: int) -> bytes:
    return np.array(values, "<u2").tobytes()


def book(subject_ticker: str = "BTCDEMO") -> bytes:
    return codec.encode(
        BookBatch(
            exchange=USDM, ticker=subject_ticker, epoch=1, message_no=0, interval_ms=100, depth=2,
            timestamp=i64(1_000_000, 1_100_000), rcv_timestamp=i64(1, 2), packet_id=i64(1, 2),
            update_id=i64(1, 2), flags=u16(0, 0), bid_levels=i32(2, 1), ask_levels=i32(2, 2),
            bid_px=f64(9, 8, 59_999.5, 0), bid_sz=f64(1, 1, 2.5, 0),
            ask_px=f64(10, 11, 60_000.5, 60_001), ask_sz=f64(1, 1, 3.5, 4),
        )
    )  # fmt: skip


def trades(count: int) -> bytes:
    offsets = i32(*range(count + 1))
    return codec.encode(
        TradeBatch(
            exchange=USDM, ticker="BTCDEMO", epoch=1, message_no=1,
            timestamp=i64(*range(count)), rcv_timestamp=i64(*range(count)),
            packet_id=i64(*range(count)), side=bytes([1] * (count - 1) + [255]),
            price=f64(*range(60_000, 60_000 + count)), qty=f64(*[0.25] * count),
            flags=u16(*[0] * count),
            trade_id_offsets=offsets, trade_id_bytes=b"1" * count,
        )
    )  # fmt: skip


def bar() -> bytes:
    price = {"open": f64(1), "high": f64(4), "low": f64(0.5), "close": f64(2)}
    zeros = ("vwap", "taker_buy_volume", "taker_sell_volume", "signed_volume", "late_volume")
    floats: dict[str, Any] = price | {name: f64(0) for name in zeros}
    return codec.encode(
        BarBatch(
            exchange=USDM, ticker="BTCDEMO", epoch=1, message_no=0, interval_ms=1000,
            timestamp=i64(1_000_000), end_timestamp=i64(2_000_000), rcv_timestamp=i64(1),
            packet_id=i64(1), trade_count=i64(1), late_count=i64(0), flags=u16(0),
            volume=f64(3), **floats,
        )
    )  # fmt: skip


@pytest.fixture
def view() -> DemoView:
    view = DemoView(USDM, "BTCDEMO")
    view.take("book.binance_usdm.BTCDEMO.100ms", book())
    view.take("md.binance_usdm.BTCDEMO.trade", trades(TRADES + 5))
    view.take("bar.binance_usdm.BTCDEMO.1s", bar())
    return view


def test_the_last_grid_point_is_the_book_that_is_shown(view: DemoView) -> None:
    assert [tuple(level) for level in view.bids] == [(59_999.5, 2.5)]
    assert [tuple(level) for level in view.asks] == [(60_000.5, 3.5), (60_001.0, 4.0)]
    assert view.book_us == 1_100_000


def test_the_tape_keeps_the_last_trades(view: DemoView) -> None:
    assert len(view.trades) == TRADES
    assert view.trades[-1].price == 60_000 + TRADES + 4
    assert [trade.side for trade in view.trades][-2:] == [1, -1]
    assert len(view.bars) == 1 <= BARS


def test_one_line_says_it_all(view: DemoView) -> None:
    assert DemoView(USDM, "X").line() == "X: no book yet"
    assert view.line() == (
        f"BTCDEMO 59999.5 x 60000.5, last trade sold 0.25 at {60_004 + TRADES}, 1 s bar 1 4 0.5 2"
    )


def test_foreign_and_broken_messages_change_nothing(view: DemoView) -> None:
    before = view.line()
    view.take("md.binance_usdm.BTCDEMO.trade", b"\xff\x00")
    view.take("md.binance_usdm.BTCDEMO.trade", book())
    view.take("book.binance_usdm.OTHER.100ms", book("OTHER")[:-1])
    assert view.line() == before
    assert view.messages == 3


def test_the_screen_fits_a_terminal_with_and_without_data(view: DemoView) -> None:
    telemetry = Telemetry("book")
    for stage in STAGES:
        telemetry.latency(stage).observe(1_500)
    lives = Lives()
    lives.update({"service": "book", "pid": 1, "started": 1.0, **telemetry.status()})
    for shown in (view, DemoView(USDM, "X")):
        console = Console(width=80, force_terminal=False)
        with console.capture() as captured:
            console.print(shown.render(lives, "600 frames", 12.0))
        assert "tickbus demo" in captured.get()
        assert "bus" in captured.get()
        assert "1.48 ms" in captured.get()
        lines = captured.get().splitlines()
        assert len(lines) <= 24
        assert all(len(line) <= 80 for line in lines)


def test_it_asks_for_live_subjects_with_the_ticker_escaped() -> None:
    assert subjects_of(USDM, "BTC.D")[1] == "live.md.binance_usdm.BTC%2ED.trade"
