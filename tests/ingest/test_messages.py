"""Flushes into messages: split by size, numbered, and what stands for a refused one."""

from __future__ import annotations

import numpy as np
from tickbus_ingest.publish.messages import Messages
from tickbus_ingest.session.tables import Flush, Refused
from tickbus_ingest.wire.buffer import Frames
from tickbus_schemas import codec
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.messages import (
    MAX_MESSAGE_BYTES,
    PACKETS_PER_EPOCH,
    BboBatch,
    Clock,
    DeadLetter,
    L2Batch,
    Status,
    StatusKind,
    TradeBatch,
)

from tests.ingest import wire
from tests.ingest.wire import Transcript, depth, quote, trade


def test_large_flushes_are_split_below_the_size_limit_without_losing_a_row() -> None:
    script = Transcript()
    script.say(*(trade(n, 1) for n in range(1, 9000)), *(quote(n, 1) for n in range(1, 9000)))
    sizes = [len(codec.encode(one)) for one in script.messages]
    assert max(sizes) <= MAX_MESSAGE_BYTES
    assert len(sizes) == 7
    assert [one.more for one in script.messages] == [6, 5, 4, 3, 2, 1, 0]
    assert wire.trade_ids(script.messages) == [str(n) for n in range(1, 9000)]
    assert wire.table(script.messages, BboBatch)["update_id"] == list(range(1, 9000))


def test_book_updates_are_split_between_packets() -> None:
    levels = [(f"{n}", "1") for n in range(1, 3001)]
    script = Transcript().say(depth(1, 1, 0, 1), depth(2, 2, 1, 2)).answer(wire.book(1, 1))
    script.say(*(depth(n, n, n - 1, n, levels) for n in range(3, 30)))
    batches = [one for one in script.messages if isinstance(one, L2Batch)]
    assert max(len(codec.encode(one)) for one in batches) <= MAX_MESSAGE_BYTES
    assert len(batches) > 6
    updates = wire.table(script.messages, L2Batch)["update_id"]
    assert updates == [1, 1, 2, *range(3, 30)]


def numbered(*frames: bytes) -> tuple[Messages, Flush]:
    script = Transcript()
    out = Flush()
    batch = Frames(list(frames), [script.received_ns] * len(frames), [], [0] * len(frames))
    script.session.receive(batch, out)
    return script.batches, out


def test_a_gap_stands_for_a_refused_message_under_its_number() -> None:
    batches, out = numbered(trade(5, 1), trade(6, 2), trade(7, 3), quote(4, 9))
    refused, other = batches.of(out)
    instead = batches.instead_of(refused, "10077 maximum bytes exceeded")
    status = codec.decode(instead.payload, instead.subject)
    assert isinstance(status, Status)
    assert (status.message_no, status.more, status.kind) == (1, 1, StatusKind.GAP)
    assert (status.feed, status.from_id, status.to_id) == ("trade", 5, 7)
    assert status.to_timestamp - status.from_timestamp == 2000
    assert "10077" in status.reason
    assert instead.msg_id != refused.msg_id
    assert batches.next_no == other.message_no + 1


def test_a_refused_status_or_clock_is_sent_as_it_is() -> None:
    batches = Messages(Exchange.BINANCE_USDM, "binance_usdm", ["BTCUSDT"], 3)
    clock = batches.clock(5, 6, 7, final=True)
    assert batches.instead_of(clock, "x") is clock
    assert clock.subject == "clock.binance_usdm"
    message = codec.decode(clock.payload)
    assert isinstance(message, Clock)
    found = (message.timestamp, message.packet_id, message.final, message.epoch)
    assert found == (5, 3 * PACKETS_PER_EPOCH + 7, True, 3)
    assert clock.msg_id == "binance_usdm.3.1"


def test_a_dead_letter_holds_the_first_64_kib_and_says_how_much_there_was() -> None:
    batches = Messages(Exchange.BINANCE_USDM, "binance_usdm", ["BTCUSDT"], 3)
    letter = batches.dead_letter(Refused(9, 5, "why" * 200, b"x" * 10_000_000))
    message = codec.decode(letter.payload)
    assert isinstance(message, DeadLetter)
    assert (letter.subject, letter.msg_id) == (
        "dlq.ingest.binance_usdm",
        "dlq-ingest-binance_usdm.3.9",
    )
    assert (len(message.data), message.size, message.epoch) == (65536, 10_000_000, 3)
    assert batches.next_no == 1


def test_the_packets_of_a_message_are_those_of_its_rows() -> None:
    batches, out = numbered(trade(5, 1), quote(4, 9), trade(6, 2))
    trades, quotes = batches.of(out)
    assert trades.packets is not None
    assert quotes.packets is not None
    column, first, last = trades.packets
    assert column[first:last].tolist() == [1, 3]
    column, first, last = quotes.packets
    assert column[first:last].tolist() == [2]
    decoded = codec.decode(trades.payload)
    assert isinstance(decoded, TradeBatch)
    packets = np.frombuffer(decoded.packet_id, np.int64) - PACKETS_PER_EPOCH
    assert packets.tolist() == [1, 3]
