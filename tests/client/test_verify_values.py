"""What stands in files though no message could have said it, or no ingest would have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from tickbus.lake import manifest, rowhash
from tickbus.lake.verify.check import verify
from tickbus_schemas import codec
from tickbus_schemas.feeds import OF_NAME
from tickbus_schemas.messages import (
    ABSENT,
    DerivativeField,
    Instrument,
    LiquidationBatch,
    Status,
    StatusKind,
)

from tests.client.test_verify import a_file, kinds, rewrite
from tests.writer.logs import LogWriter, market_log
from tests.writer.writing import LIMITS, STREAM, written

ONE_BLOCK = LIMITS._replace(block_s=10**6)  # a multiple of an hour would end it at midnight


def committed_anew(root: Path, path: Path) -> None:
    """The only entry of a dataset, as a writer would have made it for the file as it is now."""
    (entry,) = manifest.entries(root, STREAM)
    where = path.relative_to(root).as_posix()
    data = path.read_bytes()
    facts = {
        "size": len(data),
        "checksum": xxhash.xxh3_128_hexdigest(data),
        "row_hash": rowhash.of_file(path),
    }
    files = [
        msgspec.structs.replace(file, **facts) if file.path == where else file
        for file in entry.files
    ]
    folder = root / manifest.stream_folder(STREAM)
    encoded = manifest.encode(msgspec.structs.replace(entry, files=files))
    for place in (folder / entry.name, folder / manifest.CHAIN / manifest.link_name(1)):
        place.unlink()
        place.write_bytes(encoded)


def with_values(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    """The first row's value is another."""

    def change(table: pa.Table) -> pa.Table:
        at = table.column_names.index(name)
        values = [value, *table.column(at).to_pylist()[1:]]
        field = table.schema.field(at)
        return table.set_column(at, field, pa.array(values, field.type))

    return change


def without_last_column(table: pa.Table) -> pa.Table:
    return table.drop_columns(table.column_names[-1:])


@pytest.mark.parametrize(
    ("feed", "change", "why"),
    [
        ("trade", with_values("price", float("nan")), "price is not finite"),
        ("trade", with_values("side", 2), "side is no code"),
        ("l2", with_values("action", 0), "action is no code"),
        ("bbo", with_values("ask_sz", float("inf")), "ask_sz is not finite"),
        ("ticker", with_values("turnover", float("-inf")), "turnover is not finite"),
        ("trade", without_last_column, "its columns are not those of the feed"),
    ],
)
def test_values_that_the_codec_would_have_refused_are_noticed(
    tmp_path: Path, feed: str, change: Callable[[pa.Table], pa.Table], why: str
) -> None:
    written(tmp_path, market_log(3, 3), limits=ONE_BLOCK)
    assert verify(tmp_path).ok
    path = a_file(tmp_path, feed)
    rewrite(path, change)
    committed_anew(tmp_path, path)
    findings = verify(tmp_path)
    assert kinds(findings) == {"values"}
    assert why in findings.problems[0].text


def test_a_file_from_before_a_column_was_added_is_right(tmp_path: Path) -> None:
    written(tmp_path, market_log(3, 3), limits=ONE_BLOCK)
    path = a_file(tmp_path, "status")
    assert pq.read_schema(path).names[-1] == "about_feed"
    rewrite(path, without_last_column)
    committed_anew(tmp_path, path)
    assert verify(tmp_path).ok


def derivative(log: LogWriter, fields: DerivativeField, **values: float) -> None:
    """A row of a derivative; what is not given is absent."""
    kind = OF_NAME["derivative"].kind
    packet = log.tick()
    row: dict[str, float] = {
        name: 0 if width.absent is None else width.absent for name, width in kind.columns.items()
    }
    row |= {"timestamp": log.now_us, "rcv_timestamp": log.now_us, "packet_id": packet}
    row |= {"fields": int(fields), **values}
    columns: dict[str, Any] = {
        name: np.array([row[name]], width.code).tobytes() for name, width in kind.columns.items()
    }
    log.store("md.binance_usdm.BTCUSDT.derivative", kind(**log.header("BTCUSDT"), **columns))


MARK, FUNDING = DerivativeField.MARK_PRICE, DerivativeField.NEXT_FUNDING_TIMESTAMP


def test_a_value_that_changes_though_its_frame_did_not_send_it_is_noticed(tmp_path: Path) -> None:
    log = LogWriter()
    log.fence()
    derivative(log, MARK, mark_price=10.0)
    derivative(log, MARK, mark_price=11.0)
    derivative(log, FUNDING, mark_price=11.0, next_funding_timestamp=5)
    derivative(log, MARK, mark_price=11.5, next_funding_timestamp=5)
    written(tmp_path / "right", log.stored)
    assert verify(tmp_path / "right").ok
    derivative(log, MARK, mark_price=11.5, next_funding_timestamp=6)
    derivative(log, FUNDING, mark_price=12.0, next_funding_timestamp=6)
    written(tmp_path / "wrong", log.stored)
    findings = verify(tmp_path / "wrong")
    assert kinds(findings) == {"derivative"}
    named = {problem.text.partition(" ")[0] for problem in findings.problems}
    assert named == {"next_funding_timestamp", "mark_price"}
    assert len(findings.problems) == 2


def test_a_value_that_is_absent_though_its_frame_sent_it_is_noticed(tmp_path: Path) -> None:
    log = LogWriter()
    log.fence()
    derivative(log, MARK | FUNDING, mark_price=10.0)
    written(tmp_path, log.stored)
    (problem,) = verify(tmp_path).problems
    assert problem.text == "next_funding_timestamp is absent, though its frame sent it"


def test_values_are_forgotten_where_ingest_began_anew(tmp_path: Path) -> None:
    log = LogWriter()
    log.fence()
    derivative(log, MARK, mark_price=10.0)
    log.fence()
    derivative(log, FUNDING, next_funding_timestamp=5)
    written(tmp_path, log.stored)
    assert verify(tmp_path).ok


@pytest.mark.parametrize(
    ("ticker", "feed", "explains"),
    [
        ("BTCUSDT", "derivative", True),
        ("BTCUSDT", "", True),
        ("BTCUSDT", "trade", False),
        ("ETHUSDT", "derivative", False),
    ],
)
def test_a_gap_row_of_the_feed_explains_another_value(
    tmp_path: Path, ticker: str, feed: str, explains: bool
) -> None:
    log = LogWriter()
    log.fence()
    derivative(log, MARK, mark_price=10.0)
    log.store(
        f"md.binance_usdm.{ticker}.status",
        Status(
            **log.header(ticker),
            timestamp=log.now_us,
            rcv_timestamp=log.now_us,
            packet_id=log.packet,
            kind=int(StatusKind.GAP),
            feed=feed,
        ),
    )
    derivative(log, FUNDING, mark_price=10.5, next_funding_timestamp=5)
    written(tmp_path, log.stored)
    assert kinds(verify(tmp_path)) == (set() if explains else {"derivative"})


def test_rows_beside_an_unreadable_message_are_not_compared(tmp_path: Path) -> None:
    log = LogWriter()
    log.fence()
    derivative(log, MARK, mark_price=10.0)
    log.store("md.binance_usdm.BTCUSDT.derivative", b"\xc1 unreadable")
    derivative(log, FUNDING, mark_price=10.5, next_funding_timestamp=5)
    written(tmp_path, log.stored)
    findings = verify(tmp_path)
    assert findings.ok
    assert findings.facts["derivative rows compared"] == 0


def test_a_liquidation_whose_position_does_not_fit_its_order_is_noticed(tmp_path: Path) -> None:
    log = LogWriter()
    log.fence()
    log.statistics("liquidation", "BTCUSDT", 3)
    message = codec.decode(log.stored[-1].data)
    assert isinstance(message, LiquidationBatch)
    written(tmp_path / "right", log.stored)
    assert verify(tmp_path / "right").ok
    log.seq -= 1
    log.stored.pop()
    spoilt = msgspec.structs.replace(message, position_side=message.side)
    log.store("md.binance_usdm.BTCUSDT.liquidation", spoilt)
    written(tmp_path / "wrong", log.stored)
    assert verify(tmp_path / "wrong").counts == {"liquidation": 3}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"strike": 5.0}, "it is no option, but has a strike"),
        ({"option_type": 1}, "option_type does not fit its kind"),
        ({"kind": 4}, "option_type does not fit its kind"),
        ({"expiry_timestamp": 5}, "it has no end, but expires"),
    ],
)
def test_an_instrument_that_contradicts_its_kind_is_noticed(
    tmp_path: Path, changed: dict[str, Any], why: str
) -> None:
    log = LogWriter()
    log.fence()
    log.instrument("BTCUSDT")
    message = codec.decode(log.stored.pop().data)
    log.seq -= 1
    assert isinstance(message, Instrument)
    assert message.expiry_timestamp == ABSENT
    spoilt = msgspec.structs.replace(message, **changed)
    log.store("md.binance_usdm.BTCUSDT.instrument", spoilt)
    written(tmp_path, log.stored)
    assert [problem.text for problem in verify(tmp_path).problems] == [why]
