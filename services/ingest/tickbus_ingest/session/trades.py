"""Trades: each one once, what is missing between them said, and put in order where it can be.

Ids of venues that count without holes prove by themselves whether something was lost. Two sockets
that carry the same trades may overtake each other: what comes too early waits for what is missing,
bounded, before the hole is called a gap.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus_schemas.messages import ABSENT, StatusKind

from tickbus_ingest.session.kernels.trades import (
    ANEW,
    COUNTING,
    HOLE,
    LATE,
    NONE,
    RECENT,
    REPEAT,
    REUSED,
    UNIQUE,
    holes,
    judge_trades,
)
from tickbus_ingest.session.tables import Flush, StatusRow, Table, grown, joined
from tickbus_ingest.venue.contract import TradeIds

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]
Bool = npt.NDArray[np.bool_]

_MODES = {
    TradeIds.DENSE: COUNTING,
    TradeIds.SEQUENCED: COUNTING,
    TradeIds.UNIQUE: UNIQUE,
    TradeIds.NONE: NONE,
}


class TradePolicy:
    """What was published of every ticker's trades."""

    def __init__(self, tickers: int, ids: TradeIds, *, wait_us: int, feed: str = "trade") -> None:
        """`wait_us`: how long an early trade waits for the ones before it, in the venue's time."""
        self._feed = feed
        self._mode = _MODES[ids]
        self._wait_us = wait_us
        self.last_number: I64 = np.full(tickers, ABSENT, np.int64)
        self.last_us: I64 = np.full(tickers, ABSENT, np.int64)
        # Zeros of calloc: the room of a ticker without trades takes no memory.
        self._recent: I64 = np.zeros((tickers, RECENT, 2), np.int64)
        self._filled: I64 = np.zeros(tickers, np.int64)
        self._stored: I64 = np.full(tickers, ABSENT, np.int64)
        """numbers up to this one were stored by a predecessor"""
        self._stored_us: I64 = np.full(tickers, ABSENT, np.int64)
        """up to here a predecessor stored trades, of which the ids are not known"""
        self._interrupted: Bool = np.zeros(tickers, np.bool_)
        """a hole is certain: nobody could fill it"""
        self._early: dict[int, Table] = {}
        """trades that wait for the ones before them"""
        self._early_since_s: dict[int, float] = {}

    @property
    def waiting(self) -> int:
        """Frames whose trade waits."""
        return sum(int(np.count_nonzero(table.stands)) for table in self._early.values())

    @property
    def held_since_us(self) -> list[int]:
        """Venue time of the oldest early trade of each ticker that has some."""
        return [int(table.columns["timestamp"].min()) for table in self._early.values()]

    def resume(self, ticker: int, last_number: int, last_us: int, *, stored: bool = True) -> None:
        """Go on behind what a predecessor stored; ABSENT: its number tells nothing.

        `stored` False: it was connected at `last_us`, and stored nothing since.
        """
        self.last_number[ticker], self.last_us[ticker] = last_number, last_us
        self._stored[ticker] = last_number
        self._interrupted[ticker] = True
        if stored and self._feed == "trade":
            self._stored_us[ticker] = last_us

    def interrupt(self, tickers: list[int], seen_us: list[int]) -> None:
        """What was sent of these tickers after `seen_us` is lost: nobody else carries it.

        It may have been the first of all: then the gap begins there.
        """
        last_us = self.last_us[tickers]
        self.last_us[tickers] = np.where(last_us == ABSENT, seen_us, last_us)
        self._interrupted[tickers] = True

    def grow(self, tickers: int) -> None:
        """Make room for so many tickers."""
        self.last_number = grown(self.last_number, tickers, ABSENT)
        self.last_us = grown(self.last_us, tickers, ABSENT)
        self._recent = grown(self._recent, tickers)
        self._filled = grown(self._filled, tickers)
        self._stored = grown(self._stored, tickers, ABSENT)
        self._stored_us = grown(self._stored_us, tickers, ABSENT)
        self._interrupted = grown(self._interrupted, tickers)

    def take(self, table: Table, out: Flush) -> None:
        """Publish trades but for those already published; `number` says their order."""
        if self._mode == COUNTING:
            table = self._in_order(table)
        if len(table):
            self._judge(table, out)

    def tick(self, now_s: float, out: Flush, *, settle: bool) -> None:
        """Time has passed: what has waited for too long goes out behind a gap."""
        for ticker in list(self._early):
            since_s = self._early_since_s.setdefault(ticker, now_s)
            if settle or now_s - since_s >= 2 * self._wait_us / 1e6:
                table = self._early.pop(ticker)
                del self._early_since_s[ticker]
                order = np.argsort(table.columns["number"], kind="stable")
                self._judge(_never_back(table.take(order)), out)

    # ----------------------------------------------------------------- order

    def _in_order(self, table: Table) -> Table:
        """The trades that can go out now, in their order; what is early is kept."""
        number = table.columns["number"]
        waits = np.zeros(len(self.last_number), np.bool_)
        waits[list(self._early)] = True
        if not holes(table.ticker, number, self.last_number, self._interrupted, waits):
            return table
        parts = []
        for ticker, start, stop in table.segments():
            own = table.take(np.arange(start, stop))
            parts.append(self._ordered(ticker, own) if waits[ticker] else own)
        return joined(parts)

    def _ordered(self, ticker: int, table: Table) -> Table:
        early = self._early.pop(ticker, None)
        if early is not None:
            table = joined([early, table])
        number, time = table.columns["number"].tolist(), table.columns["timestamp"].tolist()
        last = int(self.last_number[ticker])
        # Nobody could fill a hole before the first trade, or one that an interruption made.
        is_known = last != ABSENT and not self._interrupted[ticker]
        out: list[int] = []
        waiting: dict[int, int] = {}
        for row, own in enumerate(number):
            if not is_known:
                out.append(row)
                last, is_known = max(last, own), True
            elif own <= last:
                out.append(row)
            elif own != last + 1:
                waiting.setdefault(own, row)
                if waiting[own] != row:
                    out.append(row)  # the same again: judged as a repeat
                if time[row] - time[next(iter(waiting.values()))] >= self._wait_us:
                    out += [waiting[n] for n in sorted(waiting)]
                    last = max(waiting)
                    waiting.clear()
                continue
            else:
                out.append(row)
                last = own
            while last + 1 in waiting:
                last += 1
                out.append(waiting.pop(last))
        if waiting:
            self._early[ticker] = table.take(np.array(sorted(waiting.values()), np.int64))
        else:
            self._early_since_s.pop(ticker, None)
        return _never_back(table.take(np.array(out, np.int64)))

    # --------------------------------------------------------------- verdict

    def _judge(self, table: Table, out: Flush) -> None:
        columns = table.columns
        verdict = np.empty(len(table), np.int8)
        before = np.empty((len(table), 2), np.int64)
        odd = judge_trades(
            self._mode, table.ticker, columns["number"], columns["timestamp"], columns["side"],
            columns["price"], columns["qty"], self.last_number, self.last_us, self._recent,
            self._filled, self._stored, self._stored_us, verdict, before,
        )  # fmt: skip
        if odd:
            self._say(table, verdict, before, out)
            table, before = table.take(verdict != REPEAT), before[verdict != REPEAT]
        if self._interrupted[table.ticker].any():
            if self._mode != COUNTING:
                self._say_interrupted(table, before[:, 1], out)
            self._interrupted[table.ticker] = False
        if len(table):
            out.publish(self._feed, table)

    def _say_interrupted(self, table: Table, last_us: I64, out: Flush) -> None:
        """Ids that do not count cannot tell what was lost: the times on both sides do.

        `last_us` [rows]: time of the trade before each. What the venue sends again does not count.
        """
        columns = table.columns
        for ticker, row, _ in table.segments():
            if not self._interrupted[ticker] or last_us[row] == ABSENT:
                continue
            time = int(columns["timestamp"][row])
            out.counts["gaps", self._feed] += 1
            out.statuses.append(
                StatusRow(
                    ticker,
                    StatusKind.GAP,
                    time,
                    int(columns["rcv_timestamp"][row]),
                    int(columns["packet_id"][row]),
                    feed=self._feed,
                    reason="interrupted; ids do not tell what is missing",
                    from_timestamp=int(last_us[row]),
                    to_timestamp=time,
                )
            )

    def _say(self, table: Table, verdict: I8, before: I64, out: Flush) -> None:
        repeats = verdict == REPEAT
        if repeats.any():
            out.fates["duplicate", self._feed] += int(np.count_nonzero(table.stands[repeats]))
            out.counts["duplicates", self._feed] += int(np.count_nonzero(repeats))
        out.counts["late_trades", ""] += int(np.count_nonzero(verdict == LATE))
        for row in np.flatnonzero((verdict == HOLE) | (verdict >= REUSED)).tolist():
            self._say_one(table, row, int(verdict[row]), before[row].tolist(), out)

    def _say_one(self, table: Table, row: int, verdict: int, before: list[int], out: Flush) -> None:
        columns = table.columns
        number, time = int(columns["number"][row]), int(columns["timestamp"][row])
        status = StatusRow(
            int(table.ticker[row]),
            StatusKind.GAP,
            time,
            int(columns["rcv_timestamp"][row]),
            int(columns["packet_id"][row]),
            feed=self._feed,
        )
        if verdict == REUSED:
            status.kind = StatusKind.NOTICE
            status.reason = "an id of an earlier trade stands for another one: both are kept"
            status.from_id = status.to_id = number
            out.counts["reused_ids", self._feed] += 1
        else:
            status.reason = "trade ids are missing"
            if before[0] == ABSENT:
                status.reason = "a connection or a run ended before the first one came"
            if verdict == ANEW:
                status.reason = "the venue counts its trades anew: what lies between is not known"
            status.from_id, status.from_timestamp = before
            status.to_id, status.to_timestamp = number, time
            out.counts["gaps", self._feed] += 1
        out.statuses.append(status)


def _never_back(table: Table) -> Table:
    """What waited carries the packet that released it: packet_id never goes back in the log."""
    packet_id = table.columns["packet_id"]
    table.columns["packet_id"] = np.maximum.accumulate(packet_id)
    return table
