"""Trades of one ticker: each id once, and what is missing between them said.

Ids of venues that count without holes prove by themselves whether something was lost.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus_schemas.messages import ABSENT, StatusKind

from tickbus_ingest.rows import Flush, Notice, Piece, TradeTable

I64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

RECENT_IDS = 2048
"""How far back an id is known to have been published; the overlap of two lines is shorter."""


class TradeTape:
    """What was published of one ticker's trades."""

    def __init__(self, ticker: int) -> None:
        self.ticker = ticker
        self.last_id = ABSENT
        self.last_us = ABSENT
        self._recent: I64 = np.empty(RECENT_IDS, np.int64)
        self._published = 0

    def resume(self, last_id: int, last_us: int) -> None:
        """Go on behind what a predecessor stored."""
        self.last_id, self.last_us = last_id, last_us

    def add(self, table: TradeTable, start: int, stop: int, out: Flush) -> None:
        """Publish rows [start, stop) but for those already published; say where ids are missing."""
        ids = table.trade_id[start:stop]
        if self.last_id != ABSENT and ids[0] == self.last_id + 1 and _dense(ids):
            self._publish(table, start, stop, out)
            return
        keep = self._unseen(ids, table.timestamp[start:stop])
        if not keep.all():
            out.counts["duplicates", "trade"] += int((~keep).sum())
        self._announce_holes(table, start + np.flatnonzero(keep), out)
        for first, last in _runs(keep):
            self._publish(table, start + first, start + last, out)

    def _unseen(self, ids: I64, times: I64) -> Bool:
        """First time that each id is seen; one below the known window counts as published."""
        keep = np.zeros(len(ids), np.bool_)
        keep[np.unique(ids, return_index=True)[1]] = True
        if self.last_id == ABSENT:
            return keep
        known = self._recent[: self._published]
        keep &= ~np.isin(ids, known)
        oldest = int(known.min()) if len(known) else self.last_id + 1
        # Older ids at later times: the venue began to count anew, these are news.
        keep &= (ids >= oldest) | (times > self.last_us)
        return keep

    def _announce_holes(self, table: TradeTable, rows: I64, out: Flush) -> None:
        last_id, last_us = self.last_id, self.last_us
        for n in rows.tolist():
            trade_id, time = int(table.trade_id[n]), int(table.timestamp[n])
            if last_id != ABSENT and trade_id != last_id + 1:
                if trade_id < last_id and time <= last_us:
                    out.counts["late_trades", ""] += 1
                    continue
                out.counts["gaps", "trade"] += 1
                out.statuses.append(
                    Notice(
                        self.ticker,
                        StatusKind.GAP,
                        time,
                        int(table.rcv_timestamp[n]),
                        int(table.packet_id[n]),
                        feed="trade",
                        reason="trade ids are missing",
                        from_id=last_id,
                        to_id=trade_id,
                        from_timestamp=last_us,
                        to_timestamp=time,
                    )
                )
            last_id, last_us = trade_id, time

    def _publish(self, table: TradeTable, start: int, stop: int, out: Flush) -> None:
        out.trades.append(Piece(self.ticker, table, start, stop))
        out.counts["published_frames", ""] += stop - start
        ids = table.trade_id[start:stop]
        self._remember(ids)
        highest = int(ids.argmax())
        last_us = int(table.timestamp[start + highest])
        if ids[highest] > self.last_id or last_us > self.last_us:
            self.last_id, self.last_us = int(ids[highest]), last_us

    def _remember(self, ids: I64) -> None:
        ids = ids[-RECENT_IDS:]
        at = self._published % RECENT_IDS
        room = min(RECENT_IDS - at, len(ids))
        self._recent[at : at + room] = ids[:room]
        self._recent[: len(ids) - room] = ids[room:]
        self._published += len(ids)


def _dense(ids: I64) -> bool:
    """Whether each id is the one before plus 1."""
    return bool(ids[-1] - ids[0] == len(ids) - 1 and (np.diff(ids) == 1).all())


def _runs(keep: Bool) -> list[tuple[int, int]]:
    """Ranges of neighbours that are kept."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], keep, [False]))))
    return [(int(edges[n]), int(edges[n + 1])) for n in range(0, len(edges), 2)]
