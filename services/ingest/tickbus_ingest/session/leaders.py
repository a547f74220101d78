"""Which connection counts where events have no identity: neither an id nor, if several may come at
once, a time.

For each ticker of a feed one of the connections that carry the same route leads. Its rows count,
those of the others are dropped. Another one takes over when the leader is gone, or says nothing
while another goes on; what it says again of the leader's is dropped, too. Something may be missing
there only if another connection was ahead of the leader.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tickbus_ingest.session.kernels.leaders import COUNTS, RECENT, judge_leaders
from tickbus_ingest.session.tables import Table, grown

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]
Bool = npt.NDArray[np.bool_]


class _Group:
    """The leaders among the connections of one route, by ticker; zeros of calloc take no memory."""

    def __init__(self, tickers: int) -> None:
        self.leader: I32 = np.zeros(tickers, np.int32)
        self.ahead_us: I64 = np.zeros(tickers, np.int64)
        self.ahead: I64 = np.zeros(tickers, np.int64)
        self.behind_us: I64 = np.zeros(tickers, np.int64)
        self.last_us: I64 = np.zeros(tickers, np.int64)
        self.recent: I64 = np.zeros((tickers, RECENT), np.int64)
        self.filled: I64 = np.zeros(tickers, np.int64)


class Leaders:
    """The leading connections of one feed."""

    def __init__(self, tickers: int, *, is_state: bool) -> None:
        """`is_state`: only the latest row counts, so that nothing is missing after a pause."""
        self._tickers, self._is_state = tickers, is_state
        self._groups: dict[int, _Group] = {}

    def grow(self, tickers: int) -> None:
        """Make room for so many tickers."""
        self._tickers = tickers
        for group in self._groups.values():
            for name, column in vars(group).items():
                setattr(group, name, grown(column, tickers))

    def judge(self, table: Table, time: I64, content: I64, chosen: Bool | None = None) -> I8:
        """A verdict on each row; those that are not `chosen`, and polled ones, count.

        time: as the venue sent it, 0 where it did not. content: a hash of what a row says.
        """
        columns = table.columns
        route = columns["route"]
        verdict = np.full(len(table), COUNTS, np.int8)
        for one in np.unique(route).tolist():
            if one < 0:
                continue
            group = self._groups.get(one)
            if group is None:
                group = self._groups[one] = _Group(self._tickers)
            rows = route == one
            judge_leaders(
                rows if chosen is None else rows & chosen, table.ticker, columns["slot"], time,
                columns["rcv_timestamp"], content, self._is_state, group.leader, group.ahead_us,
                group.ahead, group.behind_us, group.last_us, group.recent, group.filled, verdict,
            )  # fmt: skip
        return verdict

    def leave(self, route: int, slot: int) -> list[int]:
        """A connection is gone: tickers that it led while another one was ahead of it."""
        group = self._groups.get(route)
        if group is None:
            return []
        led = group.leader == slot + 1
        group.leader[led] = 0
        return np.flatnonzero(led & (group.ahead_us > 0)).tolist()

    def of(self, route: int) -> Bool:
        """Which tickers the connections of a route have brought [tickers]."""
        group = self._groups.get(route)
        return np.zeros(self._tickers, np.bool_) if group is None else group.filled > 0
