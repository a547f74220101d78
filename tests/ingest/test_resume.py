"""What a predecessor left in a real stream, sane or not, and what the next life makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tickbus.log.connection import Connection
from tickbus_ingest.publish.messages import Messages
from tickbus_ingest.publish.resume import resume
from tickbus_ingest.session.session import Session
from tickbus_ingest.session.tables import Flush
from tickbus_ingest.venue.contract import Line, TradeIds
from tickbus_ingest.venue.instruments import Instrument
from tickbus_ingest.wire.buffer import Connected, Frames
from tickbus_runtime.bus import streams
from tickbus_runtime.settings.sections import Settings
from tickbus_schemas import codec, subjects
from tickbus_schemas.errors import Retry
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import ABSENT, StatusKind

from tests.ingest import wire
from tests.ingest.plain_venue import T0_US, PlainVenue, plain
from tests.ingest.wire import Transcript, depth, quote, trade

pytestmark = pytest.mark.connected
MD = "MD_BINANCE_USDM"


@pytest.fixture
async def stream(bus: Connection) -> Connection:
    settings = Settings()
    await streams.ensure(bus.jetstream(), settings, settings.of_shard)
    return bus


async def store(bus: Connection, messages: Sequence[Any]) -> None:
    for message in messages:
        feed = {"TradeBatch": "trade", "L2Batch": "l2", "BboBatch": "bbo"}.get(
            type(message).__name__, type(message).__name__.lower()
        )
        subject = subjects.md(Exchange(message.exchange), message.ticker, feed)
        await bus.jetstream().publish(subject, codec.encode(message))


def lived() -> Transcript:
    """A first life: trades to 7, quotes to 5, a book to 110."""
    script = Transcript().say(trade(6, 1), trade(7, 2), quote(5, 3))
    script.say(depth(91, 99, 90, 0), depth(100, 110, 99, 10)).answer(wire.book(105, 5))
    return script


async def test_each_feed_goes_on_behind_its_last_row(stream: Connection) -> None:
    await store(stream, lived().messages)
    script = Transcript(epoch=2)
    resumed = await resume(stream, MD, script.session)
    assert (resumed.subjects, resumed.skipped) == (4, {})
    script.say(trade(7, 2), trade(9, 20), quote(5, 3), quote(9, 21))
    script.say(depth(91, 99, 90, 0), depth(111, 115, 110, 20)).answer(wire.book(110, 11))
    gaps = {gap.feed: (gap.from_id, gap.to_id) for gap in script.statuses(StatusKind.GAP)}
    assert gaps == {"trade": (7, 9), "bbo": (5, 9)}
    assert wire.trade_ids(script.messages) == ["9"]


async def test_nothing_but_a_status_means_a_gap_of_every_feed_since(stream: Connection) -> None:
    first = Transcript()
    out = Flush()
    line = Line(0, first.venue.routes()[0])
    first.session.notice(Connected(line, wire.T0_MS * 1_000_000), out)
    await store(stream, [codec.decode(one.payload) for one in first.batches.of(out)])
    script = Transcript(epoch=2)
    await resume(stream, MD, script.session)
    script.say(trade(9, 20), quote(9, 21), depth(91, 99, 90, 0), depth(100, 110, 99, 30))
    script.answer(wire.book(105, 5))
    gaps = {gap.feed: gap for gap in script.statuses(StatusKind.GAP)}
    assert set(gaps) == {"trade", "bbo", "l2"}
    for gap in gaps.values():
        assert (gap.from_id, gap.from_timestamp) == (ABSENT, wire.T0_MS * 1000)


def poisoned(**changes: Any) -> Any:
    (message,) = Transcript().say(trade(7, 2)).messages
    return codec.decode(codec.encode(_with(message, changes)))


def _with(message: Any, changes: dict[str, Any]) -> Any:
    fields = {name: getattr(message, name) for name in message.__struct_fields__}
    return type(message)(**fields | changes)


FAR = (2**63 - 1).to_bytes(8, "little")


@pytest.mark.parametrize(
    ("ids", "times"),
    [
        (b"no number", None),
        (b"9" * 40, None),
        (str(2**63 - 1).encode(), None),
        (b"-5", None),
        (b"7", FAR),
        (b"7", bytes(8)),
    ],
)
async def test_a_last_trade_that_cannot_be_is_skipped_and_said(
    stream: Connection, ids: bytes, times: bytes | None
) -> None:
    offsets = b"".join(n.to_bytes(4, "little") for n in (0, len(ids)))
    changes = {"trade_id_bytes": ids, "trade_id_offsets": offsets}
    if times is not None:
        changes["timestamp"] = times
    await store(stream, [poisoned(**changes), *Transcript().say(quote(5, 3)).messages])
    script = Transcript(epoch=2)
    resumed = await resume(stream, MD, script.session)
    assert list(resumed.skipped) == ["md.binance_usdm.BTCUSDT.trade"]
    script.say(trade(9, 20), quote(9, 21))
    assert wire.trade_ids(script.messages) == ["9"]
    assert [gap.feed for gap in script.statuses(StatusKind.GAP)] == ["bbo"]


async def test_an_update_id_that_no_venue_reaches_is_skipped(stream: Connection) -> None:
    book = next(one for one in lived().messages if type(one).__name__ == "L2Batch")
    count = len(book.update_id) // 8  # type: ignore[attr-defined]  # an L2Batch
    await store(stream, [_with(book, {"update_id": FAR * count})])
    script = Transcript(epoch=2)
    assert list((await resume(stream, MD, script.session)).skipped) == [
        "md.binance_usdm.BTCUSDT.l2"
    ]
    script.say(depth(91, 99, 90, 0), depth(100, 110, 99, 10)).answer(wire.book(105, 5))
    assert [last for _, _, last, _ in wire.packets(script.messages)] == [105, 110]


async def test_bytes_that_are_no_message_are_skipped(stream: Connection) -> None:
    js = stream.jetstream()
    for feed, data in (("trade", b""), ("l2", b"\xff" * 9), ("bbo", b"{}"), ("status", b"\x90")):
        await js.publish(f"md.binance_usdm.BTCUSDT.{feed}", data)
    script = Transcript(epoch=2)
    assert len((await resume(stream, MD, script.session)).skipped) == 4
    script.say(trade(9, 20))
    assert wire.trade_ids(script.messages) == ["9"]


class Texts(PlainVenue):
    """Names trades by texts."""

    trade_ids = TradeIds.UNIQUE

    def read(self, frame: bytes, line: Line, rows: Any) -> None:
        rows.trade("A", T0_US + len(frame), frame.decode(), 1, 1.0, 1.0)


async def test_trades_that_are_named_by_texts_go_on_by_their_time(stream: Connection) -> None:
    first = life(*[b"x", b"yy"])
    await store(stream, first)
    session = Session(plain(kind=Texts))
    assert (await resume(stream, MD, session)).skipped == {}
    (gap, *_) = [one for one in life(b"zzzzz", session=session) if type(one).__name__ == "Status"]
    assert (gap.feed, gap.from_timestamp, gap.to_timestamp) == ("trade", T0_US + 2, T0_US + 5)


def life(*frames: bytes, session: Session | None = None) -> list[Any]:
    """What a session publishes of these."""
    session = session or Session(plain(kind=Texts))
    venue, out, now_ns = session.venue, Flush(), T0_US * 1000
    session.notice(Connected(Line(0, venue.routes()[0]), now_ns), Flush())
    count = len(frames)
    session.receive(Frames(list(frames), [now_ns] * count, [], [0] * count), out)
    made = Messages(venue.exchange, "binance_usdm", venue.tickers, 1)
    return [codec.decode(one.payload) for one in made.of(out)]


async def test_an_instrument_that_has_not_changed_is_not_told_again(stream: Connection) -> None:
    feeds = ("trade", "instrument")
    listed = Instrument(ticker="BTCUSDT", base="BTC", tick_size=0.1)
    first = Transcript(feeds=feeds, instruments=[listed])
    out = Flush()
    first.session.list_instruments([listed], first.received_ns, out)
    await store(stream, [codec.decode(one.payload) for one in first.batches.of(out)])
    script = Transcript(feeds=feeds, instruments=[listed])
    await resume(stream, MD, script.session)
    again, changed = Flush(), Flush()
    script.session.list_instruments([listed], script.received_ns, again)
    script.session.list_instruments(
        [Instrument(ticker="BTCUSDT", base="BTC", tick_size=0.01)], script.received_ns, changed
    )
    assert (len(again.instruments), len(changed.instruments)) == (0, 1)


async def test_an_error_of_the_bus_is_not_an_empty_log(bus: Connection) -> None:
    with pytest.raises(Retry, match="stream not found"):
        await resume(bus, "MD_NOWHERE", Transcript(epoch=2).session)
