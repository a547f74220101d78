"""Messages as people see them: lines and rows, from the golden messages of the schemas."""

from __future__ import annotations

import json

import msgspec
import pytest
from tickbus.cli import rendering
from tickbus_schemas import codec
from tickbus_schemas.messages import L2Batch, Message

from tests.schemas.test_golden import CASES, bytes_of

LINES = {
    "TradeBatch": "#7 2024-08-08T00:00:00.124456Z md.binance_usdm.BTCUSDT.trade  "
    "2 trades, SELL 1.25 at 61234.6",
    "L2Batch": "#7 2024-08-08T00:00:00.223456Z md.binance_usdm.BTCUSDT.l2  "
    "2 packets, 3 levels, update 5020, snapshot",
    "BboBatch": "#7 2024-08-08T00:00:00.123456Z md.binance_spot.BTCUSDT.bbo  "
    "1 quote, bid 61234.5 x 3, ask 61234.6 x 0.5",
    "TickerBatch": "#7 2024-08-08T00:00:01.123456Z md.binance_spot.BTCUSDT.ticker  "
    "2 tickers, last 61240, high -, low -, volume 1250000",
    "DerivativeBatch": "#7 2026-09-30T08:31:22.383000Z md.bybit_linear.BTCUSDT.derivative  "
    "2 rows, mark 83024.7, index 83075.5, funding 0.0001, open interest 57118.511",
    "LiquidationBatch": "#7 2024-08-08T00:00:01.123456Z md.binance_usdm.BTCUSDT.liquidation  "
    "2 liquidations, BUY 1.5 at 61300 (SHORT)",
    "Instrument": "#7 2024-08-08T00:00:00.123456Z md.okx.BTC-USDT-SWAP.instrument  "
    "PERPETUAL BTC USDT, TRADING, tick 0.1, lot 1",
    "BookBatch": "#7 2024-08-08T00:00:00.200000Z book.binance_usdm.BTCUSDT.100ms  "
    "2 books, bid 61234.5 x 3, ask 0 x 0",
    "BarBatch": "#7 2024-08-08T00:00:00.000000Z bar.binance_usdm.BTCUSDT.1m  "
    "1 bar, open 61234.5 high 61240 low 61230.25 close 61235 volume 12.5 trade_count 42",
    "FeatureBatch": "#7 2024-08-08T00:00:00.000000Z feature.binance_usdm.BTCUSDT.1s  "
    "1 row, mid=61234.55 volatility_20=-",
    "Fence": "#7 2024-08-08T00:00:00.123456Z fence.binance_usdm  "
    "epoch 3 begins: ingest@host:4711 0.1.0",
    "Clock": "#7 2024-08-08T00:00:00.123456Z clock.binance_usdm  clock, the input has ended",
    "DeadLetter": "#7 2024-08-08T00:00:00.123456Z dlq.ingest.binance_usdm  "
    "ingest refused 8 bytes: not JSON: '{\"e\":tru'",
    "Alert": "#7 2024-08-08T00:01:00.123456Z alert.critical.ingest  "
    "RESOLVED no_data of ingest binance_usdm (wss://fstream.binance.com): no frame for 31 s",
}


def golden(kind: str, place: int = 0) -> tuple[str, Message]:
    case = [case for case in CASES if case["type"] == kind][place]
    return case["subject"], codec.decode(bytes_of(case))


@pytest.mark.parametrize("kind", LINES)
def test_a_message_is_one_line_that_says_what_is_in_it(kind: str) -> None:
    subject, message = golden(kind)
    assert rendering.line(7, subject, message) == LINES[kind]


def test_every_message_has_a_line() -> None:
    for case in CASES:
        line = rendering.line(7, case["subject"], codec.decode(bytes_of(case)))
        assert line.startswith("#7 2")
        assert line.count("\n") == 0


def test_a_code_that_is_not_known_is_its_number() -> None:
    subject, message = golden("Instrument")
    later = msgspec.structs.replace(message, status=99)
    assert ", 99, tick" in rendering.line(7, subject, later)


def test_a_gap_says_what_lies_on_both_sides() -> None:
    subject, message = golden("Status")
    assert rendering.line(7, subject, message).endswith(
        "gap l2 from 5010 to 5020 update 5011 to 5019 missing"
    )
    subject, message = golden("Status", 1)
    assert rendering.line(7, subject, message).endswith("  connected")


def test_rows_name_their_values_and_leave_out_what_the_subject_says() -> None:
    first, second = rendering.rows(7, *golden("TradeBatch"))
    assert first == (
        "#7 md.binance_usdm.BTCUSDT.trade  timestamp=2024-08-08T00:00:00.123456Z "
        "rcv_timestamp=2024-08-08T00:00:00.125956Z packet_id=3298534883335 side=1 "
        "price=61234.5 qty=0.002 flags=0 trade_id=5305011688"
    )
    assert "trade_id=5305011689" in second


def test_absent_values_are_a_dash() -> None:
    *_, last = rendering.rows(7, *golden("L2Batch"))
    assert "prev_update_id=- update_id=5020" in last
    (bar,) = rendering.rows(7, *golden("BarBatch"))
    assert "vwap=- " in bar
    (instrument,) = rendering.rows(7, *golden("Instrument"))
    assert "expiry_timestamp=- strike=- " in instrument


@pytest.mark.parametrize("kind", [*LINES, "Status"])
def test_json_is_the_decoded_form_with_sequence_and_subject(kind: str) -> None:
    subject, message = golden(kind)
    decoded = json.loads(rendering.json_line(7, subject, message))
    assert (decoded["seq"], decoded["subject"], decoded["type"]) == (7, subject, kind)
    for row in map(json.loads, rendering.json_rows(7, subject, message)):
        assert (row["seq"], row["subject"]) == (7, subject)


def test_a_time_that_the_venue_does_not_send_is_a_dash_and_no_year_of_1970() -> None:
    subject, message = golden("L2Batch")
    assert isinstance(message, L2Batch)
    bare = msgspec.structs.replace(message, engine_timestamp=bytes(len(message.engine_timestamp)))
    shown = list(rendering.rows(7, subject, bare))
    assert shown
    assert all("engine_timestamp=- " in line for line in shown)
