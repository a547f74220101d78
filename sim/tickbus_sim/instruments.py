"""The venue's instruments: stated by the synthetic market, inferred from a capture's texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from operator import methodcaller
from typing import TypeAlias

from tickbus_sim.book import BookEvent
from tickbus_sim.capture import Capture
from tickbus_sim.dialect import Listing

_SAMPLE = 2_000  # frames a topic that prices and quantities are looked up in
# Digits after the point of a price and of a quantity, in the forms that venues write levels in.
_PAIRS = re.compile(rb'\["\d+\.?(\d*)","\d+\.?(\d*)"')  # ["1.5","2"]
_OBJECTS = re.compile(rb'"(?:px|price|p)":"?\d+\.?(\d*)"?,"(?:sz|qty|size|q|v)":"?\d+\.?(\d*)"?')
_FIELD_PRICE = re.compile(rb'"[pba]":"\d+\.?(\d*)"')
_FIELD_QTY = re.compile(rb'"[qBA]":"\d+\.?(\d*)"')
_ReadBook: TypeAlias = Callable[[bytes], BookEvent | None]
_without_padding = methodcaller("rstrip", b"0")


def listings(capture: Capture) -> list[Listing]:
    """Every ticker of a capture with the finest price and quantity seen in a sample of it."""
    dialect, keeps_zeros = capture.dialect, capture.dialect.keeps_zeros
    steps = {ticker: [0, 0] for ticker in capture.tickers}
    left = [_SAMPLE] * len(capture.topics)
    for text, topic_id in zip(capture.texts, capture.topic_ids, strict=True):
        topic = capture.topics[topic_id]
        if topic.symbol in steps and left[topic_id]:
            left[topic_id] -= 1
            read_book = dialect.read_book if topic.family == dialect.book_family else None
            _refine(steps[topic.symbol], text, keeps_zeros, read_book)
    for body in capture.bodies:
        if body.symbol in steps and body.kind == "book":
            _refine(steps[body.symbol], body.text, keeps_zeros, dialect.read_body)
    return [Listing(ticker, price, qty) for ticker, (price, qty) in steps.items()]


def _refine(step: list[int], text: bytes, keeps_zeros: bool, read_book: _ReadBook | None) -> None:
    found = _PAIRS.findall(text) or _OBJECTS.findall(text)
    if not found and read_book is not None:
        found = _levels(read_book(text))
    prices, qtys = zip(*found, strict=True) if found else _fields(text)
    step[0] = max(step[0], _decimals(prices, keeps_zeros))
    step[1] = max(step[1], _decimals(qtys, keeps_zeros))


def _levels(book: BookEvent | None) -> list[tuple[bytes, bytes]]:
    """Digits after the point where a venue writes its levels in a form of its own."""
    if book is None:
        return []
    return [
        (price.partition(".")[2].encode(), qty.partition(".")[2].encode())
        for price, qty in (*book.bids, *book.asks)
    ]


def _fields(text: bytes) -> tuple[list[bytes], list[bytes]]:
    return _FIELD_PRICE.findall(text), _FIELD_QTY.findall(text)


def _decimals(fractions: Iterable[bytes], keeps_zeros: bool) -> int:
    """Most digits after the point; those that are just padding count where a venue pads all."""
    return max(map(len, fractions if keeps_zeros else map(_without_padding, fractions)), default=0)
