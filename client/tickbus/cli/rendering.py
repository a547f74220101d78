"""A message as one line for people, or as its rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from tickbus_schemas.layout import ROWS
from tickbus_schemas.messages import (
    ABSENT,
    BarBatch,
    BboBatch,
    BookBatch,
    Clock,
    DeadLetter,
    FeatureBatch,
    Fence,
    Header,
    L2Batch,
    L2Flag,
    Message,
    Status,
    StatusKind,
    TradeBatch,
)
from tickbus_schemas.plain import plain, plain_rows
from tickbus_schemas.values import column

from tickbus.cli import text

_SIDES = {1: "BUY", -1: "SELL", 0: "?"}
_TIMES = ("timestamp", "engine_timestamp", "rcv_timestamp", "end_timestamp")


def line(seq: int, subject: str, message: Message) -> str:
    """`#<sequence> <venue time> <subject>  <summary>`; for a batch its last row."""
    time = message.timestamp
    time_us = _last(message, "timestamp") if isinstance(time, bytes) else time
    return f"#{seq} {_clock(time_us)} {subject}  {_summary(message)}"


def rows(seq: int, subject: str, message: Message) -> Iterator[str]:
    """A line a row: the subject and each value with its name."""
    for row in plain_rows(message):
        shown = [f"{name}={_value(name, row[name])}" for name in row if name not in _IN_SUBJECT]
        yield f"#{seq} {subject}  {' '.join(shown)}"


_IN_SUBJECT = frozenset(("exchange", "ticker", "interval_ms"))


def json_line(seq: int, subject: str, message: Message) -> str:
    """The decoded form (`json-schema.json`) with its sequence and subject, as one line of JSON."""
    return _json({"seq": seq, "subject": subject, **plain(message)})


def json_rows(seq: int, subject: str, message: Message) -> Iterator[str]:
    """A line of JSON a row."""
    for row in plain_rows(message):
        yield _json({"seq": seq, "subject": subject, **row})


def refused(seq: int, subject: str, size: int, reason: str, as_json: bool) -> str:
    """The line of a message that cannot be read."""
    if as_json:
        return _json({"seq": seq, "subject": subject, "refused": reason, "size": size})
    return f"#{seq} {subject}  REFUSED, {size} bytes: {reason}"


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()


def _last(message: Header, name: str) -> Any:
    """The last value of a column, without decoding the others."""
    value = column(getattr(message, name), message.columns[name].code)[-1]
    return None if value == ABSENT or value != value else value


def _summary(message: Message) -> str:
    count = ROWS[type(message)](message)
    match message:
        case TradeBatch():
            side = _SIDES.get(_last(message, "side"), "?")
            qty, price = (_number(_last(message, name)) for name in ("qty", "price"))
            return f"{_count(count, 'trade')}, {side} {qty} at {price}"
        case L2Batch():
            kind = ", snapshot" if _last(message, "flags") & L2Flag.SNAPSHOT else ""
            levels = _count(len(message.side), "level")
            return (
                f"{_count(count, 'packet')}, {levels}, update "
                f"{_value('update_id', _last(message, 'update_id'))}{kind}"
            )
        case BboBatch():
            best = (_last(message, name) for name in _BEST)
            return f"{_count(count, 'quote')}, {_quotes(*best)}"
        case BookBatch():
            first = (count - 1) * message.depth
            best = (column(getattr(message, name), "<f8")[first] for name in _BEST)
            return f"{_count(count, 'book')}, {_quotes(*best)}"
        case BarBatch():
            shown = " ".join(f"{name} {_number(_last(message, name))}" for name in _BAR)
            return f"{_count(count, 'bar')}, {shown}"
        case FeatureBatch():
            pairs = zip(message.names, message.values, strict=True)
            shown = " ".join(f"{name}={_number(column(v, '<f8')[-1])}" for name, v in pairs)
            return f"{_count(count, 'row')}, {shown}"
        case Status() | Fence() | Clock() | DeadLetter():
            return _event(message)


_BEST = ("bid_px", "bid_sz", "ask_px", "ask_sz")
_BAR = ("open", "high", "low", "close", "volume", "trade_count")


def _event(message: Status | Fence | Clock | DeadLetter) -> str:
    match message:
        case Status():
            known = message.kind in StatusKind.__members__.values()
            kind = StatusKind(message.kind).name.lower() if known else f"kind {message.kind}"
            ids = ("-" if i == ABSENT else str(i) for i in (message.from_id, message.to_id))
            between = f" from {' to '.join(ids)}" if kind == "gap" else ""
            return " ".join(filter(None, (kind, message.feed + between, message.reason)))
        case Fence():
            return f"epoch {message.epoch} begins: {message.owner} {message.version}".rstrip()
        case Clock():
            return "clock" + (", the input has ended" if message.final else "")
        case DeadLetter():
            start = message.data[:60].decode("utf-8", "backslashreplace")
            return f"{message.service} refused {message.size} bytes: {message.reason}: {start!r}"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _quotes(bid_px: float, bid_sz: float, ask_px: float, ask_sz: float) -> str:
    bid, ask = f"{_number(bid_px)} x {_number(bid_sz)}", f"{_number(ask_px)} x {_number(ask_sz)}"
    return f"bid {bid}, ask {ask}"


def _value(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in _TIMES:
        return _clock(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list):
        return "[" + " ".join(_value("", item) for item in value) + "]"
    return str(value)


def _clock(time_us: int | None) -> str:
    return "-" if time_us is None else text.clock(time_us)


def _number(value: float | None) -> str:
    """The shortest text of the double, without a trailing `.0`."""
    return "-" if value is None or value != value else repr(value).removesuffix(".0")
