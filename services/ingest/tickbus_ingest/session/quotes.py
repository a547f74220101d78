"""Best quotes of all tickers: older ones and repeats are dropped, interruptions said."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus_schemas.messages import ABSENT, StatusKind

from tickbus_ingest.session.kernels.leaders import contents
from tickbus_ingest.session.kernels.quotes import FRESH, REPEAT, SAME, STALE, judge_quotes
from tickbus_ingest.session.kernels.race import SLOTS
from tickbus_ingest.session.tables import Flush, StatusRow, Table, grown
from tickbus_ingest.session.times import with_inferred

I64 = npt.NDArray[np.int64]
I8 = npt.NDArray[np.int8]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

VALUES = ("bid_px", "bid_sz", "ask_px", "ask_sz")


class QuotePolicy:
    """The last quote of each ticker, and whether something may be missing since."""

    def __init__(self, tickers: int, *, has_ids: bool) -> None:
        """`has_ids`: ids are the same on every connection; else only their times tell of quotes."""
        self._has_ids = has_ids
        self._last_id: I64 = np.full(tickers, ABSENT, np.int64)
        self._last_us: I64 = np.zeros(tickers, np.int64)
        self._stale_run: I64 = np.zeros(tickers, np.int64)
        self._fresh_us: I64 = np.zeros(tickers, np.int64)
        self._said_id: I64 = np.full(tickers, ABSENT, np.int64)
        self._said_us: I64 = np.full(tickers, ABSENT, np.int64)
        self._interrupted: Bool = np.zeros(tickers, np.bool_)
        self._same: I64 = np.zeros((tickers, SAME), np.int64)
        self._own: I64 = np.zeros((tickers, SLOTS, 3), np.int64)

    def resume(
        self, ticker: int, update_id: int, timestamp: int, values: tuple[float, ...]
    ) -> None:
        """Go on behind what a predecessor stored; whatever lies between is lost."""
        self._last_id[ticker] = self._said_id[ticker] = update_id
        self._last_us[ticker] = self._said_us[ticker] = timestamp
        content = np.empty(1, np.int64)
        contents(np.array([values], np.float64), np.zeros(1, np.int64), content)
        self._same[ticker, :2] = 1, content[0]
        self._interrupted[ticker] = True

    def grow(self, tickers: int) -> None:
        """Make room for so many tickers."""
        self._last_id = grown(self._last_id, tickers, ABSENT)
        self._last_us = grown(self._last_us, tickers)
        self._same = grown(self._same, tickers)
        self._own = grown(self._own, tickers)
        self._stale_run = grown(self._stale_run, tickers)
        self._fresh_us = grown(self._fresh_us, tickers)
        self._said_id = grown(self._said_id, tickers, ABSENT)
        self._said_us = grown(self._said_us, tickers, ABSENT)
        self._interrupted = grown(self._interrupted, tickers)

    def interrupt(self, tickers: list[int], seen_us: list[int]) -> None:
        """Quotes of these tickers may have been lost after `seen_us`: their ids do not tell."""
        said = self._said_us[tickers]
        self._said_us[tickers] = np.where(said == ABSENT, seen_us, said)
        self._interrupted[tickers] = True

    def take(self, table: Table, seen_us: I64, out: Flush) -> None:
        """Publish the fresh ones. `seen_us`: highest venue time seen before each, 0 where none."""
        columns = table.columns
        values = np.stack([columns[name] for name in VALUES], axis=1)
        verdict = np.empty(len(table), np.int8)
        ids, content = columns["update_id"], np.empty(len(table), np.int64)
        if not self._has_ids:
            ids = np.full(len(table), ABSENT, np.int64)
        contents(values, np.zeros(len(table), np.int64), content)
        fresh = judge_quotes(
            table.ticker, columns["slot"], ids, columns["timestamp"], columns["rcv_timestamp"],
            content, self._last_id, self._last_us, self._same, self._own, self._stale_run,
            self._fresh_us, verdict,
        )  # fmt: skip
        if fresh < len(table):
            self._count(table, verdict, out)
            kept = verdict == FRESH
            table, seen_us = table.take(kept), seen_us[kept]
            columns = table.columns
        if not len(table):
            return
        columns["flags"] = np.zeros(len(table), np.uint16)
        columns["timestamp"] = with_inferred(
            "bbo", columns["timestamp"], columns["flags"], seen_us, columns["rcv_timestamp"], out
        )
        if self._interrupted.any():
            self._announce(table, out)
        self._said_id[table.ticker] = columns["update_id"]
        self._said_us[table.ticker] = columns["timestamp"]
        out.publish("bbo", table)

    def _count(self, table: Table, verdict: I8, out: Flush) -> None:
        for value, fate, metric in (
            (STALE, "stale", "stale_events"),
            (REPEAT, "duplicate", "duplicates"),
        ):
            rows = verdict == value
            out.fates[fate, "bbo"] += int(np.count_nonzero(table.stands & rows))
            out.counts[metric, "bbo"] += int(np.count_nonzero(rows))

    def _announce(self, table: Table, out: Flush) -> None:
        """A gap before the first quote of each ticker that was interrupted."""
        columns = table.columns
        for n in np.flatnonzero(self._interrupted[table.ticker]).tolist():
            ticker = int(table.ticker[n])
            if not self._interrupted[ticker]:
                continue
            self._interrupted[ticker] = False
            out.counts["gaps", "bbo"] += 1
            out.statuses.append(
                StatusRow(
                    ticker,
                    StatusKind.GAP,
                    int(columns["timestamp"][n]),
                    int(columns["rcv_timestamp"][n]),
                    int(columns["packet_id"][n]),
                    feed="bbo",
                    reason="interrupted; quote ids do not tell what is missing",
                    from_id=int(self._said_id[ticker]),
                    to_id=int(columns["update_id"][n]),
                    from_timestamp=int(self._said_us[ticker]),
                    to_timestamp=int(columns["timestamp"][n]),
                )
            )
