"""Logs of valid messages as a stream would hold them, and with damage done to some of them."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from tickbus.log.stored import Stored
from tickbus_schemas import codec, subjects
from tickbus_schemas.exchanges import Exchange
from tickbus_schemas.feeds import OF_KIND
from tickbus_schemas.messages import (
    MESSAGES,
    Alert,
    BarBatch,
    BookBatch,
    Clock,
    DeadLetter,
    FeatureBatch,
    Fence,
    Message,
)

from tests.schemas.strategies import messages

TICKERS = ("BTCUSDT", "1000·PEPE", "ETH.P")


def subject_of(message: Message) -> str:
    """Where a message belongs."""
    exchange = Exchange(message.exchange)
    if isinstance(message, BookBatch | BarBatch | FeatureBatch):
        kind = {BookBatch: "book", BarBatch: "bar", FeatureBatch: "feature"}[type(message)]
        return subjects.derived(kind, exchange, message.ticker, message.interval_ms)
    if isinstance(message, Fence):
        return subjects.fence("binance_usdm")
    if isinstance(message, Clock):
        return subjects.clock("binance_usdm")
    if isinstance(message, Alert):
        return subjects.alert("warning", "book")
    if isinstance(message, DeadLetter):
        return subjects.dead_letter("book", exchange)
    return subjects.md(exchange, message.ticker, OF_KIND[type(message)].name)


def changed(message: Message, **fields: Any) -> Message:
    """The message with other values of some fields."""
    return msgspec.structs.replace(message, **fields)


@st.composite
def runs(draw: st.DrawFn, first_no: int = 0) -> list[Message]:
    """A few flushes: runs of one ticker's messages, `more` counting down, numbered without hole."""
    log: list[Message] = []
    for _ in range(draw(st.integers(1, 3))):
        ticker = draw(st.sampled_from(TICKERS))
        kinds = draw(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=3))
        for place, kind in enumerate(kinds):
            log.append(
                changed(
                    draw(messages(kind)),
                    exchange=int(Exchange.BINANCE_USDM),
                    ticker=ticker,
                    epoch=1,
                    message_no=first_no + len(log),
                    more=len(kinds) - 1 - place,
                )
            )
    return log


def stored(log: list[Message], first_seq: int = 1) -> list[Stored]:
    """The log as a reader yields it."""
    return [
        Stored(first_seq + place, 10**18 + place, subject_of(message), codec.encode(message))
        for place, message in enumerate(log)
    ]
