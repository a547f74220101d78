"""Books made again from l2 packets, beside rows that tell of them."""

from __future__ import annotations

import numpy as np
import pytest
from tickbus.lake.verify.books import Made, Replay, Rows
from tickbus.lake.verify.kernels.recompute import NO_BOOK, SAME
from tickbus.lake.verify.l2 import Packets
from tickbus_schemas.messages import L2Flag

Level = tuple[int, float, float]
Packet = tuple[int, int, int, list[Level]]
"""packet_id, update_id, flags, levels; the venue's time is ten times the update"""
FIRST = int(L2Flag.SNAPSHOT_FIRST | L2Flag.SNAPSHOT | L2Flag.SNAPSHOT_LAST)
BID, ASK = (1, 9.0, 1.0), (-1, 11.0, 1.0)


def packets(*found: Packet) -> Packets:
    levels = [level for packet in found for level in packet[3]]
    update_id = np.array([packet[1] for packet in found], np.int64)
    return Packets(
        seq_id=np.arange(len(found)),
        timestamp=10 * update_id,
        packet_id=np.array([packet[0] for packet in found], np.int64),
        prev_update_id=update_id - 1,
        update_id=update_id,
        flags=np.array([packet[2] for packet in found], np.int64),
        starts=np.cumsum([0, *(len(packet[3]) for packet in found)]),
        side=np.array([level[0] for level in levels], np.int8),
        price=np.array([level[1] for level in levels]),
        qty=np.array([level[2] for level in levels]),
    )


def rows(*told: tuple[int, int, float]) -> Rows:
    """Of packet_id, update_id and size of the best bid: one level a side."""
    levels = [[[9.0], [size], [11.0], [1.0]] for _, _, size in told]
    return Rows(
        timestamp=np.array([10 * update for _, update, _ in told], np.int64),
        packet_id=np.array([packet for packet, _, _ in told], np.int64),
        update_id=np.array([update for _, update, _ in told], np.int64),
        interval_ms=np.zeros(len(told), np.int64),
        levels=np.array(levels).reshape(-1, 4, 1),
    )


def compared(files: list[Packets], *told: tuple[int, int, float]) -> Made:
    return Replay(iter(files)).compare(rows(*told))


def test_a_row_has_the_book_after_its_packet_and_none_that_follows() -> None:
    file = packets((1, 1, FIRST, [BID, ASK]), (2, 2, 0, [(1, 9.0, 2.0)]), (3, 3, 0, []))
    made = compared([file], (1, 1, 1.0), (2, 2, 2.0), (2, 2, 7.0))
    assert made.fault.tolist() == [SAME, SAME, 1]
    assert made.value[2] == 2.0
    assert made.update_id.tolist() == [1, 2, 2]
    assert made.following.tolist() == [20, 30, 30]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_any_number_of_rows_may_stand_before_a_snapshot(cut: int) -> None:
    all_packets: list[Packet] = [
        (1, 1, FIRST, [BID, ASK]),
        (2, 2, 0, [(1, 9.0, 2.0)]),
        (3, 2, FIRST, [(1, 9.0, 2.0), ASK]),
        (4, 3, 0, [(1, 9.0, 3.0)]),
    ]
    files = [packets(*all_packets[:cut]), packets(*all_packets[cut:])]
    told = [(2, 2, 2.0), (2, 2, 2.0), (2, 2, 2.0), (3, 2, 2.0), (4, 3, 3.0), (4, 3, 3.0)]
    assert set(compared(files, *told).fault.tolist()) == {SAME}


def test_of_updates_that_a_snapshot_released_a_row_has_those_up_to_its_own() -> None:
    file = packets(
        (5, 1, FIRST, [BID, ASK]), (5, 2, 0, [(1, 9.0, 2.0)]), (5, 3, 0, [(1, 9.0, 3.0)])
    )
    made = compared([file], (5, 1, 1.0), (5, 2, 2.0), (5, 3, 3.0))
    assert made.fault.tolist() == [SAME] * 3


def test_before_the_first_snapshot_there_is_no_book() -> None:
    late = packets((1, 1, 0, [BID, ASK])), packets((2, 2, FIRST, [BID, ASK]))
    assert compared([*late], (1, 1, 1.0), (2, 2, 1.0)).fault.tolist() == [NO_BOOK, SAME]
    assert compared([], (1, 1, 1.0)).fault.tolist() == [NO_BOOK]


def test_rows_asked_for_in_parts_are_as_in_one() -> None:
    replay = Replay(
        iter(
            [packets((1, 1, FIRST, [BID, ASK])), packets((2, 2, 0, [(1, 9.0, 2.0)]), (3, 3, 0, []))]
        )
    )
    assert replay.compare(rows((1, 1, 1.0))).fault.tolist() == [SAME]
    assert replay.compare(rows()).fault.tolist() == []
    last = replay.compare(rows((2, 2, 2.0), (3, 3, 2.0)))
    assert last.fault.tolist() == [SAME, SAME]
    assert last.following.tolist() == [30, np.iinfo(np.int64).max]


def test_a_large_packet_finds_room() -> None:
    many = [(1, 9.0 - n / 1_000, 1.0) for n in range(5_000)]
    made = compared([packets((1, 1, FIRST, [*many, ASK]))], (1, 1, 1.0))
    assert made.fault.tolist() == [SAME]


def test_a_snapshot_and_the_update_of_its_number_are_told_apart_by_their_times() -> None:
    # Futures: the update that ends at the snapshot's number is applied, and released by its packet.
    file = packets((1, 5, FIRST, [BID, ASK]), (1, 5, 0, [(1, 9.0, 2.0)]), (2, 6, 0, []))
    file.timestamp[:] = [40, 50, 60]
    told = rows((1, 5, 1.0), (1, 5, 2.0))
    told.timestamp[:] = [45, 55]
    made = Replay(iter([file])).compare(told)
    assert made.fault.tolist() == [SAME, SAME]
    assert made.timestamp.tolist() == [40, 50]
