"""What the venue lists of our tickers: said when it is new or has changed."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tickbus_ingest.session.tables import Flush, InstrumentRow
from tickbus_ingest.venue.contract import Venue
from tickbus_ingest.venue.instruments import Instrument


class Listed:
    """The instruments as they were said last, by ticker."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._said: dict[int, Instrument] = {}

    def take(
        self, instruments: Iterable[Instrument], received_ns: int, packet: int, out: Flush
    ) -> None:
        """The venue's list: a row for each of our tickers that is new in it or has changed."""
        if "instrument" not in self._venue.wanted:
            return
        for one in instruments:
            ticker = self._venue.index.get(one.ticker)
            if ticker is None or _same(self._said.get(ticker), one):
                continue
            self._said[ticker] = one
            out.instruments.append(InstrumentRow(ticker, received_ns // 1000, packet, one))

    def resume(self, ticker: int, instrument: Instrument) -> None:
        """A predecessor stored this."""
        self._said[ticker] = instrument


def _same(one: Instrument | None, other: Instrument) -> bool:
    """Equal, where a number that is not known equals itself."""
    return one is not None and msgspec.json.encode(one) == msgspec.json.encode(other)
