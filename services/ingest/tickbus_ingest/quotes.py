"""Best quotes of all tickers: older ones and repeats are dropped, interruptions said."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus_schemas.messages import ABSENT, StatusKind

from tickbus_ingest.kernels import FRESH, REPEAT, STALE, judge_quotes
from tickbus_ingest.rows import Flush, Notice, QuoteTable

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


class QuoteTape:
    """The last quote of each ticker, and whether something may be missing since."""

    def __init__(self, tickers: int) -> None:
        self._last_id: I64 = np.full(tickers, ABSENT, np.int64)
        self._last_us: I64 = np.zeros(tickers, np.int64)
        self._last_values: F64 = np.zeros((tickers, 4), np.float64)
        self._stale_run: I64 = np.zeros(tickers, np.int64)
        self._said_id: I64 = np.full(tickers, ABSENT, np.int64)
        self._said_us: I64 = np.full(tickers, ABSENT, np.int64)
        self._interrupted: Bool = np.zeros(tickers, np.bool_)

    def resume(
        self, ticker: int, update_id: int, timestamp: int, values: tuple[float, ...]
    ) -> None:
        """Go on behind what a predecessor stored; whatever lies between is lost."""
        self._last_id[ticker] = self._said_id[ticker] = update_id
        self._last_us[ticker] = self._said_us[ticker] = timestamp
        self._last_values[ticker] = values
        self._interrupted[ticker] = True

    def interrupt(self, tickers: list[int]) -> None:
        """Quotes of these tickers may have been lost: their ids do not tell."""
        self._interrupted[tickers] = self._said_id[tickers] != ABSENT

    def fresh(self, ticker: I32, update_id: I64, event_us: I64, values: F64, out: Flush) -> Bool:
        """Which quotes to publish, given in order of arrival; the others are counted."""
        verdict = np.empty(len(ticker), np.int8)
        fresh = judge_quotes(
            ticker, update_id, event_us, values,
            self._last_id, self._last_us, self._last_values, self._stale_run, verdict,
        )  # fmt: skip
        if fresh < len(verdict):
            out.counts["stale_events", "bbo"] += int((verdict == STALE).sum())
            out.counts["duplicates", "bbo"] += int((verdict == REPEAT).sum())
        wanted: Bool = verdict == FRESH
        return wanted

    def published(self, ticker: I32, table: QuoteTable, out: Flush) -> None:
        """Told of the fresh quotes, in order; announces the first one after an interruption."""
        if self._interrupted.any():
            for n in np.flatnonzero(self._interrupted[ticker]).tolist():
                if self._interrupted[ticker[n]]:
                    self._announce(int(ticker[n]), table, n, out)
        self._said_id[ticker] = table.update_id
        self._said_us[ticker] = table.timestamp

    def _announce(self, ticker: int, table: QuoteTable, at: int, out: Flush) -> None:
        self._interrupted[ticker] = False
        out.counts["gaps", "bbo"] += 1
        out.statuses.append(
            Notice(
                ticker,
                StatusKind.GAP,
                int(table.timestamp[at]),
                int(table.rcv_timestamp[at]),
                int(table.packet_id[at]),
                feed="bbo",
                reason="interrupted; quote ids do not tell what is missing",
                from_id=int(self._said_id[ticker]),
                to_id=int(table.update_id[at]),
                from_timestamp=int(self._said_us[ticker]),
                to_timestamp=int(table.timestamp[at]),
            )
        )
