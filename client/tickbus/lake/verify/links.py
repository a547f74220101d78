"""Checks that every book update follows the one before, or that a gap row says why not.

The rule is `tickbus_schemas.continuity`, over all packets of a file at once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tickbus_schemas.messages import ABSENT, L2Flag

from tickbus.lake.verify.findings import Findings
from tickbus.lake.verify.l2 import Int64s, Packets

_SNAPSHOT = int(L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT | L2Flag.SNAPSHOT_LAST)


class Links:
    """Follows the packets of one ticker; state goes from file to file."""

    def __init__(self, ticker: str, gap_seq_ids: Int64s, findings: Findings) -> None:
        self._ticker = ticker
        self._gaps = gap_seq_ids
        self._findings = findings
        self._update_id = ABSENT
        self._was_snapshot = False
        self._seq_id = -1

    def check(self, packets: Packets) -> None:
        """The next packets in log order."""
        snapshot = (packets.flags & _SNAPSHOT) != 0
        before_id = np.concatenate(([self._update_id], packets.update_id[:-1]))
        before_snapshot = np.concatenate(([self._was_snapshot], snapshot[:-1]))
        before_seq = np.concatenate(([self._seq_id], packets.seq_id[:-1]))
        follows = packets.prev_update_id == before_id
        # Only the first update after a snapshot may overlap it; one without a link is accepted.
        overlaps = (packets.prev_update_id < before_id) & (before_id <= packets.update_id)
        follows |= before_snapshot & overlaps
        follows |= packets.prev_update_id == ABSENT
        # Our own snapshot has the number of the last update; any other one begins a new book.
        first = (packets.flags & int(L2Flag.SNAPSHOT_FIRST)) != 0
        follows[snapshot] = (packets.update_id == before_id)[snapshot]
        # Where every packet is a whole book, they are numbered without holes.
        follows |= first & before_snapshot & (packets.update_id == before_id + 1)
        follows |= snapshot & ~first
        broken = np.flatnonzero(~follows)
        self._findings.facts["links"] += len(packets)
        for at in broken[self._unexplained(packets, broken, before_seq, snapshot)].tolist():
            self._tell(packets, at, int(before_id[at]), bool(snapshot[at]))
        if len(packets):
            self._update_id = int(packets.update_id[-1])
            self._was_snapshot = bool(snapshot[-1])
            self._seq_id = int(packets.seq_id[-1])

    def _unexplained(
        self,
        packets: Packets,
        broken: Int64s,
        before_seq: Int64s,
        snapshot: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.bool_]:
        """Breaks without a gap between the two packets; a first snapshot needs none."""
        between = np.searchsorted(self._gaps, packets.seq_id[broken], side="right")
        between -= np.searchsorted(self._gaps, before_seq[broken])
        told = (between > 0) | ((packets.flags[broken] & int(L2Flag.GAP_BEFORE)) != 0)
        explained: npt.NDArray[np.bool_] = snapshot[broken] & (told | (before_seq[broken] < 0))
        return ~explained

    def _tell(self, packets: Packets, at: int, before_id: int, snapshot: bool) -> None:
        where = f"{self._ticker} seq_id {packets.seq_id[at]}"
        if before_id == ABSENT:
            self._findings.note("starts late", where, "rows before the first snapshot: no book yet")
        elif snapshot:
            self._findings.problem(
                "unexplained gap",
                where,
                f"a snapshot at {packets.update_id[at]} after {before_id}, and no gap row between",
            )
        else:
            self._findings.problem(
                "link",
                where,
                f"follows {packets.prev_update_id[at]}, but the last update is {before_id}",
            )
