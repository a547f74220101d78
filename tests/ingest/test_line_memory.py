"""A line's memory after a refused frame, whatever the venue keeps in it."""

from __future__ import annotations

import numpy as np
import pytest
from tickbus_ingest.session.decoding import FrameDecoder
from tickbus_ingest.venue.contract import Line, Snapshots, UpdateIds
from tickbus_ingest.venue.instruments import Instrument

from tests.ingest.made import T0_MS, count, frame, made, update

KINDS = [UpdateIds.LINKED, UpdateIds.COUNTED, UpdateIds.PER_CONNECTION, UpdateIds.CHECKSUM]


@pytest.mark.parametrize("update_ids", KINDS)
def test_what_a_refused_frame_left_is_gone_for_the_frames_behind_it(update_ids: UpdateIds) -> None:
    kind = made(Snapshots.PUSHED, update_ids, numbering_is_global=False)
    venue = kind([Instrument(ticker="A")], ("l2",))
    line = Line(0, venue.routes()[0])
    below_0 = update(1, 2, 2, [(1.0, -1.0)])
    data = [
        frame(count(1), update(0, 1, 1, [(1.0, 1.0)])),
        frame(count(2), below_0),
        frame(count(3)),
    ]
    received_us = np.full(len(data), T0_MS * 1000)
    decoded = FrameDecoder(venue, 1 << 20).frames(data, [line] * len(data), received_us, 1000)
    assert list(decoded.refused) == [1]
    assert [(n, reason) for n, reason, _ in decoded.losses] == [(2, "messages 2 to 2")]
    assert line.memory == {"last": 3}
