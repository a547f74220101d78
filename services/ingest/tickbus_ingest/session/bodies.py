"""REST bodies: books that were asked for, and answers to polls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tickbus_schemas.messages import L2Flag

from tickbus_ingest.session.arrived import Arrived, l2_table_of
from tickbus_ingest.session.books import TickerBook
from tickbus_ingest.session.clock import VenueClock
from tickbus_ingest.session.decoding import Decoded, FrameDecoder
from tickbus_ingest.session.places import NOWHERE
from tickbus_ingest.session.tables import Flush, Refused
from tickbus_ingest.venue.contract import Venue
from tickbus_ingest.venue.rows import Rows
from tickbus_ingest.wire import buffer


class Bodies:
    """Gives each book to the ticker that asked for it."""

    def __init__(
        self,
        venue: Venue,
        decoder: FrameDecoder,
        books: Sequence[TickerBook],
        clock: VenueClock,
    ) -> None:
        self._venue = venue
        self._decoder = decoder
        self._books = books
        self._clock = clock

    def take(self, body: buffer.Body, packet: int, out: Flush) -> tuple[Decoded, Arrived] | None:
        """Take a body as this packet; the rows of one that answers a poll."""
        received_us = body.received_ns // 1000
        ticker = self._venue.index.get(body.get.book_of)
        is_book = ticker is not None

        def parse(rows: Rows) -> None:
            if is_book:
                self._venue.parse_snapshot(body.data, body.get.book_of, rows)
            else:
                self._venue.parse_poll(body.data, body.get, rows)

        function = "parse_snapshot" if is_book else "parse_poll"
        decoded = self._decoder.body(function, parse, received_us)
        if decoded.refused:
            why = decoded.refused[0]
            out.refused.append(Refused(packet, received_us, why, body.data, is_body=True))
            if ticker is not None:
                self._books[ticker].failed(why, for_good=False, out=out)
            return None
        decoded.stands = {feed: np.zeros_like(own) for feed, own in decoded.stands.items()}
        if decoded.long_decimals:
            out.counts["long_decimals", ""] += decoded.long_decimals
        nowhere = np.full(1, -1, np.int32)
        places = np.array(NOWHERE, np.int32)[:, None]
        arrived = Arrived(np.array([received_us]), np.array([packet]), nowhere, *places)
        if ticker is None:
            return decoded, arrived
        self._take_book(ticker, decoded, arrived, out)
        return None

    def failed(self, notice: buffer.Failed, out: Flush) -> None:
        """A request brought no body."""
        ticker = self._venue.index.get(notice.get.book_of)
        if ticker is not None:
            self._books[ticker].failed(notice.reason, for_good=notice.for_good, out=out)

    def _take_book(self, ticker: int, decoded: Decoded, arrived: Arrived, out: Flush) -> None:
        """A book whose venue sends no time takes that of its ticker's last event."""
        if "l2" not in decoded.tables:
            self._books[ticker].failed("the body holds no book", for_good=False, out=out)
            return
        table = l2_table_of(decoded, np.zeros(1, np.int64), arrived)
        if table.timestamp[0] == 0:
            table.timestamp[0] = self._clock.time_us(ticker, int(arrived.received_us[0]))
            table.flags[0] |= np.uint16(L2Flag.TIME_INFERRED)
        self._books[ticker].pulled(table, out)
