"""Whole books without numbers that several connections bring: which of them is news. No rows here.

One is known by its time, what it says, and its place among those of its time on its connection.
"""

from __future__ import annotations

from tickbus_ingest.session.kernels.leaders import LAG_MAX_US
from tickbus_ingest.session.kernels.quotes import ANEW_US
from tickbus_ingest.session.tables import L2Table


class WholeBooks:
    """Of one ticker."""

    def __init__(self) -> None:
        self._time_us = 0
        """of the last book published"""
        self._published: list[int] = []
        """hashes of the books of that time"""
        self._published_us = 0
        """when the last one came"""
        self._brought: dict[int, tuple[int, int, int]] = {}
        """by connection: time of its last book, how many of that time, hash"""
        self._heard_us: dict[int, int] = {}
        """by connection: when it brought the last one"""

    def fate(self, packet: L2Table, line: int, *, leads: bool) -> str:
        """Why the book of a connection is not published; "" where it is news.

        `leads`: the last book published is from this connection.
        """
        time_us, received_us = int(packet.timestamp[0]), int(packet.rcv_timestamp[0])
        content = hash(packet.content(0))
        was_us, count, last = self._brought.get(line, (0, 0, 0))
        is_again = was_us == time_us and last == content
        count = (count if was_us == time_us else 0) + (not is_again)
        self._brought[line] = time_us, count, content
        is_alone = self._is_alone(line, received_us)
        if time_us == self._time_us:
            known = content in self._published
            return "duplicate" if known and (is_again or count <= len(self._published)) else ""
        lags = 0 < self._time_us - time_us < LAG_MAX_US
        believed = (leads and is_alone) or received_us - self._published_us >= ANEW_US
        return "stale" if lags and not believed else ""

    def publish(self, packet: L2Table) -> None:
        """This book is published."""
        time_us = int(packet.timestamp[0])
        if time_us != self._time_us:
            self._time_us, self._published = time_us, []
        self._published.append(hash(packet.content(0)))
        self._published_us = int(packet.rcv_timestamp[0])

    def _is_alone(self, line: int, received_us: int) -> bool:
        """Whether no other connection has brought a book lately: those that have not are gone."""
        self._heard_us[line] = received_us
        for other, heard_us in list(self._heard_us.items()):
            if received_us - heard_us > LAG_MAX_US:
                del self._heard_us[other], self._brought[other]
        return len(self._heard_us) == 1
