"""Messages come back as they went, whatever fields later versions append."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickbus_schemas import codec, subjects
from tickbus_schemas.errors import Reject
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.feeds import FEEDS, OF_HEAD, OF_KIND, RAW
from tickbus_schemas.messages import (
    MAX_MESSAGE_BYTES,
    MAX_ROWS,
    MESSAGES,
    Alert,
    Clock,
    DeadLetter,
    DerivativeBatch,
    DerivativeField,
    FeatureBatch,
    Header,
    Message,
)

from tests.schemas import strategies
from tests.schemas.strategies import same

few = settings(max_examples=25)  # for each of the types
every_type = pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)


def tag_of(kind: type[Header]) -> int:
    tag = kind.__struct_config__.tag
    assert isinstance(tag, int)
    return tag


def home_of(message: Message) -> str:
    """The subject that a message belongs on."""
    exchange = Exchange(message.exchange)
    if type(message) in OF_KIND:
        feed = OF_KIND[type(message)].name
        if feed in RAW:
            return subjects.md(exchange, message.ticker, feed)
        return subjects.derived(feed, exchange, message.ticker, message.interval_ms)  # type: ignore[attr-defined]  # derived messages have it
    if isinstance(message, Clock):
        return subjects.clock(exchange.token)
    if isinstance(message, DeadLetter):
        return subjects.dead_letter("writer", exchange)
    if isinstance(message, Alert):
        return subjects.alert("critical", "ingest")
    return subjects.fence(f"{exchange.token}_2")


@every_type
@few
@given(data=st.data())
def test_a_message_comes_back_as_it_went(kind: type[Header], data: st.DataObject) -> None:
    message = data.draw(strategies.messages(kind))
    assert same(codec.decode(codec.encode(message)), message)


@pytest.mark.parametrize(
    "kind", [feed.kind for feed in FEEDS if feed.kind.columns and feed.kind is not FeatureBatch]
)
@few
@given(data=st.data())
def test_a_frame_a_number_and_columns_are_a_message(
    kind: type[Header], data: st.DataObject
) -> None:
    message = data.draw(strategies.messages(kind))
    before, behind = codec.frame(message)
    columns = [msgspec.msgpack.encode(getattr(message, name)) for name in message.columns]
    whole = [before, codec.number(message.message_no), behind, *columns]
    assert b"".join(whole) == codec.encode(message)


@every_type
@few
@given(data=st.data())
def test_a_message_is_taken_on_its_own_subject_and_where_that_is_repeated(
    kind: type[Header], data: st.DataObject
) -> None:
    message = data.draw(strategies.messages(kind))
    encoded, subject = codec.encode(message), home_of(message)
    for place in (subject, subjects.live(subject), subjects.replay("job_1", subject)):
        assert same(codec.decode(encoded, place), message)


@given(message=strategies.messages(), other=strategies.messages())
def test_a_message_is_refused_on_any_other_subject(message: Message, other: Message) -> None:
    subject = home_of(other)
    if subject != home_of(message) and subject.split(".")[0] not in OF_HEAD:
        with pytest.raises(Reject, match="is not of"):
            codec.decode(codec.encode(message), subject)


@pytest.mark.parametrize(
    "subject", ["fence.binance_usdm", "dlq.book.binance_usdm", "md.binance_usdm.BTCUSDT.trade"]
)
def test_a_clock_is_refused_where_clocks_do_not_stand(subject: str) -> None:
    clock = Clock(
        exchange=2, ticker="", epoch=1, message_no=1, timestamp=0, rcv_timestamp=0, packet_id=0
    )
    assert codec.decode(codec.encode(clock), "clock.binance_usdm") == clock
    with pytest.raises(Reject, match="Clock"):
        codec.decode(codec.encode(clock), subject)


def test_a_row_of_another_interval_is_refused() -> None:
    book = strategies.BOOK_OF_TWO_ROWS
    assert codec.decode(codec.encode(book), "book.binance_usdm.BTCUSDT.100ms") == book
    for leaf in ("1s", "change"):
        with pytest.raises(Reject, match="is not of"):
            codec.decode(codec.encode(book), f"book.binance_usdm.BTCUSDT.{leaf}")


@every_type
@few
@given(data=st.data())
def test_fields_appended_later_are_passed_over(kind: type[Header], data: st.DataObject) -> None:
    later = msgspec.defstruct(
        kind.__name__,
        [("later_count", int, 7), ("later_column", bytes, b"\x00\x01")],
        bases=(kind,),
        tag=tag_of(kind),
        array_like=True,
        frozen=True,
        kw_only=True,
    )
    message = data.draw(strategies.messages(kind))
    fields = {name: getattr(message, name) for name in kind.__struct_fields__}
    assert same(codec.decode(msgspec.msgpack.encode(later(**fields))), message)


@every_type
@few
@given(data=st.data())
def test_a_message_from_before_the_last_fields_gets_their_defaults(
    kind: type[Header], data: st.DataObject
) -> None:
    message = data.draw(strategies.messages(kind))
    parts = msgspec.msgpack.decode(codec.encode(message))
    fields = list(msgspec.structs.fields(kind))
    while fields and fields[-1].default is not msgspec.NODEFAULT:
        parts.pop()
        *fields, dropped = fields
        read = codec.decode(msgspec.msgpack.encode(parts))
        assert same(getattr(read, dropped.name), dropped.default)
        assert all(same(getattr(read, f.name), getattr(message, f.name)) for f in fields)


@every_type
@few
@given(data=st.data(), schema=st.integers(-5, 2**40).filter(lambda schema: schema != 1))
def test_an_unknown_schema_is_refused_with_what_to_do(
    kind: type[Header], data: st.DataObject, schema: int
) -> None:
    message = data.draw(strategies.messages(kind))
    newer = msgspec.structs.replace(message, schema=schema)
    with pytest.raises(Reject, match=rf"schema {schema} is unknown .*update the reader"):
        codec.decode(codec.encode(newer))


def test_a_newer_schema_is_named_even_where_its_fields_cannot_be_read() -> None:
    with pytest.raises(Reject, match="schema 2 is unknown"):
        codec.decode(msgspec.msgpack.encode([99, 2, {"all": "new"}]))


@every_type
def test_tags_and_field_order_are_those_of_the_contract(kind: type[Header]) -> None:
    header = ("schema", "exchange", "ticker", "epoch", "message_no", "more")
    assert kind.__struct_fields__[:6] == header
    assert tag_of(kind) == {
        "TradeBatch": 1,
        "L2Batch": 2,
        "BboBatch": 3,
        "TickerBatch": 4,
        "DerivativeBatch": 5,
        "LiquidationBatch": 6,
        "Instrument": 7,
        "Status": 8,
        "BookBatch": 9,
        "BarBatch": 10,
        "FeatureBatch": 11,
        "Fence": 12,
        "Clock": 13,
        "DeadLetter": 14,
        "Alert": 15,
    }.get(kind.__name__)


@every_type
def test_every_field_of_bytes_is_a_declared_column(kind: type[Header]) -> None:
    of_bytes = [
        field.name
        for field in msgspec.structs.fields(kind)
        if isinstance(msgspec.inspect.type_info(field.type), msgspec.inspect.BytesType)
    ]
    assert of_bytes == [*kind.columns] or kind is DeadLetter


@every_type
def test_the_size_limit_ends_a_message_before_the_row_limit(kind: type[Header]) -> None:
    if kind.columns:
        row_bytes = sum(
            {"<i8": 8, "<f8": 8, "<i4": 4, "<u2": 2, "<i1": 1}[width.code]
            for width in kind.columns.values()
            if width.per in ("rows", "rows+1")
        )
        assert MAX_ROWS * row_bytes > MAX_MESSAGE_BYTES
    level = [width for width in kind.columns.values() if width.per == "levels"]
    assert not level or MAX_ROWS * 18 > MAX_MESSAGE_BYTES


def test_an_oversized_message_is_neither_sent_nor_read() -> None:
    names = [f"feature_{i}" for i in range(400)]
    column = strategies.pack("<f8", [0.5] * 100)
    times = strategies.pack("<i8", [1] * 100)
    fields: dict[str, Any] = dict.fromkeys(
        ("timestamp", "end_timestamp", "rcv_timestamp", "packet_id"), times
    )
    large = FeatureBatch(
        exchange=2,
        ticker="BTCUSDT",
        epoch=1,
        message_no=1,
        interval_ms=100,
        catalogue="c",
        names=names,
        flags=bytes(200),
        values=[column] * 400,
        **fields,
    )
    with pytest.raises(Reject, match="split it"):
        codec.encode(large)
    with pytest.raises(Reject, match=f"at most {MAX_MESSAGE_BYTES}"):
        codec.decode(msgspec.msgpack.encode(large))


def test_the_bits_of_a_derivative_are_its_values_in_their_order() -> None:
    values = [name for name, width in DerivativeBatch.columns.items() if width.absent is not None]
    values.remove("engine_timestamp")
    assert [str(field.name).lower() for field in DerivativeField] == values
    assert [int(field) for field in DerivativeField] == [1 << place for place in range(len(values))]
