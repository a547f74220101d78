"""What each subject seen so far demands of its messages, as numbers for a kernel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tickbus_schemas import codec
from tickbus_schemas.errors import Reject
from tickbus_schemas.messages import Header

from tickbus.columns.rules import TAGS

SUBJECTS_MAX = 65_536
"""No real stream has as many; more means made-up subjects."""
TAG, EXCHANGE, INTERVAL, TICKER, TICKER_END = range(5)
"""Columns of `Homes.wanted`."""


class Home(NamedTuple):
    """What a subject demands of its messages."""

    kind: type[Header]
    exchange: int
    """-1: the subject says neither exchange nor ticker nor interval"""
    ticker: str
    interval_ms: int
    """-1: the kind has none"""
    reason: str = ""
    """why every message on this subject is refused"""


class Homes(dict[str, int]):
    """Numbers the subjects, in the order in which they are first looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.of: list[Home] = []
        self.wanted: npt.NDArray[np.int64] = np.zeros((8, 5), np.int64)
        """A row a subject: tag (-1: none), exchange and interval (-1: any), and where the ticker
        begins and ends in `tickers`."""
        self.tickers: npt.NDArray[np.uint8] = np.zeros(64, np.uint8)
        """UTF-8, one after the other"""

    def forget_too_many(self) -> None:
        """Begin again when there are too many; call it between groups only."""
        if len(self) > SUBJECTS_MAX:
            self.clear()
            self.of.clear()

    def __missing__(self, subject: str) -> int:
        home = _home(subject)
        number = self[subject] = len(self.of)
        self.of.append(home)
        if number == len(self.wanted):
            self.wanted = np.concatenate((self.wanted, np.zeros_like(self.wanted)))
        ticker = np.frombuffer(home.ticker.encode(), np.uint8)
        begin = int(self.wanted[number - 1, TICKER_END]) if number else 0
        end = begin + len(ticker)
        while end > len(self.tickers):
            self.tickers = np.concatenate((self.tickers, np.zeros_like(self.tickers)))
        self.tickers[begin:end] = ticker
        tag = -1 if home.reason else TAGS[home.kind]
        self.wanted[number] = (tag, home.exchange, home.interval_ms, begin, end)
        return number


def _home(subject: str) -> Home:
    try:
        kind, exchange, ticker, interval_ms = codec.home(subject)
    except Reject as why:
        return Home(Header, -1, "", -1, str(why))
    if exchange is None or ticker is None:
        return Home(kind, -1, "", -1)
    return Home(kind, exchange, ticker, -1 if interval_ms is None else interval_ms)
