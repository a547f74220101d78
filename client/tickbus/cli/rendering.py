"""A message as one line for people, or as its rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from tickbus_schemas.feeds import OF_KIND
from tickbus_schemas.layout import ROWS
from tickbus_schemas.messages import (
    ABSENT,
    Alert,
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
)
from tickbus_schemas.plain import plain, plain_rows
from tickbus_schemas.values import column

from tickbus.cli import text


def line(seq: int, subject: str, message: Message) -> str:
    """`#<sequence> <venue time> <subject>  <summary>`; for a batch its last row."""
    return f"#{seq} {_clock(_last(message, 'timestamp'))} {subject}  {_summary(message)}"


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
    """The value in the last row, without decoding the others."""
    value = getattr(message, name)
    width = message.columns.get(name)
    if width is not None:
        of_row = message.depth if isinstance(message, BookBatch) and "depth" in width.per else 1
        value = column(value, width.code)[-of_row]
    return None if value == ABSENT or value != value else value


def _summary(message: Message) -> str:
    feed, count = OF_KIND.get(type(message)), ROWS[type(message)](message)
    if feed is not None and feed.shown:
        shown = feed.shown.format_map(_LastRow(message))
        return f"{_count(count, feed.noun)}, {shown}" if message.columns else shown
    match message:
        case L2Batch():
            kind = ", snapshot" if _last(message, "flags") & L2Flag.SNAPSHOT else ""
            levels = _count(len(message.side), "level")
            update = _value("update_id", _last(message, "update_id"))
            return f"{_count(count, 'packet')}, {levels}, update {update}{kind}"
        case FeatureBatch():
            pairs = zip(message.names, message.values, strict=True)
            shown = " ".join(f"{name}={_number(column(v, '<f8')[-1])}" for name, v in pairs)
            return f"{_count(count, 'row')}, {shown}"
        case Status() | Fence() | Clock() | DeadLetter() | Alert():
            return _event(message)
    raise TypeError(f"no line says what is in a {type(message).__name__}")


class _LastRow(dict[str, str]):
    """Values of a message's last row, as text, by name; of a book those of its best levels."""

    def __init__(self, message: Header) -> None:
        super().__init__()
        self._message = message

    def __missing__(self, name: str) -> str:
        value = _last(self._message, name)
        codes = self._message.codes.get(name)
        return _value(name, value) if codes is None else codes.names.get(value, str(value))


def _event(message: Status | Fence | Clock | DeadLetter | Alert) -> str:
    match message:
        case Status():
            kind = message.codes["kind"].names.get(message.kind, f"kind {message.kind}").lower()
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
        case Alert():
            state = message.codes["state"].names.get(message.state, f"state {message.state}")
            about = f" ({message.about})" if message.about else ""
            whose = f"{message.condition} of {message.source} {message.shard}{about}"
            return f"{state} {whose}: {message.cause}"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _value(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name.endswith("timestamp"):
        return _clock(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list):
        return "[" + " ".join(_value("", item) for item in value) + "]"
    return str(value)


def _clock(time_us: int | None) -> str:
    """A time; 0 stands for one that the venue did not send."""
    return text.clock(time_us) if time_us else "-"


def _number(value: float | None) -> str:
    """The shortest text of the double, without a trailing `.0`."""
    return "-" if value is None or value != value else repr(value).removesuffix(".0")
